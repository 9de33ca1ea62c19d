"""Replays: what was asked for, and how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from annotated_types import Interval, Len

from playhead.form import read
from playhead.limits import COUNT_OR_SHARE, Limited, NoNul, check
from playhead.model.access import RequestedBy
from playhead.model.publications import ReplayPublication
from playhead.model.selections import Selection

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
Priority = Literal["normal", "bulk"]
WaitsFor = Literal["process", "queue", "rate", "depth", "canary", "guard", "broker", "store"]
HeldBy = Literal["canary", "guard"]
PausedBy = Literal["request"] | HeldBy
ReportState = Literal["none", "due", "writing", "stored", "failed"]

MAX_VERSION: Final = 2**31 - 1
Version = Annotated[int, Interval(ge=1, le=MAX_VERSION)]

OTHER_ROUTES: Final = "*"
"""In the effects of a replay: routes that are not named, as soon as a process finds that their steps have
external effects."""

MOST_IN_CANARY: Final = 10_000
MOST_ERRORS: Final = 100
"""Maximum number of lines in a replay's `errors`. The last line counts any further errors."""
UNCERTAIN: Final = "uncertain, will be settled"
MAY_BE_SENT: Final = "uncertain, may have been sent before the cancellation"
"""End of the line for an object if it is not known yet whether its message was published."""


def _with_value(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, value in pairs if value is not None}


def is_skipped(effects: Mapping[str, OnReplay], route: str) -> bool:
    """Whether a replay with these effects (`Replay.effects`) processes no message of a route."""
    return effects.get(route, "run") != "run"


def skips_effects(effects: Mapping[str, OnReplay], route: str) -> bool:
    """Whether a replay with these effects skips a route if its steps turn out to have external effects."""
    return effects.get(route, effects.get(OTHER_ROUTES, "run")) != "run"


@dataclass(frozen=True, slots=True)
class RatePace(Limited):
    """Publish at a rate.

    Attributes:
        rate: messages per second, at most.
    """

    rate: Annotated[float, Interval(ge=0.01, le=1e6)]


@dataclass(frozen=True, slots=True)
class DepthPace(Limited):
    """Publish while the target queue has room.

    Attributes:
        queue_depth: how many messages may wait in the target queue.
    """

    queue_depth: Annotated[int, Interval(ge=1, le=1_000_000)]


Pace = RatePace | DepthPace


@dataclass(frozen=True, slots=True)
class Canary(Limited):
    """The first objects, whose processing decides whether the others follow.

    Attributes:
        objects: how many objects.
        max_failed: how many of them may fail: a whole number, or a share if it is below 1. An object has
            failed if its message was refused, or if it or a message below it is a dead letter.
        seed: take a random sample of all objects; the same seed takes the same sample of the same objects.
            None: take the first objects in byte order of their keys.
    """

    objects: Annotated[int, Interval(ge=1, le=MOST_IN_CANARY)]
    max_failed: Annotated[float, Interval(ge=0, le=MOST_IN_CANARY), COUNT_OR_SHARE] = 0
    seed: Annotated[int, Interval(ge=0, le=MAX_VERSION)] | None = None


@dataclass(frozen=True, slots=True)
class Guard(Limited):
    """When a replay pauses itself: too many of its last objects have failed.

    After every `of_last` objects, the replay waits until their messages are processed in all routes.

    Attributes:
        failed: how many of the last objects may fail, as in `Canary.max_failed`.
        of_last: how many objects the replay publishes before it waits.
    """

    failed: Annotated[float, Interval(ge=0, le=MOST_IN_CANARY), COUNT_OR_SHARE]
    of_last: Annotated[int, Interval(ge=1, le=MOST_IN_CANARY)] = 500


def are_too_many(failed: int, objects: int, most: float) -> bool:
    """Whether more objects failed than may: `most` is a number, or a share if it is below 1."""
    return failed > most if most >= 1 else failed / objects > most


