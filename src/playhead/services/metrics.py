"""The figures of a deployment for a scraper: the state of its backends, its queues, and the work done.

The current state (queues, open and dead messages, processes) is read from the broker and from rows, so it
cannot drift. The work done is the sum of what processes count and write with their heartbeats.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from playhead import events
from playhead.counters import Histogram, Numbers
from playhead.errors import PlayheadError
from playhead.model import Dataset, RowState, WorkerInfo
from playhead.model.access import AccessKey
from playhead.ports.broker import Broker, Depth
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.limits import Cooldown
from playhead.ports.catalog.results import Shown, StepTimes
from playhead.ports.catalog.upkeep import Subscription
from playhead.ports.store import Store
from playhead.reading.keys import ending_soon
from playhead.reading.newestcode import NewestCode, total_stale
from playhead.work.routelimits import is_wait

T = TypeVar("T")

MOST_ROUTES: Final = 1000
"""A scrape reports at most this many routes: about 1 MB, or 4 MB when all of them have done work."""
PUBLICATION_STEPS: Final = StepTimes._fields
PUBLICATION_BOUNDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_FIRST_SECONDS: Final = 0.6
"""Time to find the routes to report. The rest of `_ALL_SECONDS` is for the depths of their queues."""
_ALL_SECONDS: Final = 1.6
"""A scrape is answered within 2 s, even if a backend is unavailable."""
_DEPTH_SECONDS: Final = 2.5
_DEPTHS_AT_ONCE: Final = 16
_FRESH_SECONDS: Final = 60.0
"""While a query is late, its previous answer is reported up to this age."""
_SLOW_SECONDS: Final = 0.25
_REST: Final = 9.0
"""A slow answer is reused for this many times the duration of its query. So each query runs for at most a
tenth of the time."""


class MetricsCatalog(Protocol):
    """The part of the catalog that the figures need."""

    async def check(self) -> str: ...

    async def active_configs(self) -> Sequence[Loaded]: ...

    async def subscriptions(self) -> list[Subscription]: ...

    async def workers(self) -> list[WorkerInfo]: ...

    async def counters(self) -> Numbers: ...

    async def open_by_route(self) -> dict[tuple[str, str, RowState], int]: ...

    async def dead_by_route(self) -> dict[tuple[str, str], int]: ...

    async def cooldowns(self) -> dict[str, Cooldown]: ...

    async def datasets(self) -> list[Dataset]: ...

    async def dataset_number(self, config: str, name: str) -> int: ...

    async def shown(self) -> list[Shown]: ...

    async def keys(self) -> list[AccessKey]: ...

    async def publication_times(self) -> list[StepTimes]: ...


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """A queue: dispatches that are ready, and dispatches that are delivered but not acknowledged."""

    config: str
    route: str
    queue: str
    depth: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class ShownFigures:
    """What readers of a dataset see.

    Attributes:
        objects: number of its objects.
        stale: number of its results that are not of the newest code; None: not known.
        age_seconds: time since the publication was decided.
    """

    config: str
    dataset: str
    objects: int
    stale: int | None
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Rows:
    """Counts from the catalog.

    Attributes:
        workers: processes that consume, by queue. A queue without consumers is absent.
        processes: live processes, by kind.
        messages: open and dead messages, by (config, route, state). Counts of zero are absent.
        done: counters of all processes, added up.
        cooldowns: seconds until calls of a key may begin again. Keys without a cooldown are absent.
        keys: seconds until the end of each key that ends within 14 days, by name.
        datasets: all datasets.
        shown: what readers see of those of which something is published.
        publications: seconds of the steps of all publications, by step.
    """

    workers: Mapping[str, int]
    processes: Mapping[str, int]
    messages: Mapping[tuple[str, str, RowState], int]
    done: Numbers
    cooldowns: Mapping[str, float]
    keys: Mapping[str, float]
    datasets: Sequence[Dataset]
    shown: Sequence[ShownFigures]
    publications: Mapping[str, Histogram]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a deployment.

    Attributes:
        up: whether the backend answered in time, by port (`catalog`, `broker`, `store`).
        routes: (config, route), at most `MOST_ROUTES`. Routes with messages or counters come first.
        omitted: number of routes left out of `routes`.
        queues: the queues of `routes` whose depth is known.
        rows: None when the catalog did not answer in time.
    """

    up: Mapping[str, bool]
    routes: Sequence[tuple[str, str]]
    omitted: int
    queues: Sequence[QueueFigures]
    rows: Rows | None


