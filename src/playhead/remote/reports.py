"""Reports of replays, and deliveries of their webhooks, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from playhead.model import Page, Report, WebhookDelivery
from playhead.remote.client import HARMLESS, Client


class RemoteReports:
    """Remote `ReportService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, batch: UUID, revision: int | None = None) -> Report:
        return await self._client.get(f"replays/{batch}/report", Report, revision=revision)

    async def write_again(self, batch: UUID) -> Report:
        return await self._client.post(f"replays/{batch}/report/write", Report, lost=HARMLESS)

    async def lines(self, batch: UUID, revision: int | None = None) -> AsyncIterator[bytes]:
        _, chunks = await self._client.stream(f"replays/{batch}/report/lines", revision=revision)
        return chunks


class RemoteWebhooks:
    """Remote `WebhookService`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def list(self, batch: UUID, cursor: str | None, limit: int) -> Page[WebhookDelivery]:
        return await self._client.get(
            f"replays/{batch}/deliveries", Page[WebhookDelivery], cursor=cursor, limit=limit
        )
