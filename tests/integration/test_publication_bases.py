"""A config without runs: a replay of a whole stage of another config defines the inputs of its dataset."""

from __future__ import annotations

from uuid import UUID

import pytest

from playhead.errors import Conflict
from playhead.model import PruneFilter, PublishRequest
from playhead.ports.catalog.drafts import Draft
from tests.inprocess import Playhead
from tests.integration.test_publications import DOCS, Splitter, content, published
from tests.stored import is_stored
from tests.waiting import until

PAGES = """
name: pages
entry: fetch
error_handling: {max_attempts: 1}
datasets: {pages: {keep: 0}}
routes:
  fetch:
    adapters: [{type: passthrough}]
    outbound: {stage: html}
"""
NO_INPUTS = DOCS.replace("datasets: {docs: {}}", "datasets: {docs: {max_removed: 1, keep: 0}}")


class Two:
    """A config that has runs, and one that receives its objects by replays."""

    def __init__(self, ph: Playhead) -> None:
        self.ph = ph
        self.splitter = Splitter(ph)

    async def pages(self, **files: str) -> str:
        return await self.ph.run(files, "pages")

    async def replay(
        self, source: str, stage: str = "html", route: str = "docs/convert", path: str = ""
    ) -> str:
        execution = str((await self.ph.replay(source, stage, route, path or None))["execution_id"])
        await self.ph.work(execution)
        return execution

    async def refused(self, code: str, *executions: str, **given: object) -> str:
        with pytest.raises(Conflict) as caught:
            await published(self.ph, *executions, **given)
        assert caught.value.code == code, caught.value.detail
        return caught.value.detail


PARTIAL = NO_INPUTS.replace("{max_removed: 1", "{runs: partial, max_removed: 1")


@pytest.fixture
async def of(either: Playhead) -> Two:
    await either.apply(PAGES)
    await either.apply(NO_INPUTS)
    return Two(either)


async def test_a_replay_of_a_whole_stage_defines_the_inputs(of: Two):
    one = await of.pages(a="x y", b="x")
    base = await of.replay(one)
    assert await published(of.ph, base) == 1
    assert await content(of.ph, "html") == {"a": one, "b": one}
    assert await content(of.ph, "md") == {"a": base, "b": base}
    assert await content(of.ph) == {"a/1": base, "a/2": base, "b/1": base}

    # A later replay, also one of the same stage, is a layer: it replaces results of the inputs.
    of.splitter.mark = "!"
    below = await of.replay(base, "md", "segment", "a")
    assert await published(of.ph, below) == 2
    again = await of.replay(one, path="b")
    assert await published(of.ph, again) == 3
    assert await content(of.ph, "html") == {"a": one, "b": one}
    assert await content(of.ph, "md") == {"a": base, "b": again}
    assert await content(of.ph) == {"a/1": below, "a/2": below, "b/1": again}

    # A replay of another run has other inputs.
    two = await of.pages(b="x", c="x")
    other = await of.replay(two)
    new = await of.replay(two, path="c")
    assert f"--base {new}" in await of.refused("source_not_published", new)
    assert await published(of.ph, base=UUID(other)) == 5, "4 was refused"
    assert await content(of.ph, "html") == {"b": one, "c": two}, "the same bytes are the same input"
    assert await content(of.ph) == {"b/1": other, "c/1": other}
    await of.ph.rt.services.publish.roll_back("docs")
    assert await content(of.ph) == {"a/1": below, "a/2": below, "b/1": again}


async def test_the_inputs_of_a_publication_can_be_listed_and_replayed(of: Two):
    one = await of.pages(a="x y", b="x")
    await published(of.ph, await of.replay(one))
    current = str((await of.ph.rt.services.publish.publication("docs")).execution_id)
    listed = await of.ph.items("storage/objects", execution_id=current, stage="html")
    assert [o["key"] for o in listed] == [f"{one}/html/a", f"{one}/html/b"]
    of.splitter.mark = "!"
    again = await of.replay(current)
    assert await published(of.ph, again) == 2
    assert await content(of.ph) == {"a/1": again, "a/2": again, "b/1": again}


