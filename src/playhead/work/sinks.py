"""Bring the sinks of this process up to date with the publications of their datasets.

The catalog has the next step of each sink, so any process that has the adapter continues after `kill -9`:

- after a page is in the sink, before the catalog knows it: the page is staged again, which changes nothing;
- after a switch is in the sink: it is repeated, and a sink switches forwards only;
- after a drop: it is repeated, and deletes nothing more.

Two processes may do the same step at once: a sink ignores a page of an older draft, and the catalog records
an answer only for the page that is next.

Each sink has its own task, and its calls run in a daemon thread, the async ones too. So a call that hangs, or
blocks its event loop, delays no other sink, no message, and not the end of the process. With a limit of
tasks, as many hanging sinks would stop all others. A sink never has two tasks, so their number is bounded.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol
from uuid import UUID

from playhead import events, faults
from playhead.environment import Environment, Spawned
from playhead.errors import PlayheadError, Unavailable
from playhead.keys import object_key, owner_of
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Configs, Sinks
from playhead.ports.catalog.sinks import DueSink, Repair, SinkDifference, SinkIdentity
from playhead.ports.sinks import SinkBehind, SinkContext, StagePage
from playhead.secrets import Mask, Reference
from playhead.steps.step import UnknownAdapter, instance_of
from playhead.steps.threads import Threads

_RETRY_SECONDS: Final = 5.0
_SLOW_SECONDS: Final = 60.0
_LONGEST_PROBLEM: Final = 500
_PAGE: Final = 1_000
_MOST_NAMED: Final = 10

_Named = tuple[str, str, str]
"""A result, and stage and key of the object that the step received."""


class WriteAgain(Protocol):
    """Replays the objects of a publication into the route of a sink: their paths, by stage.

    Returns the executions of the replays. Repeated for the same repair, it returns the same ones.
    """

    async def __call__(
        self, due: DueSink, n: int, objects: Mapping[str, Sequence[str]]
    ) -> Sequence[UUID]: ...


class SinkCatalog(Sinks, Configs, Protocol): ...


class SinkFollower:
    """Stages, switches and forgets in the sinks whose adapters this process has.

    Args:
        adapters: those of this process, by name.
        data_dir, internal_hosts: as in `Context`.
        slow_seconds: after this time, a call that has not returned is reported as the problem of its sink.
    """

    def __init__(
        self,
        catalog: SinkCatalog,
        adapters: Mapping[str, AdapterSpec],
        env: Environment,
        *,
        data_dir: str,
        internal_hosts: Sequence[str] = (),
        write_again: WriteAgain,
        slow_seconds: float = _SLOW_SECONDS,
    ) -> None:
        self._catalog = catalog
        self._adapters = adapters
        self._env = env
        self._data_dir = data_dir
        self._internal_hosts = internal_hosts
        self._write_again = write_again
        self._slow_seconds = slow_seconds
        self._threads = Threads()
        self._visits: dict[SinkIdentity, Spawned] = {}

    async def follow(self, seconds: float) -> None:
        """Begin to bring all sinks up to date, and wait for that, at most for some seconds.

        What is not done by then goes on. Raises `Unavailable` if the catalog is unavailable.
        """
        for _ in range(2):  # a visit that was about to end may have missed the newest step of its sink
            for due in await self._catalog.due_sinks():
                if due.identity not in self._visits:
                    self._visits[due.identity] = self._env.spawn(self._visit(due))
            visits = [asyncio.ensure_future(one) for one in self._visits.values()]
            if not (seconds and visits) or (await asyncio.wait(visits, timeout=seconds))[1]:
                return

    async def _visit(self, due: DueSink) -> None:
        """Take the steps of one sink until it is up to date."""
        try:
            if sink := await self._found(due):
                try:
                    await self._take_steps(due, sink)
                except Unavailable as exc:
                    events.emit(events.BACKEND_UNAVAILABLE, code=exc.code, detail=exc.detail)
                await sink.close()  # not if the process ends: a call may still use it
        finally:
            del self._visits[due.identity]

    async def _take_steps(self, due: DueSink, sink: _Sink) -> None:
        identity = due.identity
        while await self._follow(due, sink):
            left = [one for one in await self._catalog.due_sinks() if one.identity == identity]
            if not left:
                return
            [due] = left

    async def _found(self, due: DueSink) -> _Sink | None:
        """Return a sink; None if another process has its adapter."""
        loaded = await self._catalog.config(due.config, due.version)
        step = loaded.config.routes[due.route].steps[-1] if loaded else None
        spec = self._adapters.get(step.type) if step else None
        if step is None or spec is None or not spec.follows:
            return None
        mask = Mask()

        def resolve(reference: Reference) -> str:
            value = self._env.resolve(reference)
            mask.add(value)
            return value

        make = partial(instance_of, spec, step, due.route, resolve=resolve, mask=mask)
        return _Sink(self._threads, make, mask)

    async def _follow(self, due: DueSink, sink: _Sink) -> bool:
        """Take the next step of a sink; return whether it worked."""
        try:
            return await self._step(due, sink)
        except Unavailable:
            raise
        except UnknownAdapter:
            return False
        except SinkBehind as exc:
            await self._failed(due, "sink_behind", str(exc))
        except Exception as exc:
            detail = f"{type(exc).__name__}: {sink.mask(str(exc))}"
            await self._failed(due, "sink_unavailable", detail[:_LONGEST_PROBLEM])
        return False

    async def _call(self, due: DueSink, sink: _Sink, method: str, *given: Any) -> Any:
        """Call a method of a sink. Records as its problem that the call takes long."""
        call = asyncio.ensure_future(sink.call(method, *given))
        try:
            if not (await asyncio.wait([call], timeout=self._slow_seconds))[0]:
                detail = f"{method}() has not returned after {self._slow_seconds:g} seconds"
                await self._failed(due, "sink_unavailable", detail)
            return await call
        finally:
            call.cancel()

    async def _failed(self, due: DueSink, code: str, detail: str) -> None:
        events.emit(events.SINK_FAILED, dataset=due.name, route=due.route, code=code, detail=detail)
        await self._catalog.sink_failed(due, code, detail, delay=_RETRY_SECONDS)

    async def _step(self, due: DueSink, sink: _Sink) -> bool:
        """Do the next step. A switch comes first, because readers wait for it."""
        ctx = SinkContext(
            *(due.config, due.name, due.route, self._data_dir, self._internal_hosts, due.generation)
        )
        if due.shows is not None:
            await self._call(due, sink, "switch", due.shows, due.seq, ctx)
            faults.reach("sink.switched")
            shown = await self._call(due, sink, "shown", ctx)
            if shown is None or shown.seq < due.seq:
                raise SinkBehind(f"it does not have publication {due.shows}")
            await self._catalog.sink_switched(due, due.shows)
            events.emit(events.SINK_SWITCHED, dataset=due.name, route=due.route, publication=due.shows)
        elif due.page:
            changes = await self._catalog.sink_changes(due, due.page)
            n, k, of, after, _ = due.page
            page = StagePage(n, k, of, after, changes.added, changes.removed)
            missing = await self._call(due, sink, "stage", page, ctx)
            faults.reach("sink.staged")
            await self._catalog.sink_staged(due, due.page, changes, list(missing))
        elif due.must_check:
            return await self._check(due, sink, ctx)
        else:
            what = await self._catalog.to_forget(due)
            await self._call(due, sink, "forget", what.dropped, what.upto, what.executions, ctx)
            faults.reach("sink.forgot")
            await self._catalog.sink_forgot(due, what.at)
        return True

    async def _check(self, due: DueSink, sink: _Sink, ctx: SinkContext) -> bool:
        """Compare what a sink has of the current publication with its entries: merge two sorted lists."""
        n = due.current or 0
        missing: list[_Named] = []
        left_over = 0
        published = _Pages(lambda after: self._published(due, n, after))
        stored = _Pages(lambda after: self._stored(due, sink, ctx, n, after))
        here, there = await published.next(), await stored.next()
        while here or there:
            if there is None or (here is not None and here[0] < there[0]):
                assert here
                missing.append(here)
                here = await published.next()
            elif here is None or there[0] < here[0]:
                left_over += 1
                there = await stored.next()
            else:
                here, there = await published.next(), await stored.next()
        if not (due.must_rebuild and (missing or left_over)):
            stages = sorted({stage for _, stage, _ in missing})
            first = [key for *_, key in missing[:_MOST_NAMED]]
            found = SinkDifference(n, len(missing), left_over, first, stages)
            repair = await self._rewrite(due, n, missing) if due.must_write and missing else None
            await self._catalog.sink_checked(due, found, repair)
            if repair:
                faults.reach("repair.recorded")
        elif not await self._catalog.rebuild_sink(due):
            await self._failed(due, "publication_in_progress", "it is rebuilt when the draft has ended")
            return False
        else:
            faults.reach("repair.rebuilt")
        return True

    async def _rewrite(self, due: DueSink, n: int, missing: Sequence[_Named]) -> Repair:
        """Have lost rows written again. Repeated, this returns the same replays."""
        objects: dict[str, list[str]] = {}
        for _, stage, key in missing:
            objects.setdefault(stage, []).append(key.removeprefix(object_key(owner_of(key), stage, "")))
        try:
            return Repair(len(missing), await self._write_again(due, n, objects))
        except Unavailable:
            raise
        except PlayheadError as exc:
            return Repair(len(missing), [], problem=exc.detail)

    async def _published(self, due: DueSink, n: int, after: str) -> list[_Named]:
        last = UUID(after.partition(".")[0]) if after else UUID(int=0)
        found = await self._catalog.published_results(due, n, after=last, limit=_PAGE)
        return [(one.result, one.stage, one.key) for one in found]

    async def _stored(self, due: DueSink, sink: _Sink, ctx: SinkContext, n: int, after: str) -> list[_Named]:
        return [(one, "", "") for one in await self._call(due, sink, "results", n, after, _PAGE, ctx)]


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


class _Sink:
    """An instance of a sink, which its first call makes. Its calls run one after the other.

    Args:
        make: returns the instance.
        mask: masks its secrets.
    """

    def __init__(self, threads: Threads, make: Callable[[], Any], mask: Mask) -> None:
        self.mask = mask
        self._threads = threads
        self._make = make
        self._made: Any = None
        # One loop for all calls, because a pool of connections belongs to a loop.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    async def call(self, method: str, *given: Any) -> Any:
        """Call a method, plain or async, in a thread."""
        return await self._threads.run(partial(self._called, method, given))

    async def close(self) -> None:
        await self._threads.run(self._close)

    def _called(self, method: str, given: Sequence[Any]) -> Any:
        if self._made is None:
            self._made = self._make()
        found = getattr(self._made, method)(*given)
        return self._runner.run(_awaited(found)) if inspect.isawaitable(found) else found

    def _close(self) -> None:
        with self._runner:
            if hasattr(self._made, "close"):
                self._called("close", ())


async def _awaited(found: Awaitable[Any]) -> Any:
    return await found
