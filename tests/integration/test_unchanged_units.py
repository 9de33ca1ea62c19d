"""A run is published on the results that it took over: what is the same is not compared again.

`test_publication_histories.py` has all other cases. These are rare in its histories.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.inprocess import Playhead, opened
from tests.integration.test_publications import DOCS, Splitter, content, published

TWO = {"a": "x", "b": "x"}


@pytest.fixture
async def ph(tmp_path: Path) -> AsyncIterator[Playhead]:
    async with opened(tmp_path / "home") as playhead:
        await playhead.apply(DOCS)
        yield playhead


@pytest.fixture
def splitter(ph: Playhead) -> Splitter:
    return Splitter(ph)


async def read_for(ph: Playhead, run: str, monkeypatch: pytest.MonkeyPatch, **given: Any) -> dict[str, int]:
    """Publish a run; return how many messages were read of the unit of each input."""
    catalog, read = ph.rt.catalog, dict[str, int]()
    units = catalog.units

    async def counted(*args: Any, **kwargs: Any) -> Any:
        roots, nodes = await units(*args, **kwargs)
        below: dict[int | None, list[Any]] = {}
        for node in nodes:
            below.setdefault(node.parent, []).append(node)
        for root in roots:
            unit = [root.node]
            for node in unit:
                unit += below.get(node.n, ())
            read[root.node.slot.path] = len(unit)
        return roots, nodes

    with monkeypatch.context() as patched:
        patched.setattr(catalog, "units", counted)
        await published(ph, run, **given)
    shown = (await ph.rt.services.publish.publication("docs")).execution_id
    assert await ph.stored(str(shown)) == await ph.stored(run)
    return read


async def test_results_are_not_read_again_if_the_base_publication_has_them(
    ph: Playhead, splitter: Splitter, monkeypatch: pytest.MonkeyPatch
):
    one = await ph.run(TWO)
    await published(ph, one)
    two = await ph.run({**TWO, "b": "y"}, changed_since=one)
    assert await read_for(ph, two, monkeypatch) == {"a": 1, "b": 2}
    assert await content(ph) == {"a/1": one, "b/1": two}
    assert (await ph.rt.services.publish.publication("docs")).units.good == 2


async def test_what_was_resent_after_the_base_publication_is_published(ph: Playhead, splitter: Splitter):
    splitter.fails = {"b"}
    one = await ph.run(TWO)
    await published(ph, one)
    assert await content(ph) == {"a/1": one}
    splitter.fails = set()
    [letter] = await ph.items("dead-letters")
    await ph.post(f"dead-letters/{letter['correlation_id']}/resend", {}, 202)
    await ph.work(one)
    await published(ph, await ph.run(TWO, changed_since=one))
    assert await content(ph) == {"a/1": one, "b/1": one}


async def test_the_results_of_a_replay_in_the_base_publication_are_replaced(ph: Playhead, splitter: Splitter):
    one = await ph.run(TWO)
    run = await ph.submit(
        TWO, changed_since=one
    )  # begins before the replay, and so does not take its results
    fix = (await ph.replay(one, "md", "segment"))["execution_id"]
    await ph.work(fix)
    await ph.work(run)
    await published(ph, fix, base=UUID(one))
    assert await content(ph) == {"a/1": fix, "b/1": fix}
    await published(ph, run, allow=["older"])
    assert await content(ph) == {"a/1": one, "b/1": one}


async def test_results_of_a_route_that_a_dataset_has_since_are_published(ph: Playhead, splitter: Splitter):
    await ph.apply(DOCS.replace("{docs: {}}", "{docs: {routes: [convert]}}"))
    one = await ph.run(TWO)
    await published(ph, one)
    assert await content(ph) == {}
    await ph.apply(DOCS)
    await published(ph, await ph.run(TWO, changed_since=one))
    assert await content(ph) == {"a/1": one, "b/1": one}


# -- replays on top of the earlier run ---------------------------------------------------------------

FIXES = """
entry: cut
datasets: {docs: {}}
routes:
  cut:
    adapters: [{type: do}]
    outbound: {stage: seg, to: [copy]}
  copy:
    adapters: [{type: passthrough}]
    outbound: {stage: copies}
