"""Progress of an execution on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Final, Protocol

from playhead.cli import output
from playhead.errors import Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from rich.progress import Progress

    from playhead.model import Counts, Execution, Page
    from playhead.ports.catalog.browse import ExecutionFilter

LINE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0
STALL_SECONDS: Final = 3.0
"""Without a change for so long, the workers may be missing."""
_MOST_WATCHED: Final = 100


class Looking(Protocol):
    """What `watch` needs of a service."""

    async def get(self, execution: UUID) -> Execution: ...


class Display(Protocol):
    def storing(self, done: int, total: int) -> None:
        """Show how many inputs of a run are stored."""
        ...

    def working(self, counts: Counts) -> None:
        """Show how many messages are done."""
        ...

    def deleting(self, done: int, total: int) -> None:
        """Show how many objects are deleted."""
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

    def storing(self, done: int, total: int) -> None:
        self._bar.update(self._task, description="Storing inputs", completed=done, total=total)

    def deleting(self, done: int, total: int) -> None:
        self._bar.update(self._task, description="Deleting objects", completed=done, total=total)

    def working(self, counts: Counts) -> None:
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

    def storing(self, done: int, total: int) -> None:
        self._say(f"storing inputs: {done:,} of {total:,}")

    def deleting(self, done: int, total: int) -> None:
        self._say(f"deleting objects: {done:,} of {total:,}")

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
    import asyncio

    pause = 0.05
    away = ""
    seen: Counts | None = None
    due: float | None = None
    while True:
        try:
            now = await executions.get(execution)
            if now.counts != seen:
                seen, due = now.counts, clock() + STALL_SECONDS
            elif stalled and due is not None and clock() >= due:
                due = None
                await stalled(now)
        except Unavailable as exc:
            if exc.detail != away:
                output.note(f"waiting: {exc.detail}")
            away = exc.detail
        else:
            away = ""
            shown.working(now.counts)
            if now.status != "running":
                return now
        await asyncio.sleep(pause)
        # The first checks follow quickly, so that a short execution is reported at once.
        pause = min(pause * 1.5, LOOK_SECONDS)


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
