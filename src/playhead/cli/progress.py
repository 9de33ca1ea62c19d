"""Progress of an execution on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from playhead.cli import output
from playhead.errors import Unavailable
from playhead.wording import pace_text, rate_of, state_of, work_of

if TYPE_CHECKING:
    from uuid import UUID

    from rich.progress import Progress

    from playhead.model import Counts, Execution, Page, Replay
    from playhead.ports.catalog.browse import ExecutionFilter

T = TypeVar("T")

LINE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0
STALL_SECONDS: Final = 3.0
"""Without a change for so long, the workers may be missing."""
_MOST_WATCHED: Final = 100


_SHARE: Final = 5
"""Reads take at most one in `_SHARE` seconds: they count messages."""


class Looking(Protocol):
    """What `watch` needs of a service."""

    async def get(self, execution: UUID) -> Execution: ...


class LookingAtReplays(Looking, Protocol):
    """What `watch_replay` needs of a service."""

    async def replay(self, batch: UUID) -> Replay: ...


class Display(Protocol):
    def storing(self, done: int, total: int) -> None:
        """Show how many inputs of a run are stored."""
        ...

    def working(self, counts: Counts) -> None:
        """Show how many messages are done."""
        ...

    def replaying(self, replay: Replay) -> None:
        """Show how many objects of a replay are published, and how many of its messages are done."""
        ...

    def deleting(self, done: int, total: int) -> None:
        """Show how many objects or records are deleted."""
        ...


@contextmanager
def display() -> Iterator[Display]:
    """Show progress while the block runs; a bar disappears when it ends."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("{task.fields[note]}"), TimeElapsedColumn()),
    )
    from playhead.cli import logs

    with Progress(*columns, console=Console(stderr=True), transient=True) as bar, logs.above_a_bar():
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("Starting", total=None, note="")
        self._work = bar.add_task("Working", total=None, note="", visible=False)

    def storing(self, done: int, total: int) -> None:
        self._bar.update(self._task, description="Storing inputs", completed=done, total=total)

    def deleting(self, done: int, total: int) -> None:
        self._bar.update(self._task, description="Deleting", completed=done, total=total)

    def replaying(self, replay: Replay) -> None:
        state = state_of(replay)
        self._bar.update(
            self._task,
            description=state[0].upper() + state[1:],
            completed=replay.objects_published + replay.objects_failed,
            total=replay.objects_found or None,
            note=", ".join(_published(replay)[1:]),
        )
        if work := replay.work:
            done = work.completed + work.failed + work.cancelled
            failed = f"{work.failed:,} failed" if work.failed else ""
            self._bar.update(
                self._work, completed=done, total=done + work.pending or None, note=failed, visible=True
            )

    def working(self, counts: Counts) -> None:
        self._bar.update(self._work, visible=False)
        failed = f"{counts.failed:,} failed" if counts.failed else ""
        self._bar.update(
            self._task,
            description="Working",
            completed=counts.total - counts.pending,
            total=counts.total or None,
            note=failed,
        )


class Lines:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + LINE_SECONDS
        self._paused = False

    def storing(self, done: int, total: int) -> None:
        self._say(f"storing inputs: {done:,} of {total:,}")

    def deleting(self, done: int, total: int) -> None:
        self._say(f"deleted: {done:,} of {total:,}")

    def replaying(self, replay: Replay) -> None:
        was_paused, self._paused = self._paused, replay.state == "paused"
        if was_paused != self._paused:
            self._next = self._clock()  # a pause, or its end, is reported at once
        numbers = ", ".join(_published(replay))
        work = work_of(replay)
        self._say(f"{state_of(replay)}: {numbers}{f'; messages: {work}' if work else ''}")

    def working(self, counts: Counts) -> None:
        self._say(f"working: {described(counts)}")

    def _say(self, text: str) -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + LINE_SECONDS
            output.note(text)


def described(counts: Counts, *, takes_over: bool = False) -> str:
    """Return counts as text. `takes_over`: the execution compares itself with an earlier run."""
    parts = [f"{counts.completed:,} done", f"{counts.failed:,} failed", f"{counts.pending:,} to go"]
    if counts.taken_over or takes_over:
        parts[0] += f" ({counts.taken_over:,} taken over)"
    if counts.cancelled:
        parts.append(f"{counts.cancelled:,} cancelled")
    return ", ".join(parts)


