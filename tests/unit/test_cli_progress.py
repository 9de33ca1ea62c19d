"""How the command line follows an execution, and how it reads long lists."""

from __future__ import annotations

from dataclasses import replace

import pytest

from playhead.cli import output, progress
from playhead.errors import PlayheadError, catalog_unavailable
from playhead.ids import uuid7
from playhead.model import Counts, Execution, Page

RUNNING = Execution(
    execution_id=uuid7(),
    kind="run",
    status="running",
    config="docs",
    config_version=1,
    config_hash="sha256:0",
    parent_execution_id=None,
    replay_batch_id=None,
    tags=[],
    created_at="2026-01-02T03:04:05.678Z",
    ended_at=None,
    error=None,
    counts=Counts(pending=3, completed=1, total=4),
)
DONE = replace(RUNNING, status="completed", counts=Counts(completed=4, total=4))


class Told:
    """Executions as a service would answer, one look after the other; an error is raised."""

    def __init__(self, *answers: Execution | PlayheadError) -> None:
        self.answers = list(answers)

    async def get(self, execution: object) -> Execution:
        answer = self.answers.pop(0)
        if isinstance(answer, PlayheadError):
            raise answer
        return answer


class Seen:
    """A display that records its lines."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def storing(self, done: int, total: int) -> None: ...

    def deleting(self, done: int, total: int) -> None: ...

    def working(self, counts: Counts) -> None:
        self.done.append(counts.completed)


async def test_an_execution_is_followed_until_it_has_ended():
    seen = Seen()
    assert await progress.watch(Told(RUNNING, RUNNING, DONE), DONE.execution_id, seen) == DONE
    assert seen.done == [1, 1, 4]


async def test_an_unavailable_backend_is_waited_for_and_reported_once(capsys):
    away = catalog_unavailable("the catalog is locked")
    assert await progress.watch(Told(RUNNING, away, away, DONE), DONE.execution_id, Seen()) == DONE
    assert capsys.readouterr().err == "waiting: the catalog is locked\n"


async def test_a_permanent_error_is_raised():
    with pytest.raises(PlayheadError, match="gone"):
        await progress.watch(Told(RUNNING, PlayheadError("x", "gone")), DONE.execution_id, Seen())


async def test_an_execution_without_progress_is_reported_once_until_its_next_change():
    further = replace(RUNNING, counts=Counts(pending=2, completed=2, total=4))
    told = []

    async def stalled(execution: Execution) -> None:
        told.append(execution.counts.completed)

    looks = Told(RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, further, further, further, further, DONE)
    clock = iter([0.0, 1.0, 2.9, 3.0, 9.0, 9.0, 12.0, 12.1, 12.2])
    await progress.watch(looks, DONE.execution_id, Seen(), stalled, clock=lambda: next(clock, 20.0))
    assert told == [1, 2]


def test_without_a_terminal_a_line_is_written_every_few_seconds(capsys):
    now = 100.0
    lines = progress.Lines(clock=lambda: now)
    for now in (101.0, 104.9, 105.0, 106.0, 110.0):  # noqa: B007 - the clock reads it
        lines.working(RUNNING.counts)
    assert capsys.readouterr().err == "working: 1 done, 0 failed, 3 to go\n" * 2


def test_cancelled_messages_are_counted_when_there_are_any():
    cancelled = Counts(completed=1, cancelled=2, total=3)
    assert progress.described(cancelled) == "1 done, 0 failed, 0 to go, 2 cancelled"


@pytest.mark.parametrize(
    ("limit", "asked", "rest"),
    [(10, [10], "10"), (1000, [1000], "1000"), (1500, [1000, 500], "1500"), (5000, [1000, 1000, 1000], None)],
)
async def test_the_pages_of_a_long_list_are_joined(limit, asked, rest):
    whole = range(2500)
    sizes = []

    async def fetch(cursor: str | None, count: int) -> Page[int]:
        start = int(cursor or 0)
        sizes.append(count)
        piece = list(whole[start : start + count])
        end = start + len(piece)
        return Page(piece, str(end) if end < len(whole) else None)

    items, more = await output.gather(fetch, None, limit)
    assert items == list(whole[:limit])
    assert sizes == asked
    assert more == rest


def test_byte_counts_are_shown_in_round_units():
    assert [output.size(n) for n in (0, 1023, 1024, 1536, 5 << 20, 3 << 40)] == [
        *("0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 TiB")
    ]
