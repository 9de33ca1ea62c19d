"""What the API and the CLI show of executions, messages and objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from playhead.model.access import RequestedBy
from playhead.model.code import AdapterCode
from playhead.model.queues import RouteWait
from playhead.model.results import Declaration
from playhead.model.retention import PrunedStage

Kind = Literal["run", "replay", "adopted", "publication"]
Status = Literal["running", "completed", "failed", "cancelled"]
RowState = Literal[
    "pending", "running", "retry", "completed", "skipped", "dead", "cancelled", "taken_over", "uncertain"
]
ROW_STATES: Final[tuple[RowState, ...]] = (
    *("pending", "running", "retry"),
    *("completed", "skipped", "dead", "cancelled", "taken_over", "uncertain"),
)
OPEN_STATES: Final = ("pending", "running", "retry")


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages of an execution or of one of its routes, by state. At most one second old while it runs.

    Attributes:
        pending: open messages: `pending`, `running` or `retry`.
        completed: `completed`, `skipped`, `taken_over` or `uncertain`.
        failed: dead letters: `dead`.
        cancelled: `cancelled`, with their execution.
        total: all recorded messages: the sum of the four above.
        processed: those of the completed ones that are not `taken_over`.
        taken_over: those of the completed ones that are `taken_over`.
        declared_valid: those of the `taken_over` ones whose result is of older code that was declared valid.
    """

    pending: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0
    processed: int = 0
    taken_over: int = 0
    declared_valid: int = 0

    @classmethod
    def of(cls, rows: Mapping[str, int], declared_valid: int = 0) -> Counts:
        """Sum row numbers by state. `declared_valid` are the rows of `taken_over` with such a result."""
        pending = sum(rows.get(s, 0) for s in OPEN_STATES)
        taken_over = rows.get("taken_over", 0)
        processed = sum(rows.get(s, 0) for s in ("completed", "skipped", "uncertain"))
        failed, cancelled = rows.get("dead", 0), rows.get("cancelled", 0)
        every = pending, processed + taken_over, failed, cancelled, sum(rows.values())
        return cls(*every, processed, taken_over, declared_valid)


@dataclass(frozen=True, slots=True)
class Problem:
    """A human-readable error.

    Attributes:
        code: stable code of a dead letter (`adapter_error`) or of an execution (`listing_failed`); `retry` if
            the adapter raised `Retry` and another attempt follows.
        message: description; the adapter's own text if the adapter raised an exception.
    """

    code: str
    message: str


SkipCode = Literal["condition_false", "no_output", "effects_skipped"]


class Skip(NamedTuple):
    """Why a message has no outputs.

    Attributes:
        code: `condition_false`: a condition dropped its item. `no_output`: a step returned no output.
            `effects_skipped`: a replay does not repeat the effects of its route.
        reason: the same in words, with the step and the value that decided.
    """

    code: SkipCode
    reason: str


EFFECTS_SKIPPED: Final = Skip("effects_skipped", "the replay does not repeat the effects of this route")


