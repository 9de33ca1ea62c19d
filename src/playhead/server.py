"""The server process: the HTTP API on a socket, and optionally workers as child processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn

from playhead import __version__, events
from playhead.addresses import is_loopback
from playhead.api.app import create_app
from playhead.api.callers import Hosts
from playhead.api.connection import MAX_HEAD_BYTES, Connection
from playhead.api.errors import STATUS
from playhead.api.proxied import TrustedProxy
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.bootstrap.reload import Reload
from playhead.cookies import session_cookie
from playhead.errors import BadRequest, CannotStart
from playhead.web.app import create_pages
from playhead.workers import background, crew, hold_logs, on_signals, run_reloading, set_up_logs

if TYPE_CHECKING:
    from playhead.services.identity import IdentityService
    from playhead.settings import Settings

_GRACE_SECONDS = 5
"""Maximum time from the signal to the exit. Running requests get most of it to complete."""


class Server(uvicorn.Server):
    """uvicorn as Playhead uses it, without its signal handlers: Playhead installs its own."""

    def __init__(self, app: Callable[..., Any], max_connections: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                limit_concurrency=max_connections,
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                server_header=False,
                log_config=None,
                access_log=False,
                # Any program on this machine could choose the address and the scheme of its requests.
                proxy_headers=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_SECONDS - 1,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def drop_connections(self) -> None:
        """Abort the remaining connections. Their requests get a disconnect and can clean up.

        Closing the connections is not enough: `close` waits for clients that do not read, or that do not send
        the rest of their request.
        """
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def _is_not_cancelled(record: logging.LogRecord) -> bool:
    """Drop the traceback of a request cancelled by the shutdown: uvicorn logs the number of such requests."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def listener(host: str, port: int) -> socket.socket:
    """Return a socket that does not listen yet, so that no client can connect."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Name the protocol: asyncio sets TCP_NODELAY only on sockets whose `proto` is TCP. Head and body of a
    # response are two writes, and without TCP_NODELAY the second waits 40 ms for the client's delayed ack.
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
        f"cannot listen on {host}:{port}: {exc.strerror}. Use another --port (0 selects a free port)",
    )


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    workers: int,
    insecure: bool,
    listening: Callable[[], None] = lambda: None,
    reload: bool = False,
) -> int:
    """Serve the API until SIGINT or SIGTERM. Blocks; returns the exit code.

    Once the socket listens, the first line on stderr is `Playhead listening on http://HOST:PORT`. Then
    `listening` is called.

    Args:
        reload: restart when the code of the adapters changes, on the same port.
    """
    set_up_logs(settings)
    logging.getLogger("uvicorn.error").addFilter(_is_not_cancelled)

    def run(reload: Reload | None = None) -> int:
        nonlocal port
        sock = listener(host, port)
        port = sock.getsockname()[1]
        release_logs = hold_logs()
        try:
            return asyncio.run(_serve(settings, sock, workers, insecure, listening, release_logs, reload))
        finally:
            release_logs()
            sock.close()

    return run_reloading(settings, run, lambda: "--port", lambda: str(port)) if reload else run()


async def _serve(
    settings: Settings,
    sock: socket.socket,
    workers: int,
    insecure: bool,
    listening: Callable[[], None],
    release_logs: Callable[[], None],
    reload: Reload | None,
) -> int:
    async with open_runtime(settings, kind="serve") as rt:
        await _adopt_first_key(rt, settings)
        await check_address(rt.services.identity, sock.getsockname()[0], insecure=insecure)
        local = is_loopback(sock.getsockname()[0])
        pages = create_pages(rt.services, version=__version__, status=STATUS, public_url=settings.public_url)
        app = create_app(
            rt.services,
            version=__version__,
            hosts=Hosts(local, _names(settings)),
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            tracer=rt.environment.tracer,
            pages=pages.app,
            signed_out=pages.signed_out,
            cookie=session_cookie(settings.public_url, is_loopback=local),
            proxy=_proxy(settings),
        )
        server = Server(app, settings.max_connections)
        stop = asyncio.Event()
        on_signals(stop, reload)
        address, number = sock.getsockname()[:2]
        try:
            sock.listen(2048)
        except OSError as exc:  # another process bound the same port at the same time
            raise _in_use(address, number, exc) from exc
        shown = f"[{address}]" if ":" in address else address
        sys.stderr.write(f"Playhead listening on http://{shown}:{number}\n")
        sys.stderr.flush()
        release_logs()
        events.emit(
            events.SERVER_STARTED, process=rt.process and rt.process.id, url=f"http://{shown}:{number}"
        )
        if settings.has_logins and not (await rt.catalog.access()).has_keys:
            events.emit(events.NO_KEY, detail="programs need a key. Run: playhead keys create")
        listening()
        watch = asyncio.create_task(_stop_server(rt, server, stop))
        members = crew(settings, (), workers, until_idle=False) if workers else None
        tending = asyncio.create_task(members.tend(stop)) if members else None
        try:
            with background(reload.watch(stop)) if reload else contextlib.nullcontext():
                await server.serve(sockets=[sock])
        finally:
            stop.set()
            await watch
            if tending:
                await tending
    return 0


def _names(settings: Settings) -> frozenset[str]:
    """Return the host names of the server that the settings name."""
    # Without the port: a proxy in front of the server may listen on another one.
    public = re.sub(r":\d+$", "", urlsplit(settings.public_url or "").netloc)
    return frozenset(filter(None, (*settings.allowed_hosts, public)))


def _proxy(settings: Settings) -> TrustedProxy | None:
    if settings.proxy_user_header is None or settings.proxy_secret is None:
        return None
    return TrustedProxy(
        settings.proxy_secret, settings.proxy_user_header, settings.proxy_groups_header, settings.oidc_map
    )


async def _adopt_first_key(rt: Runtime, settings: Settings) -> None:
    """Store the key of `PLAYHEAD_FIRST_KEY_FILE`, if the catalog has none. Later, the file has no effect."""
    if settings.first_key_file is None:
        return
    try:
        text = settings.first_key_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise CannotStart("setup_invalid", f"cannot read PLAYHEAD_FIRST_KEY_FILE: {exc}") from exc
    try:
        await rt.services.access.adopt_first(text)
    except BadRequest as exc:
        raise CannotStart("setup_invalid", f"PLAYHEAD_FIRST_KEY_FILE: {exc.detail}") from exc


async def check_address(identity: IdentityService, address: str, *, insecure: bool) -> None:
    """Check that clients on other machines need a key, unless the operator has chosen otherwise.

    Args:
        address: that the server is going to listen on.
        insecure: `--insecure`.

    Raises:
        CannotStart: `setup_invalid`; other machines could use the server without a key.
    """
    await identity.beat()  # the first key may have been stored since the last one
    is_required = await identity.mode() == "required"
    if insecure and is_required:
        events.emit(events.INSECURE_IGNORED, detail="this server requires a key, so --insecure has no effect")
    if insecure or is_loopback(address):
        return
    if not is_required:
        raise CannotStart(
            "setup_invalid",
            f"--host {address} is reachable from other machines, and no key exists yet: create one with "
            "`playhead keys create`, or use --host 127.0.0.1. If only an authenticating reverse proxy can "
            "reach the server, add --insecure",
        )
    # `playhead access open` must not open a server that would have been refused at its start.
    identity.close()


async def _stop_server(rt: Runtime, server: Server, stop: asyncio.Event) -> None:
    await stop.wait()
    # Clients that wait for a replay get `replay_continues` before their connections are closed.
    rt.services.replay.stopping = True
    # Event streams do not end by themselves.
    rt.services.watch.stop()
    server.should_exit = True
    asyncio.get_running_loop().call_later(_GRACE_SECONDS - 2, server.drop_connections)
