"""Progress of an execution on stderr: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from playhead.cli import output
from playhead.errors import PlayheadError, Unavailable
from playhead.wording import pace_text, rate_of, state_of, work_of

if TYPE_CHECKING:
    from uuid import UUID

    from rich.progress import Progress

    from playhead.model import Counts, Execution, Replay
    from playhead.remote import RemoteServices
    from playhead.services import Services
    from playhead.services.watch import States

T = TypeVar("T")

LINE_SECONDS: Final = 5.0
STALL_SECONDS: Final = 3.0
"""Without a change for so long, the workers may be missing."""
_MOST_WATCHED: Final = 100


class Display(Protocol):
    def storing(self, done: int, total: int) -> None:
        """Show how many inputs of a run are stored."""
        ...

    def indexing(self, done: int) -> None:
        """Show how many earlier results are indexed."""
        ...

    def exporting(self, done: int) -> None:
        """Show how many objects are copied to files."""
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

    def indexing(self, done: int) -> None:
        self._bar.update(self._task, description="Indexing earlier results", completed=done)

    def exporting(self, done: int) -> None:
        self._bar.update(self._task, description="Copying objects", completed=done)

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

    def indexing(self, done: int) -> None:
        self._say(f"indexing earlier results: {done:,}")

    def exporting(self, done: int) -> None:
        self._say(f"copied objects: {done:,}")

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
        declared = f", {counts.declared_valid:,} of them declared valid" if counts.declared_valid else ""
        parts[0] += f" ({counts.processed:,} processed, {counts.taken_over:,} taken over{declared})"
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


async def watch_publishing(
    services: Services | RemoteServices,
    batch: UUID,
    shown: Display,
    stalled: Callable[[Replay], Awaitable[None]] | None = None,
    after: float = STALL_SECONDS,
) -> None:
    """Show a replay until its publishing has ended, also through pauses. For the arguments, see `watch`."""
    await _follow(services.watch.replay(batch), shown.replaying, stalled, after)


async def watch(
    services: Services | RemoteServices,
    execution: UUID,
    shown: Display,
    stalled: Callable[[Execution], Awaitable[None]] | None = None,
    after: float = STALL_SECONDS,
) -> Execution:
    """Show an execution until it has ended, also through outages of the backends, and return it.

    Args:
        services: watches the execution.
        execution: its id.
        shown: shows its progress.
        stalled: called when nothing has changed for some time, once until the next change.
        after: seconds until it is called.
    """
    await _follow(services.watch.execution(execution), lambda now: shown.working(now.counts), stalled, after)
    return await services.executions.get(execution)


async def _follow(
    watch: Awaitable[States[T]],
    show: Callable[[T], None],
    stalled: Callable[[T], Awaitable[None]] | None = None,
    after: float = STALL_SECONDS,
) -> None:
    """Show each state to the last one, and again while it stays the same. For the arguments, see `watch`."""
    import asyncio

    state: T

    async def idle() -> None:
        for n in count():
            await asyncio.sleep(after)
            show(state)
            if stalled and not n:
                with suppress(PlayheadError):  # it is only advice
                    await stalled(state)

    seen, idling = "", None
    try:
        async for event in (await watch).tell(None):
            if isinstance(event, Unavailable):
                output.note(f"waiting: {event.detail}")
                continue
            state = event.state
            show(state)
            if event.id != seen:  # the rate is not part of it
                seen = event.id
                if idling:
                    idling.cancel()
                idling = asyncio.create_task(idle())
    finally:
        if idling:
            idling.cancel()


async def watch_all(services: Services) -> None:
    """Show the messages of all running executions until this is cancelled."""
    from playhead.ports.catalog.browse import ExecutionFilter

    known: dict[UUID, Execution] = {}

    async def read() -> tuple[Counts, bool]:
        running = await services.executions.list(ExecutionFilter(status="running"), None, _MOST_WATCHED)
        # Those that have ended since the last look, too.
        for execution in [one for one in known.values() if one.status == "running"]:
            known[execution.execution_id] = await services.executions.get(execution.execution_id)
        known.update((one.execution_id, one) for one in running.items)
        return _total([one.counts for one in known.values()]), False

    with display() as shown:
        await _follow(services.watch.view("running executions", read), shown.working)


def _total(parts: Sequence[Counts]) -> Counts:
    from playhead.model import Counts

    return Counts(*(sum(getattr(part, field.name) for part in parts) for field in fields(Counts)))
