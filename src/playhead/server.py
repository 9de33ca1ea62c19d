"""The server process: the HTTP API on a socket, and the workers beside it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import uvicorn

from playhead import __version__, events
from playhead.api.app import create_app
from playhead.api.callers import Hosts
from playhead.api.connection import MAX_HEAD_BYTES, Connection
from playhead.bootstrap import Runtime, open_runtime
from playhead.errors import CannotStart
from playhead.workers import Crew, hold_logs, on_signals, set_up_logs

if TYPE_CHECKING:
    from playhead.settings import Settings

_GRACE_SECONDS = 5
"""From the signal to the end, whatever clients do. Requests that run have most of it."""


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def drop_connections(self) -> None:
        """Break off the connections that are left; their requests see it and end as they should.

        Closing them is not enough: it waits for clients that do not read, or do not send what they announced.
        """
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Leave out the traceback of a request that was cut off at the end: uvicorn says how many there were."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def is_loopback(host: str) -> bool:
    """Whether what listens on that address or name is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int, *, insecure: bool) -> socket.socket:
    if not (is_loopback(host) or insecure):
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
        raise _in_use(host, port, exc) from exc
    return sock


def _in_use(host: str, port: int, exc: OSError) -> CannotStart:
    return CannotStart(
        "port_in_use",
        f"can't listen on {host}:{port}: {exc.strerror}; name another with --port (0 takes a free one)",
    )


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int,
    insecure: bool,
    listening: Callable[[], None] = lambda: None,
) -> int:
    """Serve the API until INT or TERM. Blocks; returns the exit code.

    The first line on stderr is `Playhead listening on http://HOST:PORT`; then `listening` is called.
    """
    set_up_logs(settings)
    logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
    sock = _listen(host, port, insecure=insecure)
    let_go = hold_logs()
    try:
        return asyncio.run(_serve(settings, sock, workers, listening, let_go))
    finally:
        let_go()
        sock.close()


async def _serve(
    settings: Settings,
    sock: socket.socket,
    workers: int,
    listening: Callable[[], None],
    let_go: Callable[[], None],
) -> int:
    async with open_runtime(settings, kind="serve") as rt:
        app = create_app(
            rt.services,
            version=__version__,
            hosts=Hosts(is_loopback(sock.getsockname()[0]), frozenset(settings.allowed_hosts)),
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            tracer=rt.tracer,
        )
        server = _Server(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                limit_concurrency=settings.max_connections,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                server_header=False,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS - 1,
            )
        )
        stop = asyncio.Event()
        on_signals(stop)
        address, number = sock.getsockname()[:2]
        try:
            sock.listen(2048)
        except OSError as exc:  # another bound the same port at the same moment, and listened first
            raise _in_use(address, number, exc) from exc
        shown = f"[{address}]" if ":" in address else address
        sys.stderr.write(f"Playhead listening on http://{shown}:{number}\n")
        sys.stderr.flush()
        let_go()
        events.emit(
            events.SERVER_STARTED, process=rt.process and rt.process.id, url=f"http://{shown}:{number}"
        )
        listening()
        crew = Crew(settings, (), workers, until_idle=False) if workers else None
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
    # A stream has no end of its own that could be waited for.
    rt.services.watch.stop()
    server.should_exit = True
    asyncio.get_running_loop().call_later(_GRACE_SECONDS - 2, server.drop_connections)
