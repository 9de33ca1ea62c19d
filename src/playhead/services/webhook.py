"""Send the events of replays and datasets to their webhooks.

The catalog has inserted a delivery in the transaction of its event. A process claims it, sends it, and
records the result. If it is killed (`kill -9`) after it has sent a delivery and before it has recorded that,
the claim expires, and the delivery is sent again, under the same id. So a receiver gets each event at least
once, and ignores an id that it knows.
"""

from __future__ import annotations

from typing import Any, Final, Protocol
from uuid import UUID

from playhead import events, faults
from playhead.environment import Environment
from playhead.errors import NotFound, Unavailable
from playhead.model import Dataset, Page, Replay, WebhookDelivery
from playhead.ports.catalog.reports import ClaimedDelivery, Reports
from playhead.ports.webhook import NotDelivered, Webhooks
from playhead.reading.datasets import find_dataset
from playhead.reading.lookup import find_replay
from playhead.reading.paging import decode_cursor, list_of, page_before

_MINUTE: Final = 60.0
_HOUR: Final = 60 * _MINUTE
DELAYS: Final = (
    *(5.0, 30.0, 2 * _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 4 * _HOUR, 6 * _HOUR, 10 * _HOUR),
)
"""Seconds after each failed attempt until the next one: 12 attempts in 24 hours."""
MOST_ATTEMPTS: Final = len(DELAYS) + 1
_MOST_AT_ONCE: Final = 16
_GONE: Final = 410


class WebhookCatalog(Reports, Protocol):
    """The part of the catalog that `WebhookService` needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...

    async def datasets(self, name: str | None = None, *, config: str | None = None) -> list[Dataset]: ...

    async def dataset_number(self, config: str, name: str) -> int: ...


class WebhookService:
    """Sends the deliveries that are due, and reads them.

    Args:
        webhooks: None: this process sends no deliveries.
        lease: seconds after which another process sends a delivery whose process has died. If an attempt
            takes longer, the receiver gets the delivery twice.
    """

    def __init__(
        self, catalog: WebhookCatalog, webhooks: Webhooks | None, env: Environment, *, lease: float
    ) -> None:
        self._catalog = catalog
        self._webhooks = webhooks
        self._env = env
        self._lease = lease

    async def list(self, batch: UUID, cursor: str | None, limit: int) -> Page[WebhookDelivery]:
        """Return the deliveries of a replay, newest first.

        Raises:
            NotFound: `replay_not_found`.
        """
        of = list_of("deliveries", batch)
        before = decode_cursor(cursor, int, of)
        await find_replay(self._catalog, batch)
        return page_before(await self._catalog.deliveries(batch, before=before, limit=limit), of)

    async def send_again(self, batch: UUID, delivery: UUID) -> WebhookDelivery:
        """Make a delivery due now, whatever its state; it is sent under the same id.

        Raises:
            NotFound: `replay_not_found`, `delivery_not_found`.
        """
        await find_replay(self._catalog, batch)
        found = await self._catalog.send_again(batch, delivery)
        if found is None:
            raise NotFound("delivery_not_found", f"replay {batch} has no delivery {delivery}")
        return found

    async def list_of_dataset(self, name: str, cursor: str | None, limit: int) -> Page[WebhookDelivery]:
        """Return the deliveries of a dataset, newest first. Old ones that were sent are not kept.

        Raises:
            NotFound: `dataset_not_found`.
            BadRequest: `dataset_ambiguous`, `invalid_cursor`.
        """
        number = await self._number(name)
        of = list_of("deliveries", number)
        before = decode_cursor(cursor, int, of)
        return page_before(await self._catalog.deliveries(number, before=before, limit=limit), of)

    async def send_again_of_dataset(self, name: str, delivery: UUID) -> WebhookDelivery:
        """As `send_again`, for a dataset.

        Raises:
            NotFound: `dataset_not_found`, `delivery_not_found`.
            BadRequest: `dataset_ambiguous`.
        """
        found = await self._catalog.send_again(await self._number(name), delivery)
        if found is None:
            raise NotFound("delivery_not_found", f"dataset {name} has no delivery {delivery}")
        return found

    async def _number(self, name: str) -> int:
        found = await find_dataset(self._catalog, name)
        return await self._catalog.dataset_number(found.config, found.name)

    async def send_due(self) -> None:
        """Send the deliveries that are due, some at once. Raises `Unavailable` for the catalog."""
        if self._webhooks is None:
            return
        while claimed := await self._catalog.claim_deliveries(
            limit=_MOST_AT_ONCE, lease=self._lease, most=MOST_ATTEMPTS
        ):
            sends = [self._env.spawn(self._send(self._webhooks, one)) for one in claimed]
            for one in sends:
                await one

    async def _send(self, webhooks: Webhooks, claimed: ClaimedDelivery) -> None:
        status: int | None = None
        error: str | None = None
        try:
            status = await webhooks.send(claimed.url, claimed.delivery, claimed.body)
            faults.reach("webhook.sent")
            if not 200 <= status < 300:
                error = f"the receiver answered {status}"
        except NotDelivered as exc:
            error = str(exc)
        except Exception as exc:  # a bug: this delivery backs off too, and the others are sent
            error = f"{type(exc).__name__}: {exc}"
        is_last = status == _GONE or claimed.attempt >= MOST_ATTEMPTS
        retry = None if is_last else DELAYS[claimed.attempt - 1]
        try:
            await self._catalog.delivered(claimed, status=status, error=error, retry=retry)
        except Unavailable as exc:  # the claim expires, and the delivery is sent again
            events.emit(events.BACKEND_UNAVAILABLE, code=exc.code, detail=exc.detail)
            return
        faults.reach("webhook.noted")
        about: dict[str, Any] = {
            "delivery_id": str(claimed.delivery),
            "attempt": claimed.attempt,
            "status": status,
        }
        if error:
            events.emit(events.WEBHOOK_FAILED, **about, detail=error)
        else:
            events.emit(events.WEBHOOK_SENT, **about)
