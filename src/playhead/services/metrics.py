"""The figures of a site for a scraper: how its backends are, what waits, what was done.

What *is* (queues, open and dead messages, processes) is asked of the broker and read from rows, which can't
drift; what was *done* is what the processes have counted and told with their heartbeats.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from playhead import events
from playhead.counters import Numbers
from playhead.errors import PlayheadError
from playhead.model import RowState, WorkerInfo
from playhead.ports.broker import Broker, Depth
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.upkeep import Subscription
from playhead.ports.store import Store

T = TypeVar("T")

_LANES_SECONDS: Final = 0.6
_ALL_SECONDS: Final = 1.6
"""A scrape is answered within 2 s, whoever is away."""
_FRESH_SECONDS: Final = 60.0
"""For so long the last answer stands in for one that is late."""
_SLOW_SECONDS: Final = 0.25
_REST: Final = 9.0
"""An answer that took long stands for so many times as long: asking takes a tenth of a backend at most."""


class MetricsCatalog(Protocol):
    """What the figures need of the catalog."""

    async def check(self) -> str: ...

    async def active_configs(self) -> Sequence[Loaded]: ...

    async def subscriptions(self) -> list[Subscription]: ...

    async def workers(self) -> list[WorkerInfo]: ...

    async def counters(self) -> Numbers: ...

    async def open_by_route(self) -> dict[tuple[str, str, RowState], int]: ...

    async def dead_by_route(self) -> dict[tuple[str, str], int]: ...


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """A queue as it stands: calls not handed out, and handed out but not acked."""

    config: str
    route: str
    queue: str
    depth: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class Rows:
    """What the catalog says of one moment.

    Attributes:
        workers: processes that consume, by queue; those of `queues` that nobody consumes are not there.
        processes: those that are alive, by kind.
        messages: open and dead ones, by (config, route, state); no other state, and none that is zero.
        done: what processes have counted.
    """

    workers: Mapping[str, int]
    processes: Mapping[str, int]
    messages: Mapping[tuple[str, str, RowState], int]
    done: Numbers


@dataclass(frozen=True, slots=True)
class Figures:
    """What is known of the site.

    Attributes:
        up: by port (`catalog`, `broker`, `store`), whether it answered in time.
        queues: of the newest active configs and of what still runs; those whose depth is known.
        rows: None when the catalog could not say.
    """

    up: Mapping[str, bool]
    queues: Sequence[QueueFigures]
    rows: Rows | None


class _Question(Generic[T]):
    """One question, asked once at a time however many wait for the answer."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[T | None] | None = None
        self._answer: tuple[float, T] | None = None
        self._took = 0.0

    async def answer(self, seconds: float, *, last: bool = False) -> T | None:
        """The answer, if there is one within so many seconds.

        `last`: the last one stands in for one that is late. A look at a very large catalog may take longer
        than a scrape: it goes on, and the next scrape has it.
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
        """Whether the last answer took so long that it is to stand for a while."""
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
            # A scrape goes on with what else is known; but this is a fault of ours.
            events.emit(events.LOOP_FAILED, logging.ERROR, exc_info=True, detail=f"metrics: {exc}")
            return None
        now = time.monotonic()
        self._answer, self._took = (now, answer), now - began
        return answer


class MetricsService:
    """Collects the figures. What is away, or too late, is left out; nothing is raised."""

    def __init__(self, catalog: MetricsCatalog, broker: Broker, store: Store) -> None:
        self._catalog = catalog
        self._broker = broker
        self._checks = {
            port: _Question(backend.check)
            for port, backend in (("catalog", catalog), ("broker", broker), ("store", store))
        }
        self._lanes = _Question(self._find_lanes)
        self._rows = _Question(self._read_rows)
        self._depths: dict[str, _Question[Depth]] = {}

    async def collect(self) -> Figures:
        """Return the figures within 2 seconds. Calls at the same time share what they ask of backends."""
        until = time.monotonic() + _ALL_SECONDS
        checks, queues, rows = await asyncio.gather(
            asyncio.gather(*(check.answer(_ALL_SECONDS) for check in self._checks.values())),
            self._queues(until),
            self._rows.answer(_ALL_SECONDS, last=True),
        )
        up = {port: answer is not None for port, answer in zip(self._checks, checks, strict=True)}
        return Figures(up, queues, rows)

    async def _find_lanes(self) -> list[Subscription]:
        """Queues, each once: external ones, too."""
        found = {
            route.queue: Subscription(route.queue, loaded.config.name, loaded.version.version, route.name)
            for loaded in await self._catalog.active_configs()
            for route in loaded.config.routes.values()
        }
        for subscription in await self._catalog.subscriptions():
            found.setdefault(subscription.queue, subscription)
        return list(found.values())

    async def _queues(self, until: float) -> list[QueueFigures]:
        lanes = await self._lanes.answer(_LANES_SECONDS, last=True) or []
        names = {lane.queue for lane in lanes}
        self._depths = {name: ask for name, ask in self._depths.items() if name in names}
        for name in names - self._depths.keys():
            self._depths[name] = _Question(partial(self._broker.depth, name))
        left = until - time.monotonic()
        depths = await asyncio.gather(*(self._depths[lane.queue].answer(left) for lane in lanes))
        return [
            QueueFigures(lane.config, lane.route, lane.queue, depth.ready, depth.in_flight)
            for lane, depth in zip(lanes, depths, strict=True)
            if depth is not None
        ]

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
        )
