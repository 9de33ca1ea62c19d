"""Watching: one look for all who watch, and ids that any process makes alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, TypeVar
from uuid import UUID

import pytest

from playhead.errors import NotFound, Unavailable, catalog_unavailable
from playhead.model import (
    Counts,
    Dataset,
    Execution,
    Replay,
    RouteCounts,
    SinkState,
    WatchedExecution,
)
from playhead.services.watch import StateEvent, Watch, WatchService
from tests import lab
from tests.lab import REPLAY, Clock
from tests.waiting import until

T = TypeVar("T")

ONE = lab.EXECUTION.execution_id
# What a catalog holds of a name that is not Unicode.
EXECUTION = replace(lab.EXECUTION, tags=["\udcff"])
SINK = SinkState("index", "sqlite_search", shown=1, seq=1, lag_seconds=0.0, staged=0, pages=0, problem=None)
DATASET = Dataset(
    name="docs",
    config="words",
    current=1,
    switched_at="2026-01-01T00:00:00.000Z",
    seq=1,
    decided=1,
    draft=None,
    refused=None,
    held=False,
    publish="manual",
    routes=["upper"],
    sinks=[SINK],
    unpublished=[],
)


class Site:
    """The watched execution, replay and dataset.

    Attributes:
        looks: number of queries; each takes `seconds`.
        counted: number of queries of its routes.
    """

    def __init__(self) -> None:
        self.now: Execution | None = EXECUTION
        self.batch = REPLAY
        self.docs = DATASET
        self.away: Unavailable | None = None
        self.looks = 0
        self.counted = 0
        self.seconds = 0.0
        self.takes: Callable[[], None] = lambda: None

    async def get(self, execution: UUID) -> Execution:
        await self._look()
        if self.now is None or execution != ONE:
            raise NotFound("execution_not_found", "it does not exist")
        return self.now

    async def routes_of(self, found: Execution) -> list[RouteCounts]:
        self.counted += 1
        return [RouteCounts("upper", "words.upper", found.counts)]

    async def replay(self, batch: UUID) -> Replay:
        await self._look()
        return self.batch

    async def dataset(self, name: str) -> Dataset:
        await self._look()
        return self.docs

    async def _look(self) -> None:
        self.looks += 1
        await asyncio.sleep(self.seconds)
        self.takes()
        if self.away:
            raise self.away

    def end(self) -> None:
        assert self.now
        self.now = replace(self.now, status="completed")


@pytest.fixture
def site() -> Site:
    return Site()


async def all_of(told: AsyncIterator[StateEvent[T] | Unavailable]) -> list[StateEvent[T] | Unavailable]:
    async with asyncio.timeout(30):
        return [one async for one in told]


def service(site: Site, every: float = 0.01, **more: Any) -> WatchService:
    return WatchService(site, site.dataset, every=every, **more)


async def test_a_hundred_watchers_share_one_query_at_a_time(site: Site):
    watching = service(site, every=0.02)
    site.seconds = 0.001

    async def watch() -> list[StateEvent[WatchedExecution] | Unavailable]:
        return await all_of((await watching.execution(ONE)).tell(None))

    began = time.monotonic()
    watchers = [asyncio.create_task(watch()) for _ in range(100)]
    await until(lambda: site.looks >= 5)
    site.end()
    told = await asyncio.gather(*watchers)
    assert site.looks <= 1 + (time.monotonic() - began) / 0.02
    for heard in told:
        assert [one.is_end for one in heard if isinstance(one, StateEvent)] == [False, False, True]


async def test_a_watcher_that_leaves_during_a_query_does_not_cancel_it_for_others(site: Site):
    watching = service(site)
    site.seconds = 0.05
    first = asyncio.create_task(watching.execution(ONE))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(watching.execution(ONE))
    await asyncio.sleep(0.01)
    first.cancel()
    async with asyncio.timeout(10):
        assert isinstance(await second, Watch)


async def test_an_execution_without_watchers_is_not_queried(site: Site):
    watching = service(site)
    told = (await watching.execution(ONE)).tell(None)
    async for _ in told:
        break
    await told.aclose()  # type: ignore[attr-defined]
    del told
    looks = site.looks
    await asyncio.sleep(0.1)
    assert site.looks == looks
    assert not watching._watched


async def test_a_slow_query_is_sent_less_often(site: Site):
    clock = Clock()

    def takes_long() -> None:
        clock.now += 8

    site.takes = takes_long
    watching = service(site, every=1, clock=clock)
    watches = []  # what is watched is not forgotten
    for wait, looks in ((0, 1), (31, 1), (1, 2), (31, 2), (1, 3)):
        clock.now += wait
        watches.append(await watching.execution(ONE))
        assert site.looks == looks


async def test_a_state_is_read_after_each_sleep_even_if_the_clock_has_not_reached_its_time(site: Site):
    watching = service(site, clock=Clock())
    telling = asyncio.create_task(all_of((await watching.execution(ONE)).tell(None)))
    await until(lambda: site.looks >= 3)
    site.end()
    assert len(await telling) == 3


async def test_the_id_of_an_event_depends_only_on_its_state(site: Site):
    async def ids() -> list[str]:
        telling = asyncio.create_task(all_of((await service(site).execution(ONE)).tell(None)))
        looks = site.looks
        await until(lambda: site.looks >= looks + 3)
        site.end()
        return [one.id for one in await telling if isinstance(one, StateEvent)]

    first = await ids()
    site.now = replace(EXECUTION, counts=Counts(pending=3, total=3), tags=list(EXECUTION.tags))
    assert await ids() == first
    assert len(set(first)) == 3


async def test_routes_are_counted_once_for_each_change_and_for_all_watchers(site: Site):
    watching = service(site)
    telling = [asyncio.create_task(all_of((await watching.execution(ONE)).tell(None))) for _ in range(3)]
    await until(lambda: site.looks >= 5)
    assert site.counted == 1
    site.now = replace(EXECUTION, counts=Counts(pending=2, completed=1, total=3))
    await until(lambda: site.counted == 2)
    looks = site.looks
    await until(lambda: site.looks >= looks + 3)
    site.end()

    for told in await asyncio.gather(*telling):
        events = [one.state for one in told if isinstance(one, StateEvent)]
        assert [one.counts.pending for one in events] == [3, 2, 2, 2]
        assert [[r.counts for r in one.routes] for one in events] == [[one.counts] for one in events]
    assert site.counted == 3


async def test_a_missing_execution_ends_without_an_end_event(site: Site):
    telling = asyncio.create_task(all_of((await service(site).execution(ONE)).tell(None)))
    await until(lambda: site.looks >= 3)
    site.now = None
    [only] = await telling
    assert isinstance(only, StateEvent)
    assert not only.is_end


async def test_all_watchers_get_one_report_of_an_outage_and_continue(site: Site):
    watching = service(site)
    heard: list[list[StateEvent[WatchedExecution] | Unavailable]] = [[], [], []]

    async def watch(told: list[StateEvent[WatchedExecution] | Unavailable]) -> None:
        async for one in (await watching.execution(ONE)).tell(None):
            told.append(one)

    telling = [asyncio.create_task(watch(told)) for told in heard]
    await until(lambda: all(len(told) == 1 for told in heard))
    site.away = catalog_unavailable("away")
    await until(lambda: all(len(told) == 2 for told in heard))
    looks = site.looks
    await until(lambda: site.looks >= looks + 3)
    with pytest.raises(Unavailable, match="away"):
        (await watching.execution(ONE)).was_told_all(None)
    site.away = None
    looks = site.looks
    await until(lambda: site.looks >= looks + 3)
    site.end()
    async with asyncio.timeout(30):
        await asyncio.gather(*telling)
    for told in heard:
        assert [one.code if isinstance(one, Unavailable) else one.is_end for one in told] == [
            False,
            "catalog_unavailable",
            False,
            True,
        ]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_process_that_stops_ends_its_streams_at_once(site: Site, when: str):
    watching = service(site, every=3600)
    watch = await watching.execution(ONE)
    if when == "before":
        watching.stop()
        told = await all_of(watch.tell(None))
    else:
        telling = asyncio.create_task(all_of(watch.tell(None)))
        await asyncio.sleep(0.02)
        watching.stop()
        told = await telling
    assert [one.is_end for one in told if isinstance(one, StateEvent)] == [False]


async def test_a_falling_rate_is_reported_even_if_nothing_else_has_changed(site: Site):
    watching = service(site)
    moving: list[StateEvent[Replay]] = []

    async def watch() -> None:
        async for one in (await watching.replay(ONE)).tell(None):
            if isinstance(one, StateEvent) and one.state.objects_published and one.state.status is None:
                moving.append(one)

    telling = asyncio.create_task(watch())
    await until(lambda: site.looks >= 2)
    site.batch = replace(REPLAY, objects_published=5000, rate=90.0, eta_seconds=1.0)
    await until(lambda: len(moving) > 0)
    site.batch = replace(site.batch, rate=60.0, eta_seconds=1.5)
    await until(lambda: len(moving) > 1)
    site.batch = replace(site.batch, status="publishing_complete")
    async with asyncio.timeout(30):
        await telling
    assert len({one.id for one in moving}) == 1
    assert [(one.state.rate, one.state.eta_seconds) for one in moving] == [(90.0, 1.0), (60.0, 1.5)]


async def test_the_lag_of_a_sink_alone_is_not_a_change_of_a_dataset(site: Site):
    watching = service(site)
    site.docs = replace(DATASET, sinks=[replace(SINK, shown=None, seq=0, lag_seconds=1.0)])
    telling = asyncio.create_task(all_of((await watching.dataset("docs")).tell(None)))
    looks = site.looks
    for lag in (2.0, 3.0):
        site.docs = replace(DATASET, sinks=[replace(SINK, shown=None, seq=0, lag_seconds=lag)])
        await until(lambda looks=looks: site.looks >= looks + 2)  # type: ignore[misc]
        looks = site.looks
    site.docs = DATASET
    await until(lambda: site.looks >= looks + 2)
    watching.stop()

    told = [one for one in await telling if isinstance(one, StateEvent)]
    assert [one.state.sinks[0].shown for one in told] == [None, 1]
    assert not any(one.is_end for one in told), "a dataset has no end"


async def test_watchers_of_a_dataset_share_its_reads_whatever_name_they_use(site: Site):
    watching = service(site)
    watches = [await watching.dataset(name) for name in ("docs", "words/docs")]
    assert len(watching._watched) == 1
    assert len(watches) == 2
