"""Child processes for steps with `isolation: process`, as their parent sees them. `isolated` is the child."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from playhead.steps.isolation import Call, ChildEnded, ChildStep, Reply, StartChild, not_loaded, not_started

if TYPE_CHECKING:
    from playhead.settings import Settings

_START: Final = "from playhead.isolated import serve; serve({})"
_POLL_SECONDS: Final = 0.05
_START_SECONDS: Final = 120.0
_END_SECONDS: Final = 2.0


def starter(settings: Settings) -> StartChild:
    """Return what starts a child for a step."""
    return lambda step: _Process(settings, step)


class _Process:
    """A child process, as its parent sees it.

    Raises:
        Unavailable: the child cannot be started.
        UnknownAdapter: the child cannot load the step, or has other code.
    """

    def __init__(self, settings: Settings, step: ChildStep) -> None:
        self._name = step.type
        self._calls = 0
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                # A new interpreter: a fork of a process with threads may deadlock. A separate group: `kill`
                # also ends the programs that the step has started.
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START.format(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    process_group=0,
                )
                self._connection = Connection(ours.detach())
        except OSError as exc:  # too many processes or open files
            raise not_started(f"no process for step {step.type!r}: {exc.strerror}") from exc
        try:
            self._connection.send((settings, tuple(sys.path), step))
            if not self._connection.poll(_START_SECONDS):
                raise EOFError
            problem = self._connection.recv()
        except (EOFError, OSError) as exc:
            self.kill()
            raise not_started(
                f"the process of step {step.type!r} ended at its start, or was not ready within "
                f"{_START_SECONDS:g} s"
            ) from exc
        if problem:
            self.kill()
            raise not_loaded(step.type, problem)

    @property
    def is_alive(self) -> bool:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            return self._process.poll() is None
        # Not `poll`: as long as nothing has read the exit code, no other group can have the same number.
        if self._process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def call(self, call: Call, over: Callable[[], bool]) -> Reply | None:
        self._calls += 1
        try:
            self._connection.send((self._calls, call))
            while not self._connection.poll(_POLL_SECONDS):
                if over():
                    return None
                # A process that the child has forked may hold the connection open.
                if not self.is_alive and not self._connection.poll():
                    raise EOFError
            number, reply = self._connection.recv()
        except (EOFError, OSError) as exc:
            self.end()
            raise ChildEnded(self._how_it_ended()) from exc
        if number != self._calls:  # a message must never get the outputs of another one
            self.kill()
            raise ChildEnded(f"the process of step {self._name!r} replied to another call")
        found: Reply = reply
        return found

    def begin_end(self) -> None:
        self._connection.close()

    def end(self) -> None:
        self.begin_end()
        until = time.monotonic() + _END_SECONDS
        while self.is_alive and time.monotonic() < until:
            time.sleep(_POLL_SECONDS / 2)
        self.kill()

    def kill(self) -> None:
        self._connection.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # only the ended process is left
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code >= 0:
            return f"the process of step {self._name!r} ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"the process of step {self._name!r} was ended by {signal.Signals(-code).name}"
        return f"the process of step {self._name!r} was ended by signal {-code}"
