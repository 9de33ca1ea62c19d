"""The processes that stay: the server and the workers, with their signals and their exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import multiprocessing
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING

import uvicorn

from playhead import __version__, events
from playhead.api.app import create_app
from playhead.bootstrap import Runtime, open_runtime
from playhead.errors import CannotStart

if TYPE_CHECKING:
    from playhead.settings import Settings

_GRACE_SECONDS = 5
_RESTART_PAUSE_SECONDS = 1.0
_LOOK_SECONDS = 0.5


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


# -- signals ---------------------------------------------------------------------------------------


def _on_signals(stop: asyncio.Event) -> None:
    """The first INT or TERM stops cleanly, the same again at once: nothing is lost either way.

    The other one is no second wish: Ctrl-C in a terminal goes to a crew and to its parent, which then
    sends TERM to the crew.
    """
    loop = asyncio.get_running_loop()
    had: set[int] = set()

    def told(number: int) -> None:
        if number in had:
            signal.raise_signal(signal.SIGKILL)
        had.add(number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told, number)


# -- serve -----------------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int, *, insecure: bool) -> socket.socket:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not (loopback or insecure):
        raise CannotStart(
            "setup_invalid",
            f"--host {host} is reachable from other machines, and this server asks nobody who they are: "
            "put a proxy with access control before it and say --insecure, or listen on 127.0.0.1",
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By name: asyncio turns Nagle's delay off only where it reads TCP, and head and body of an answer are
    # two writes, of which the second would wait 40 ms for the client's delayed ack.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as exc:
        sock.close()
        raise CannotStart(
            "port_in_use",
            f"can't listen on {host}:{port}: {exc.strerror}; name another with --port (0 takes a free one)",
        ) from exc
    return sock


def serve(settings: Settings, *, host: str, port: int, workers: int, insecure: bool) -> int:
    """Serve the API until INT or TERM. Blocks; returns the exit code.

    The first line on stderr is `Playhead listening on http://HOST:PORT`.
    """
    set_up_logs(settings)
    sock = _listen(host, port, insecure=insecure)
    try:
        return asyncio.run(_serve(settings, sock, workers))
    finally:
        sock.close()


async def _serve(settings: Settings, sock: socket.socket, workers: int) -> int:
    async with open_runtime(settings, kind="serve") as rt:
        app = create_app(
            rt.services,
            version=__version__,
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
        )
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        stop = asyncio.Event()
        _on_signals(stop)
        sock.listen(2048)
        address, number = sock.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        sys.stderr.write(f"Playhead listening on http://{shown}:{number}\n")
        sys.stderr.flush()
        crew = _Crew(settings, (), workers, until_idle=False) if workers else None
        watch = asyncio.create_task(_stop_server(rt, server, stop))
        tending = asyncio.create_task(crew.tend(stop)) if crew else None
        try:
            await server.serve(sockets=[sock])
        finally:
            stop.set()
            await watch
            if tending:
                await tending
    return 0


async def _stop_server(rt: Runtime, server: _Server, stop: asyncio.Event) -> None:
    await stop.wait()
    # Those who wait for a replay are told where it goes on, before their connections are closed.
    rt.services.replay.stopping = True
    server.should_exit = True


# -- workers ---------------------------------------------------------------------------------------


def work(settings: Settings, *, routes: Sequence[str], processes: int, until_idle: bool) -> int:
    """Work on messages until INT or TERM, or until there is nothing left. Blocks; returns the exit code."""
    set_up_logs(settings)
    if processes == 1:
        return asyncio.run(_work(settings, routes, until_idle))

    async def tend() -> int:
        stop = asyncio.Event()
        _on_signals(stop)
        return await _Crew(settings, routes, processes, until_idle=until_idle).tend(stop)

    return asyncio.run(tend())


async def _work(settings: Settings, routes: Sequence[str], until_idle: bool) -> int:
    stop = asyncio.Event()
    _on_signals(stop)
    orphaned = asyncio.create_task(_stop_with_parent(stop))
    try:
        async with open_runtime(settings, kind="worker") as rt:
            events.emit(events.WORKER_STARTED, worker=rt.process.id if rt.process else None)
            code = await rt.work(routes=routes, until_idle=until_idle, stop=stop)
            completed = rt.worker.completed if rt.worker else 0
            events.emit(events.WORKER_STOPPED, attempts_ended=completed, exit_code=code)
            return code
    finally:
        orphaned.cancel()


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


class _Crew:
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

    async def tend(self, stop: asyncio.Event) -> int:
        """Keep the crew at its number until told to stop, or until all have ended by themselves."""
        code = 0
        while not stop.is_set() and self._members:
            for member in list(self._members):
                if member.exitcode is None:
                    continue
                self._members.remove(member)
                if self._until_idle and member.exitcode >= 0:
                    code = max(code, member.exitcode)
                    continue
                events.emit(events.WORKER_STOPPED, logging.WARNING, pid=member.pid, exit_code=member.exitcode)
                await asyncio.sleep(_RESTART_PAUSE_SECONDS)
                if not stop.is_set():
                    self._members.append(self._start())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS / 5)
        for member in self._members:
            member.terminate()
        for member in self._members:
            await asyncio.to_thread(member.join)
        return code
