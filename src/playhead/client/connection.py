"""The connection of a client: its services, the names that callers may use, and lists page by page."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

from playhead import acting
from playhead.model import Page, Replay, StoredObject, Warning
from playhead.user import local_user
from playhead.warningtext import warning_text

if TYPE_CHECKING:
    from playhead.bootstrap.process import Runtime
    from playhead.clientkeys import ClientKey
    from playhead.remote import RemoteServices
    from playhead.services import Services
    from playhead.settings import Settings

T = TypeVar("T")

Name = str | UUID
"""An execution: its id or the last digits of it, `latest`, `latest:CONFIG`, `latest:replay` or `tag:NAME`."""
ReplayName = str | UUID | Replay
"""A replay: its batch id, the id of its execution, the last digits of one, `latest:replay`, or a `Replay`."""

_MOST_ON_A_PAGE: Final = 1000


def warn(warning: Warning) -> None:
    """Show a warning as a Python warning."""
    warnings.warn(warning_text(warning), stacklevel=2)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=2)


class Connection:
    """What the methods of a client share.

    Args:
        server: the address of a server; None: the backends that `settings` names.
        settings: None only with `server`.
        key: for the server.
    """

    def __init__(self, server: str | None, settings: Settings | None, key: ClientKey | None = None) -> None:
        self._server = server
        self._secret = key
        self._settings = settings
        self._stack = AsyncExitStack()
        self._opened: Services | RemoteServices | None = None
        self._runtime: Runtime | None = None
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Open the backends, or the connection to the server."""
        if self._server is not None:
            from playhead.remote import open_server

            key = self._secret and self._secret.text
            server = await self._stack.enter_async_context(open_server(self._server, key=key, warn=_warn))
            await server.system.health("")  # so that a wrong address is an error of `connect`
            self._opened = server
        else:
            from playhead.bootstrap import open_runtime

            assert self._settings
            runtime = open_runtime(self._settings, creates_home=False)
            self._runtime = await self._stack.enter_async_context(runtime)
            self._opened = self._runtime.services

    async def _process(self) -> Services | RemoteServices:
        """Return the services of the server, or else of a process with a heartbeat, so that no other process
        takes over what it publishes.

        The first call starts its loops. They end when the client is closed.
        """
        services = self._services
        if self._runtime is None:
            return services
        from playhead.bootstrap import open_runtime
        from playhead.bootstrap.backends import Backends

        assert self._settings
        async with self._opening:
            here = self._runtime
            if not here.process:
                backends = Backends(here.store, here.broker, here.catalog, [*here.upkeep])
                runtime = open_runtime(self._settings, kind="client", creates_home=False, backends=backends)
                self._runtime = await self._stack.enter_async_context(runtime)
                self._opened = self._runtime.services
        return self._runtime.services

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._stack.aclose()

    def __repr__(self) -> str:
        at = self._settings
        where = self._server or (at and (at.catalog or at.home))
        key = f" with {self._secret!r}" if self._secret else ""
        return f"<playhead.{type(self).__name__} of {where}{key}>"

    @property
    def _services(self) -> Services | RemoteServices:
        if self._opened is None:
            raise RuntimeError("the client is not open: use it in an `async with` block")
        if self._runtime is not None:  # a server knows who acts by the key
            acting.set_local(local_user(), "python")
        return self._opened

    async def _collect(
        self, fetch: Callable[[str | None, int], Awaitable[Page[T]]], limit: int | None
    ) -> list[T]:
        """Return the items of a list, page by page; with `limit`, at most that many.

        `fetch` returns the page at a cursor, with at most the given number of items.
        """
        items: list[T] = []
        cursor: str | None = None
        while limit is None or len(items) < limit:
            left = _MOST_ON_A_PAGE if limit is None else limit - len(items)
            page = await fetch(cursor, min(left, _MOST_ON_A_PAGE))
            items += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        return items

    async def _execution(self, name: Name) -> UUID:
        return name if isinstance(name, UUID) else await self._services.resolve.execution(name)

    async def _batch(self, replay: ReplayName) -> UUID:
        if isinstance(replay, Replay):
            return replay.replay_batch_id
        return await self._services.resolve.replay(str(replay))

    async def _key(self, key: str | StoredObject) -> str:
        return key.key if isinstance(key, StoredObject) else await self._services.resolve.key(key)
