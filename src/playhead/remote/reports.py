"""Reports of replays, and deliveries of their webhooks, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from uuid import UUID

from playhead.model import ReportFilter
from playhead.remote.derived import Remote, derived
from playhead.services.report import ALL_LINES, ReportService
from playhead.services.webhook import WebhookService


class RemoteReports(Remote):
    """Remote `ReportService`."""

    get = derived(ReportService.get, "replays/{batch}/report")
    write_again = derived(ReportService.write_again, "replays/{batch}/report/write", verb="POST")

    async def lines(
        self, batch: UUID, revision: int | None = None, where: ReportFilter = ALL_LINES
    ) -> AsyncIterator[bytes]:
        path = f"replays/{batch}/report/lines"
        _, chunks = await self._client.stream(path, revision=revision, **asdict(where))
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