async def test_another_base_removes_inputs_of_another_stage(of: Two):
    one = await of.pages(a="x", b="x")
    await published(of.ph, await of.replay(one))
    of_inputs = await of.replay(await of.pages(b="y"), "input")
    assert await published(of.ph, base=UUID(of_inputs)) == 2
    assert await content(of.ph, "html") == {}
    assert list(await content(of.ph, "input")) == ["b"]
    assert await content(of.ph) == {"b/1": of_inputs}

    run = await of.ph.run({"b": "y", "c": "z"})
    assert await published(of.ph, run) == 3
    assert list(await content(of.ph, "input")) == ["b", "c"]
    assert await content(of.ph) == {"b/1": run, "c/1": run}


async def test_a_failed_document_of_a_base_replay_is_left_out(of: Two):
    of.splitter.fails = {"b"}
    base = await of.replay(await of.pages(a="x", b="x"))
    assert await published(of.ph, base) == 1
    assert list(await content(of.ph, "html")) == ["a"]
    notes = (await of.ph.rt.services.publish.notes("docs")).items
    assert [(one.kind, one.stage, one.path) for one in notes] == [("left_out", "html", "b")]
    of.splitter.fails = set()
    fixed = await of.replay(base, "md", "segment", "b")
    assert await published(of.ph, fixed, base=UUID(base)) == 2
    assert await content(of.ph) == {"a/1": base, "b/1": fixed}


async def test_what_does_not_define_the_inputs_is_no_base(of: Two):
    one = await of.pages(a="x", b="x")
    part, base = await of.replay(one, path="a"), await of.replay(one)
    assert "only a part of the stage html" in await of.refused("not_a_base", part)
    assert "it does not define the inputs" in await of.refused(
        "not_a_base", base=UUID(await of.replay(base, "md", "segment"))
    )
    assert "2 replays are named" in await of.refused("not_a_base", base, await of.replay(one))
    await of.ph.run({"a": "x"})
    assert "docs has runs, and these define the inputs" in await of.refused("not_a_base", base)


async def test_inputs_of_a_base_replay_are_kept_as_long_as_they_are_published(of: Two):
    one = await of.pages(a="x", b="x")
    base = await of.replay(one)
    await published(of.ph, base)
    prune = of.ph.rt.services.prune
    await prune.prune(PruneFilter([UUID(one)]))
    assert await content(of.ph, "html") == {"a": one, "b": one}
    assert not is_stored(of.ph.objects, f"{one}/input/a")
    current = str((await of.ph.rt.services.publish.publication("docs")).execution_id)
    again = await of.replay(current)
    assert await published(of.ph, again) == 2
    assert "pruned" in await of.refused("execution_pruned", base=UUID(base), allow=["older"])


async def test_a_dropped_publication_is_no_source_of_a_base(of: Two):
    pages = of.ph.rt.services.publish

    async def publish_pages(run: str) -> str:
        made = await pages.publish("pages", PublishRequest([UUID(run)], allow=["removed"]))
        return str(made.execution_id)

    source = await publish_pages(await of.pages(a="x"))
    base = await of.replay(source)
    assert await published(of.ph, base) == 1
    await publish_pages(await of.pages(a="y"))
    await pages.drafts.drop_due()
    assert "was dropped" in await of.refused("execution_pruned", base=UUID(base))


# -- replays that add inputs -----------------------------------------------------------------------


async def test_with_partial_runs_a_replay_adds_its_objects_to_the_inputs(of: Two):
    await of.ph.apply(PARTIAL)
    one = await of.pages(a="x y", b="x")
    first = await of.replay(one)
    assert await published(of.ph, first) == 1
    assert await content(of.ph, "html") == {"a": one, "b": one}
    assert await content(of.ph) == {"a/1": first, "a/2": first, "b/1": first}

    # Another version of b, and c, of which only a part of the stage is replayed.
    two = await of.pages(b="y y", c="x", d="x")
    of_b, of_c = await of.replay(two, path="b"), await of.replay(two, path="c")
    assert await published(of.ph, of_b, of_c) == 2
    assert await content(of.ph, "html") == {"a": one, "b": two, "c": two}
    assert await content(of.ph) == {"a/1": first, "a/2": first, "b/1": of_b, "b/2": of_b, "c/1": of_c}

    # A run adds inputs in its own stage, and a replay below them is a layer as always.
    run = await of.ph.run({"e": "x"})
    assert await published(of.ph, run) == 3
    below = await of.replay(first, "md", "segment", "a")
    assert await published(of.ph, below) == 4
    assert await content(of.ph, "html") == {"a": one, "b": two, "c": two}
    segments = {"a/1": below, "a/2": below, "b/1": of_b, "b/2": of_b, "c/1": of_c, "e/1": run}
    assert await content(of.ph) == segments

    await of.ph.rt.services.publish.roll_back("docs", 2)
    again = await of.replay(two, path="d")
    assert await published(of.ph, again) == 5
    assert set(await content(of.ph)) == {"a/1", "a/2", "b/1", "b/2", "c/1", "d/1"}


