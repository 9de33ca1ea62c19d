"""A sink that has lost rows gets exactly these again, by a replay that is published."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from playhead.ports.catalog.sinks import DueSink
from playhead.services.repair import RepairService
from tests.inprocess import Playhead
from tests.integration.test_publications import Splitter, published
from tests.integration.test_published_index import INDEXED, Indexed
from tests.waiting import until


@pytest.fixture
async def of(either: Playhead, tmp_path: Path) -> Indexed:
    await either.apply(INDEXED)
    Splitter(either)
    return Indexed(either, tmp_path / "home")


LOSE = (
    "DELETE FROM entry_text WHERE rowid IN (SELECT written FROM entry WHERE path IN ('a/2', 'b/1'))",
    "DELETE FROM entry WHERE path IN ('a/2', 'b/1')",
)
"""Lose the rows of two results."""


async def test_a_repair_writes_exactly_the_lost_rows_again_and_publishes_them(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await of.up_to_date()
    for statement in LOSE:
        of.change(statement)
    assert await of.checked() == (2, 0)
    assert (await of.index()).repair is None, "only compared"
    found = await of.repaired()
    [again] = found.replays
    assert (found.results, found.publication, found.problem) == (2, 2, None)
    assert of.shown() == {"a/1": one, "a/2": again, "b/1": again}
    check = (await of.index()).check
    assert check
    assert (check.publication, check.missing, check.left_over) == (2, 0, 0)
    assert await of.checked(repair=True) == (0, 0)
    assert (await of.dataset()).current == 2, "nothing was left to repair"


async def test_a_repair_that_is_asked_for_again_goes_on_and_a_hold_stays(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await published(of.ph, await of.replay(one))
    await of.service.roll_back("docs")
    await of.up_to_date()
    for statement in LOSE:
        of.change(statement)
    for _ in range(2):
        await of.service.check("docs", repair=True)

        async def is_writing() -> bool:
            index = await of.index()
            return not index.is_checked and index.repair is not None and index.repair.is_open

        await until(is_writing)
    await of.service.publish_repaired()
    dataset = await of.dataset()
    assert (dataset.current, dataset.draft) == (1, None), "its replay has not settled"
    found = await of.repaired()
    [again] = found.replays
    assert of.shown() == {"a/1": one, "a/2": again, "b/1": again}
    dataset = await of.dataset()
    assert (dataset.current, dataset.held) == (3, True)


async def test_a_repair_whose_replay_fails_says_so_and_can_be_repeated(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await of.up_to_date()
    for statement in LOSE:
        of.change(statement)
    await of.service.check("docs", repair=True)

    async def replay_of() -> str:
        index = await of.index()
        return index.repair.replays[0] if index.repair and index.repair.is_open else ""

    await until(replay_of)
    [replay] = (await of.ph.get("replays"))["items"]
    assert replay["execution_id"] == await replay_of()
    await of.ph.rt.services.control.cancel(UUID(replay["replay_batch_id"]), withdraw=True)
    failed = await of.repaired()
    assert failed.publication is None
    assert failed.problem
    found = await of.repaired()
    assert found.replays != failed.replays
    assert found.publication
    assert of.shown() == {"a/1": one, **dict.fromkeys(("a/2", "b/1"), found.replays[0])}


async def test_a_process_that_is_killed_before_it_records_a_replay_leaves_it_to_the_next_one(of: Indexed):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await of.up_to_date()
    dataset = await of.ph.rt.catalog.dataset_number("docs", "docs")
    names = dataset, "docs", "docs", "index", 1, 0
    due = DueSink(*names, None, None, 1, 1, False, True, False, True, repairs=1)
    for statement in LOSE:
        of.change(statement)
    repair = RepairService(of.ph.rt.catalog, of.ph.rt.services.replay.start)
    first = await repair.write_again(due, 1, {"seg": ["a/2", "b/1"]})
    assert await repair.write_again(due, 1, {"seg": ["a/2", "b/1"]}) == first
    found = await of.repaired()
    assert found.replays == [str(replay) for replay in first]
    assert found.publication == 2
    assert len((await of.ph.get("replays"))["items"]) == 1
