"""Queues, routes and dead letters over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from playhead.envelope import Message
from playhead.model import DeadLetter, DeadLetterDetail, DeadLetterGroup, Page, RouteStatus
from playhead.remote.client import Client, segment
from playhead.services.take import MOST_AT_ONCE, HandOut


@dataclass(frozen=True, slots=True)
class _Removed:
    removed: int


class RemoteQueues:
    """Remote `QueueService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def routes(self, cursor: str | None, limit: int) -> Page[RouteStatus]:
        return await self._client.get("routes", Page[RouteStatus], cursor=cursor, limit=limit)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        return (await self._client.get(f"queues/{segment(queue)}/messages", Page[Message], limit=limit)).items

    async def dead_letters(
        self,
        *,
        execution: UUID | None = None,
        route: str | None = None,
        code: str | None = None,
        group: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DeadLetter]:
        return await self._client.get(
            "dead-letters",
            Page[DeadLetter],
            execution_id=execution,
            route=route,
            error_code=code,
            group=group,
            cursor=cursor,
            limit=limit,
        )

    async def dead_letter_groups(
        self,
        *,
        execution: UUID | None = None,
        config: str | None = None,
        route: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DeadLetterGroup]:
        return await self._client.get(
            "dead-letters/groups",
            Page[DeadLetterGroup],
            execution_id=execution,
            config=config,
            route=route,
            cursor=cursor,
            limit=limit,
        )

    async def dead_letter(self, correlation_id: UUID) -> DeadLetterDetail:
        return await self._client.get(f"dead-letters/{correlation_id}", DeadLetterDetail)


class RemoteTake:
    """Remote `TakeService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

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
