"""How the command line follows an execution, and how it reads long lists."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from playhead import wording
from playhead.cli import output, progress
from playhead.errors import PlayheadError, catalog_unavailable
from playhead.model import (
    Counts,
    Dataset,
    DepthPace,
    Execution,
    Page,
    RatePace,
    Replay,
    ReplayWork,
    RouteCounts,
)
from playhead.services.watch import WatchService
from tests import lab
from tests.lab import EXECUTION

RUNNING = replace(EXECUTION, counts=Counts(pending=3, completed=1, total=4))
DONE = replace(RUNNING, status="completed", counts=Counts(completed=4, total=4))
REPLAY = replace(lab.REPLAY, objects_found=4, objects_published=1, work=ReplayWork(pending=4))
PUBLISHED = replace(REPLAY, state="publishing_complete", status="publishing_complete", objects_published=4)


async def _no_dataset(name: str) -> Dataset:
    raise AssertionError("no dataset is watched")


class Told:
    """Services whose executions and replays are these, one read after the other; an error is raised.

    At an event, the last answer is repeated until it is set.
    """

    def __init__(self, *answers: Execution | Replay | PlayheadError | asyncio.Event) -> None:
        self.answers = list(answers)
        self.last: Execution | Replay = DONE
        self.executions: Any = self
        self.watch = WatchService(self, _no_dataset, every=0.001)

    async def get(self, execution: UUID) -> Execution:
        found = await self._next()
        assert isinstance(found, Execution)
        return found

    async def replay(self, batch: UUID) -> Replay:
        found = await self._next()
        assert isinstance(found, Replay)
        return found

    async def routes_of(self, found: Execution) -> list[RouteCounts]:
        return []

    async def _next(self) -> Execution | Replay:
        if isinstance(event := self.answers[0], asyncio.Event):
            if not event.is_set():
                return self.last
            self.answers.pop(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, PlayheadError):
            raise answer
        assert not isinstance(answer, asyncio.Event)
        self.last = answer
        return answer


class Seen:
    """A display that records its lines."""

    def __init__(self) -> None:
        self.done: list[int] = []

    def storing(self, done: int, total: int) -> None: ...

    def deleting(self, done: int, total: int) -> None: ...

    def indexing(self, done: int) -> None: ...

    def exporting(self, done: int) -> None: ...

    def replaying(self, replay: Replay) -> None:
        self.done.append(replay.objects_published)

    def working(self, counts: Counts) -> None:
        self.done.append(counts.completed)


async def follow(told: Any, seen: Seen, stalled: Any = None) -> Execution:
    return await progress.watch(told, DONE.execution_id, seen, stalled, after=0.05)


async def publish(told: Any, seen: Seen, stalled: Any = None) -> None:
    await progress.watch_publishing(told, REPLAY.replay_batch_id, seen, stalled, after=0.05)


async def test_an_execution_is_followed_until_it_has_ended():
    seen = Seen()
    assert await follow(Told(RUNNING, RUNNING, DONE), seen) == DONE
    assert list(dict.fromkeys(seen.done)) == [1, 4]


async def test_an_unavailable_backend_is_waited_for_and_reported_once(capsys):
    away = catalog_unavailable("the catalog is locked")
    assert await follow(Told(RUNNING, away, away, DONE), Seen()) == DONE
    assert await follow(Told(away, away, DONE), Seen()) == DONE
    assert capsys.readouterr().err == "waiting: the catalog is locked\n" * 2


async def test_a_permanent_error_is_raised():
    with pytest.raises(PlayheadError, match="gone"):
        await follow(Told(RUNNING, PlayheadError("x", "gone")), Seen())


async def test_an_execution_without_progress_is_reported_once_until_its_next_change():
    further = replace(RUNNING, counts=Counts(pending=2, completed=2, total=4))
    events = {1: asyncio.Event(), 2: asyncio.Event()}
    told = []

    async def stalled(execution: Execution) -> None:
        told.append(execution.counts.completed)
        events[execution.counts.completed].set()

    await follow(
        Told(RUNNING, RUNNING, events[1], RUNNING, further, events[2], further, DONE), Seen(), stalled
    )
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


def test_what_was_processed_is_next_to_what_was_taken_over():
    counts = Counts(completed=9, total=9, processed=2, taken_over=7, declared_valid=3)
    assert progress.described(counts) == (
        "9 done (2 processed, 7 taken over, 3 of them declared valid), 0 failed, 0 to go"
    )


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


# -- replays ---------------------------------------------------------------------------------------


async def test_a_replay_is_followed_through_a_pause_until_its_publishing_has_ended():
    seen = Seen()
    paused = replace(REPLAY, state="paused", objects_published=2)
    await publish(Told(REPLAY, paused, paused, PUBLISHED), seen)
    assert list(dict.fromkeys(seen.done)) == [1, 2, 4]


async def test_a_watched_replay_waits_for_an_unavailable_backend_and_reports_it_once(capsys):
    away = catalog_unavailable("the catalog is locked")
    await publish(Told(REPLAY, away, away, PUBLISHED), Seen())
    assert capsys.readouterr().err == "waiting: the catalog is locked\n"


async def test_a_replay_without_progress_is_reported_once_until_its_next_change():
    events = {1: asyncio.Event(), 2: asyncio.Event()}
    told = []

    async def stalled(replay: Replay) -> None:
        told.append(replay.objects_published)
        events[replay.objects_published].set()

    slower = replace(REPLAY, rate=0.5)  # a falling rate is no progress
    further = replace(REPLAY, objects_published=2)
    await publish(Told(REPLAY, slower, events[1], slower, further, events[2], PUBLISHED), Seen(), stalled)
    assert told == [1, 2]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "publishing"),
        ({"waits_for": "rate"}, "publishing"),
        ({"waits_for": "process"}, "publishing, waits for a process"),
        ({"waits_for": "depth"}, "publishing, waits until its queue has room"),
        ({"waits_for": "broker"}, "publishing, waits for the broker"),
        (
            {"state": "queued", "waits_for": "queue", "queue_position": 2},
            "queued, place 2 in the line of docs.index",
        ),
        ({"state": "paused", "paused_by": "request"}, "paused"),
        (
            {"state": "paused", "pause_reason": "1 of 5 canary objects failed"},
            "paused: 1 of 5 canary objects failed",
        ),
        ({"state": "publishing_complete"}, "published"),
        ({"state": "partial_failure"}, "partly published"),
        ({"state": "cancelled"}, "cancelled"),
    ],
)
def test_the_state_of_a_replay_names_what_it_waits_for(changes: dict[str, Any], text: str):
    assert wording.state_of(replace(REPLAY, **changes)) == text


def test_without_a_terminal_the_lines_of_a_replay_have_all_numbers_and_a_pause_at_once(capsys):
    now = 0.0
    shown = progress.Lines(clock=lambda: now)
    shown.replaying(REPLAY)
    assert capsys.readouterr().err == ""
    now = 6.0
    shown.replaying(replace(REPLAY, rate=1.5, eta_seconds=3700, pace=RatePace(2), objects_uncertain=1))
    shown.replaying(replace(REPLAY, state="paused", pace=DepthPace(1000), objects_failed=2))
    shown.replaying(replace(REPLAY, state="paused"))
    assert capsys.readouterr().err.splitlines() == [
        "publishing: 1 of 4 objects, 1 uncertain, 1.5/s, 1:01:40 left, at most 2/s; "
        "messages: 0 done, 0 failed, 4 to go",
        "paused: 1 of 4 objects, 2 failed, at most 1,000 waiting in the queue; "
        "messages: 0 done, 0 failed, 4 to go",
    ]
