"""A watchdog: ends this process if its event loop stops running.

A step can hold the interpreter lock without end: `re.match(r"(\\w+\\s?)*$", …)` on an unfortunate text does.
Then no Python code of the process runs any more: no heartbeat, no time-out, no signal handler. Its messages
would never be processed again, and a lock on the embedded database would never be released. Only another
process can end it. So a working process forks a small child, and writes to it from its event loop.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import select
import signal
import time
from pathlib import Path
from typing import Final

from playhead import events
from playhead.clock import ActiveClock

FROZEN_SECONDS: Final = 30.0
"""After so long without a beat, the process is ended. Time during which it is suspended does not count."""
BEAT_SECONDS: Final = 1.0
"""How often the event loop should beat."""
_CHECK_SECONDS = 0.25
_DUMP_SECONDS = 0.5
_DUMP_SIGNAL = signal.SIGUSR2


class Watchdog:
    """Watches this process from the first `beat` until `close`.

    Create it before the process starts threads or opens backends, because it forks.

    Args:
        seconds: without a beat, after which the process is ended.
    """

    def __init__(self, seconds: float = FROZEN_SECONDS) -> None:
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
                _watch(watched, reader, seconds)
            finally:
                os._exit(0)
        os.close(reader)
        os.set_blocking(self._writer, False)

    def beat(self) -> None:
        """Note that the event loop runs."""
        with contextlib.suppress(OSError):  # the watchdog was killed, or was suspended and its pipe is full
            os.write(self._writer, b".")

    def close(self) -> None:
        """Stop watching."""
        os.close(self._writer)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._child, 0)


def _watch(watched: int, reader: int, seconds: float) -> None:
    """Wait until the watched process ends or closes its pipe; end it if it is frozen. Runs in the child."""
    clock = ActiveClock()
    last: float | None = None
    while os.getppid() == watched:
        if select.select([reader], [], [], _CHECK_SECONDS)[0]:
            if not os.read(reader, 65536):
                return
            last = clock()
        elif last is not None and _is_suspended(watched):
            last = clock()
        elif last is not None and clock() - last > seconds:
            events.emit(events.WORKER_FROZEN, logging.ERROR, pid=watched, seconds=seconds)
            with contextlib.suppress(ProcessLookupError):
                os.kill(watched, _DUMP_SIGNAL)
                time.sleep(_DUMP_SECONDS)
                os.kill(watched, signal.SIGKILL)
            return


def _is_suspended(process: int) -> bool:
    """Whether a process was stopped by a signal or a debugger, on systems that show it."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] in "Tt"
