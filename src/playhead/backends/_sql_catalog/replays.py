"""Replay batches as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from playhead.backends._sql_catalog.rows import Lane, as_uuid, moment_or_none
from playhead.ids import moment
from playhead.model import Replay

SHOWN: Final = (
    "e.n, e.id, j.source, j.stage, j.path, j.to_route, j.lane, j.ordinals, e.batch, j.state, "
    "j.listing_state, e.created_at, j.ended_at"
)


def replay_of(
    row: Sequence[Any], lane: Lane, *, unconfirmed: int, failed: int, errors: list[str] | None
) -> Replay:
    """From the columns `SHOWN`.

    Args:
        unconfirmed: rows that no broker has confirmed, and that are pending or cancelled.
        failed: rows that were refused, or whose key can't be worked.
    """
    _, uuid, source, stage, path, to_route, _, found, batch, state, listing_state, created, ended = row
    published = found - failed - unconfirmed
    status: Literal["publishing_complete", "partial_failure"] | None = None
    if state == "cancelled":
        failed = found - published
        status = "partial_failure"
    elif state in ("publishing_complete", "partial_failure"):
        # Read from rows: a refused object that was sent again makes it better.
        status = state = "partial_failure" if failed or listing_state == "dead" else "publishing_complete"
    return Replay(
        execution_id=as_uuid(uuid),
        from_execution_id=as_uuid(source),
        from_stage=stage,
        from_path=path,
        to_route=to_route,
        to_queue=lane.queue,
        objects_found=found,
        objects_published=published,
        objects_failed=failed,
        status=status,
        replay_batch_id=as_uuid(batch),
        errors=errors,
        state=state,
        to_config=lane.config,
        to_config_version=lane.version,
        created_at=moment(created),
        ended_at=moment_or_none(ended),
    )


def ended_early(state: str, given_up: str | None) -> list[str]:
    """Lines for what ended a job early: that it was cancelled, and why its listing was given up."""
    lines = []
    if state == "cancelled":
        lines.append("cancelled before all was published; POST /api/v1/replay starts it anew")
    if given_up is not None:
        lines.append(f"listing was given up: {given_up}")
    return lines
