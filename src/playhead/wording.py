"""Replays, plans and results in words, for commands, responses and pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import join
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playhead.model import (
        AffectedRoute,
        After,
        Before,
        Dataset,
        Declaration,
        Plan,
        PlannedRoute,
        PublicationRange,
        PublishedIn,
        Replay,
        ReplayPublication,
        RouteResults,
        RouteWait,
        TextSearch,
    )

_ALL_SENT: Final = "cancelled after all of its objects were sent"


UNITS: Final = {
    "kept": "with earlier results, because processing failed",
    "left_out": "without results, because processing failed",
    "superseded": "left out, because another version of the object is published",
    "removed": "left out, because the object is not published any more",
    "older": "left out, because newer results are published",
}
"""What happened to documents and replayed objects without their new results, by the kind of their notes."""


SWITCHES: Final[Mapping[str, str]] = {
    "publish": "Publication {n} of {dataset}",
    "rollback": "Rollback of {dataset} to publication {n}",
}
"""What made a publication current, by the kind of its switch."""
BEFORE: Final[Mapping[Before, str]] = {"done": "was done", "failed": "had failed", "none": "had no result"}
AFTER: Final[Mapping[After, str]] = {
    "same": "done, same bytes",
    "other": "done, other bytes",
    "same_error": "failed, same error",
    "other_error": "failed, another error",
    "undecided": "not decided yet",
}
FAILED_AFTER: Final[Sequence[After]] = ("same_error", "other_error")


def address_of(config: str, name: str, datasets: Sequence[Dataset]) -> str:
    """Return how commands name a dataset: `NAME`, or `CONFIG/NAME` if several of `datasets` have the name."""
    return name if sum(one.name == name for one in datasets) < 2 else f"{config}/{name}"


def made_by_stale(results: RouteResults) -> str | None:
    """Return the condition that selects the stale results of a route; None: they all are stale."""
    is_all = results.stale == results.results
    return None if is_all else f"{results.route}!=newest"


def replay_of_stale(name: str, n: int, results: RouteResults) -> str:
    """Return the command that replays exactly the stale results of a route of publication `n`."""
    replay = ["playhead", "replay", f"current:{name}@{n}", results.from_stage, results.route]
    made_by = made_by_stale(results)
    return join([*replay, "--made-by", made_by] if made_by else replay)


def expected_text(plan: Plan, route: PlannedRoute) -> str:
    """Return how many messages a replay leads to in a route, such as `about 28 messages`; empty if this is
    not known."""
    if route.messages is None:
        return ""
    is_exact = plan.known == plan.objects or route.queue == plan.to_queue
    noun = "message" if route.messages == 1 else "messages"
    return f"{'' if is_exact else 'about '}{route.messages:,} {noun}"


def wait_text(wait: RouteWait) -> str:
    """Return how long a route still waits, and why, such as `waits for another 5 s: HTTP 429`."""
    rest = "" if wait.seconds is None else f" for another {math.ceil(max(wait.seconds, 0)):,} s"
    return f"{'is paused' if wait.is_paused else 'waits'}{rest}: {wait.reason}"


def state_of(replay: Replay) -> str:
    """Return the state of a replay as text, with what it waits for."""
    state = {"publishing_complete": "published", "partial_failure": "partly published"}.get(
        replay.state, replay.state
    )
    if replay.state == "queued":
        return f"queued, place {replay.queue_position} in the line of {replay.to_queue}"
    if replay.pause_reason:
        return f"paused: {replay.pause_reason}"
    waits = {
        "process": "waits for a process",
        "depth": "waits until its queue has room",
        "canary": "waits for the result of its canary",
        "guard": "waits for the result of its last objects",
        "broker": "waits for the broker",
        "store": "waits for the store",
    }.get(replay.waits_for or "")
    return f"{state}, {waits}" if waits else state


def published_text(one: PublishedIn) -> str:
    """Return when readers of a dataset see an object, such as `current in docs since 8`."""

    def words(ranges: Sequence[PublicationRange]) -> str:
        return ", ".join(f"{of.first} to {of.last}" if of.last > of.first else str(of.first) for of in ranges)

    if one.since is None:
        return f"was in {one.dataset} {words(one.ranges)}"
    earlier = words([of for of in one.ranges if of.last < one.since])
    valid = f", {declaration_text(one.declared_valid)}" if one.declared_valid else ""
    return f"current in {one.dataset} since {one.since}" + (f", was in {earlier}" if earlier else "") + valid


def publication_text(publication: ReplayPublication) -> str:
    """Return a publication that was requested with a replay as text."""
    one = publication
    if one.refusal:
        return f"refused in {one.dataset}: {one.refusal.code}: {one.refusal.detail}"
    return {
        "due": f"in {one.dataset}, when all messages have ended",
        "preparing": f"{one.n} of {one.dataset} is being prepared",
        "published": f"as {one.n} of {one.dataset}",
    }.get(one.state, f"cancelled in {one.dataset}")


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
        "sidecars": (plan.left_out.sidecars, "sidecars and folder markers"),
        "not_stored": (plan.left_out.not_stored, "not committed or pruned"),
        "filtered": (plan.left_out.filtered, "not selected"),
        "not_failed": (plan.left_out.not_failed, "succeeded"),
        "aborted": (plan.left_out.aborted_not_selected, "unfinished, but not failed"),
        "over_limit": (plan.left_out.over_limit, "over the limit"),
    }
    return [f"{count:,} {what}" for count, what in names.values() if count]


def others_text(plan: Plan) -> str | None:
    """Return what a plan declares about the objects that it leaves out; None: nothing."""
    if plan.others_valid is None:
        return None
    if plan.others_valid == 1:
        return "1 object is left out, and its results of the route are declared valid"
    return f"{plan.others_valid:,} objects are left out, and their results of the route are declared valid"


def declaration_text(one: Declaration) -> str:
    """Return with which replay, and why, results were declared valid."""
    undone = f", undone on {one.undone_at}" if one.undone_at else ""
    return f"declared valid with replay {one.replay_batch_id} on {one.declared_at}{undone}: {one.reason}"


STALLED: Final = "five processes in a row have died while they listed the objects; read their logs"


def stop_reason(replay: Replay) -> str | None:
    """Return why a replay is paused or stalled; None if it is not, or if a request has paused it."""
    return STALLED if replay.state == "stalled" else replay.pause_reason


def stopped_text(replay: Replay) -> str:
    """Return why publishing stopped early, and how it continues.

    Empty if it did not stop, or if a request has paused it.
    """
    if reason := stop_reason(replay):
        resume = f"POST /api/v1/replays/{replay.replay_batch_id}/resume"
        return f"{replay.state}: {reason}; {resume} continues with the rest"
    if replay.state == "cancelled":
        uncertain, limit = replay.objects_uncertain, rest_limit(replay)
        if limit == 0:
            return _ALL_SENT
        rest = f"; it leaves out the {uncertain:,} uncertain objects" if uncertain else ""
        most = "" if limit is None else f" (`limit`: {limit})"
        return (
            "cancelled: a new replay with `only: unfinished`, this batch as `in_replay` and the same "
            f"conditions{most} continues{rest}"
        )
    return ""


def rest_limit(replay: Replay) -> int | None:
    """Return the limit of a replay of the objects that a cancelled replay has left; None without a limit.

    The same limit would also select objects that the cancelled replay did not, because it counts again.
    """
    if replay.selection is None or replay.selection.limit is None:
        return None
    finished = replay.objects_published - replay.withdrawn + replay.objects_uncertain
    return max(replay.selection.limit - finished, 0)


def replay_of(affected: AffectedRoute) -> str:
    """Return the command that replays what a version of an adapter, or a worker, has made."""
    words = ["playhead", "replay", str(affected.from_execution_id), affected.from_stage]
    words += [f"{affected.config}/{affected.route}", "--made-by", affected.made_by]
    return join([*words, *(("--in-replay", str(affected.in_replay)) if affected.in_replay else ())])


def undecided_text(replay: Replay) -> str:
    """Return why the next objects of a replay cannot be its canary, and what to do instead."""
    batch = replay.replay_batch_id
    return (
        f"replay {batch} is {state_of(replay)}. More objects can be checked first only if its canary or its "
        f"`pause_if` has paused it. To publish all objects that are left, leave out `canary`: run "
        f"`playhead replays resume {batch}`"
    )


def ended_text(replay: Replay, status: str) -> str:
    """Return why a replay cannot be controlled any more, and what to do instead.

    Args:
        status: that of its execution.
    """
    batch = replay.replay_batch_id
    again = f"To publish refused objects again, run `playhead replays retry {batch}`"
    if replay.state == "refused":
        return f"replay {batch} was refused: its plan no longer matched the store. Make a new plan"
    if "cancelled" in (replay.state, status):
        words = ["playhead", "replay", str(replay.from_execution_id), replay.from_stage, replay.to_route]
        words += ["--path", replay.from_path] if replay.from_path else []
        words += ["--only", "unfinished", "--in-replay", str(batch)]
        limit = rest_limit(replay)
        if limit == 0:
            return f"replay {batch} was {_ALL_SENT}"
        words += ["--limit", str(limit)] if limit is not None else []
        chosen = replay.selection and replace(replay.selection, limit=None)
        has_others = replay.selected_paths or (chosen and chosen != type(chosen)())
        return (
            f"replay {batch} was cancelled. To replay the objects that are left, run `{join(words)}`"
            f"{' with the same conditions' if has_others else ''}; in the API, send `only: unfinished` and "
            "`in_replay`"
        )
    if status != "running":
        return f"replay {batch} has ended. {again}"
    return (
        f"the publishing of replay {batch} has ended. {again}; to stop its messages, run "
        f"`playhead replays cancel {batch} --withdraw`"
    )


def coverage_of(search: TextSearch) -> str | None:
    """Return what a search did not look at, as a sentence; None: it looked at everything."""
    parts = []
    if search.indexed < search.recorded:
        parts.append(
            f"{search.indexed:,} of {search.recorded:,} recorded objects are indexed so far, and the newest "
            "ones are searched too."
        )
    if search.matches == "beginnings":
        why = (
            "The text has fewer than 3 characters, so"
            if search.finds_parts
            else "PostgreSQL has no extension pg_trgm here, so"
        )
        parts.append(
            f"{why} only the beginnings of paths, file names, attributes and reasons are searched, with the "
            "case of letters."
        )
    return " ".join(parts) or None
