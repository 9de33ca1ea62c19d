"""A crew keeps its number also where a worker can't be started for a while."""

from __future__ import annotations

import asyncio

import pytest

from playhead import workers
from playhead.settings import Settings
from playhead.workers import Crew


class Member:
    """A worker process, as a crew sees it."""

    pid = 1

    def __init__(self, exitcode: int | None = None) -> None:
        self.exitcode = exitcode

    def terminate(self) -> None:
        self.exitcode = 0

    def join(self) -> None:
        assert self.exitcode is not None


async def test_a_worker_that_cant_be_started_for_a_while_is_started_later(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "_RESTART_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(workers, "_LOOK_SECONDS", 0.05)
    stop = asyncio.Event()
    starts: list[Member | OSError] = [
        *(Member(exitcode=-9), Member(exitcode=-9)),
        *(OSError("no process left"), Member(), OSError("no process left"), Member()),
    ]
    started: list[Member] = []

    def start(_: Crew) -> Member:
        made = starts.pop(0)
        if isinstance(made, OSError):
            raise made
        started.append(made)
        if not starts:
            stop.set()
        return made

    monkeypatch.setattr(Crew, "_start", start)
    crew = Crew(Settings(), (), 2, until_idle=False)

    async with asyncio.timeout(30):
        assert await crew.tend(stop) == 0

    assert len(started) == 4
    assert all(member.exitcode is not None for member in started)
