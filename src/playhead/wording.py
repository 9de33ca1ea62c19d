"""Replays and plans in words, for commands and for pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playhead.model import Plan, Replay


def state_of(replay: Replay) -> str:
    """Return the state of a replay as text, with what it waits for."""
    state = {"publishing_complete": "published", "partial_failure": "partly published"}.get(
        replay.state, replay.state
    )
    if replay.state == "queued":
        return f"queued, place {replay.queue_position} in the line of {replay.to_queue}"
    if replay.state == "paused" and replay.paused_by == "canary":
        return "paused by its canary"
    waits = {
        "process": "waits for a process",
        "depth": "waits until its queue has room",
        "canary": "waits for the result of its first objects",
        "broker": "waits for the broker",
        "store": "waits for the store",
    }.get(replay.waits_for or "")
    return f"{state}, {waits}" if waits else state


def rate_of(replay: Replay) -> str:
    """Return the rate and the remaining time as text; an empty text if they are not known."""
    if replay.status is not None or replay.rate is None:
        return ""
    left = "" if replay.eta_seconds is None else f", {_duration(replay.eta_seconds)} left"
    return f"{replay.rate:,.1f}/s{left}"


def pace_text(replay: Replay) -> str:
    """Return the pace as text; an empty text without a pace."""
    pace = replay.pace
    if pace is None:
        return ""
    if hasattr(pace, "rate"):
        return f"at most {pace.rate:g}/s"
    return f"at most {pace.queue_depth:,} waiting in the queue"


def work_of(replay: Replay) -> str:
    """Return the counts of its messages as text; an empty text if they were not counted."""
    work = replay.work
    if work is None:
        return ""
    parts = [f"{work.completed:,} done", f"{work.failed:,} failed", f"{work.pending:,} to go"]
    return ", ".join(parts + [f"{work.cancelled:,} cancelled"] * bool(work.cancelled))


def _duration(seconds: float) -> str:
    """Return a duration as `H:MM:SS` or `M:SS`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def left_out(plan: Plan) -> list[str]:
    """Return what a plan leaves out, with the reasons."""
    names = {
        "sidecars": (plan.left_out.sidecars, "sidecars and markers"),
        "not_stored": (plan.left_out.not_stored, "not committed or pruned"),
        "filtered": (plan.left_out.filtered, "not selected"),
        "not_failed": (plan.left_out.not_failed, "succeeded"),
        "aborted": (plan.left_out.aborted_not_selected, "unfinished, but not failed"),
        "over_limit": (plan.left_out.over_limit, "over the limit"),
    }
    return [f"{count:,} {what}" for count, what in names.values() if count]
