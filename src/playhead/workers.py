"""Worker processes: one, or several under a parent. Also logs and signals of all long-running processes."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import io
import logging
import multiprocessing
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any, Final

from playhead import events, logformat
from playhead.bootstrap import load_adapters, open_runtime, require_home
from playhead.bootstrap.process import Runtime, watchdog_of
from playhead.bootstrap.reload import Reload, restart
from playhead.crew import Crew
from playhead.errors import CannotStart, Unavailable
from playhead.services import Services
from playhead.warningtext import warning_text
from playhead.watchdog import FROZEN_SECONDS, Watchdog

if TYPE_CHECKING:
    from uuid import UUID

    from playhead.settings import Settings

Watching = Callable[[Services], Coroutine[Any, Any, None]]

_PARENT_CHECK_SECONDS = 0.5
_ROUTES_SECONDS = 1.5
"""After this time, a missing route is more likely a typing error than a config that will be applied soon."""
NO_ROUTE = 4
"""The exit code of a worker that is to process an unknown route until it is idle."""
_ECHO_SECONDS = 0.5
"""The same signal again within this time is one request: `timeout` signals the process and its group."""


# -- logs ------------------------------------------------------------------------------------------


def set_up_logs(settings: Settings) -> None:
    """Send log lines to stderr in the format of the settings, one for each outcome."""
    handler = logging.StreamHandler(sys.stderr)
    json_lines = settings.log_format == "json"
    handler.setFormatter(logformat.JsonFormatter() if json_lines else logformat.TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    events.LOG.setLevel(str(settings.log_level).upper())


def hold_logs() -> Callable[[], None]:
    """Hold log lines back until the returned function is called. Calling it again has no effect."""
    held = io.StringIO()
    # The handlers stay the same, because filters may be added to them meanwhile, for trace ids for example.
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
    streams = [one.setStream(held) for one in handlers]

    def write_held() -> None:
        for one, stream in zip(handlers, streams, strict=True):
            one.setStream(stream)
        sys.stderr.write(held.getvalue())
        sys.stderr.flush()
        held.seek(0)
        held.truncate()

    return write_held


# -- signals ---------------------------------------------------------------------------------------


def on_signals(stop: asyncio.Event, reload: Reload | None = None) -> None:
    """Stop cleanly on the first INT or TERM, and at once on the same signal again. Neither loses messages.

    The other signal does not count as a second one: Ctrl-C goes to a parent and to its workers, and then
    the parent sends TERM to the workers. A process that is to restart ends instead.
    """
    loop = asyncio.get_running_loop()
    first: dict[int, float] = {}

    def on_signal(number: int, _: object) -> None:
        if loop.time() - first.setdefault(number, loop.time()) > _ECHO_SECONDS:
            signal.raise_signal(signal.SIGKILL)
        if reload:
            reload.cancel()
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        # The loop receives signals through a pipe, and loses those that come while the pipe is full. Its own
        # handler only wakes it up; the handler of the interpreter sets the event.
        loop.add_signal_handler(number, lambda: None)
        signal.signal(number, on_signal)


# -- reload ----------------------------------------------------------------------------------------


def run_reloading(settings: Settings, run: Callable[[Reload], int], *arguments: Callable[[], str]) -> int:
    """Run a process that restarts itself when the code of its adapters changes.

    While adapters cannot be loaded, it reports the error and waits for the next change.

    Args:
        run: runs the process, watches with the `Reload`, and returns the exit code.
        arguments: arguments of the command line for the new process, as they are at the restart.
    """
    reload = Reload(settings.adapters)
    code = 0
    try:
        load_adapters(settings)
    except CannotStart as exc:
        events.emit(events.CODE_INVALID, detail=exc.detail)
        asyncio.run(_until_changed(reload))
    else:
        code = run(reload)
    if reload.is_due:
        restart(*(argument() for argument in arguments))
    return code


async def _until_changed(reload: Reload) -> None:
    stop = asyncio.Event()
    on_signals(stop, reload)
    with background(reload.watch(stop)):
        await stop.wait()


# -- one worker ------------------------------------------------------------------------------------


def work(
    settings: Settings,
    *,
    routes: Sequence[str],
    processes: int,
    until_idle: bool,
    watching: Watching | None = None,
    frozen_seconds: float = FROZEN_SECONDS,
    reload: Reload | None = None,
) -> int:
    """Process messages until INT or TERM, or until no work is left. Blocks; returns the exit code.

    The exit code is that of `WorkerService.run`. With `until_idle`, it is 1 if messages of these processes
    became dead letters.

    Args:
        watching: shows the progress of all executions while the workers run.
        frozen_seconds: a worker whose event loop does not run for so long is ended.
        reload: the workers also end when this notices a change of the code.
    """
    set_up_logs(settings)
    if until_idle:
        require_home(settings)
    if processes == 1:
        return _run_worker(settings, routes, until_idle, frozen_seconds, watching, reload)

    async def tend() -> int:
        stop = asyncio.Event()
        on_signals(stop, reload)
        members = crew(settings, routes, processes, until_idle=until_idle, frozen_seconds=frozen_seconds)
        if watching is None:
            with background(reload.watch(stop)) if reload else contextlib.nullcontext():
                return await members.tend(stop)
        async with open_runtime(settings) as rt:
            with background(watching(rt.services)):
                return await members.tend(stop)

    return asyncio.run(tend())


def _run_worker(
    settings: Settings,
    routes: Sequence[str],
    until_idle: bool,
    frozen_seconds: float,
    watching: Watching | None = None,
    reload: Reload | None = None,
    until: UUID | None = None,
    on_dead: Callable[[], None] = lambda: None,
) -> int:
    watchdog = watchdog_of(settings, frozen_seconds)
    try:
        return asyncio.run(_work(settings, routes, until_idle, watchdog, watching, reload, until, on_dead))
    finally:
        watchdog.close()


async def _work(
    settings: Settings,
    routes: Sequence[str],
    until_idle: bool,
    watchdog: Watchdog,
    watching: Watching | None,
    reload: Reload | None,
    until: UUID | None,
    on_dead: Callable[[], None],
) -> int:
    stop = asyncio.Event()
    on_signals(stop, reload)
    with (
        background(_stop_with_parent(stop)),
        background(reload.watch(stop)) if reload else contextlib.nullcontext(),
    ):
        async with open_runtime(settings, kind="worker", watchdog=watchdog) as rt:
            rt.environment.counters.on_dead = on_dead
            events.emit(events.WORKER_STARTED, worker=rt.process.id if rt.process else None)
            await _warn_of_versions(rt)
            if until_idle:
                if await _warn_of_unknown(rt, routes):
                    return NO_ROUTE
            elif routes:
                rt.tasks.spawn(_warn_later(rt, routes))
            with background(watching(rt.services)) if watching else contextlib.nullcontext():
                code = await rt.work(routes=routes, until_idle=until_idle, until=until, stop=stop)
            if until_idle:
                await rt.finish_outcome()
            completed = rt.worker.completed if rt.worker else 0
            dead = rt.environment.counters.dead
            if until_idle and (dead or rt.reconciler.failed_runs):
                code = code or 1
            events.emit(events.WORKER_STOPPED, attempts_ended=completed, dead=dead, exit_code=code)
            return code


@contextlib.contextmanager
def background(work: Coroutine[Any, Any, None]) -> Iterator[None]:
    """Run something for the length of a block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


