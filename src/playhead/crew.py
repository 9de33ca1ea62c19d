"""Keeps several worker processes running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from playhead import events

_RESTART_SECONDS = 1.0
_CHECK_SECONDS = 0.1
_LONGEST_STOP_SECONDS = 3600.0
"""After SIGTERM, workers finish what runs, and time-outs end what hangs. A worker that is still there after
an hour is killed."""


class Member(Protocol):
    """A worker process, as its parent sees it.

    Attributes:
        has_finished: it ended by itself. False if a step ended it, for example with `os._exit`.
        has_dead: one of its messages became a dead letter.
    """

    @property
    def pid(self) -> int | None: ...

    @property
    def exitcode(self) -> int | None: ...

    @property
    def has_finished(self) -> bool: ...

    @property
    def has_dead(self) -> bool: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Crew:
    """Several worker processes. One that ends unexpectedly is started again.

    A frozen worker is ended by its own watchdog, so the crew only has to replace it.

    Args:
        start: starts one worker. Raises `OSError` if the system has no process or memory left.
        until_idle: workers that end by themselves have done their work.
        restart_seconds: how long it waits before a worker is started again.
        stop_seconds: after SIGTERM, until a worker is killed.
    """

    def __init__(
        self,
        start: Callable[[], Member],
        count: int,
        *,
        until_idle: bool,
        restart_seconds: float = _RESTART_SECONDS,
        stop_seconds: float = _LONGEST_STOP_SECONDS,
    ) -> None:
        self._start = start
        self._until_idle = until_idle
        self._restart_seconds = restart_seconds
        self._stop_seconds = stop_seconds
        self._members = [start() for _ in range(count)]

    async def tend(self, stop: asyncio.Event) -> int:
        """Keep the number of workers until `stop` is set, or until all have ended by themselves."""
        code = missing = 0
        while not stop.is_set() and (self._members or missing):
            for member in list(self._members):
                if member.exitcode is None:
                    continue
                self._members.remove(member)
                if self._until_idle and member.has_finished:
                    code = max(code, member.exitcode)
                    continue
                if self._until_idle:
                    code = max(code, member.has_dead)
                events.emit(events.WORKER_STOPPED, logging.WARNING, pid=member.pid, exit_code=member.exitcode)
                missing += 1
            if missing:
                await asyncio.sleep(self._restart_seconds)
                missing -= self._replace(0 if stop.is_set() else missing)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _CHECK_SECONDS)
        await self._stop()
        return code

    def _replace(self, count: int) -> int:
        """Start some workers; return how many could be started."""
        for started in range(count):
            try:
                self._members.append(self._start())
            except OSError as exc:
                events.emit(events.LOOP_FAILED, detail=f"cannot start a worker: {exc}")
                return started
        return count

    async def _stop(self) -> None:
        """Ask all workers to stop, and wait until they have. Kills those that take too long."""
        for member in self._members:
            member.terminate()
        until = time.monotonic() + self._stop_seconds
        while running := [member for member in self._members if member.exitcode is None]:
            if time.monotonic() > until:
                for member in running:
                    member.kill()
            await asyncio.sleep(_CHECK_SECONDS)
