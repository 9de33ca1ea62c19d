"""Check whether executions have ended, and log those that have."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from playhead import events
from playhead.errors import Unavailable
from playhead.model import Execution


class EndingCatalog(Protocol):
    async def end_executions(self, executions: Sequence[UUID] | None = None) -> list[UUID]: ...

    async def executions_named(self, executions: Sequence[UUID]) -> list[Execution]: ...


async def end_executions(catalog: EndingCatalog, executions: Sequence[UUID] | None = None) -> None:
    """End the executions that have no open row and no open root, and log each with its numbers.

    Args:
        executions: those to check; None: all running ones.

    Raises `Unavailable`.
    """
    await log_ended(catalog, await catalog.end_executions(executions))


async def log_ended(catalog: EndingCatalog, executions: Sequence[UUID]) -> None:
    """Log that executions have ended. While the catalog is unavailable, the lines have only the ids."""
    if not executions or not events.LOG.isEnabledFor(logging.INFO):
        return
    found: dict[UUID, Execution] = {}
    with contextlib.suppress(Unavailable):
        found = {one.execution_id: one for one in await catalog.executions_named(executions)}
    for execution in executions:
        if ended := found.get(execution):
            log_end(ended)
        else:
            events.emit(events.EXECUTION_ENDED, execution_id=str(execution))


def log_end(ended: Execution) -> None:
    """Log that an execution has ended, with its numbers."""
    events.emit(
        events.EXECUTION_ENDED,
        execution_id=str(ended.execution_id),
        status=ended.status,
        config=ended.config,
        completed=ended.counts.completed,
        failed=ended.counts.failed,
        cancelled=ended.counts.cancelled,
    )
