"""An event loop in a thread of its own, on which blocking methods run coroutines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AsyncExitStack
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundLoop:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="playhead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end. Ctrl-C cancels it."""
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the client is closed; connect again")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def close(self, stack: AsyncExitStack) -> None:
        """Close what the stack holds, and end the thread."""
        closing = self.close_soon(stack)
        self._thread.join()
        closing.result()

    def close_soon(self, stack: AsyncExitStack) -> Future[None]:
        """Do the same without waiting: the garbage collector may call this in any thread."""

        async def end() -> None:
            try:
                await stack.aclose()
            finally:
                self._loop.call_soon(self._loop.stop)

        return asyncio.run_coroutine_threadsafe(end(), self._loop)
