"""Replays: what was asked for, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

ReplayState = Literal[
    "queued",
    "checking",
    "publishing",
    "paused",
    "stalled",
    "publishing_complete",
    "partial_failure",
    "refused",
    "cancelled",
]
OPEN_REPLAY_STATES: Final = ("queued", "checking", "publishing", "paused", "stalled")
OnReplay = Literal["run", "skip", "refuse"]
WaitsFor = Literal["process", "queue", "rate", "depth", "canary", "broker", "store"]
ReportState = Literal["none", "due", "writing", "stored", "failed"]
Only = Literal["failed", "unfinished"]

OTHER_ROUTES: Final = "*"
"""In the effects of a replay: routes that are not named, as soon as a process finds that their steps have
external effects."""
EFFECTS_SKIPPED: Final = "the replay does not repeat the effects of this route"
"""How the reason of a message begins that a replay has skipped."""

MOST_IN_CANARY: Final = 10_000
MOST_ERRORS: Final = 100
"""Maximum number of lines in a replay's `errors`. The last line counts any further errors."""
UNCERTAIN: Final = "uncertain, will be settled"
MAY_BE_SENT: Final = "uncertain, may have been sent before the cancellation"
"""End of the line for an object if it is not known yet whether its message was published."""


def is_skipped(effects: Mapping[str, OnReplay], route: str) -> bool:
    """Whether a replay with these effects (`Replay.effects`) processes no message of a route."""
    return effects.get(route, "run") != "run"


def skips_effects(effects: Mapping[str, OnReplay], route: str) -> bool:
    """Whether a replay with these effects skips a route if its steps turn out to have external effects."""
    return effects.get(route, effects.get(OTHER_ROUTES, "run")) != "run"


@dataclass(frozen=True, slots=True)
class RatePace:
    """Publishing at a rate.

    Attributes:
        rate: messages per second, at most.
    """

    rate: float


@dataclass(frozen=True, slots=True)
class DepthPace:
    """Publishing while the target queue has room.

    Attributes:
        queue_depth: how many messages may wait in the target queue.
    """

    queue_depth: int


Pace = RatePace | DepthPace


@dataclass(frozen=True, slots=True)
class Canary:
    """The first objects of a replay, whose processing decides whether the others follow.

    Attributes:
        objects: how many objects, from 1 to 10,000.
        max_failed: how many of them may fail: a whole number, or a share if it is below 1.

    Raises:
        ValueError: a value is invalid.
    """

    objects: int
    max_failed: float = 0

    def __post_init__(self) -> None:
        if not 1 <= self.objects <= MOST_IN_CANARY:
            raise ValueError(f"a canary has from 1 to {MOST_IN_CANARY:,} objects, not {self.objects:,}")
        is_share = 0 <= self.max_failed < 1
        if not is_share and not (self.max_failed > 0 and float(self.max_failed).is_integer()):
            raise ValueError(
                f"max_failed is a whole number, or a share if it is below 1, not {self.max_failed:g}"
            )


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of the stage are replayed. An object must meet all conditions that are not None.

    Attributes:
        include: globs; one of them matches the path under the stage.
        exclude: globs; none of them matches the path. `exclude` wins over `include`.
        modified_after: RFC 3339 in UTC; the object was written at this time or later.
        modified_before: RFC 3339 in UTC; the object was written before this time.
        content_type: media types; `text/*` stands for all of its subtypes.
        attributes: names with JSON values that the attributes of the object have.
        only: `failed`: a message that consumed the object has a dead letter at or below it. `unfinished`: the
            execution has ended, and the object has no such message, or a dead or cancelled one.
        in_replay: batch whose messages `only` is about; None: those of the source execution.
        limit: the first objects in key order.
    """

    include: list[str] | None = None
    exclude: list[str] | None = None
    modified_after: str | None = None
    modified_before: str | None = None
    content_type: list[str] | None = None
    attributes: Mapping[str, Any] | None = None
    only: Only | None = None
    in_replay: UUID | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What a client asks for. The first four fields are those of the contract; None: not asked for.

    Attributes:
        from_path: None or "": the whole stage.
        require_code: refuse to send work to workers with outdated or different code.
        plan_id: replay exactly the objects of this plan. Then the other fields that choose objects, or what
            processes them, follow from the plan. If they are given, they must be equal (`of_plan`).
        selection: which objects; times may be relative (`-24h`).
        config_version: version of the target's config; None: the newest.
        effects: what to do in routes with external effects: for all of them, or by route name, where `*`
            stands for all others.
        webhook: URL that receives the events of the replay.
        report: whether a completion report is written; None: if any field beyond the contract's is given.
        key: Idempotency-Key: a repeated request with the same key returns the first replay.
    """

    from_execution_id: UUID
    from_stage: str
    from_path: str | None
    to_route: str
    require_code: bool = False
    plan_id: UUID | None = None
    selection: Selection | None = None
    config_version: int | None = None
    effects: OnReplay | Mapping[str, OnReplay] | None = None
    pace: Pace | None = None
    canary: Canary | None = None
    reason: str | None = None
    webhook: str | None = None
    report: bool | None = None
    key: str | None = None

    @classmethod
    def of_plan(cls, plan_id: UUID) -> ReplayRequest:
        """A request with no field of its own but the plan."""
        return cls(UUID(int=0), "", None, "", plan_id=plan_id)

    @property
    def managed(self) -> bool:
        """Whether the request has a field beyond the contract's. Keys and the check of code do not count."""
        rest = (self.plan_id, self.selection, self.config_version, self.effects, self.pace, self.canary)
        return any(field is not None for field in (*rest, self.reason, self.webhook, self.report))


