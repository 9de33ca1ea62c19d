"""Queues, routes and dead letters over HTTP."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from playhead.model import DeadLetter, Page, RoutePause, RouteStatus
from playhead.ports.catalog.browse import EVERY_DEAD_LETTER, DeadLetterFilter
from playhead.remote.client import segment
from playhead.remote.derived import Remote, derived
from playhead.services.queues import QueueService
from playhead.services.take import MOST_AT_ONCE, HandOut


@dataclass(frozen=True, slots=True)
class _Removed:
    removed: int


class RemoteQueues(Remote):
    """Remote `QueueService`."""

    routes = derived(QueueService.routes, "routes")
    peek = derived(QueueService.peek, "queues/{queue}/messages")
    resume = derived(QueueService.resume, "routes/{config}/{route}/resume", verb="POST")
    dead_letter_groups = derived(
        QueueService.dead_letter_groups, "dead-letters/groups", execution="execution_id"
    )
    dead_letter = derived(QueueService.dead_letter, "dead-letters/{correlation_id}")

    async def pause(self, config: str, route: str, pause: RoutePause) -> RouteStatus:
        return await self._client.post(
            f"routes/{segment(config)}/{segment(route)}/pause",
            RouteStatus,
            lost="a repeated request has the same effect",
            json=asdict(pause),
        )

    async def dead_letters(
        self, where: DeadLetterFilter = EVERY_DEAD_LETTER, cursor: str | None = None, limit: int = 100
    ) -> Page[DeadLetter]:
        given = conditions(where) | {"cursor": cursor, "limit": limit}
        return await self._client.get("dead-letters", Page[DeadLetter], **given)


def conditions(where: DeadLetterFilter) -> dict[str, object]:
    """Return the parameters of the API for a selection of dead letters."""
    return {
        "execution_id": where.execution,
        "route": where.route,
        "error_code": where.code,
        "group": where.group,
    }


class RemoteTake(Remote):
    """Remote `TakeService`."""

    async def take(self, queue: str, limit: int) -> HandOut:
        return await self._client.post(
            f"queues/{segment(queue)}/take",
            HandOut,
            lost="no message was removed; the broker delivers the messages again after the visibility time",
            json={"limit": min(limit, MOST_AT_ONCE)},
        )

    async def remove(self, queue: str, receipt: str) -> int:
        answer = await self._client.post(
            f"queues/{segment(queue)}/remove",
            _Removed,
            lost="messages that were not removed are delivered again after the visibility time",
            json={"receipt": receipt},
        )
        return answer.removed