@dataclass(frozen=True, slots=True)
class ReplayRequest(Limited):
    """What a client asks for. The first four fields are those of the contract; None: not asked for.

    Attributes:
        from_execution_id: execution whose stored outputs are replayed.
        from_stage: stage to replay; it may contain `/`.
        from_path: folder or object in the stage, in whole path segments; None: the whole stage.
        to_route: route id, or `config/route`.
        require_code: refuse to send work to workers with outdated or different code.
        allow_old_code: send work also to workers with outdated or different code, with a warning.
        plan_id: replay exactly the objects of this plan, or nothing. The fields that choose objects, or what
            processes them, follow from the plan: those that are sent, also the required ones, must be equal.
        selection: which objects; times may be relative (`-24h`).
        config_version: version of the config of the route; None: the newest.
        effects: what the replay does in routes with external effects: in all of them, or by route, where `*`
            stands for all others. The stricter of this and `on_replay` of the config applies. For routes that
            have no value here, a replay takes over the values of the replay that is its source, and of
            `in_replay`.
        priority: level of its messages in their queues. Workers take normal messages first, and bulk ones at
            least as one in five. None: normal up to 1,000 objects, else bulk.
        pace: limit of the publishing; None: as fast as possible.
        canary: publish the first objects, wait until their messages are processed in all routes, and pause
            the replay if too many failed. None: publish all at once.
        pause_if: also check the objects after the canary, and pause the replay whenever too many of them
            failed. None: only the canary is checked.
        reason: why it is replayed. Shown with the replay, its report and its events.
        webhook: URL that receives the events of the replay: its start, pauses, and each end. On a host that
            the operator allows; never shown.
        publish: publish the replay in the datasets of its route when all of its messages have ended, if each
            of its objects was processed. None: only a request publishes it.
        reuse: take over earlier results for items that are the same, in the routes that follow too. None: no.
        others_valid: declare that the results of the route for the objects that the replay leaves out are
            valid, whatever their code. The next runs with `changed_since` take them over until the code of
            the route changes again. The source is the current publication of a dataset. Needs `reason`.
            None: no.
        report: write a completion report. None: only if the request has a field other than
            `from_execution_id`, `from_stage`, `from_path` and `to_route`.
        key: Idempotency-Key: a repeated request with the same key returns the first replay.
    """

    from_execution_id: UUID
    from_stage: Annotated[str, Len(1)]
    from_path: str | None
    to_route: Annotated[str, Len(1)]
    require_code: bool = False
    allow_old_code: bool = True
    plan_id: UUID | None = None
    selection: Selection | None = None
    config_version: Version | None = None
    effects: OnReplay | Annotated[Mapping[str, OnReplay], Len(1, 1_000)] | None = None
    priority: Priority | None = None
    pace: Pace | None = None
    canary: Canary | None = None
    pause_if: Guard | None = None
    reason: Annotated[str, Len(0, 1_000), NoNul] | None = None
    webhook: Annotated[str, Len(0, 2_000), NoNul] | None = None
    publish: bool | None = None
    reuse: bool | None = None
    others_valid: bool | None = None
    report: bool | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        check(self, leave_out=_REQUIRED if self.plan_id else ())

    @property
    def effects_by_route(self) -> dict[str, OnReplay]:
        """`effects`; a value for all routes is that of `OTHER_ROUTES`."""
        return {OTHER_ROUTES: self.effects} if isinstance(self.effects, str) else dict(self.effects or {})

    @classmethod
    def of_plan(cls, plan_id: UUID) -> ReplayRequest:
        """A request with no other field than the plan."""
        return cls(UUID(int=0), "", None, "", plan_id=plan_id)

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> ReplayRequest:
        """Return the request that `body` returned. Raises `ValueError` if a value is missing or invalid."""
        chosen = {name: body[name] for name in SELECTED if name in body}
        asked: dict[str, Any] = {name: value for name, value in body.items() if name not in chosen}
        if "plan_id" in body:
            asked = {"from_execution_id": str(UUID(int=0)), "from_stage": "", "to_route": ""} | asked
        return read(cls, {"from_path": None, **asked, "selection": chosen or None})

    def body(self) -> dict[str, Any]:
        """Return the request as JSON, in the form of the API, with the fields of the selection at the top.

        Left out are the fields of `OUTSIDE_BODY`, and those that have no value.
        """
        given = asdict(self, dict_factory=_with_value)
        given |= given.pop("selection", {})
        of_plan = [one for one in _REQUIRED if given[one] in (UUID(int=0), "")]
        for name in (*OUTSIDE_BODY, *(of_plan if self.plan_id else ())):
            given.pop(name, None)
        return {name: str(value) if isinstance(value, UUID) else value for name, value in given.items()}

    def shown(self) -> dict[str, Any]:
        """Return the body with the number of selected paths, `selected_paths`, in place of their list: every
        row and page of the replay would be as long as the list.
        """
        shown = self.body()
        if paths := shown.pop("paths", None):
            shown["selected_paths"] = len(paths)
        return shown

    @property
    def managed(self) -> bool:
        """Whether the request has a field beyond the contract's. Keys and the check of code do not count."""
        return any(getattr(self, one.name) is not None for one in fields(self) if one.name not in _CONTRACT)


