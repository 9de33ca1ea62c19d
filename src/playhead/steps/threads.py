"""Threads for the plain steps of a chain that runs on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

_Deliver = Callable[[Any, BaseException | None], object]
_Inbox = queue.SimpleQueue[tuple[Callable[[], Any], _Deliver] | None]


class Threads:
    """Daemon threads, as many as calls run at once.

    A call that hangs delays neither other calls nor the exit. The thread pool of the event loop would delay
    both, and has few threads on a small machine.
    """

    def __init__(self) -> None:
        self._idle: deque[_Inbox] = deque()
        self._is_closed = False

    async def run(self, call: Callable[[], T], has_returned: asyncio.Future[None] | None = None) -> T:
        """Run a call in an idle thread, or in a new one.

        Args:
            has_returned: set when the call returns, even if its caller was cancelled.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T, error: BaseException | None) -> None:
            if has_returned:
                has_returned.set_result(None)
            if future.done():  # it was cancelled
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        def deliver(result: T, error: BaseException | None) -> None:
            loop.call_soon_threadsafe(settle, result, error)

        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = queue.SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name="playhead-adapter", daemon=True).start()
        run = contextvars.copy_context().run
        inbox.put((partial(run, call), deliver))
        return await future

    def close(self) -> None:
        """Let all threads end when their calls return."""
        self._is_closed = True
        with contextlib.suppress(IndexError):  # several threads may do this at once
            while True:
                self._idle.pop().put(None)

    def _serve(self, inbox: _Inbox) -> None:
        while job := inbox.get():
            call, deliver = job
            result = error = None
            try:
                result = call()
            except BaseException as exc:
                error = exc
            self._idle.append(inbox)  # before the result, so that the next call finds this thread
            if self._is_closed:
                self.close()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                deliver(result, error)
