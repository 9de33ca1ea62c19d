"""Steps that call `os._exit`, which ends the process of their worker.

The process would end without a message, and with an exit code that has another meaning: 0 of `run` means that
all messages are done. The call of Python can be reported first. A library that ends the process in another
way, with `exit` of C for example, needs `isolation: process`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from playhead import events

REAL_EXIT: Final = os._exit
"""Ends this process as `os._exit` does, without a report."""
_CODE = 1


@contextmanager
def reported(report: Callable[[str], None]) -> Iterator[None]:
    """Report calls of `os._exit` in this process while the block runs, and exit with code 1 instead.

    Args:
        report: gets the file and line of the call, and the call.
    """
    process = os.getpid()

    def end(status: int) -> NoReturn:
        if os.getpid() != process:  # a process that a step has forked
            REAL_EXIT(status)
        try:
            code = sys._getframe(1)
            report(f"{code.f_code.co_filename}, line {code.f_lineno}: os._exit({status})")
            sys.stderr.flush()
        finally:
            REAL_EXIT(_CODE)

    os._exit = end
    try:
        yield
    finally:
        os._exit = REAL_EXIT


def log(call: str) -> None:
    """Log the end of a worker process."""
    detail = f"{call} ended this worker; a step with `isolation: process` ends only its own process"
    events.emit(events.STEP_EXITED, detail=detail)