@dataclass(frozen=True, slots=True)
class Execution:
    """One run, replay or adopted execution.

    Attributes:
        execution_id: its objects are stored at `{execution_id}/{stage}/{path}`.
        kind: `run` of inputs, `replay` of a stage, or `adopted` (objects that another program stored).
        status: `running` while messages are open or may follow. Then `completed`, or `failed` if a message is
            dead or the execution has an `error`. `cancelled` on request. After the resend of a dead
            letter it is `running` again.
        config: config that is run; for a replay, the config of its target route; None if adopted.
        config_version: version of the config, fixed when the execution began; None if adopted.
        config_hash: hash of that version; None if adopted.
        parent_execution_id: execution that is replayed; None unless this is a replay.
        replay_batch_id: id of the replay batch; None unless this is a replay.
        tags: tags of a run, sorted; empty for other kinds.
        created_at: start time; RFC 3339 in UTC. If adopted: time of the first replay, or before that the time
            of one of its objects.
        ended_at: time at which it ended first; RFC 3339 in UTC; None while it is `running`. A resend of dead
            letters does not change it.
        error: why some inputs did not become messages (`upload_incomplete`, `listing_failed`), else None.
            Errors of single messages are stored with the message.
        counts: its messages by state.
        pinned: no prune deletes its objects.
        pruned: the stages whose objects were deleted; usually empty.
        replayable_until: time until which the retention of its config keeps its objects; `keep_last` may keep
            them longer. RFC 3339 in UTC; None if retention does not delete them, or they are deleted.
        changed_since: earlier run whose results it takes over where they are still valid; None if it
            processes all of its inputs.
        records_deleted_at: time at which its records were deleted: its messages with their errors, its
            outputs and its reports. What this object has was kept. RFC 3339 in UTC; usually None.
        revision: how often it has ended.
        requested_by: the caller that requested it; None: a process started it, or it was not recorded.
    """

    execution_id: UUID
    kind: Kind
    status: Status
    config: str | None
    config_version: int | None
    config_hash: str | None
    parent_execution_id: UUID | None
    replay_batch_id: UUID | None
    tags: list[str]
    created_at: str
    ended_at: str | None
    error: Problem | None
    counts: Counts
    pinned: bool = False
    pruned: list[PrunedStage] = field(default_factory=list)
    replayable_until: str | None = None
    changed_since: UUID | None = None
    records_deleted_at: str | None = None
    revision: int = 0
    requested_by: RequestedBy | None = None


MOST_OUTPUT_KEYS: Final = 100
"""Maximum number of `output_keys` of a message."""


@dataclass(frozen=True, slots=True)
class RouteCounts:
    """The messages of an execution in one route.

    Attributes:
        route: name of the route in the execution's config.
        queue: inbound queue of the route.
        counts: messages of the route by state. The sums over all routes are those of the execution.
        wait: why no attempt starts now, or what a worker lacks; None if the route does not wait.
    """

    route: str
    queue: str
    counts: Counts
    wait: RouteWait | None = None


@dataclass(frozen=True, slots=True)
class WatchedExecution(Execution):
    """An execution in an event stream.

    Attributes:
        routes: its messages by route, in the order of the config, as of the last change of `counts`; empty if
            adopted.
    """

    routes: list[RouteCounts] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StageSummary:
    """The objects that an execution stored in one stage, as a replay would find them.

    Attributes:
        stage: `input`, a stage of the config, or a top folder that another program created.
        objects: number of objects, without sidecars and folder markers.
        bytes: total size.
        first_key: first key in byte order; None if the stage is empty.
        last_key: last key in byte order; None if the stage is empty.
    """

    stage: str
    objects: int
    bytes: int
    first_key: str | None
    last_key: str | None