SELECTED: Final = frozenset(one.name for one in fields(Selection))
"""Fields of a request's body that choose objects."""
_REQUIRED: Final = ("from_execution_id", "from_stage", "to_route")
OUTSIDE_BODY: Final = ("require_code", "allow_old_code", "key")
"""Fields that a client sends as parameters and headers of its request."""
_CONTRACT: Final = frozenset({*_REQUIRED, "from_path", *OUTSIDE_BODY})
"""Fields that make no replay a managed one."""


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
        pause_if: as requested.
        hold_at: number of objects after which publishing waits for the result of the canary, or of the last
            objects (`pause_if`); None: nothing more is checked.
        hold_from: number of objects before those whose result it waits for; None as in `hold_at`.
        waits_for: what publishing waits for: a `process` that drives it, its place in the `queue`, its
            `rate`, the `depth` of the target queue, the `canary`, the `guard` (`pause_if`), the `broker` or
            the `store`; None if it makes progress, or waits for a request.
        queue_position: place among the replays that wait for the target queue, from 1; None unless `queued`.
        plan_id: plan that it was started from.
        priority: level of its messages in their queues; None until it is known how many objects it has.
        selection: which objects are replayed, without `paths`; None: all.
        selected_paths: number of paths that were selected; None: paths were not listed.
        effects: what the replay does in routes with external effects, by route; other routes run. `*`: what
            it does in a route that is found to have external effects only later. `config/route`: for replays
            of this replay; its own config does not have the route.
        reason: as requested.
        others_valid: whether it has declared that results which it leaves out are valid.
        publications: the publications that were requested with it, by dataset; usually empty.
        report: state of the completion report.
        revision: how often the new execution has ended; each end has its own report.
        paused_by: `request`; `canary` or `guard` (`pause_if`): too many objects failed; None unless `paused`.
        pause_reason: how many objects failed; None unless this has paused the replay.
        records_deleted_at: time at which its records were deleted: its messages with their errors, its
            outputs and its reports. Its numbers were kept. RFC 3339 in UTC; usually None.
        requested_by: the caller that requested it; None: a process started it, or it was not recorded.
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
    pause_if: Guard | None = None
    hold_at: int | None = None
    hold_from: int | None = None
    waits_for: WaitsFor | None = None
    queue_position: int | None = None
    plan_id: UUID | None = None
    priority: Priority | None = None
    selection: Selection | None = None
    selected_paths: int | None = None
    effects: Mapping[str, OnReplay] = field(default_factory=dict)
    reason: str | None = None
    others_valid: bool = False
    publications: list[ReplayPublication] = field(default_factory=list)
    report: ReportState = "none"
    revision: int = 0
    paused_by: PausedBy | None = None
    pause_reason: str | None = None
    records_deleted_at: str | None = None
    requested_by: RequestedBy | None = None
