"""An event loop in a separate thread, on which blocking methods run coroutines."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")

Closing = Callable[[], Coroutine[Any, Any, None]]
"""Closes connections on the loop."""


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

    def close(self, end: Closing) -> None:
        """Run `end`, and end the thread. Calls that still run raise `RuntimeError`."""
        closing = self.close_soon(end)
        if closing:
            self._thread.join()
            closing.result()

    def close_soon(self, end: Closing) -> Future[None] | None:
        """Do the same without waiting: the garbage collector may call this in any thread.

        Return None in a fork of the process, whose connections belong to the other process.
        """
        if os.getpid() != self._process:
            return None

        async def ended() -> None:
            try:
                await end()
            finally:
                self._loop.call_soon(self._loop.stop)

        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for future in running:
            future.cancel()
        return asyncio.run_coroutine_threadsafe(ended(), self._loop)
