"""Notes about missing workers: the queues that no process consumes, and what to start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from playhead.cli import output
from playhead.errors import Unavailable

if TYPE_CHECKING:
    from playhead.cli.deployment import Deployment
    from playhead.model import Execution


async def tell_if_none(deployment: Deployment) -> None:
    """Report on stderr if no worker runs."""
    try:
        workers = (await deployment.services.system.health("")).workers
    except Unavailable:
        return  # the command reports its own outcome in any case
    # A worker that has just started has no queues yet.
    if not any(worker.queues or worker.kind == "worker" for worker in workers):
        output.note(f"No worker runs{_what_to_start(deployment)}")


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
