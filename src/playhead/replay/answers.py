"""Answers to callers who wait for a replay that has not ended."""

from __future__ import annotations

from dataclasses import replace

from playhead.model import MOST_ERRORS, UNCERTAIN, Replay


def paused(replay: Replay) -> Replay:
    """Return the answer for a replay that was paused while its caller waited."""
    errors = replay.errors or []
    if not replay.pause_reason:  # then the first line is the reason
        errors = [f"paused: continue with POST /api/v1/replays/{replay.replay_batch_id}/resume", *errors]
    return replace(
        replay,
        objects_failed=replay.objects_found - replay.objects_published,
        status="partial_failure",
        errors=errors[:MOST_ERRORS],
    )


def unsettled(replay: Replay, trouble: str) -> Replay:
    """Return the answer for a replay that is listed and makes no progress. Rows that are not settled count as
    failed.

    Args:
        trouble: why this process cannot settle them; empty: not known.
    """
    failed = replay.objects_found - replay.objects_published
    errors = replay.errors or []
    if len(errors) < min(failed, MOST_ERRORS):
        # The messages of the others were recorded, and the broker has not answered: no row has an error.
        line = f"{failed - len(errors):,} objects: {UNCERTAIN}" + (f": {trouble}" if trouble else "")
        errors = [*errors, line]
    return replace(
        replay,
        objects_failed=failed,
        errors=errors or None,
        # If none failed, everything is published; only the job's own end is not recorded yet.
        status="partial_failure" if failed else "publishing_complete",
    )
