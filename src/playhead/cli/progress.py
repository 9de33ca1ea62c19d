"""Progress of an execution on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from playhead.cli import output
from playhead.errors import Unavailable

if TYPE_CHECKING:
    from uuid import UUID

    from rich.progress import Progress

    from playhead.model import Execution

LINE_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0


class Looking(Protocol):
    """What `watch` needs of a service."""

    async def get(self, execution: UUID) -> Execution: ...


class Display(Protocol):
    def storing(self, done: int, total: int) -> None:
        """Show how many inputs of a run are stored."""
        ...

    def working(self, execution: Execution) -> None:
        """Show how many messages of the execution are done."""
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

    def working(self, execution: Execution) -> None:
        c = execution.counts
        failed = f"{c.failed:,} failed" if c.failed else ""
        self._bar.update(
            self._task,
            description="Working",
            completed=c.total - c.pending,
            total=c.total or None,
            note=failed,
        )


class Lines:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + LINE_SECONDS

    def storing(self, done: int, total: int) -> None:
        self._say(f"storing inputs: {done:,} of {total:,}")

    def working(self, execution: Execution) -> None:
        self._say(f"working: {counts(execution)}")

    def _say(self, text: str) -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + LINE_SECONDS
            output.note(text)


def counts(execution: Execution) -> str:
    """Return the counts of an execution as text."""
    c = execution.counts
    parts = [f"{c.completed:,} done", f"{c.failed:,} failed", f"{c.pending:,} to go"]
    if c.cancelled:
        parts.append(f"{c.cancelled:,} cancelled")
    return ", ".join(parts)


async def watch(executions: Looking, execution: UUID, shown: Display) -> Execution:
    """Show an execution until it has ended, and return it. Waits for an unavailable backend."""
    import asyncio

    pause = 0.05
    away = ""
    while True:
        try:
            now = await executions.get(execution)
        except Unavailable as exc:
            if exc.detail != away:
                output.note(f"waiting: {exc.detail}")
            away = exc.detail
        else:
            away = ""
            shown.working(now)
            if now.status != "running":
                return now
        await asyncio.sleep(pause)
        # The first checks follow quickly, so that a short execution is reported at once.
        pause = min(pause * 1.5, LOOK_SECONDS)