@dataclass(frozen=True, slots=True)
class ReplayWork:
    """The messages of the new execution, in all of its routes. At most one second old while it runs.

    Attributes:
        pending: open messages: `pending`, `running` or `retry`.
        completed: `completed`, `skipped` or `uncertain`.
        failed: dead letters.
        cancelled: `cancelled`.
    """

    pending: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay batch with its counts and its state.

    Until publishing ends, found = published + failed + uncertain + not yet sent.

    Attributes:
        execution_id: new execution, under which the outputs are stored.
        from_execution_id: execution whose stored outputs are replayed.
        from_stage, to_route: as requested.
        from_path: as requested; None: the whole stage.
        to_queue: inbound queue of the route, which receives the messages.
        objects_found: objects listed so far, without sidecars, folder markers, unfinished outputs, and
            objects that the selection leaves out.
        objects_published: messages that the broker has confirmed.
        objects_failed: objects with an invalid key or a refused message; after a cancellation, all
            that were not sent.
        status: None until publishing ends; `partial_failure` if objects failed or publishing ended early.
        replay_batch_id: id of this batch.
        errors: one line for an early end, and one for each object that failed or is uncertain. At most 100
            lines, of which the last counts the others. None if there are no errors.
        state: `queued`: waits for its place in the target queue. `checking`: compares its plan with the
            store. `publishing`. `paused`. `stalled`: five consecutive processes died while they listed its
            objects; `resume` continues it. Then `publishing_complete` or `partial_failure`, `refused` (its
            plan no longer matched the store), or `cancelled`.
        to_config: config of the route.
        to_config_version: version of that config: the newest when the replay began, unless one was requested.
        created_at: start time; RFC 3339 in UTC.
        ended_at: time at which publishing ended or was cancelled; RFC 3339 in UTC; None until then.
        objects_uncertain: messages that were sent without an answer of the broker, or may be on their way
            while the replay is paused. Publishing is repeated until each is confirmed or refused. After the
            cancellation of a replay into an external route: messages that may have been sent before.
        objects_skipped: messages that were not processed because their route has external effects.
        withdrawn: published messages that were cancelled before a worker started them.
        work: messages of the new execution, in all routes; None if they were not counted.
        rate: objects published per second over the last few seconds, or at the first look since the replay
            began; None unless it is publishing, and in lists.
        eta_seconds: seconds until publishing ends at this rate; None if this is not known.
        pace: limit of the publishing; None: as fast as possible.
        canary: as requested.
        hold_at: number of objects after which publishing waits for the result of the canary; None: no canary,
            or it has ended.
        waits_for: what publishing waits for: a `process` that drives it, its place in the `queue`, its
            `rate`, the `depth` of the target queue, the `canary`, the `broker` or the `store`; None if it
            makes progress, or waits for a request.
        queue_position: place among the replays that wait for the target queue, from 1; None unless `queued`.
        plan_id: plan that it was started from.
        selection: which objects are replayed; None: all.
        effects: what the replay does in routes with external effects, by route; other routes run. `*`: what
            it does in a route that is found to have external effects only later.
        reason: as requested.
        report: state of the completion report.
        revision: how often the new execution has ended; each end has a report of its own.
        paused_by: `request`, or `canary`: too many of its objects failed; None unless `paused`.
    """

    execution_id: UUID
    from_execution_id: UUID
    from_stage: str
    from_path: str | None
    to_route: str
    to_queue: str
    objects_found: int
    objects_published: int
    objects_failed: int
    status: Literal["publishing_complete", "partial_failure"] | None
    replay_batch_id: UUID
    errors: list[str] | None
    state: ReplayState
    to_config: str
    to_config_version: int
    created_at: str
    ended_at: str | None
    objects_uncertain: int = 0
    objects_skipped: int = 0
    withdrawn: int = 0
    work: ReplayWork | None = None
    rate: float | None = None
    eta_seconds: float | None = None
    pace: Pace | None = None
    canary: Canary | None = None
    hold_at: int | None = None
    waits_for: WaitsFor | None = None
    queue_position: int | None = None
    plan_id: UUID | None = None
    selection: Selection | None = None
    effects: Mapping[str, OnReplay] = field(default_factory=dict)
    reason: str | None = None
    report: ReportState = "none"
    revision: int = 0
    paused_by: Literal["request", "canary"] | None = None
