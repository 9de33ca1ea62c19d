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

from playhead.engine.outputs import Returned

_Deliver = Callable[[Returned | None, BaseException | None], object]
_Inbox = queue.SimpleQueue[tuple[Callable[[], Returned], _Deliver] | None]


class Threads:
    """Daemon threads, as many as calls run at once.

    A call that hangs delays neither other calls nor the exit. The thread pool of the event loop would delay
    both, and has few threads on a small machine.
    """

    def __init__(self) -> None:
        self._idle: deque[_Inbox] = deque()
        self._is_closed = False

    async def run(self, call: Callable[[], Returned]) -> Returned:
        """Run a call in an idle thread, or in a new one."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Returned] = loop.create_future()

        def settle(returned: Returned | None, error: BaseException | None) -> None:
            if future.done():  # it was cancelled
                return
            if returned is None:
                future.set_exception(error or RuntimeError("no result"))
            else:
                future.set_result(returned)

        def deliver(returned: Returned | None, error: BaseException | None) -> None:
            loop.call_soon_threadsafe(settle, returned, error)

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
            returned = error = None
            try:
                returned = call()
            except BaseException as exc:
                error = exc
            self._idle.append(inbox)  # before the result, so that the next call finds this thread
            if self._is_closed:
                self.close()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                deliver(returned, error)
