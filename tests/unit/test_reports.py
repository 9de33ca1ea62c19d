"""Completion reports: their lines and parts, and what happens if the store cannot be written."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from hashlib import sha256
from typing import Any

import pytest

from playhead.environment import Environment
from playhead.errors import NotFound, StoreFull, catalog_unavailable, store_unavailable
from playhead.model import Replay, ReportCount, ReportFilter, ReportLine
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.reports import ClaimedReport
from playhead.ports.store import WriteResult
from playhead.reading.listing import Listing
from playhead.services.report import ALL_LINES, ReportService
from tests.catalog_memory import MemoryCatalog
from tests.lab import HEARTBEAT, LEASE, Clock, MemoryDeployment
from tests.store_memory import MemoryStore


class FullStore(MemoryStore):
    """A store that takes parts of reports only while there is room.

    Attributes:
        parts: how many parts have room; None: any number.
        refuses: parts are refused one by one, as the store returns it, instead of all at once.
        chunk: size of what is read at once, in bytes; None: the whole object.
    """

    parts: int | None = None
    refuses = False
    chunk: int | None = None

    async def stream(self, key: str, *, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        async for data in super().stream(key, limit=limit):
            size = self.chunk or len(data)
            for at in range(0, len(data), size):
                yield data[at : at + size]

    async def write(self, groups: Any, **options: Any) -> WriteResult:
        if self.parts is not None and any("_replay" in blob.key for group in groups for blob in group):
            if self.parts == 0 and self.refuses:
                return [store_unavailable("no permission") for _ in groups]
            if self.parts == 0:
                raise StoreFull("the disk is full")
            self.parts -= 1
        return await super().write(groups, **options)


class SlowCatalog(MemoryCatalog):
    """A catalog that reads pages of up to `most` lines in time."""

    most = 1

    async def report_lines(self, held: ClaimedReport, *, after: int, limit: int) -> list[ReportLine]:
        if limit > self.most:
            raise catalog_unavailable("the statement took too long and was cancelled")
        return await super().report_lines(held, after=after, limit=limit)


class World(MemoryDeployment):
    """A replay of some objects that has ended, and the service that writes its report."""

    catalog: SlowCatalog
    store: FullStore
    replay: Replay

    def __init__(self, **options: Any) -> None:
        clock = Clock()
        super().__init__(
            clock=clock, catalog=SlowCatalog(clock=clock, heartbeat_seconds=HEARTBEAT), store=FullStore()
        )
        self.catalog.most = 1_000
        self.reports = ReportService(
            self.catalog,
            self.store,
            Environment("w1"),
            lease=LEASE,
            **({"page": 2, "part_lines": 3} | options),
        )

    async def ended(self, *paths: str, dead: str = "") -> Replay:
        await self.lab.beat("w1", "w2")
        source = await self.lab.sealed(*paths)
        self.replay = await self.lab.managed(source, {"report": True, "reason": "a fix"})
        held = await self.lab.hold(self.replay.execution_id)
        dispatches = await self.lab.list_all(held, *(f"{source}/input/{path}" for path in paths))
        await self.lab.publish_all(held, dispatches)
        for path, identity in zip(paths, self.lab.ids(dispatches), strict=True):
            await (self.lab.kill if path == dead else self.lab.work)(identity)
        await self.catalog.end_executions()
        return self.replay

    async def state(self) -> str:
        return (await self.reports.get(self.replay.replay_batch_id)).state

    async def lines(
        self, revision: int | None = None, where: ReportFilter = ALL_LINES
    ) -> list[dict[str, Any]]:
        chunks = await self.reports.lines(self.replay.replay_batch_id, revision, where)
        text = b"".join([chunk async for chunk in chunks])
        return [json.loads(line) for line in text.splitlines()]


PATHS = tuple(f"{number}.md" for number in range(7))


@pytest.fixture
def world() -> World:
    return World()


async def test_a_report_has_a_line_for_each_object_in_the_order_of_the_listing(world: World):
    replay = await world.ended("a.md", "bö c.md", dead="a.md")
    await world.reports.write_due()

    first, second = await world.lines()

    assert [one["key"].rpartition("/")[2] for one in (first, second)] == ["a.md", "bö c.md"]
    assert list(first) == [
        *("key", "correlation_id", "outcome", "work", "failed_below", "skipped_below", "error"),
    ]
    assert (first["outcome"], first["work"]) == ("published", "failed")
    assert first["error"] == {"code": "adapter_error", "message": "it broke"}
    assert (second["outcome"], second["work"], second["error"]) == ("published", "completed", None)
    report = await world.reports.get(replay.replay_batch_id)
    assert (report.state, report.revision, report.lines, report.reason) == ("stored", 1, 2, "a fix")


async def test_a_report_counts_its_lines_by_how_they_ended(world: World):
    replay = await world.ended(*PATHS, dead="3.md")
    await world.reports.write_due()

    report = await world.reports.get(replay.replay_batch_id)

    assert report.counts == [
        ReportCount("published", "completed", None, False, len(PATHS) - 1),
        ReportCount("published", "failed", "adapter_error", False, 1),
    ]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (ReportFilter(failed=True), "3"),
        (ReportFilter(failed=False), "012456"),
        (ReportFilter(work="failed", error_code="adapter_error"), "3"),
        (ReportFilter(error_code="rejected"), ""),
        (ReportFilter("published", "completed"), "012456"),
    ],
)
async def test_the_lines_that_fit_a_filter_are_read_from_all_parts(
    world: World, where: ReportFilter, found: str
):
    await world.ended(*PATHS, dead="3.md")
    await world.reports.write_due()

    assert [one["key"][-4] for one in await world.lines(where=where)] == list(found)


async def test_a_line_that_is_read_in_two_chunks_is_one_line(world: World):
    await world.ended(*PATHS, dead="6.md")
    await world.reports.write_due()
    world.store.chunk = 7

    assert [one["key"][-4] for one in await world.lines(where=ReportFilter(failed=True))] == ["6"]


async def test_a_long_report_has_several_parts(world: World):
    replay = await world.ended(*PATHS)
    await world.reports.write_due()

    report = await world.reports.get(replay.replay_batch_id)

    assert [part.lines for part in report.parts] == [3, 3, 1]
    found = await world.store.read([part.key for part in report.parts])
    texts = [text for text in found if isinstance(text, bytes)]
    assert [part.sha256 for part in report.parts] == [sha256(text).hexdigest() for text in texts]
    assert report.bytes == sum(map(len, texts))
    assert len(await world.lines()) == len(PATHS)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
async def test_no_line_is_lost_between_pages_and_parts(world: World, count: int):
    await world.ended(*PATHS[:count])
    await world.reports.write_due()
    assert [one["key"].rpartition("/")[2] for one in await world.lines()] == [*PATHS[:count]]


async def test_a_part_with_long_errors_ends_early():
    world = World(part_bytes=300)
    await world.ended(*PATHS)
    await world.reports.write_due()
    report = await world.reports.get(world.replay.replay_batch_id)
    assert [part.lines for part in report.parts] == [2, 2, 2, 1]


async def test_parts_are_not_listed_unless_their_stage_is_named(world: World):
    replay = await world.ended("a.md")
    await world.reports.write_due()
    listing = Listing(world.catalog, world.store)
    execution = await world.lab.execution(replay.execution_id)

    everything, _ = await listing.objects(execution, None, None, after="", limit=100)
    named, _ = await listing.objects(execution, "_replay", None, after="", limit=100)

    assert [one.key for one in everything] == []
    assert "_replay" not in [one.stage for one in await listing.stages(execution)]
    (part,) = (await world.reports.get(replay.replay_batch_id)).parts
    assert [one.key for one in named] == [part.key]


async def test_parts_that_are_not_stored_are_not_listed(world: World):
    replay = await world.ended(*PATHS)
    world.store.parts = 1
    await world.reports.write_due()
    execution = await world.lab.execution(replay.execution_id)

    named, _ = await Listing(world.catalog, world.store).objects(
        execution, "_replay", None, after="", limit=100
    )

    assert named == []


@pytest.mark.parametrize("refuses", [True, False])
async def test_a_store_that_is_full_for_some_time_only_delays_the_report(world: World, refuses: bool):
    await world.ended(*PATHS)
    world.store.parts, world.store.refuses = 1, refuses
    await world.reports.write_due()
    assert await world.state() == "writing"
    await world.reports.write_due()
    assert await world.state() == "writing", "it is not repeated at once"

    world.store.parts = None
    world.clock.advance(5)
    await world.reports.write_due()

    assert len(await world.lines()) == len(PATHS)


async def test_if_the_store_stays_full_only_the_report_fails(world: World):
    replay = await world.ended("a.md")
    world.store.parts = 0
    for _ in range(10):
        await world.reports.write_due()
        world.clock.advance(1_000)

    report = await world.reports.get(replay.replay_batch_id)
    assert (report.state, report.error) == ("failed", "the disk is full")
    assert (await world.lab.execution(replay.execution_id)).status == "completed"
    assert (await world.lab.replay(replay.replay_batch_id)).report == "failed"
    with pytest.raises(NotFound, match="'failed': the disk is full"):
        await world.reports.lines(replay.replay_batch_id)


async def test_a_page_that_takes_too_long_is_read_again_in_halves():
    world = World(page=8)
    await world.ended(*PATHS)
    world.catalog.most = 3
    for _ in range(3):
        await world.reports.write_due()
        world.clock.advance(60)

    assert len(await world.lines()) == len(PATHS)


async def test_a_report_that_the_catalog_cannot_read_in_time_fails_for_this_reason_until_it_is_asked_for(
    world: World,
):
    batch = (await world.ended("a.md")).replay_batch_id
    world.catalog.most = 0
    for _ in range(10):
        await world.reports.write_due()
        world.clock.advance(1_000)
    failed = await world.reports.get(batch)
    assert failed.state == "failed"
    assert failed.error
    assert "took too long" in failed.error

    world.catalog.most = 1_000
    assert (await world.reports.write_again(batch)).state == "writing"
    await world.reports.write_due()

    assert await world.state() == "stored"
    assert (await world.reports.write_again(batch)).state == "stored", "it stays as it is"


async def test_a_report_that_is_not_written_yet_has_no_lines(world: World):
    replay = await world.ended("a.md")
    assert (await world.lab.replay(replay.replay_batch_id)).report == "due"
    with pytest.raises(NotFound, match="its state is 'due'"):
        await world.reports.lines(replay.replay_batch_id)
    with pytest.raises(NotFound, match="no report of its end 2"):
        await world.reports.get(replay.replay_batch_id, 2)
    with pytest.raises(NotFound, match="there is no replay batch"):
        await world.reports.get(world.lab.unknown())


async def test_a_resend_during_the_writing_leads_to_a_report_of_the_next_end(world: World):
    replay = await world.ended("a.md", "b.md", "c.md", "d.md", dead="d.md")
    resent = False

    class Resending(FullStore):
        async def write(self, groups: Any, **options: Any) -> WriteResult:
            nonlocal resent
            resent = True
            await world.catalog.resend(where=DeadLetterFilter(execution=replay.execution_id))
            return await super().write(groups, **options)

    reports = ReportService(world.catalog, Resending(), Environment("w1"), lease=LEASE, page=2, part_lines=3)
    await reports.write_due()
    assert resent
    assert await world.catalog.report(replay.replay_batch_id, 1) is None
    assert (await world.reports.get(replay.replay_batch_id)).state == "due"

    pending, _ = await world.catalog.lineage_list(execution=replay.execution_id, status="pending")
    await world.lab.work(pending[0].correlation_id)
    await world.catalog.end_executions()
    await world.reports.write_due()

    assert [one["work"] for one in await world.lines()] == ["completed"] * 4
    assert (await world.reports.get(replay.replay_batch_id)).revision == 2


async def test_two_processes_write_one_report(world: World):
    replay = await world.ended(*PATHS)
    other = ReportService(world.catalog, world.store, Environment("w2"), lease=LEASE, page=2, part_lines=3)
    held = await world.catalog.claim_report(replay.execution_id, owner="w1", lease=LEASE, most=6)
    assert held is not None

    await other.write_due()
    assert await world.state() == "writing", "another process has the lease"
    world.clock.advance(LEASE)
    await other.write_due()

    assert not await world.catalog.store_report(held, [])
    assert len(await world.lines()) == len(PATHS)
    keys = [part.key for part in (await world.reports.get(replay.replay_batch_id)).parts]
    assert all("/report/1.2/" in key for key in keys)


async def test_the_lease_of_a_report_that_is_being_written_is_renewed(world: World):
    replay = await world.ended(*PATHS)

    class Slow(FullStore):
        async def write(self, groups: Any, **options: Any) -> WriteResult:
            world.clock.advance(LEASE - 1)
            await reports.renew()
            return await super().write(groups, **options)

    world.store = Slow()
    reports = ReportService(world.catalog, world.store, Environment("w1"), lease=LEASE, page=2, part_lines=3)
    await reports.write_due()
    await reports.renew()

    report = await reports.get(replay.replay_batch_id)
    assert report.state == "stored"
    assert "/report/1.1/" in report.parts[0].key
