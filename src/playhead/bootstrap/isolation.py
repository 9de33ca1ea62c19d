"""Child processes for steps with `isolation: process`, as their parent sees them. `isolated` is the child."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from playhead.engine.isolation import Call, ChildEnded, ChildStep, Reply, StartChild, not_started

if TYPE_CHECKING:
    from playhead.settings import Settings

_START: Final = "from playhead.isolated import serve; serve({})"
_POLL_SECONDS: Final = 0.05
_END_SECONDS: Final = 2.0


def starter(settings: Settings) -> StartChild:
    """Return what starts a child for a step."""
    return lambda step: _Process(settings, step)


class _Process:
    """A child process, as its parent sees it.

    Raises:
        Unavailable: the child cannot be started, or has other code.
    """

    def __init__(self, settings: Settings, step: ChildStep) -> None:
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        try:
            # A new interpreter: a fork of a process with threads may deadlock.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        except OSError as exc:
            self._connection.close()
            raise not_started(f"no process for step {step.type!r}: {exc.strerror}") from exc
        finally:
            theirs.close()
        self._name = step.type
        try:
            self._connection.send((settings, tuple(sys.path), step))
            problem = self._connection.recv()
        except (EOFError, OSError) as exc:
            self.kill()
            raise not_started(f"the process of step {step.type!r} ended at its start") from exc
        if problem:
            self.kill()
            raise not_started(problem)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def call(self, call: Call, over: Callable[[], bool]) -> Reply | None:
        try:
            self._connection.send(call)
            while not self._connection.poll(_POLL_SECONDS):
                if over():
                    return None
            reply: Reply = self._connection.recv()
        except (EOFError, OSError) as exc:
            self.end()
            raise ChildEnded(self._how_it_ended()) from exc
        return reply

    def end(self) -> None:
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        self.kill()

    def kill(self) -> None:
        self._connection.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _how_it_ended(self) -> str:
        code = self._process.returncode
        if code >= 0:
            return f"the process of step {self._name!r} ended with exit code {code}"
        with contextlib.suppress(ValueError):
            return f"the process of step {self._name!r} was ended by {signal.Signals(-code).name}"
        return f"the process of step {self._name!r} was ended by signal {-code}"