class _Question(Generic[T]):
    """A query to a backend. Concurrent callers share one execution of the query, and its answer."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[T | None] | None = None
        self._answer: tuple[float, T] | None = None
        self._took = 0.0

    async def answer(self, seconds: float, *, last: bool = False) -> T | None:
        """Return the answer, or None if it does not arrive within `seconds`.

        With `last`, a late answer is replaced by the previous one. A query on a very large catalog may take
        longer than a scrape. The query continues, and the next scrape reports its answer.
        """
        if last and self._rests():
            return self._answer[1] if self._answer else None
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._once())
        asking = self._asking
        await asyncio.wait([asking], timeout=max(seconds, 0.0))
        if asking.done():
            return asking.result()
        if last and self._answer and time.monotonic() - self._answer[0] < _FRESH_SECONDS:
            return self._answer[1]
        return None

    def _rests(self) -> bool:
        """Whether the previous query was slow, and its answer is recent enough to be reused."""
        if self._answer is None or self._took < _SLOW_SECONDS:
            return False
        return time.monotonic() - self._answer[0] < min(_REST * self._took, _FRESH_SECONDS)

    async def _once(self) -> T | None:
        began = time.monotonic()
        try:
            answer = await self._ask()
        except PlayheadError:
            return None
        except Exception as exc:
            # A bug in Playhead: the scrape continues without this answer.
            events.emit(events.LOOP_FAILED, exc_info=True, detail=f"metrics: {exc}")
            return None
        now = time.monotonic()
        self._answer, self._took = (now, answer), now - began
        return answer


class MetricsService:
    """Collects the figures. Figures of a backend that is unavailable or late are left out. Raises nothing."""

    def __init__(self, catalog: MetricsCatalog, broker: Broker, store: Store, newest: NewestCode) -> None:
        self._catalog = catalog
        self._newest = newest
        self._broker = broker
        self._checks = {
            port: _Question(backend.check)
            for port, backend in (("catalog", catalog), ("broker", broker), ("store", store))
        }
        self._lanes = _Question(self._find_lanes)
        self._rows = _Question(self._read_rows)
        self._depths = _Question(self._ask_depths)
        self._queues: Sequence[str] = ()
        self._found: dict[str, Depth] = {}

    async def collect(self) -> Figures:
        """Return the figures within 2 seconds. Concurrent calls share their queries to backends."""
        up, (routes, omitted, queues, rows) = await asyncio.gather(self._check(), self._collect())
        return Figures(up, routes, omitted, queues, rows)

    async def _check(self) -> dict[str, bool]:
        answers = await asyncio.gather(*(check.answer(_ALL_SECONDS) for check in self._checks.values()))
        return {port: answer is not None for port, answer in zip(self._checks, answers, strict=True)}

    async def _collect(self) -> tuple[Sequence[tuple[str, str]], int, Sequence[QueueFigures], Rows | None]:
        until = time.monotonic() + _ALL_SECONDS
        lanes, rows = await asyncio.gather(
            self._lanes.answer(_FIRST_SECONDS, last=True), self._rows.answer(_FIRST_SECONDS, last=True)
        )
        busy = rows.done.keys() | {(config, route) for config, route, _ in rows.messages} if rows else set()
        of = {(lane.config, lane.route) for lane in lanes or ()} | busy
        routes = sorted(of, key=lambda route: (route not in busy, route))[:MOST_ROUTES]
        shown = set(routes)
        chosen = [lane for lane in lanes or () if (lane.config, lane.route) in shown]
        self._queues = [lane.queue for lane in chosen]
        answer = await self._depths.answer(until - time.monotonic(), last=True)
        depths = (answer or {}) | self._found
        queues = [
            QueueFigures(lane.config, lane.route, lane.queue, depth.ready, depth.in_flight)
            for lane in chosen
            if (depth := depths.get(lane.queue)) is not None
        ]
        rows = rows or await self._rows.answer(until - time.monotonic(), last=True)
        return routes, len(of) - len(routes), queues, rows

    async def _find_lanes(self) -> list[Subscription]:
        """Return each queue of active configs and of running executions once."""
        found = {
            route.queue: Subscription(route.queue, loaded.config.name, loaded.version.version, route.name)
            for loaded in await self._catalog.active_configs()
            for route in loaded.config.routes.values()
        }
        for subscription in await self._catalog.subscriptions():
            found.setdefault(subscription.queue, subscription)
        return list(found.values())

    async def _ask_depths(self) -> dict[str, Depth]:
        """Return the depths of the queues. Store each in `_found` at once, so that a late call loses none."""
        self._found = found = {}
        queues = iter(self._queues)

        async def ask() -> None:
            for queue in queues:
                try:
                    async with asyncio.timeout(_DEPTH_SECONDS):
                        found[queue] = await self._broker.depth(queue)
                except (PlayheadError, TimeoutError):
                    continue

        # Thousands of concurrent queries would fill the event loop's queue, and delay all other requests.
        await asyncio.gather(*(ask() for _ in range(_DEPTHS_AT_ONCE)))
        return found

    async def _read_rows(self) -> Rows:
        processes = await self._catalog.workers()
        messages = await self._catalog.open_by_route()
        for (config, route), count in (await self._catalog.dead_by_route()).items():
            messages[config, route, "dead"] = count
        return Rows(
            workers=Counter(queue for process in processes for queue in process.queues),
            processes=Counter(process.kind for process in processes),
            messages=messages,
            done=await self._catalog.counters(),
            cooldowns={
                key: cooldown.seconds
                for key, cooldown in (await self._catalog.cooldowns()).items()
                if cooldown.seconds is not None and not is_wait(key)
            },
            keys=ending_soon(await self._catalog.keys()),
            datasets=await self._catalog.datasets(),
            shown=[await self._shown(one) for one in await self._catalog.shown()],
            publications=_histograms(await self._catalog.publication_times()),
        )

    async def _shown(self, one: Shown) -> ShownFigures:
        number = await self._catalog.dataset_number(one.config, one.dataset)
        found = await self._newest.by_route(one.config, one.dataset, number, {one.n: one.made_by})
        stale = total_stale(found[one.n])
        return ShownFigures(one.config, one.dataset, one.objects, stale, one.age_seconds)


def _histograms(times: Sequence[StepTimes]) -> dict[str, Histogram]:
    found = {step: Histogram(PUBLICATION_BOUNDS) for step in PUBLICATION_STEPS}
    for one in times:
        for step, histogram in found.items():
            histogram.add(getattr(one, step))
    return found
