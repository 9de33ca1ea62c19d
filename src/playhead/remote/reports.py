"""Reports of replays, and deliveries of their webhooks, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from playhead.remote.derived import Remote, derived
from playhead.services.report import ReportService
from playhead.services.webhook import WebhookService


class RemoteReports(Remote):
    """Remote `ReportService`."""

    get = derived(ReportService.get, "replays/{batch}/report")
    write_again = derived(ReportService.write_again, "replays/{batch}/report/write", verb="POST")

    async def lines(self, batch: UUID, revision: int | None = None) -> AsyncIterator[bytes]:
        _, chunks = await self._client.stream(f"replays/{batch}/report/lines", revision=revision)
        return chunks


class RemoteWebhooks(Remote):
    """Remote `WebhookService`."""

    list = derived(WebhookService.list, "replays/{batch}/deliveries")
    send_again = derived(WebhookService.send_again, "replays/{batch}/deliveries/{delivery}/send", verb="POST")

    list_of_dataset = derived(WebhookService.list_of_dataset, "datasets/{name:dataset}/deliveries")
    send_again_of_dataset = derived(
        WebhookService.send_again_of_dataset,
        "datasets/{name:dataset}/deliveries/{delivery}/send",
        verb="POST",
    )
