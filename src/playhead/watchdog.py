"""A watchdog: keeps a busy process alive for others, and ends a frozen one.

Steps can keep the event loop from running. If many steps compute in Python, each turn of the event loop has
to wait for the interpreter lock. The process works, but its heartbeats are late, and others would declare
it dead. If one step never releases the lock, no Python code of the process runs any more: no heartbeat, no
time-out, no signal handler. `re.match(r"(\\w+\\s?)*$", …)` does that on some texts. Such a process
would keep its messages, and perhaps a lock on the embedded database, forever.

The process itself can solve neither problem. So it forks a small child process, and its event loop writes to
the child regularly.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from playhead import events
from playhead.clock import ActiveClock

FROZEN_SECONDS: Final = 30.0
"""Time without a beat after which the process is ended. Time during which it is suspended does not count."""
BEAT_SECONDS: Final = 0.5
"""How often the event loop should beat."""
_CHECK_SECONDS = 0.25
_DUMP_SECONDS = 0.5
_DUMP_SIGNAL = signal.SIGUSR2


class Watchdog:
    """Watches this process from the first `beat` until `close`.

    Create it before the process starts threads or opens backends, because it forks.

    Args:
        frozen_seconds: without a beat, after which the process is ended.
        late_seconds: without a beat, after which `keep_alive` is called, and again after each such time.
        keep_alive: called in the child with the state of the last beat. It may block and raise.
    """

    def __init__(
        self,
        frozen_seconds: float = FROZEN_SECONDS,
        *,
        late_seconds: float = FROZEN_SECONDS,
        keep_alive: Callable[[bytes], None] = lambda state: None,
    ) -> None:
        watched = os.getpid()
        # The tracebacks of a frozen process are written by a signal handler that needs no interpreter lock.
        faulthandler.register(_DUMP_SIGNAL, all_threads=True)
        reader, self._writer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                os.close(self._writer)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)  # also sent to the group; the watch goes on
                _Watch(watched, reader, late_seconds, keep_alive).run(frozen_seconds)
            finally:
                os._exit(0)
        os.close(reader)
        os.set_blocking(self._writer, False)
        self._is_closed = False

    def beat(self, state: bytes = b"") -> None:
        """Note that the event loop runs. `state` is one line without its end."""
        with contextlib.suppress(OSError):  # the watchdog was killed, or was suspended and its pipe is full
            os.write(self._writer, state + b"\n")

    def close(self) -> None:
        """Stop watching. May be called twice."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self._writer)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child, 0)


class _Watch:
    """What the child does."""

    def __init__(
        self, watched: int, reader: int, late_seconds: float, keep_alive: Callable[[bytes], None]
    ) -> None:
        self._watched = watched
        self._reader = reader
        self._late_seconds = late_seconds
        self._keep_alive = keep_alive
        self._clock = ActiveClock()
        self._state = b""
        self._keeping: threading.Thread | None = None

    def run(self, frozen_seconds: float) -> None:
        """Watch until the process ends or closes its pipe; end it if it is frozen."""
        last = kept = 0.0
        has_begun = False
        while os.getppid() == self._watched:
            if select.select([self._reader], [], [], _CHECK_SECONDS)[0]:
                beats = os.read(self._reader, 1 << 16)
                if not beats:
                    return
                self._state = beats.splitlines()[-1]
                has_begun, last = True, self._clock()
            elif has_begun and self._is_suspended():
                last = self._clock()
            now = self._clock()
            if has_begun and now - last > frozen_seconds:
                self._end(frozen_seconds)
                return
            if has_begun and now - max(last, kept) > self._late_seconds:
                kept = now
                self._start_keeping()

    def _start_keeping(self) -> None:
        """Call `keep_alive` in a thread, because the watched process may have locked the database."""
        if self._keeping is None or not self._keeping.is_alive():
            self._keeping = threading.Thread(target=self._keep, args=(self._state,), daemon=True)
            self._keeping.start()

    def _keep(self, state: bytes) -> None:
        with contextlib.suppress(Exception):  # the process reports an unavailable catalog itself
            self._keep_alive(state)

    def _end(self, seconds: float) -> None:
        events.emit(events.WORKER_FROZEN, pid=self._watched, seconds=seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._watched, _DUMP_SIGNAL)
            time.sleep(_DUMP_SECONDS)
            os.kill(self._watched, signal.SIGKILL)

    def _is_suspended(self) -> bool:
        """Whether the process was stopped by a signal or a debugger, on systems that show it."""
        try:
            status = Path(f"/proc/{self._watched}/stat").read_text()
        except OSError:
            return False
        return status.rpartition(")")[2].split()[0] in "Tt"