@dataclass(frozen=True, slots=True)
class StageTotal:
    """The number and size of the objects that an execution stored in one stage.

    Attributes:
        stage: `input`, or a stage of the config.
        objects: number of objects; 0 from the time at which a prune of the stage begins.
        bytes: total size of these objects.
    """

    stage: str
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class StageTotals:
    """The sizes of all stages of an execution at one time.

    Attributes:
        as_of: time at which the numbers were right; RFC 3339 in UTC.
        is_final: whether the execution has ended, and Playhead stored the objects. Then the numbers change
            only if it runs again (resend, retry) or is pruned.
        stages: `input`, then the stages of the config in its order.
    """

    as_of: str
    is_final: bool
    stages: list[StageTotal]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One stored output in a listing.

    Attributes:
        key: `{execution_id}/{stage}/{path}`. In a publication, it is that of the execution that stored the
            object, unless it stored the object at another place: then the id is that of the publication.
        stage: stage of the config that contains it; else the requested stage, else the top folder.
        path: part of the key after the stage.
        size: size in bytes.
        modified_at: time of the last write; RFC 3339 in UTC.
        taken_over_from: key of the object of an earlier execution that has the bytes, if it is another key.
    """

    key: str
    stage: str
    path: str
    size: int
    modified_at: str
    taken_over_from: str | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """One message and its result.

    Attributes:
        correlation_id: id of the message; a retry or a resend does not change it.
        parent_correlation_id: message whose output is the input of this one; None for an input of a run
            and for an object of a replay.
        execution_id: execution of the message.
        replay_batch_id: replay batch of that execution; None unless it is a replay.
        config: config that processes it.
        config_version: version of that config.
        route: route that processes it.
        status: `pending`, `running` and `retry` (a retry is due later) are open; `dead` is a dead letter;
            `skipped` has no output; `taken_over` has the result of an earlier execution; `uncertain` may have
            been sent to another program before it was cancelled.
        attempts: number of attempts, including those that do not count towards `max_attempts`, but not those
            that were released before a step was called; a resend does not reset it.
        adapters: adapters of the route with the code that ran in its last attempt that ended; empty before,
            and if no code ran.
        input_key: key of its input object.
        output_keys: keys of its first 100 outputs, in order; empty until it is completed.
        output_count: number of all its outputs.
        skip_code: why a `skipped` message has no outputs: `condition_false` if a condition dropped its item,
            `no_output` if a step returned none, `effects_skipped` if a replay does not repeat the effects of
            its route. The same of a `taken_over` message whose original was skipped; else None.
        skip_reason: the same in words.
        error: the last error; None without an error, and after it was completed or resent.
        created_at: time at which it was recorded; RFC 3339 in UTC.
        started_at: start of its last attempt; RFC 3339 in UTC; None before the first attempt.
        ended_at: time at which it was completed, skipped, dead or cancelled; RFC 3339 in UTC; None while it
            is open.
        duration_ms: milliseconds from `started_at` to `ended_at`; None if one of them is None.
        input_pruned_at: time at which its input object was pruned; RFC 3339 in UTC; None if it was not.
        outputs_pruned_at: the same of its outputs, whose keys remain.
        taken_over_from: message of an earlier execution that was processed, and whose result this one has;
            None unless it is `taken_over`, and if the records of that execution are deleted.
        declared_valid: the declaration of a person by which this result was taken over, although its code, in
            `adapters`, was not the newest; usually None.
        input_records_deleted_at: time at which the records of the execution were deleted that stored the
            input object, so the messages above are not known; RFC 3339 in UTC; None if they were not.
    """

    correlation_id: UUID
    parent_correlation_id: UUID | None
    execution_id: UUID
    replay_batch_id: UUID | None
    config: str
    config_version: int
    route: str
    status: RowState
    attempts: int
    adapters: list[AdapterCode]
    input_key: str
    output_keys: list[str]
    output_count: int
    skip_code: SkipCode | None
    skip_reason: str | None
    error: Problem | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    duration_ms: int | None
    input_pruned_at: str | None = None
    outputs_pruned_at: str | None = None
    taken_over_from: UUID | None = None
    declared_valid: Declaration | None = None
    input_records_deleted_at: str | None = None


@dataclass(frozen=True, slots=True)
class ChainLink(Lineage):
    """A message in a chain.

    Attributes:
        distance: steps from the requested message, which has 0; negative values are ancestors.
        via: relation to the next message in the direction of the requested one. `parent`: one created the
            input of the other; `replay`: the same across two executions; `self`: the requested message.
    """

    distance: int = 0
    via: Literal["self", "parent", "replay"] = "self"


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One result of a search index.

    Attributes:
        key: key of the object that contains the text. For a text from an earlier step of the route, the key
            that an output of that step would have.
        execution_id: execution that added the text to the index.
        path: part of the key after the stage.
        title: attribute `title` of the text; may be empty.
        snippet: excerpt of the text, with the found words in brackets.
        score: relevance, higher is better; comparable only within one response.
    """

    key: str
    execution_id: UUID
    path: str
    title: str
    snippet: str
    score: float


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list.

    Attributes:
        items: items of the page, in the order of the list.
        next_cursor: opaque value of `cursor` for the next page; None at the end.
    """

    items: list[T]
    next_cursor: str | None = None