async def _warn_of_unknown(rt: Runtime, routes: Sequence[str]) -> bool:
    """Log requested routes that no config has: the worker would wait for a mistyped one without a sign.

    Returns whether there are any.
    """
    try:
        names = [(s.route, f"{s.config}/{s.route}") for s in await rt.catalog.subscriptions()]
    except Unavailable:
        return False  # the worker logs that
    known = {name for both in names for name in both}
    unknown = [route for route in routes if route not in known]
    for route in unknown:
        near = difflib.get_close_matches(route, known, n=3)
        detail = f"did you mean {' or '.join(near)}?" if near else "`playhead queues` lists the routes"
        events.emit(events.ROUTE_UNKNOWN, route=route, detail=detail)
    return bool(unknown)


async def _warn_later(rt: Runtime, routes: Sequence[str]) -> None:
    await asyncio.sleep(_ROUTES_SECONDS)
    await _warn_of_unknown(rt, routes)


async def _warn_of_versions(rt: Runtime) -> None:
    """Log adapters whose source has changed since they ran, but whose version has not."""
    with contextlib.suppress(Unavailable):  # the worker logs that
        for warning in await rt.services.workers.unversioned():
            events.emit(events.VERSION_UNCHANGED, detail=warning_text(warning))


async def _stop_with_parent(stop: asyncio.Event) -> None:
    """Stop a worker whose parent is gone, however the parent ended."""
    parent = multiprocessing.parent_process()
    while parent is not None:
        await asyncio.sleep(_PARENT_CHECK_SECONDS)
        if not parent.is_alive():
            stop.set()
            return


# -- several workers -------------------------------------------------------------------------------


_FINISHED: Final = b"finished"
_DEAD: Final = b"dead"


def crew(
    settings: Settings,
    routes: Sequence[str],
    count: int,
    *,
    until_idle: bool,
    until: UUID | None = None,
    frozen_seconds: float = FROZEN_SECONDS,
) -> Crew:
    """Start several worker processes; the arguments are those of `work`.

    Args:
        until: the workers also end when this execution has ended.
    """
    return Crew(
        lambda: _Member(settings, tuple(routes), until_idle, until, frozen_seconds),
        count,
        until_idle=until_idle or until is not None,
    )


class _Member(SpawnProcess):
    """A worker process, which starts at once."""

    def __init__(self, *arguments: Any) -> None:
        # Not shared memory: it needs /dev/shm.
        self._notes, theirs = multiprocessing.Pipe(duplex=False)
        self._noted: set[bytes] = set()
        super().__init__(target=_run_member, args=(*arguments, theirs), daemon=True)
        self.start()
        theirs.close()

    @property
    def has_finished(self) -> bool:
        return self._has_noted(_FINISHED)

    @property
    def has_dead(self) -> bool:
        return self._has_noted(_DEAD)

    def _has_noted(self, note: bytes) -> bool:
        with contextlib.suppress(EOFError, OSError):  # the process has ended
            while self._notes.poll():
                self._noted.add(self._notes.recv_bytes())
        return note in self._noted


class Notes:
    """Sends notes of a worker to its parent, each of them once: a full pipe would block the worker."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sent: set[bytes] = set()

    def send(self, note: bytes) -> None:
        if note not in self._sent:
            self._sent.add(note)
            with contextlib.suppress(OSError):  # the parent was killed
                self._pipe.send_bytes(note)


def _run_member(
    settings: Settings,
    routes: Sequence[str],
    until_idle: bool,
    until: UUID | None,
    frozen_seconds: float,
    notes: Connection,
) -> None:
    to_parent = Notes(notes)
    set_up_logs(settings)
    try:
        on_dead = partial(to_parent.send, _DEAD)
        sys.exit(_run_worker(settings, routes, until_idle, frozen_seconds, until=until, on_dead=on_dead))
    finally:
        to_parent.send(_FINISHED)
