"""An event loop in a thread of its own, on which blocking methods run coroutines."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AsyncExitStack
from typing import Any, Final, TypeVar

from playhead.model import Page

T = TypeVar("T")

_MOST_ON_A_PAGE: Final = 1000


class BackgroundLoop:
    """An event loop in a daemon thread.

    Only the process that created it can use it: a fork copies no threads.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._is_closed = False
        self._running: set[Future[Any]] = set()
        self._thread = threading.Thread(target=self._run, name="playhead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end. Ctrl-C cancels it.

        Raises:
            RuntimeError: the loop is closed, also if another thread closes it meanwhile, or this process is a
                fork of the one that created it.
        """
        if os.getpid() != self._process:
            work.close()
            raise RuntimeError("this client was opened before a fork; connect again in each process")
        with self._lock:
            if self._is_closed:
                work.close()
                raise RuntimeError("the client is closed; connect again")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
            self._running.add(future)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
        except CancelledError as exc:
            raise RuntimeError("the client was closed during this call; connect again") from exc
        finally:
            with self._lock:
                self._running.discard(future)

    def collect(self, fetch: Callable[[str | None, int], Awaitable[Page[T]]], limit: int | None) -> list[T]:
        """Return the items of a list, page by page; with `limit`, at most that many.

        `fetch` returns the page at a cursor, with at most the given number of items.
        """

        async def pages() -> list[T]:
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

        return self.run(pages())

    def close(self, stack: AsyncExitStack) -> None:
        """Close what the stack holds, and end the thread. Calls that still run raise `RuntimeError`."""
        closing = self.close_soon(stack)
        if closing:
            self._thread.join()
            closing.result()

    def close_soon(self, stack: AsyncExitStack) -> Future[None] | None:
        """Do the same without waiting: the garbage collector may call this in any thread.

        Return None in a fork of the process, whose connections belong to the other process.
        """
        if os.getpid() != self._process:
            return None

        async def end() -> None:
            try:
                await stack.aclose()
            finally:
                self._loop.call_soon(self._loop.stop)

        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for future in running:
            future.cancel()
        return asyncio.run_coroutine_threadsafe(end(), self._loop)
