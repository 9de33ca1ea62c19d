"""Replays of a part of a stage: which objects they publish, and which requests are refused."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from playhead.environment import Environment
from playhead.errors import BadRequest, NotFound
from playhead.model import Replay, ReplayRequest, Selection
from playhead.replay.drive import Drive
from playhead.services.replay import ReplayService
from tests.lab import Lab, MemoryDeployment, Started

PAGE = 2


class Replays(MemoryDeployment):
    """Replays in pages of two objects."""

    def __init__(self) -> None:
        super().__init__()
        self.env = Environment("server")
        self.service = ReplayService(self.backends, self.env, lease=1000, settle=10, page=PAGE)

    async def stage(self, *paths: str) -> UUID:
        """Store objects in the stage `pages` of an execution of another program."""
        await self.lab.save()
        execution = self.lab.unknown()
        await self.put(*(f"{execution}/pages/{path}" for path in paths))
        return execution

    async def replay(
        self,
        source: UUID,
        stage: str = "pages",
        route: str = "docs/split",
        path: str | None = None,
        version: int | None = None,
        **fields: Any,
    ) -> Replay:
        selection = Selection(**fields) if fields else None
        request = ReplayRequest(source, stage, path, route, selection=selection, config_version=version)
        return await self.service.execute(request)

    async def paths(self, replay: Replay) -> list[str]:
        """Return the paths of the objects that a replay has published, in order."""
        rows, _ = await self.catalog.lineage_list(batch=replay.replay_batch_id, limit=1000)
        prefix = f"{replay.from_execution_id}/{replay.from_stage}/"
        found = [row.input_key.removeprefix(prefix) for row in reversed(rows)]
        assert (replay.objects_found, replay.objects_published) == (len(found), len(found))
        return found

    async def chosen(self, source: UUID, *args: Any, **fields: Any) -> list[str]:
        return await self.paths(await self.replay(source, *args, **fields))

    async def refused(self, source: UUID, *args: Any, **fields: Any) -> str:
        """Return why nothing is selected. No replay is recorded."""
        before = await self.catalog.newest_execution()
        with pytest.raises(BadRequest) as caught:
            await self.replay(source, *args, **fields)
        assert caught.value.code == "selection_empty"
        assert await self.catalog.newest_execution() == before
        return caught.value.detail


@pytest.fixture
def replays() -> Replays:
    return Replays()


@pytest.fixture
def lab(replays: Replays) -> Lab:
    return replays.lab


PATHS = ("a.md", "b.html", "c/a.md", "c/b.md", "c/d/a.md", "e.html", "f.html", "g.html", "h.md")


async def test_globs_match_the_path_under_the_stage_also_with_a_folder(replays: Replays):
    source = await replays.stage(*PATHS)

    assert await replays.chosen(source, path="c", include=["c/*.md"]) == ["c/a.md", "c/b.md"]
    assert "3 do not meet" in await replays.refused(source, path="c", include=["*.md"])


async def test_sidecars_are_not_selected(replays: Replays):
    source = await replays.stage("a.md", "a.md.meta.json", "b.md", "b.md.meta.json")

    assert await replays.chosen(source, include=["**"]) == ["a.md", "b.md"]
    assert await replays.chosen(source, only="unfinished") == ["a.md", "b.md"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
async def test_a_limit_selects_the_first_objects_in_key_order(replays: Replays, limit: int):
    source = await replays.stage(*PATHS)

    assert await replays.chosen(source, limit=limit) == list(PATHS[:limit])
    found = await replays.replay(source, include=["**/*.md"], limit=limit)
    assert await replays.paths(found) == ["a.md", "c/a.md", "c/b.md", "c/d/a.md", "h.md"][:limit]
    assert found.status == "publishing_complete"


async def test_a_selection_without_a_match_creates_nothing(replays: Replays, lab: Lab):
    source = await replays.stage(*PATHS)

    why = await replays.refused(source, include=["*.pdf"])

    assert why == f"the selection matches no object at {source}/pages: 9 do not meet the conditions"
    empty = await replays.stage()
    await replays.put(f"{empty}/other/a.md", f"{empty}/pages/a.md.meta.json")
    with pytest.raises(NotFound) as caught:
        await replays.replay(empty, include=["*.pdf"])
    assert caught.value.code == "no_objects"


async def test_an_object_that_no_attempt_has_committed_is_not_a_match(replays: Replays, lab: Lab):
    run = await replays.started("a.md", "b.md")
    await lab.work(run.ids[0], lab.output("a.html", "a"))
    await lab.bind(await lab.claim(run.ids[1]), lab.output("b.md", "b"))
    await replays.put(f"{run.execution}/pages/a.html", f"{run.execution}/pages/b.md")

    assert "1 do not meet" in await replays.refused(run.execution, include=["*.md"])
    assert await replays.chosen(run.execution, include=["*"]) == ["a.html"]


async def test_attributes_select_outputs_of_runs_only(replays: Replays, lab: Lab):
    run = await replays.started("a.md", "b.md")
    for identity, name in zip(run.ids, "ab", strict=True):
        await lab.work(identity, lab.output(f"{name}.md", name, letter=name, n=1))
        await replays.put(f"{run.execution}/pages/{name}.md")

    assert await replays.chosen(run.execution, attributes={"letter": "b"}) == ["b.md"]
    assert await replays.chosen(run.execution, attributes={"n": 1}) == ["a.md", "b.md"]
    await replays.refused(run.execution, attributes={"n": True})
    await replays.refused(await replays.stage("a.md"), attributes={"n": 1})


# -- by outcome ------------------------------------------------------------------------------------


async def ended_run(replays: Replays) -> Started:
    """A cancelled run of `a` (done), `b` (dead), `c` (its child is dead) and `d` (cancelled)."""
    lab = replays.lab
    run = await replays.started("a.md", "b.md", "c.md", "d.md")
    for child in await lab.work(run.ids[0], lab.output("a.md", "a")):
        await lab.work(lab.ids([child])[0])
    await lab.kill(run.ids[1])
    for child in await lab.work(run.ids[2], lab.output("c.md", "c")):
        await lab.kill(lab.ids([child])[0])
    await replays.put(f"{run.execution}/pages/a.md", f"{run.execution}/pages/c.md")
    await replays.catalog.cancel(run.execution)
    return run


async def test_failed_and_unfinished_objects_of_the_source_are_selected(replays: Replays):
    run = await ended_run(replays)
    inputs = ("input", "docs/convert")

    assert await replays.chosen(run.execution, *inputs, only="failed") == ["b.md", "c.md"]
    assert await replays.chosen(run.execution, *inputs, only="unfinished") == ["b.md", "c.md", "d.md"]
    assert await replays.chosen(run.execution, *inputs, only="failed", include=["c*"]) == ["c.md"]
    assert await replays.chosen(run.execution, only="failed") == ["c.md"]
    why = await replays.refused(run.execution, *inputs, only="failed", include=["a*", "d*"])
    assert why.endswith("2 do not meet the other conditions, 2 have no dead letter")


async def test_what_a_replay_left_unfinished_is_selected_by_its_batch(replays: Replays, lab: Lab):
    run = await ended_run(replays)
    first = await replays.replay(run.execution, "input", "docs/convert", exclude=["d*"])
    rows, _ = await replays.catalog.lineage_list(batch=first.replay_batch_id)
    ids = {row.input_key[-4]: row.correlation_id for row in rows}
    await lab.kill(ids["a"])
    await lab.work(ids["b"])

    within = {"in_replay": first.replay_batch_id}
    inputs = ("input", "docs/convert")
    assert await replays.chosen(run.execution, *inputs, only="failed", **within) == ["a.md"]
    why = await replays.refused(run.execution, *inputs, only="unfinished", **within)
    assert f"execution {first.execution_id} has not ended" in why
    await replays.catalog.cancel(first.execution_id)
    assert await replays.chosen(run.execution, *inputs, only="unfinished", **within) == [
        "a.md",
        "c.md",
        "d.md",
    ]
    with pytest.raises(NotFound) as caught:
        await replays.replay(run.execution, *inputs, only="failed", in_replay=run.execution)
    assert caught.value.code == "replay_not_found"


async def test_a_cancelled_continuation_can_be_continued(replays: Replays, lab: Lab):
    """A message of the run, of the first or of the second replay has finished each of the other objects."""
    paths = ["a.md", "b.md", "c.md", "d.md", "e.md"]
    run = await replays.started(*paths)
    await lab.work(run.ids[0])
    await replays.catalog.cancel(run.execution)
    inputs = ("input", "docs/convert")
    within: dict[str, Any] = {}
    for left in (paths[1:], paths[2:], paths[3:]):
        replay = await replays.replay(run.execution, *inputs, only="unfinished", **within)
        assert await replays.paths(replay) == left
        rows, _ = await replays.catalog.lineage_list(batch=replay.replay_batch_id)
        (first,) = [row.correlation_id for row in rows if row.input_key.endswith(left[0])]
        await lab.work(first)
        await replays.catalog.cancel(replay.execution_id)
        within = {"in_replay": replay.replay_batch_id}


async def test_unfinished_objects_of_a_run_are_known_when_it_has_ended(replays: Replays, lab: Lab):
    run = await replays.started("a.md", "b.md")
    claim = await lab.claim(run.ids[0])
    inputs = ("input", "docs/convert")

    assert "has not ended" in await replays.refused(run.execution, *inputs, only="unfinished")
    await replays.catalog.cancel(run.execution)
    assert "has not ended" in await replays.refused(run.execution, *inputs, only="unfinished")
    await lab.fail(claim, delay=1.0)
    assert await replays.chosen(run.execution, *inputs, only="unfinished") == ["a.md", "b.md"]


async def test_failed_outputs_of_a_replay_are_replayed(replays: Replays, lab: Lab):
    source = await replays.stage("a.md", "b.md")
    first = await replays.replay(source, route="docs/convert")
    rows, _ = await replays.catalog.lineage_list(batch=first.replay_batch_id)
    for row in rows:
        name = row.input_key.rpartition("/")[2]
        for child in await lab.work(row.correlation_id, lab.output(name, name)):
            await (lab.kill if name == "b.md" else lab.work)(lab.ids([child])[0])
        await replays.put(f"{first.execution_id}/pages/{name}")

    assert await replays.chosen(first.execution_id, only="failed") == ["b.md"]
    assert await replays.chosen(
        source, route="docs/convert", only="failed", in_replay=first.replay_batch_id
    ) == ["b.md"]


# -- after a takeover, and with another version ----------------------------------------------------


async def test_a_process_that_takes_a_listing_over_selects_the_same_objects(replays: Replays, lab: Lab):
    source = await replays.stage(*PATHS)
    opened = await replays.service.create(
        ReplayRequest(source, "pages", None, "docs/split", selection=Selection(include=["**/*.md"], limit=4))
    )
    job = opened.replay.execution_id
    held = await lab.hold(job, "w1")
    await lab.list_all(held, f"{source}/pages/a.md", last=False)
    await replays.catalog.release(held)

    await Drive(replays.backends, replays.env, await lab.hold(job, "w2"), lease=1000, page=PAGE).run()

    ended = await lab.replay(opened.replay.replay_batch_id)
    assert await replays.paths(ended) == ["a.md", "c/a.md", "c/b.md", "c/d/a.md"]
    assert ended.status == "publishing_complete"


async def test_a_replay_runs_the_config_version_that_it_names(replays: Replays, lab: Lab):
    source = await replays.stage("a.md")
    first = await lab.save()
    second = await lab.save(lab.config("docs", lab.route("convert", stage="pages"), lab.route("new")))

    async def version(route: str, number: int | None) -> int:
        return (await replays.replay(source, route=route, version=number)).to_config_version

    assert await version("docs/convert", None) == second
    assert await version("docs/convert", first) == first
    assert await version("docs/split", first) == first
    assert await version("convert", first) == first
    assert await version("docs/new", second) == second
    run = await replays.started("b.md")
    await lab.save(lab.config("docs", lab.route("convert", stage="pages"), lab.route("new")), digest="again")
    assert (await replays.replay(run.execution, "input", "split", version=first)).to_config_version == first
    for route, number, code, detail in (
        ("docs/convert", 99, "config_not_found", "config 'docs' has no version 99"),
        ("convert", 99, "config_not_found", "config 'docs' has no version 99"),
        ("docs/new", first, "route_not_found", f"version {first} of config 'docs' has no route 'new'"),
        ("none/new", first, "route_not_found", "no config is named 'none'"),
    ):
        with pytest.raises(NotFound, match=detail) as caught:
            await replays.replay(source, route=route, version=number)
        assert caught.value.code == code
    with pytest.raises(NotFound, match="An earlier version has it"):
        await replays.replay(run.execution, "input", "split")
