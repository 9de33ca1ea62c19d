"""What follows from a replay: its completion report, and the deliveries of its webhook."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Filter, Limit, operations
from playhead.api.ids import BatchId, DeliveryId
from playhead.keys import SUFFIX_TYPES
from playhead.model import (
    MAX_VERSION,
    Page,
    Report,
    ReportFilter,
    ReportLine,
    ReportOutcome,
    ReportWork,
    WebhookDelivery,
)

router = operations(prefix="/api/v1/replays", tags=["replay"])

Revision = Annotated[
    int | None,
    Query(
        ge=1,
        le=MAX_VERSION,
        description="Which end of the execution: 1 for the first one. Without it: the last one, or the next "
        "one while the execution runs.",
    ),
]
Failed = Annotated[
    bool | None,
    Query(
        description="Only objects whose message was refused or is a dead letter, or that have a dead letter "
        "below it; or only the others."
    ),
]
_NO_REPORT = ("id_ambiguous", "replay_not_found", "report_not_found", "records_deleted")
_LINES = SUFFIX_TYPES[".jsonl"]
_lines: dict[str, Any] = {
    "description": "A JSON object for each object of the replay, one per line, in the order of the listing.",
    "content": {
        # Generated clients read the first one, as bytes.
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        # Without `schema`, which for a stream describes the array of all items.
        _LINES: {"itemSchema": {"$ref": f"#/components/schemas/{ReportLine.__name__}"}},
    },
}


@router.get("/{replay_batch_id}/report", responses=responses(*_NO_REPORT))
async def get_report(replay_batch_id: BatchId, asked: Asked, revision: Revision = None) -> Report:
    """Return the completion report of a replay: its state, and its parts.

    A report is written when all messages of the replay have ended, so also when publishing was cancelled. If
    dead letters are resent, the next end has another report.
    """
    return await asked.reports.get(replay_batch_id, revision)


@router.post("/{replay_batch_id}/report/write", scope="operate", responses=responses(*_NO_REPORT))
async def write_report(replay_batch_id: BatchId, asked: Asked) -> Report:
    """Write a report again that has failed, and return it. A report in any other state stays as it is."""
    return await asked.reports.write_again(replay_batch_id)


@router.get(
    "/{replay_batch_id}/report/lines",
    response_class=Response,
    response_model=ReportLine,
    responses={200: _lines, **responses(*_NO_REPORT, "object_not_found", "store_unavailable")},
)
async def get_report_lines(
    replay_batch_id: BatchId,
    asked: Asked,
    revision: Revision = None,
    outcome: ReportOutcome | None = None,
    work: ReportWork | None = None,
    error_code: Filter = None,
    failed: Failed = None,
) -> Response:
    """Stream the lines of a stored report: all of them, or those that fit all conditions."""
    where = ReportFilter(outcome, work, error_code, failed)
    lines = await asked.reports.lines(replay_batch_id, revision, where)
    return StreamingResponse(lines, headers={"Content-Type": _LINES})


@router.get(
    "/{replay_batch_id}/deliveries", responses=responses("id_ambiguous", "replay_not_found", "invalid_cursor")
)
async def list_deliveries(
    replay_batch_id: BatchId, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[WebhookDelivery]:
    """List the events for the webhook of a replay, newest first."""
    return await asked.webhooks.list(replay_batch_id, cursor, limit)


@router.post(
    "/{replay_batch_id}/deliveries/{delivery_id}/send",
    scope="operate",
    responses=responses("id_ambiguous", "replay_not_found", "delivery_not_found"),
)
async def send_delivery(
    replay_batch_id: BatchId,
    delivery_id: DeliveryId,
    asked: Asked,
) -> WebhookDelivery:
    """Send an event again, under the same id, whatever its state. All of its attempts are available again."""
    return await asked.webhooks.send_again(replay_batch_id, delivery_id)
