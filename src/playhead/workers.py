"""The worker processes: one, or a crew of them, with the logs and signals of all processes that stay."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import io
import logging
import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

from playhead import events
from playhead.bootstrap import Runtime, open_runtime
from playhead.errors import Unavailable

if TYPE_CHECKING:
    from playhead.settings import Settings

_RESTART_PAUSE_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_ROUTES_SECONDS = 1.5
"""A route that is not there after so long is more likely mistyped than about to be applied."""
_ECHO_SECONDS = 0.5
"""A signal again so soon is the same wish: `timeout` sends it to the process and to its group."""


# -- logs ------------------------------------------------------------------------------------------


def set_up_logs(settings: Settings) -> None:
    """Send log lines to stderr, one an outcome, as the settings say."""
    handler = logging.StreamHandler(sys.stderr)
    json_lines = settings.log_format == "json"
    handler.setFormatter(events.JsonFormatter() if json_lines else events.TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    events.LOG.setLevel(str(settings.log_level).upper())


def hold_logs() -> Callable[[], None]:
    """Hold log lines back until what is returned is called; calling it again does nothing."""
    held = io.StringIO()
    # The handlers stay: what is added to them meanwhile, as the marks of traces, is to stay as well.
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
    streams = [one.setStream(held) for one in handlers]

    def let_go() -> None:
        for one, stream in zip(handlers, streams, strict=True):
            one.setStream(stream)
        sys.stderr.write(held.getvalue())
        sys.stderr.flush()
        held.seek(0)
        held.truncate()

    return let_go


# -- signals ---------------------------------------------------------------------------------------


def on_signals(stop: asyncio.Event) -> None:
    """Stop cleanly on the first INT or TERM, and at once on the same signal again. Neither loses messages.

    The other signal does not count as a second one: Ctrl-C goes to a parent and to its workers, and then
    the parent sends TERM to the workers.
    """
    loop = asyncio.get_running_loop()
    first: dict[int, float] = {}

    def on_signal(number: int, _: object) -> None:
        if loop.time() - first.setdefault(number, loop.time()) > _ECHO_SECONDS:
            signal.raise_signal(signal.SIGKILL)
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        # The loop receives signals through a pipe, and loses those that come while the pipe is full. Its own
        # handler only wakes it up; the handler of the interpreter sets the event.
        loop.add_signal_handler(number, lambda: None)
        signal.signal(number, on_signal)


# -- workers ---------------------------------------------------------------------------------------


def work(settings: Settings, *, routes: Sequence[str], processes: int, until_idle: bool) -> int:
    """Work on messages until INT or TERM, or until there is nothing left. Blocks; returns the exit code."""
    set_up_logs(settings)
    if processes == 1:
        return asyncio.run(_work(settings, routes, until_idle))

    async def tend() -> int:
        stop = asyncio.Event()
        on_signals(stop)
        return await Crew(settings, routes, processes, until_idle=until_idle).tend(stop)

    return asyncio.run(tend())


async def _work(settings: Settings, routes: Sequence[str], until_idle: bool) -> int:
    stop = asyncio.Event()
    on_signals(stop)
    orphaned = asyncio.create_task(_stop_with_parent(stop))
    try:
        async with open_runtime(settings, kind="worker") as rt:
            events.emit(events.WORKER_STARTED, worker=rt.process.id if rt.process else None)
            if until_idle:
                await _tell_of_unknown(rt, routes)
            elif routes:
                rt.spawn(_tell_of_unknown(rt, routes, after=_ROUTES_SECONDS))
            code = await rt.work(routes=routes, until_idle=until_idle, stop=stop)
            completed = rt.worker.completed if rt.worker else 0
            events.emit(events.WORKER_STOPPED, attempts_ended=completed, exit_code=code)
            return code
    finally:
        orphaned.cancel()


async def _tell_of_unknown(rt: Runtime, routes: Sequence[str], *, after: float = 0.0) -> None:
    """Log which of the routes asked for no config has: mistyped, they would be waited for in silence."""
    await asyncio.sleep(after)
    try:
        names = [(s.route, f"{s.config}/{s.route}") for s in await rt.catalog.subscriptions()]
    except Unavailable:
        return  # what is away is told of elsewhere
    known = {name for both in names for name in both}
    for route in routes:
        if route not in known:
            near = difflib.get_close_matches(route, known, n=3)
            detail = f"did you mean {' or '.join(near)}?" if near else "`playhead queues` lists the routes"
            events.emit(events.ROUTE_UNKNOWN, logging.WARNING, route=route, detail=detail)


async def _stop_with_parent(stop: asyncio.Event) -> None:
    """A worker of a crew ends when its parent is gone, however that happened."""
    parent = multiprocessing.parent_process()
    while parent is not None:
        await asyncio.sleep(_LOOK_SECONDS)
        if not parent.is_alive():
            stop.set()
            return


def _crew_member(settings: Settings, routes: Sequence[str], until_idle: bool) -> None:
    set_up_logs(settings)
    sys.exit(asyncio.run(_work(settings, routes, until_idle)))


class Crew:
    """Worker processes, started anew when one dies."""

    def __init__(self, settings: Settings, routes: Sequence[str], count: int, *, until_idle: bool) -> None:
        self._settings = settings
        self._routes = tuple(routes)
        self._until_idle = until_idle
        self._context = multiprocessing.get_context("spawn")
        self._members = [self._start() for _ in range(count)]

    def _start(self) -> SpawnProcess:
        member = self._context.Process(
            target=_crew_member, args=(self._settings, self._routes, self._until_idle), daemon=True
        )
        member.start()
        return member

    def _replace(self, count: int) -> int:
        """Start so many workers anew; returns how many could be."""
        for started in range(count):
            try:
                self._members.append(self._start())
            except OSError as exc:  # no process or no memory left, for now
                events.emit(events.LOOP_FAILED, logging.ERROR, detail=f"a worker can't be started: {exc}")
                return started
        return count

    async def tend(self, stop: asyncio.Event) -> int:
        """Keep the crew at its number until told to stop, or until all have ended by themselves."""
        code = missing = 0
        while not stop.is_set() and (self._members or missing):
            for member in list(self._members):
                if member.exitcode is None:
                    continue
                self._members.remove(member)
                if self._until_idle and member.exitcode >= 0:
                    code = max(code, member.exitcode)
                    continue
                events.emit(events.WORKER_STOPPED, logging.WARNING, pid=member.pid, exit_code=member.exitcode)
                missing += 1
            if missing:
                await asyncio.sleep(_RESTART_PAUSE_SECONDS)
                missing -= self._replace(0 if stop.is_set() else missing)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS / 5)
        for member in self._members:
            member.terminate()
        for member in self._members:
            await asyncio.to_thread(member.join)
        return code
