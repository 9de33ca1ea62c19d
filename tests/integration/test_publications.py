"""What readers see: publications of runs and replays, on a whole Playhead."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead import Context, Item, Output
from playhead.errors import Conflict, NotFound
from playhead.model import PruneFilter, Publication, PublishRequest
from playhead.ports.catalog.drafts import Draft
from tests.inprocess import Playhead, opened
from tests.stored import stored
from tests.waiting import until

DOCS = """
entry: convert
error_handling: {max_attempts: 1}
datasets: {docs: {}}
routes:
  convert:
    adapters: [{type: passthrough}]
    outbound: {stage: md, to: [segment]}
  segment:
    adapters: [{type: do}]
    outbound: {stage: seg}
"""


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path / "home") as playhead:
        yield playhead


class Splitter:
    """The step `segment`: one part for each word. `extra` and `fails` change what it does."""

    def __init__(self, ph: Playhead) -> None:
        self.extra: dict[str, int] = {}
        self.fails: set[str] = set()
        self.mark = ""
        ph.steps.doing = self

    def __call__(self, item: Item, ctx: Context) -> list[Output]:
        if item.path in self.fails:
            raise ValueError("no heading")
        words = item.data.decode().split() + ["more"] * self.extra.get(item.path, 0)
        return [Output(f"{w}{self.mark}".encode(), path=f"{item.path}/{n}") for n, w in enumerate(words, 1)]


async def published(ph: Playhead, *executions: str, **given: object) -> int:
    request = PublishRequest([UUID(one) for one in executions], **given)  # type: ignore[arg-type]
    return (await ph.rt.services.publish.publish("docs", request)).n


async def content(ph: Playhead, stage: str = "seg", n: int | None = None) -> dict[str, str]:
    """Return the objects of a publication by path: their execution."""
    found = await ph.rt.services.publish.publication("docs", n)
    catalog = ph.rt.catalog
    number = await catalog.dataset_number("docs", "docs")
    rows = await catalog.published(number, found.n, stage=stage, limit=1000)
    return {row.path: row.key.partition("/")[0] for row in rows}


async def test_the_worked_example(ph: Playhead):
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    one = await ph.run({"a": "x y", "b": "x", "c": "x"})
    assert await published(ph, one) == 1
    assert await content(ph) == {"a/1": one, "a/2": one, "b/1": one, "c/1": one}

    splitter.extra, splitter.fails, splitter.mark = {"a": 1}, {"b"}, "!"
    two = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(two)
    assert await published(ph, two) == 2
    assert await content(ph) == {"a/1": two, "a/2": two, "a/3": two, "b/1": one, "c/1": two}
    assert await content(ph, n=1) == {"a/1": one, "a/2": one, "b/1": one, "c/1": one}
    found = await ph.rt.services.publish.publication("docs")
    assert found.units.good == 2
    assert found.units.kept == 1
    notes = await ph.rt.services.publish.notes("docs")
    assert [(note.kind, note.path) for note in notes.items] == [("kept", "b")]

    dataset = await ph.rt.services.publish.roll_back("docs")
    assert (dataset.current, dataset.seq, dataset.held) == (1, 3, True)
    assert await content(ph) == {"a/1": one, "a/2": one, "b/1": one, "c/1": one}

    splitter.fails = set()
    three = await ph.run({"a": "x y", "b": "x z"})
    with pytest.raises(Conflict, match="1 of 3 inputs would be removed"):
        await published(ph, three)
    assert await published(ph, three, allow=["removed"]) == 4
    assert await content(ph) == {"a/1": three, "a/2": three, "a/3": three, "b/1": three, "b/2": three}
    assert await content(ph, n=1) == {"a/1": one, "a/2": one, "b/1": one, "c/1": one}
    changes = await ph.rt.services.publish.changes("docs", 1)
    assert [(c.stage, c.path, c.change) for c in changes.items] == [
        ("input", "b", "changed"),
        ("input", "c", "removed"),
        ("md", "b", "changed"),
        ("md", "c", "removed"),
        ("seg", "a/1", "changed"),
        ("seg", "a/2", "changed"),
        ("seg", "a/3", "added"),
        ("seg", "b/1", "changed"),
        ("seg", "b/2", "added"),
        ("seg", "c/1", "removed"),
    ]
    four = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(four)
    with pytest.raises(Conflict, match=r"1 of 3 objects of replay \S+ are not published") as refused:
        await published(ph, four)
    assert refused.value.code == "source_superseded"


async def current(ph: Playhead) -> int | None:
    return (await ph.rt.services.publish.dataset("docs")).current


async def ended(ph: Playhead, n: int) -> Publication:
    """Return a publication as soon as it is decided or refused."""

    async def found() -> bool:
        every = (await ph.rt.services.publish.publications("docs", every=True)).items
        return any(one.n == n and one.state in ("published", "abandoned") for one in every)

    await until(found)
    return await ph.rt.services.publish.publication("docs", n)


async def test_a_run_is_published_automatically_unless_too_much_failed_or_a_person_went_back(ph: Playhead):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {publish: automatic, max_failed: 0.4}}"))
    splitter = Splitter(ph)
    await ph.run({"a": "x", "b": "y", "c": "z"})
    assert (await ended(ph, 1)).state == "published"

    splitter.fails = {"a", "b"}
    await ph.run({"a": "x 2", "b": "y 2", "c": "z 2"})
    refused = await ended(ph, 2)
    assert refused.refusal
    assert refused.refusal.code == "units_failed"
    assert await current(ph) == 1
    splitter.fails = {"a"}
    await ph.run({"a": "x 2", "b": "y 2", "c": "z 2"})
    assert (await ended(ph, 3)).units.kept == 1

    await ph.rt.services.publish.roll_back("docs")
    waiting = await ph.run({"a": "x 3", "b": "y 3", "c": "z 3"})
    assert await ph.rt.catalog.automatic_runs() == []
    released = await ph.rt.services.publish.release("docs")
    assert released.unpublished[0] == UUID(waiting)
    assert await ph.rt.catalog.automatic_runs() == []
    await ph.run({"a": "x 4", "b": "y 4", "c": "z 4"})
    assert (await ended(ph, 4)).state == "published"
    assert await current(ph) == 4


async def test_a_fix_published_after_a_rollback_is_not_replaced_by_a_run_from_before(
    either: Playhead,
):
    """That run may have the fault for which a person went back."""
    ph = either
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {publish: automatic}}"))
    splitter = Splitter(ph)
    service = ph.rt.services.publish
    await ph.run({"a": "x"})
    await ended(ph, 1)
    splitter.mark = " broken"
    await ph.run({"a": "x 2"})
    await ended(ph, 2)
    await service.roll_back("docs")
    await ph.run({"a": "x 3"})
    splitter.mark = " fixed"
    source = str((await service.publication("docs")).execution_id)
    fixed = (await ph.replay(source, "md", "segment"))["execution_id"]
    await ph.work(fixed)
    assert await published(ph, fixed) == 3
    dataset = await service.dataset("docs")
    assert (dataset.held, dataset.unpublished) == (False, [])
    assert await ph.rt.catalog.automatic_runs() == []

    publication = (await service.publication("docs")).execution_id
    first = str((await service.publication("docs", 1)).parts[0].execution_id)
    for path, made in (("a", f"{first}/input/a"), ("md/a", f"{first}/md/a"), ("seg/a/1", f"{fixed}/seg/a/1")):
        found = await ph.get(f"executions/{publication}/why", path=path)
        assert (found["key"], found["execution_id"]) == (made, made[:36])
        assert found["outcome"] == "completed"
    assert (await ph.get(f"executions/{publication}/why", path="a/1", stage="seg"))["key"] == made
    gone = await ph.get(f"executions/{publication}/why", 404, path="it's gone")
    assert gone["error_code"] == "object_not_found"
    assert gone["detail"].startswith('publication 3 of docs has no object "it\'s gone". To see what happened')
    assert shlex.split(gone["detail"].partition("run: ")[2]) == ["playhead", "why", fixed, "it's gone"]

    after = await ph.run({"a": "x 4"})
    assert (await ended(ph, 4)).parts[0].execution_id == UUID(after)


async def test_a_run_that_ends_while_an_earlier_one_is_published_is_published_next(either: Playhead):
    ph = either
    await ph.apply(DOCS)
    Splitter(ph)
    draft = await waiting_draft(ph, await ph.run({"a": "x"}))
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {publish: automatic}}"))
    second = UUID(await ph.run({"a": "y"}))
    assert await ph.rt.catalog.renew_draft(draft, lease=0)
    await ph.rt.services.publish.drafts.drive_due()
    assert (await ended(ph, 1)).state == "published"
    assert (await ended(ph, 2)).parts[0].execution_id == second


async def test_a_run_of_one_file_does_not_empty_the_dataset(ph: Playhead):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {publish: automatic}}"))
    Splitter(ph)
    await ph.run({"a": "x", "b": "y", "c": "z"})
    await ended(ph, 1)
    await ph.run({"a": "x 2"})
    refused = (await ended(ph, 2)).refusal
    assert refused
    assert refused.code == "publication_shrinks"
    assert await current(ph) == 1


async def test_runs_that_add_inputs_are_layers(ph: Playhead):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {runs: partial}}"))
    Splitter(ph)
    one, two = await ph.run({"a": "x", "b": "y"}), await ph.run({"b": "y z", "c": "q"})
    await published(ph, one)
    await published(ph, two)
    assert await content(ph) == {"a/1": one, "b/1": two, "b/2": two, "c/1": two}


async def test_an_older_run_that_adds_inputs_replaces_no_newer_results(ph: Playhead):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {runs: partial}}"))
    Splitter(ph)
    one, two = await ph.run({"a": "x", "b": "y"}), await ph.run({"b": "y z"})
    await published(ph, two)

    with pytest.raises(Conflict, match="newer results are published for 1 of 2 objects") as refused:
        await published(ph, one)

    assert refused.value.code == "older_results"
    assert await content(ph) == {"b/1": two, "b/2": two}
    await published(ph, one, allow=["older"])
    assert await content(ph) == {"a/1": one, "b/1": one}


@pytest.mark.parametrize("runs", ["complete", "partial"])
async def test_a_run_from_before_a_fix_does_not_replace_it(ph: Playhead, runs: str):
    await ph.apply(DOCS.replace("{docs: {}}", f"{{docs: {{runs: {runs}}}}}"))
    Splitter(ph)
    first, nightly = await ph.run({"a": "x", "b": "y"}), await ph.run({"a": "x", "b": "y"})
    await published(ph, first)
    fix = (await ph.replay(first, "md", "segment", "b"))["execution_id"]
    await ph.work(fix)
    await published(ph, fix)

    with pytest.raises(Conflict, match="newer results are published for 1 of 2 objects") as refused:
        await published(ph, nightly)

    assert refused.value.code == "older_results"
    assert await content(ph) == {"a/1": first, "b/1": fix}
    await published(ph, nightly, allow=["older"])
    assert await content(ph) == {"a/1": nightly, "b/1": nightly}


async def test_a_published_fix_of_a_waiting_run_is_published_with_it(ph: Playhead):
    await ph.apply(DOCS)
    Splitter(ph)
    first, nightly = await ph.run({"a": "x", "b": "y"}), await ph.run({"a": "x 2", "b": "y"})
    await published(ph, first)
    fix = (await ph.replay(nightly, "md", "segment", "b"))["execution_id"]
    await ph.work(fix)
    await published(ph, fix)

    await published(ph, nightly, fix)

    assert await content(ph) == {"a/1": nightly, "a/2": nightly, "b/1": fix}


async def test_a_failed_run_and_the_replay_of_its_failures_are_published_together(ph: Playhead):
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    splitter.fails = {"b"}
    run = await ph.run({"a": "x", "b": "y"})
    splitter.fails = set()
    body = {"from_execution_id": run, "from_stage": "md", "to_route": "segment", "only": "failed"}
    replay = (await ph.post("replay", body))["execution_id"]
    await ph.work(replay)
    await published(ph, run, replay)
    assert await content(ph) == {"a/1": run, "b/1": replay}


async def test_published_objects_survive_prune_until_their_publication_is_dropped(ph: Playhead):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {keep: 0}}"))
    Splitter(ph)
    one = await ph.run({"a": "x", "b": "y"})
    await published(ph, one)
    await ph.rt.services.prune.prune(PruneFilter([UUID(one)]))
    assert await content(ph) == {"a/1": one, "b/1": one}
    for item in await ph.items("storage/objects", execution_id="current:docs"):
        answer = await ph.http.get("/api/v1/storage/objects/content", params={"key": item["key"]})
        assert answer.status_code == 200
    records = await ph.rt.services.prune.plan(PruneFilter([UUID(one)], records=True))
    assert records.kept[0].reason in ("published", "stored")

    two = await ph.run({"a": "x 2", "b": "y 2"})
    await published(ph, two)
    await ph.rt.services.publish.drafts.drop_due()
    await ph.rt.services.prune.finish()

    assert not stored(ph.objects, one)
    assert await content(ph) == {"a/1": two, "a/2": two, "b/1": two, "b/2": two}
    with pytest.raises(NotFound, match="was dropped on") as dropped:
        await ph.rt.services.resolve.execution("current:docs@1")
    assert dropped.value.code == "publication_dropped"
    for method, path, sent in (
        ("GET", "executions/current:docs@1", None),
        ("GET", "datasets/docs/changes?since=1", None),
        ("GET", "datasets/docs/objects?at=1", None),
        ("POST", "datasets/docs/publications/1/pin", None),
        ("POST", "datasets/docs/rollback", {"to": 1}),
    ):
        answer = await ph.http.request(method, f"/api/v1/{path}", json=sent)
        assert (answer.status_code, answer.json()["error_code"]) == (410, "publication_dropped")


async def test_a_new_route_is_incomplete_until_it_is_filled(ph: Playhead):
    await ph.apply(DOCS)
    Splitter(ph)
    one = await ph.run({"a": "x"})
    await published(ph, one)
    more = DOCS.replace("to: [segment]", "to: [segment, copy]") + (
        "  copy:\n    adapters: [{type: passthrough}]\n    outbound: {stage: copies}\n"
    )
    await ph.apply(more)
    again = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(again)
    with pytest.raises(Conflict, match="1 of 1 objects of md have no result in the route copy") as refused:
        await published(ph, again)
    assert refused.value.code == "publication_incomplete"
    copies = (await ph.replay(one, "md", "copy"))["execution_id"]
    await ph.work(copies)
    await published(ph, copies)
    assert await content(ph, "copies") == {"a": copies}
    await ph.apply(DOCS + "# without the route again\n")
    once = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(once)
    await published(ph, once)
    assert await content(ph, "copies") == {}
    assert await content(ph) == {"a/1": once}


async def waiting_draft(ph: Playhead, run: str) -> Draft:
    """Return a draft that another process holds, so that nothing here prepares it."""
    request = PublishRequest([UUID(run)])
    draft = await ph.rt.catalog.begin_publication("docs", "docs", request, owner="another", lease=600)
    assert isinstance(draft, Draft)
    return draft


async def test_a_second_publication_waits_for_the_first_or_its_cancellation(ph: Playhead):
    await ph.apply(DOCS)
    Splitter(ph)
    run = await ph.run({"a": "x"})
    assert (await waiting_draft(ph, run)).n == 1
    body = {"executions": [run]}
    answer = await ph.http.post("/api/v1/datasets/docs/publications", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (409, "publication_in_progress")
    assert "playhead publications cancel docs" in answer.json()["detail"]
    answer = await ph.http.post("/api/v1/datasets/docs/publications/1/pin")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "publication_not_found")
    cancelled = await ph.post("datasets/docs/publications/1/cancel")
    assert (cancelled["state"], cancelled["refusal"]) == ("abandoned", None)
    assert await ph.post("datasets/docs/publications/1/cancel") == cancelled
    assert (await ph.get("datasets/docs"))["draft"] is None
    with pytest.raises(NotFound, match="no publication of docs is being prepared"):
        await ph.rt.services.publish.cancel("docs")
    assert await published(ph, run) == 2


async def test_a_command_that_waits_for_a_publication_reports_that_it_was_cancelled(
    ph: Playhead, monkeypatch: pytest.MonkeyPatch
):
    await ph.apply(DOCS)
    Splitter(ph)
    run = await ph.run({"a": "x"})
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {publish: automatic}}"))
    await waiting_draft(ph, run)
    looks: list[Any] = []
    look = ph.rt.catalog.publication

    async def looked(*given: Any) -> Publication | None:
        looks.append(given)
        return await look(*given)

    async def has_waited() -> bool:
        return len(looks) > 1

    monkeypatch.setattr(ph.rt.catalog, "publication", looked)
    waiting = asyncio.create_task(ph.rt.services.publish.publish_run(UUID(run), "docs"))
    await until(has_waited)
    assert not waiting.done()
    await ph.rt.services.publish.cancel("docs")
    [(_, told)] = await waiting
    assert isinstance(told, Conflict)
    assert told.code == "publication_cancelled"


async def test_a_run_that_runs_again_while_it_is_published_is_refused(ph: Playhead):
    await ph.apply(DOCS)
    splitter = Splitter(ph)
    splitter.fails = {"b"}
    run = await ph.run({"a": "x", "b": "y"})
    draft = await waiting_draft(ph, run)
    splitter.fails = set()
    [letter] = await ph.items("dead-letters")
    await ph.post(f"dead-letters/{letter['correlation_id']}/resend", {}, 202)
    await ph.work(run)
    assert await ph.rt.catalog.renew_draft(draft, lease=0)
    await ph.rt.services.publish.drafts.drive_due()
    refused = (await ended(ph, draft.n)).refusal
    assert refused
    assert refused.code == "execution_changed"
    assert await published(ph, run) == draft.n + 1
    assert await content(ph) == {"a/1": run, "b/1": run}


async def test_a_page_with_an_object_that_was_pruned_meanwhile_is_read_again(
    ph: Playhead, monkeypatch: pytest.MonkeyPatch
):
    """Also if the page was read while the one before was written, and its first write of several fails."""
    monkeypatch.setattr("playhead.publish.resolution.PAGE", 3)
    await ph.apply(DOCS)
    Splitter(ph)
    run = await ph.run(dict.fromkeys("abc", "x y"))
    read: list[int] = []
    writes: list[bool] = []
    units, write = ph.rt.catalog.units, ph.rt.catalog.write_entries

    async def noted(*args: Any, after: int, **how: Any) -> Any:
        read.append(after)
        return await units(*args, after=after, **how)

    async def pruned_once(*args: Any, **how: Any) -> bool:
        writes.append(len(writes) != 2)  # the first part of the second page
        return writes[-1] and await write(*args, **how)

    monkeypatch.setattr(ph.rt.catalog, "units", noted)
    monkeypatch.setattr(ph.rt.catalog, "write_entries", pruned_once)
    await published(ph, run)
    assert read == [0, 1, 1, 2, 3]
    assert len(await content(ph)) == 6


async def test_two_results_cannot_have_one_path(ph: Playhead):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {runs: partial}}"))
    ph.steps.doing = lambda item, ctx: [Output(item.data, path="shared")]
    one, two = await ph.run({"a": "x"}), await ph.run({"b": "y"})
    await published(ph, one)
    with pytest.raises(Conflict, match="seg/shared comes from two results: a and b") as refused:
        await published(ph, two)
    assert refused.value.code == "path_conflict"
    assert await content(ph) == {"shared": one}


async def test_a_run_of_which_everything_failed_does_not_empty_a_dataset(ph: Playhead):
    await ph.apply(DOCS)
    Splitter(ph).fails = {"a"}
    run = await ph.run({"a": "x"})
    with pytest.raises(Conflict, match="would have no objects") as refused:
        await published(ph, run)
    assert refused.value.code == "publication_empty"
    assert await current(ph) is None
    assert await published(ph, run, allow=["empty"]) == 2


async def test_refused_automatic_publications_are_listed_until_the_next_one(either: Playhead):
    ph = either
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {publish: automatic, on_failure: refuse}}"))
    splitter = Splitter(ph)
    service = ph.rt.services.publish
    splitter.fails = {"b"}
    one = await ph.run({"a": "x", "b": "x"})
    with pytest.raises(Conflict):
        await service.publish("docs", PublishRequest([UUID(one)], automatic=True))
    await until(service.refused)  # the process may have begun to publish the run itself
    [refused] = await service.refused()
    assert (refused.n, refused.refusal and refused.refusal.code) == (1, "units_failed")

    await published(ph, one, on_failure="leave_out")
    assert await service.refused() == []
