"""A crew keeps its number of workers, and ends when it is stopped, whatever its workers do."""

from __future__ import annotations

import asyncio
from multiprocessing import Pipe

from playhead.crew import Crew
from playhead.workers import Notes


class FakeMember:
    """A worker process, as a crew sees it.

    Args:
        exitcode: of a process that has ended.
        ends: it ends when it is asked to.
        has_finished: it ended by itself.
        has_dead: one of its messages became a dead letter.
    """

    pid = 1

    def __init__(
        self,
        exitcode: int | None = None,
        *,
        ends: bool = True,
        has_finished: bool = False,
        has_dead: bool = False,
    ) -> None:
        self.exitcode = exitcode
        self.has_dead = has_dead
        self.has_finished = has_finished
        self._ends = ends

    def terminate(self) -> None:
        if self._ends:
            self.exitcode = 0

    def kill(self) -> None:
        self.exitcode = -9


async def test_a_worker_that_cannot_be_started_is_started_later():
    stop = asyncio.Event()
    starts: list[FakeMember | OSError] = [
        *(FakeMember(exitcode=-9), FakeMember(exitcode=-9)),
        *(OSError("no process left"), FakeMember(), OSError("no process left"), FakeMember()),
    ]
    started: list[FakeMember] = []

    def start() -> FakeMember:
        member = starts.pop(0)
        if isinstance(member, OSError):
            raise member
        started.append(member)
        if not starts:
            stop.set()
        return member

    crew = Crew(start, 2, until_idle=False, restart_seconds=0.01)

    async with asyncio.timeout(30):
        assert await crew.tend(stop) == 0

    assert len(started) == 4
    assert all(member.exitcode is not None for member in started)


async def test_a_worker_that_does_not_stop_is_killed():
    """`serve` waited without limit for a worker whose interpreter was blocked."""
    stop = asyncio.Event()
    stop.set()
    frozen = FakeMember(ends=False)

    async with asyncio.timeout(30):
        assert await Crew(lambda: frozen, 1, until_idle=False, stop_seconds=0.01).tend(stop) == 0

    assert frozen.exitcode == -9


async def test_a_worker_that_a_step_ends_is_replaced_until_the_workers_are_idle():
    members = [FakeMember(exitcode=0), FakeMember(exitcode=3), *_finished(1, 0)]
    crew = Crew(lambda: members.pop(0), 2, until_idle=True, restart_seconds=0.01)

    async with asyncio.timeout(30):
        assert await crew.tend(asyncio.Event()) == 1

    assert not members


def _finished(*codes: int) -> list[FakeMember]:
    return [FakeMember(exitcode=code, has_finished=True) for code in codes]


async def test_dead_letters_of_a_worker_that_a_step_ends_count():
    """The workers exited with code 0, because the one that replaced it had none."""
    members = [FakeMember(exitcode=-11, has_dead=True), *_finished(0)]

    async with asyncio.timeout(30):
        crew = Crew(lambda: members.pop(0), 1, until_idle=True, restart_seconds=0.01)
        assert await crew.tend(asyncio.Event()) == 1


def test_a_worker_goes_on_when_its_parent_was_killed():
    of_parent, of_worker = Pipe(duplex=False)
    notes = Notes(of_worker)
    notes.send(b"dead")
    notes.send(b"dead")
    assert of_parent.recv_bytes() == b"dead"
    assert not of_parent.poll()

    of_parent.close()
    notes.send(b"finished")