def _published(replay: Replay) -> list[str]:
    """Return the numbers of the publishing, the number of published objects first."""
    parts = [f"{replay.objects_published:,} of {replay.objects_found:,} objects"]
    if replay.objects_failed:
        parts.append(f"{replay.objects_failed:,} failed")
    if replay.objects_uncertain:
        parts.append(f"{replay.objects_uncertain:,} uncertain")
    return [*parts, *filter(None, (rate_of(replay), pace_text(replay)))]


async def watch_replay(
    executions: LookingAtReplays,
    batch: UUID,
    shown: Display,
    stalled: Callable[[Replay], Awaitable[None]] | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Replay, Execution]:
    """Show a replay until its messages have ended, and return it with its execution.

    It continues through pauses. For the parameters, see `watch`.
    """

    def show(now: Replay) -> bool:
        shown.replaying(now)
        return now.status is not None and not (now.work and now.work.pending)

    def without_rate(now: Replay) -> Replay:
        return replace(now, rate=None, eta_seconds=None)

    found = await _follow(lambda: executions.replay(batch), show, without_rate, stalled, clock)
    # Its last message has ended; so its execution ends at once.
    return found, await _follow(
        lambda: executions.get(found.execution_id), lambda made: made.status != "running"
    )


async def show_publishing(executions: LookingAtReplays, batch: UUID, shown: Display) -> None:
    """Show a replay until this is cancelled."""
    import asyncio

    while True:
        began = time.monotonic()
        with suppress(Unavailable):
            shown.replaying(await executions.replay(batch))
        await asyncio.sleep(max(LOOK_SECONDS / 2, (_SHARE - 1) * (time.monotonic() - began)))


async def watch(
    executions: Looking,
    execution: UUID,
    shown: Display,
    stalled: Callable[[Execution], Awaitable[None]] | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Execution:
    """Show an execution until it has ended, and return it. Waits for an unavailable backend.

    Args:
        executions: reads the execution.
        execution: its id.
        shown: shows its progress.
        stalled: called when no message has ended for some seconds, once until the next change.
        clock: monotonic seconds.
    """

    def show(now: Execution) -> bool:
        shown.working(now.counts)
        return now.status != "running"

    return await _follow(lambda: executions.get(execution), show, lambda now: now.counts, stalled, clock)


async def _follow(
    look: Callable[[], Awaitable[T]],
    show: Callable[[T], bool],
    progress: Callable[[T], object] = lambda now: now,
    stalled: Callable[[T], Awaitable[None]] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Look again and again until `show` returns true. Waits for an unavailable backend.

    `progress` returns what changes if there is progress. For the other parameters, see `watch`.
    """
    import asyncio

    delay = 0.05
    unavailable = ""
    seen: object = None
    due: float | None = None
    while True:
        began = time.monotonic()
        try:
            now = await look()
        except Unavailable as exc:
            if exc.detail != unavailable:
                output.note(f"waiting: {exc.detail}")
            unavailable = exc.detail
        else:
            unavailable = ""
            if show(now):
                return now
            if progress(now) != seen:
                seen, due = progress(now), clock() + STALL_SECONDS
            elif stalled and due is not None and clock() >= due:
                due = None
                await stalled(now)
        # The first looks follow quickly, so that a short execution is reported at once.
        await asyncio.sleep(max(delay, (_SHARE - 1) * (time.monotonic() - began)))
        delay = min(delay * 1.5, LOOK_SECONDS)


class Listing(Protocol):
    """What `watch_all` needs of a service."""

    async def get(self, execution: UUID) -> Execution: ...

    async def list(self, where: ExecutionFilter, cursor: str | None, limit: int) -> Page[Execution]: ...


async def watch_all(executions: Listing) -> None:
    """Show the messages of all running executions until this is cancelled."""
    import asyncio

    from playhead.ports.catalog.browse import ExecutionFilter

    where = ExecutionFilter(status="running")
    known: dict[UUID, Execution] = {}
    with display() as shown:
        while True:
            with suppress(Unavailable):
                running = (await executions.list(where, None, _MOST_WATCHED)).items
                # Those that have ended since the last look, too.
                for execution in [one for one in known.values() if one.status == "running"]:
                    known[execution.execution_id] = await executions.get(execution.execution_id)
                known |= {one.execution_id: one for one in running}
                shown.working(_total([one.counts for one in known.values()]))
            await asyncio.sleep(LOOK_SECONDS / 2)


def _total(parts: Sequence[Counts]) -> Counts:
    from playhead.model import Counts

    return Counts(*(sum(getattr(part, field.name) for part in parts) for field in fields(Counts)))