"""
FILES = {"a": "x y", "b": "x", "c": "x"}
NOT_READ = {"a": 1, "b": 1, "c": 1}
READ = {"a": 3, "b": 2, "c": 2}


class Fixes:
    """Fixes of the step `do`, which are replayed on what readers see."""

    def __init__(self, ph: Playhead, splitter: Splitter) -> None:
        self.ph = ph
        self.splitter = splitter

    async def run(self) -> str:
        """The earlier run, which readers see."""
        await self.ph.apply(FIXES)
        run = await self.ph.run(FILES)
        await published(self.ph, run)
        return run

    def fix(self, mark: str) -> None:
        self.splitter.mark = mark
        self.ph.rt.adapters["do"] = replace(self.ph.rt.adapters["do"], code=f"sha256:{mark}")  # type: ignore[index]

    async def replay(
        self, mark: str, *paths: str, stage: str = "input", route: str = "cut", **given: Any
    ) -> str:
        """Replay objects of what readers see with new code, and publish the replay.

        Without paths, all objects are replayed. Otherwise, the results of the others are declared valid.
        """
        self.fix(mark)
        source = await self.ph.rt.services.resolve.execution("current:docs")
        body: dict[str, Any] = {"from_execution_id": str(source), "from_stage": stage, "to_route": route}
        if paths:
            body |= {"paths": list(paths), "others_valid": True, "reason": "the others are right"}
        replay = str((await self.ph.post("replay", body))["execution_id"])
        await self.ph.work(replay)
        await published(self.ph, replay, **given)
        return replay


@pytest.fixture
def fixes(ph: Playhead, splitter: Splitter) -> Fixes:
    return Fixes(ph, splitter)


async def test_what_a_replay_has_replaced_is_not_read_again(
    ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch
):
    one = await fixes.run()
    fix = await fixes.replay("!")
    new = await ph.run(FILES, changed_since=one)
    assert await read_for(ph, new, monkeypatch) == NOT_READ
    assert set((await content(ph)).values()) == {fix}


async def test_what_a_replay_has_left_out_and_what_it_has_replaced_is_not_read_again(
    ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch
):
    one = await fixes.run()
    fix = await fixes.replay("!", "a")
    new = await ph.run({**FILES, "c": "z"}, changed_since=one)
    assert await read_for(ph, new, monkeypatch) == {**NOT_READ, "c": READ["c"]}
    assert await content(ph) == {"a/1": fix, "a/2": fix, "b/1": one, "c/1": new}


async def test_the_last_of_two_replays_decides(ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch):
    one = await fixes.run()
    first = await fixes.replay("!", "a", "b")
    second = await fixes.replay("?", "a")
    new = await ph.run(FILES, changed_since=one)
    assert await read_for(ph, new, monkeypatch) == NOT_READ
    assert await content(ph) == {"a/1": second, "a/2": second, "b/1": first, "c/1": one}
    following = await ph.run(FILES, changed_since=new)
    assert await read_for(ph, following, monkeypatch) == NOT_READ


async def test_results_of_a_replay_that_readers_do_not_see_any_more_are_published(
    ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch
):
    one = await fixes.run()
    fix = await fixes.replay("!", "a", "b")
    await ph.rt.services.publish.roll_back("docs")
    new = await ph.run(FILES, changed_since=one)
    assert await read_for(ph, new, monkeypatch) == {**READ, "c": 1}
    assert await content(ph) == {"a/1": fix, "a/2": fix, "b/1": fix, "c/1": one}


async def test_a_result_that_a_later_replay_has_replaced_is_published(
    ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch
):
    one = await fixes.run()
    fix = await fixes.replay("!")
    copies = await fixes.replay("!", "a/1", "b/1", stage="seg", route="copy")
    assert await content(ph, "copies") == {"a/1": copies, "a/2": fix, "b/1": copies, "c/1": fix}
    new = await ph.run(FILES, changed_since=one)
    assert await read_for(ph, new, monkeypatch) == {**READ, "c": 1}
    assert set((await content(ph, "copies")).values()) == {fix}


async def test_a_replay_of_a_later_stage_is_compared_and_the_others_are_not_read(
    ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch
):
    one = await ph.run(FILES)
    await published(ph, one)
    fix = await fixes.replay("!", "a", stage="md", route="segment")
    new = await ph.run(FILES, changed_since=one)
    assert await read_for(ph, new, monkeypatch) == {**NOT_READ, "a": 2}
    assert await content(ph) == {"a/1": fix, "a/2": fix, "b/1": one, "c/1": one}


async def test_what_a_replay_has_failed_to_replace_is_processed_and_published(
    ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch
):
    one = await fixes.run()
    fixes.splitter.fails = {"b"}
    fix = await fixes.replay("!", "a", "b")
    fixes.splitter.fails = set()
    assert await content(ph) == {"a/1": fix, "a/2": fix, "b/1": one, "c/1": one}
    new = await ph.run(FILES, changed_since=one)
    assert await read_for(ph, new, monkeypatch) == {**NOT_READ, "b": READ["b"]}
    assert await content(ph) == {"a/1": fix, "a/2": fix, "b/1": new, "c/1": one}


async def test_results_of_a_replay_whose_documents_had_changed_are_published(
    ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch
):
    one = await fixes.run()
    source = await ph.rt.services.resolve.execution("current:docs")
    await published(ph, await ph.run({**FILES, "b": "changed"}, changed_since=one))
    fixes.fix("!")
    fix = (await ph.replay(str(source), "input", "cut"))["execution_id"]
    await ph.work(fix)
    await published(ph, fix, skip_superseded=True)
    new = await ph.run(FILES, changed_since="previous")
    read = await read_for(ph, new, monkeypatch)
    assert read["b"] > 1
    assert set((await content(ph)).values()) == {fix}


async def test_a_renamed_document_is_compared(ph: Playhead, fixes: Fixes, monkeypatch: pytest.MonkeyPatch):
    one = await fixes.run()
    fix = await fixes.replay("!")
    files = {**FILES, "d": FILES["c"]}
    del files["c"]
    new = await ph.run(files, changed_since=one)
    read = await read_for(ph, new, monkeypatch, allow=["removed"])
    assert read == {"a": 1, "b": 1, "d": 2}
    assert await content(ph) == {"a/1": fix, "a/2": fix, "b/1": fix, "d/1": new}
