"""Bring the sinks of this process up to date with the publications of their datasets.

The catalog has the next step of each sink, so any process that has the adapter continues after `kill -9`:

- after a page is in the sink, before the catalog knows it: the page is staged again, which changes nothing;
- after a switch is in the sink: it is repeated, and a sink switches forwards only;
- after a drop: it is repeated, and deletes nothing more.

Two processes may do the same step at once: a sink ignores a page of an older draft, and the catalog records
an answer only for the page that is next.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

from playhead import events, faults
from playhead.environment import Environment
from playhead.errors import Unavailable
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Configs, Sinks
from playhead.ports.catalog.sinks import DueSink, SinkDifference
from playhead.ports.sinks import SinkBehind, SinkContext, StagePage
from playhead.secrets import Mask, Reference
from playhead.steps.step import UnknownAdapter, instance_of

_RETRY_SECONDS: Final = 5.0
_LONGEST_PROBLEM: Final = 500
_PAGE: Final = 1_000
_MOST_NAMED: Final = 10

_Opened = dict[tuple[str, int, str], tuple[Any, Mask]]
"""The sinks that are open, by config, version and route, each with what masks its secrets."""
_Named = tuple[str, str, str]
"""A result, and stage and key of the object that the step received."""


class SinkCatalog(Sinks, Configs, Protocol): ...


class SinkFollower:
    """Stages, switches and forgets in the sinks whose adapters this process has.

    Args:
        adapters: those of this process, by name.
        data_dir, internal_hosts: as in `Context`.
    """

    def __init__(
        self,
        catalog: SinkCatalog,
        adapters: Mapping[str, AdapterSpec],
        env: Environment,
        *,
        data_dir: str,
        internal_hosts: Sequence[str] = (),
    ) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._env = env
        self._data_dir = data_dir
        self._internal_hosts = internal_hosts
        self._turn = asyncio.Lock()

    async def follow(self) -> None:
        """Bring all sinks up to date. Raises `Unavailable` if the catalog is unavailable."""
        async with self._turn:
            opened = _Opened()
            try:
                while [due for due in await self._catalog.due_sinks() if await self._follow(due, opened)]:
                    continue
            finally:
                for sink, _ in opened.values():
                    if close := getattr(sink, "close", None):
                        await _called(close)

    async def _follow(self, due: DueSink, opened: _Opened) -> bool:
        """Take the next step of one sink; return whether it worked."""
        place = due.config, due.version, due.route
        loaded = await self._catalog.config(due.config, due.version)
        step = loaded.config.routes[due.route].steps[-1] if loaded else None
        spec = self._adapters.get(step.type) if step else None
        if step is None or spec is None or not spec.follows:
            return False  # another process has the adapter
        mask = Mask()

        def resolve(reference: Reference) -> str:
            value = self._env.resolve(reference)
            mask.add(value)
            return value

        try:
            if place not in opened:
                opened[place] = instance_of(spec, step, due.route, resolve=resolve, mask=mask), mask
            sink, mask = opened[place]
            return await self._step(due, sink)
        except Unavailable:
            raise
        except UnknownAdapter:
            return False
        except SinkBehind as exc:
            await self._failed(due, "sink_behind", str(exc))
        except Exception as exc:
            detail = f"{type(exc).__name__}: {mask(str(exc))}"
            await self._failed(due, "sink_unavailable", detail[:_LONGEST_PROBLEM])
        return False

    async def _failed(self, due: DueSink, code: str, detail: str) -> None:
        events.emit(events.SINK_FAILED, dataset=due.name, route=due.route, code=code, detail=detail)
        await self._catalog.sink_failed(due, code, detail, delay=_RETRY_SECONDS)

    async def _step(self, due: DueSink, sink: Any) -> bool:
        """Do the next step. A switch comes first, because readers wait for it."""
        ctx = SinkContext(
            *(due.config, due.name, due.route, self._data_dir, self._internal_hosts, due.generation)
        )
        if due.shows is not None:
            await _called(sink.switch, due.shows, due.seq, ctx)
            faults.reach("sink.switched")
            shown = await _called(sink.shown, ctx)
            if shown is None or shown.seq < due.seq:
                raise SinkBehind(f"it does not have publication {due.shows}")
            await self._catalog.sink_switched(due, due.shows)
            events.emit(events.SINK_SWITCHED, dataset=due.name, route=due.route, publication=due.shows)
        elif due.page:
            changes = await self._catalog.sink_changes(due, due.page)
            n, k, of, after, _ = due.page
            page = StagePage(n, k, of, after, changes.added, changes.removed)
            missing = await _called(sink.stage, page, ctx)
            faults.reach("sink.staged")
            await self._catalog.sink_staged(due, due.page, changes, list(missing))
        elif due.must_check:
            return await self._check(due, sink, ctx)
        else:
            what = await self._catalog.to_forget(due)
            await _called(sink.forget, what.dropped, what.upto, what.executions, ctx)
            faults.reach("sink.forgot")
            await self._catalog.sink_forgot(due, what.at)
        return True

    async def _check(self, due: DueSink, sink: Any, ctx: SinkContext) -> bool:
        """Compare what a sink has of the current publication with its entries: merge two sorted lists."""
        n = due.current or 0
        missing = left_over = 0
        first: list[str] = []
        stages: set[str] = set()
        published = _Pages(lambda after: self._published(due, n, after))
        stored = _Pages(lambda after: self._stored(sink, ctx, n, after))
        here, there = await published.next(), await stored.next()
        while here or there:
            if there is None or (here is not None and here[0] < there[0]):
                assert here
                missing += 1
                stages.add(here[1])
                if len(first) < _MOST_NAMED:
                    first.append(here[2])
                here = await published.next()
            elif here is None or there[0] < here[0]:
                left_over += 1
                there = await stored.next()
            else:
                here, there = await published.next(), await stored.next()
        if not (due.must_rebuild and (missing or left_over)):
            found = SinkDifference(n, missing, left_over, first, sorted(stages))
            await self._catalog.sink_checked(due, found)
        elif not await self._catalog.rebuild_sink(due):
            await self._failed(due, "publication_in_progress", "it is rebuilt when the draft has ended")
            return False
        return True

    async def _published(self, due: DueSink, n: int, after: str) -> list[_Named]:
        last = UUID(after.partition(".")[0]) if after else UUID(int=0)
        found = await self._catalog.published_results(due, n, after=last, limit=_PAGE)
        return [(one.result, one.stage, one.key) for one in found]

    async def _stored(self, sink: Any, ctx: SinkContext, n: int, after: str) -> list[_Named]:
        return [(one, "", "") for one in await _called(sink.results, n, after, _PAGE, ctx)]


class _Pages:
    """Reads a sorted list page by page."""

    def __init__(self, read: Callable[[str], Awaitable[list[_Named]]]) -> None:
        self._read = read
        self._page: list[_Named] = []
        self._after = ""
        self._is_read = False

    async def next(self) -> _Named | None:
        """Return the next item; None at the end."""
        if not self._page and not self._is_read:
            self._page = (await self._read(self._after))[::-1]
            self._is_read = len(self._page) < _PAGE
            self._after = self._page[0][0] if self._page else ""
        return self._page.pop() if self._page else None


async def _called(method: Callable[..., Any], *given: Any) -> Any:
    """Call a method of a sink: an async one here, a plain one in a thread, because it may wait for a lock."""
    found = method(*given) if inspect.iscoroutinefunction(method) else await asyncio.to_thread(method, *given)
    return await found if inspect.isawaitable(found) else found
