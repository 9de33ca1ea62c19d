"""`workers`: the live processes and their code; and notes about queues that no process consumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from playhead.cli import output
from playhead.cli.command import Cursor, Limit, command
from playhead.cli.session import Session
from playhead.errors import Unavailable

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment
    from playhead.model import CodeNote, Execution, Worker

_NOTES: Final[dict[CodeNote, str]] = {
    "changed": "its source has changed since it was loaded",
    "differs": "other workers of the same queue have other code",
    "other_here": "this machine has other code",
}

_PUBLISHERS: Final = ("serve", "worker", "replay")
"""Kinds of processes that publish the replays of other processes."""


@command("workers", example="playhead workers")
async def workers(s: Session, limit: Limit = 100, cursor: Cursor = None) -> None:
    """List processes with their queues and loaded code.

    Marks adapters whose source has changed since they were loaded, that differ between workers of the same
    queue, or of which this machine has other code. --json also lists the built-in adapters.
    """
    async with s.open() as rt:
        items, rest = await output.gather(rt.services.workers.list, cursor, limit)
    if s.json:
        output.emit_list(items, rest)
        return
    if not items and cursor is None:
        output.note("No process runs")
    for worker in items:
        _describe(worker)
    output.more(rest)


def _describe(worker: Worker) -> None:
    output.line(
        f"{worker.kind} {worker.pid} on {worker.host}, playhead {worker.version or '-'}, "
        f"heartbeat {worker.heartbeat_age_seconds:.1f} s ago"
    )
    output.line(f"  id      {worker.worker_id}")
    if worker.queues:
        output.line(f"  queues  {', '.join(worker.queues)}")
    for one in worker.adapters:
        if one.source == "playhead" and not one.notes:
            continue
        output.line(f"  {one.type} {one.version}  {output.code(one.code)}  {one.source}")
        for note in one.notes:
            output.line(f"    {note}: {_NOTES[note]}")


async def tell_if_none(deployment: Deployment) -> None:
    """Report on stderr if no worker runs."""
    try:
        workers = (await deployment.services.system.health("")).workers
    except Unavailable:
        return  # the command reports its own outcome in any case
    # A worker that has just started has no queues yet.
    if not any(worker.queues or worker.kind == "worker" for worker in workers):
        output.note(f"No worker runs{_what_to_start(deployment)}")


async def tell_if_no_publisher(deployment: Deployment) -> None:
    """Report on stderr if no process runs that publishes replays."""
    try:
        found, _ = await output.gather(deployment.services.workers.list, None, output.MAX_PAGE)
    except Unavailable:
        return
    if not any(worker.kind in _PUBLISHERS for worker in found):
        output.note(f"No process publishes it now{_what_to_start(deployment)}")


async def tell_if_missing(deployment: Deployment, queues: Sequence[str]) -> bool:
    """Report on stderr those of the queues that no worker and no other program consumes; False if none."""
    try:
        workers = (await deployment.services.system.health("")).workers
        consumed = {queue for worker in workers for queue in worker.queues}
        if not (missing := [queue for queue in queues if queue not in consumed]):
            return False
        routes, _ = await output.gather(deployment.services.queues.routes, None, output.MAX_PAGE)
    except Unavailable:
        return False
    external = {route.queue for route in routes if not route.adapters}
    missing = [queue for queue in missing if queue not in external]
    for queue in missing:
        output.note(f"No worker consumes {queue} now{_what_to_start(deployment)}")
    return bool(missing)


async def tell_if_stalled(deployment: Deployment, execution: Execution) -> None:
    """Report on stderr the queues of an execution with messages that no worker consumes."""
    counts = await deployment.services.executions.route_counts(execution.execution_id)
    await tell_if_missing(deployment, [route.queue for route in counts if route.counts.pending])


def _what_to_start(deployment: Deployment) -> str:
    if deployment.here:
        return "; start one: playhead worker --until-idle"
    return "; the messages wait until one is started next to the server: playhead worker"