async def test_an_older_replay_does_not_replace_the_results_of_an_input(of: Two):
    await of.ph.apply(PARTIAL)
    one = await of.pages(a="x")
    older, newer = await of.replay(one), await of.replay(one)
    await published(of.ph, newer)
    await of.refused("older_results", older)
    assert await content(of.ph) == {"a/1": newer}
    await published(of.ph, older, allow=["older"])
    assert await content(of.ph) == {"a/1": older}


async def test_an_added_input_that_failed_keeps_its_earlier_version(of: Two):
    await of.ph.apply(PARTIAL)
    one = await of.pages(a="x", b="x")
    first = await of.replay(one)
    await published(of.ph, first)
    of.splitter.fails = {"a"}
    two = await of.pages(a="y", c="x")
    second = await of.replay(two)
    await published(of.ph, second)
    assert await content(of.ph, "html") == {"a": one, "b": one, "c": two}
    assert await content(of.ph) == {"a/1": first, "b/1": first, "c/1": second}
    # A later replay of the same object has a good unit for it.
    of.splitter.fails = set()
    third = await of.replay(two, path="a")
    await published(of.ph, second, third)
    assert await content(of.ph, "html") == {"a": two, "b": one, "c": two}
    assert await content(of.ph) == {"a/1": third, "b/1": first, "c/1": second}
    notes = (await of.ph.rt.services.publish.notes("docs")).items
    assert notes == [], "the replay that failed is covered"


async def test_a_replay_can_add_inputs_to_those_of_a_run_until_the_next_run(of: Two):
    run = await of.ph.run({"a": "x", "b": "x"})
    await published(of.ph, run)
    one = await of.pages(c="x", d="x")
    added = await of.replay(one)
    assert f"--add {added}" in await of.refused("source_not_published", added)
    n = await published(of.ph, add=[UUID(added)])
    assert await content(of.ph, "html") == {"c": one, "d": one}
    assert await content(of.ph) == {"a/1": run, "b/1": run, "c/1": added, "d/1": added}

    # A later run leaves nothing of the earlier inputs, also if another replay adds some in the same stage.
    newer, two = await of.ph.run({"a": "x"}), await of.pages(e="x")
    other = await of.replay(two)
    assert await published(of.ph, newer, add=[UUID(other)]) == n + 1
    assert await content(of.ph, "html") == {"e": two}
    assert await content(of.ph) == {"a/1": newer, "e/1": other}
    last = await of.ph.run({"a": "y"})
    assert await published(of.ph, last) == n + 2
    assert await content(of.ph, "html") == {}
    assert await content(of.ph) == {"a/1": last}


async def test_what_cannot_be_an_input_is_not_added(of: Two):
    await of.ph.apply(PARTIAL)
    one = await of.pages(a="x")
    replay = await of.replay(one)
    prune, catalog = of.ph.rt.services.prune, of.ph.rt.catalog
    request = PublishRequest([UUID(replay)])
    draft = await catalog.begin_publication("docs", "docs", request, owner="w", lease=60)
    await prune.prune(PruneFilter([UUID(one)]))
    assert is_stored(of.ph.objects, f"{one}/html/a"), "the draft may name it"

    assert isinstance(draft, Draft)
    await catalog.abandon_draft(draft.dataset, draft.n)
    await prune.prune(PruneFilter([UUID(one)]))
    assert not is_stored(of.ph.objects, f"{one}/html/a")
    assert "pruned" in await of.refused("execution_pruned", replay)


async def test_a_draft_that_adds_inputs_goes_on_in_another_process_after_a_change_of_the_config(of: Two):
    await of.ph.apply(PARTIAL)
    replay = await of.replay(await of.pages(a="x"))
    catalog = of.ph.rt.catalog
    request = PublishRequest([UUID(replay)])
    draft = await catalog.begin_publication("docs", "docs", request, owner="dead", lease=0)
    assert isinstance(draft, Draft)
    await of.ph.apply(NO_INPUTS)
    await of.ph.rt.services.publish.drafts.drive_due()

    async def is_published() -> bool:
        return (await of.ph.rt.services.publish.dataset("docs")).current == 1

    await until(is_published)
    assert await content(of.ph) == {"a/1": replay}
