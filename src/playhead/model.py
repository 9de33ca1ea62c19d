"""What Playhead speaks about, as frozen data.

The first part is what a config says. The second is what the API and the CLI show: those field names
are the JSON of `interface`, so a catalog builds them once and nobody translates. Times are RFC 3339
strings (`ids.moment`). What travels between a service and a catalog (claims, bindings, calls) stands
with the port, in `ports.catalog`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar
from uuid import UUID

# -- configs ---------------------------------------------------------------------------------------

Operator = Literal["equals", "not_equals", "in", "not_in", "matches", "exists", "gt", "gte", "lt", "lte"]


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether an item goes through a step; otherwise it passes the step by, or is dropped."""

    field: str
    operator: Operator
    value: Any = None
    otherwise: Literal["pass", "drop"] = "pass"


@dataclass(frozen=True, slots=True)
class Step:
    """One adapter of a route, with the settings its config gives it."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class ErrorHandling:
    """When a failed message is tried again; the last attempt makes it a dead letter."""

    max_attempts: int = 5
    retry_delay_seconds: float = 2
    backoff: float = 2.0
    max_delay_seconds: float = 300

    def delay(self, spent: int) -> float:
        """Seconds to wait after `spent` attempts (1 after the first)."""
        # A float power overflows past 10**308; the cap is far below, so the exponent may be cut.
        return min(
            self.retry_delay_seconds * self.backoff ** min(max(spent - 1, 0), 300), self.max_delay_seconds
        )


@dataclass(frozen=True, slots=True)
class Route:
    """A named lane: one inbound queue, a chain of steps, a stage for what comes out, the routes it feeds.

    Attributes:
        prefetch: messages fetched ahead, a worker process; None: by what the route finished lately.
        timeout_seconds: for one message, the whole chain.
        external: other programs consume the queue; there are neither steps nor a stage.
        stage: None: what the last step gives is not stored.
    """

    name: str
    queue: str
    steps: tuple[Step, ...] = ()
    stage: str | None = None
    to: tuple[str, ...] = ()
    concurrency: int = 4
    prefetch: int | None = None
    timeout_seconds: float = 300
    external: bool = False
    errors: ErrorHandling = ErrorHandling()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """A pipeline as declared."""

    name: str
    entry: str
    routes: Mapping[str, Route]
    description: str = ""

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(r.stage for r in self.routes.values() if r.stage)

    def document(self) -> dict[str, Any]:
        """JSON values from which `from_document` makes an equal config."""
        return asdict(self)

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Config:
        def step(s: Mapping[str, Any]) -> Step:
            condition = s["condition"]
            return Step(s["type"], s["config"], Condition(**condition) if condition else None)

        def route(r: Mapping[str, Any]) -> Route:
            given = dict(r)
            given["steps"] = tuple(step(s) for s in r["steps"])
            given["to"] = tuple(r["to"])
            given["errors"] = ErrorHandling(**r["errors"])
            return Route(**given)

        routes = {name: route(r) for name, r in doc["routes"].items()}
        return cls(doc["name"], doc["entry"], routes, doc["description"])


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One fault of a config.

    Attributes:
        severity: an `error` keeps the config from being applied; a `warning` does not.
        code: `E…` or `W…`; stable.
        path: where in the document, with dots: `routes.convert.adapters.0.type`; empty for all of it.
        line: its line in the source, counted from 1.
        column: its character in that line, counted from 1.
        message: what is wrong, for a reader.
        suggestion: what to write instead; None where nothing comes near.
    """

    severity: Literal["error", "warning"]
    code: str
    path: str
    line: int
    column: int
    message: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """One immutable version of a config, as the API shows it.

    Attributes:
        name: the name of the config; all its versions share it.
        version: its number, counted from 1.
        hash: `sha256:` and, in hex, the hash of the parsed document; alike for texts that mean the same.
        active: whether the config, in whatever version, takes new runs and replays.
        created_at: when this version was stored; RFC 3339 in UTC.
        entry: the route that the inputs of a run go to.
        routes: names of the routes, in the order of the source.
        stages: those that the routes store, in the order of the source; `input` is not among them.
        source: the YAML text as it was applied.
        warnings: what applying this version warned of.
    """

    name: str
    version: int
    hash: str
    active: bool
    created_at: str
    entry: str
    routes: list[str]
    stages: list[str]
    source: str
    warnings: list[Diagnostic] = field(default_factory=list)


# -- what is shown ---------------------------------------------------------------------------------

Kind = Literal["run", "replay", "adopted"]
Status = Literal["running", "completed", "failed", "cancelled"]
RowState = Literal["pending", "running", "retry", "completed", "skipped", "dead", "cancelled"]
ROW_STATES: Final[tuple[RowState, ...]] = (
    *("pending", "running", "retry"),
    *("completed", "skipped", "dead", "cancelled"),
)
OPEN_STATES: Final = ("pending", "running", "retry")
ReplayState = Literal["publishing", "publishing_complete", "partial_failure", "stalled", "cancelled"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Messages of an execution, or of one of its routes, by state; at most a second old while it runs.

    Attributes:
        pending: still open: `pending`, `running` or `retry`.
        completed: `completed` or `skipped`.
        failed: dead letters: `dead`.
        cancelled: `cancelled`, with their execution.
        total: all that were ever recorded: the sum of the four.
    """

    pending: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0

    @classmethod
    def of(cls, rows: Mapping[str, int]) -> Counts:
        """From a number of rows by state."""
        pending = sum(rows.get(s, 0) for s in OPEN_STATES)
        completed = rows.get("completed", 0) + rows.get("skipped", 0)
        return cls(pending, completed, rows.get("dead", 0), rows.get("cancelled", 0), sum(rows.values()))


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong, for a reader.

    Attributes:
        code: stable; that of a dead letter (`adapter_error`) or of an execution (`listing_failed`).
        message: what happened; in the adapter's own words where it raised something.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Execution:
    """One run, replay or adopted prefix.

    Attributes:
        execution_id: its objects lie at `{execution_id}/{stage}/{path}`.
        kind: `run` of inputs, `replay` of a stage, or `adopted`: objects that another program laid out.
        status: `running` while a message is open or more may come, then `completed`, or `failed` if one is
            dead or there is an `error`; `cancelled` by hand. Sending a dead letter again makes it `running`.
        config: the config that it works by; of a replay, that of its target; None for an adopted one.
        config_version: the version of it, fixed when the execution began; None for an adopted one.
        config_hash: the hash of that version; None for an adopted one.
        parent_execution_id: the execution that it replays; None unless it is a replay.
        replay_batch_id: the id of the batch; None unless it is a replay.
        tags: what a run was marked with, sorted; empty for the others.
        created_at: when it began; RFC 3339 in UTC. Of an adopted one: when it was first replayed, and until
            then the time of one of its objects.
        ended_at: when it was no longer `running`; RFC 3339 in UTC; None while it is.
        error: why not all that it is about became messages (`upload_incomplete`, `listing_failed`), else
            None. What went wrong with a message stands with the message.
        counts: its messages by state.
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


MOST_ERRORS: Final = 100
"""Lines of a replay's errors at most; the last of a longer list says how many more there were."""
UNCERTAIN: Final = "uncertain, will be settled"
"""Ends the line of an object of which it is not known, or not yet, whether it is published."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay batch: the contract's numbers and where it stands.

    Attributes:
        execution_id: the new execution, under which the outputs are stored.
        from_execution_id: the execution whose stored outputs are replayed.
        from_stage, to_route: as asked for.
        from_path: as asked for; None: the whole stage.
        to_queue: the inbound queue of the route, where the messages go.
        objects_found: objects listed so far, without sidecars, folder markers and what is not stored.
        objects_published: messages that the broker has confirmed.
        objects_failed: objects whose key can't be worked or whose message was refused; once cancelled, all
            that are not published.
        status: None until publishing ends; `partial_failure` when objects failed, or it ended early.
        replay_batch_id: the id of this batch.
        errors: a line for what ended it early, and for each object that failed or is uncertain; at most
            100, of which the last counts the rest; None where there is none.
        state: `publishing`, then as `status`; `cancelled`; or `stalled`: its listing ended five processes
            in a row, and nobody goes on.
        to_config: the config of the route.
        to_config_version: the version of it, the newest when the replay began.
        created_at: when it began; RFC 3339 in UTC.
        ended_at: when publishing ended, or was cancelled; RFC 3339 in UTC; None until then.
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


@dataclass(frozen=True, slots=True)
class ReplayProgress(Replay):
    """A replay batch while it is watched.

    Attributes:
        rate: objects published a second, over the last few seconds; None at the first look.
        eta_seconds: until publishing ends; None while that is not known, as long as objects are listed.
    """

    rate: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RouteCounts:
    """The messages of an execution in one route.

    Attributes:
        route: its name in the execution's config.
        queue: its inbound queue.
        counts: its messages by state; over all routes they add up to those of the execution.
    """

    route: str
    queue: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class StageSummary:
    """What an execution has stored in one stage: what a replay of it would find.

    Attributes:
        stage: `input`, one that the config declares, or a first folder that another program made.
        objects: how many, without sidecars and folder markers.
        bytes: their sizes, added up.
        first_key: the first of its keys, in byte order; None where there is none.
        last_key: the last of its keys, in byte order; None where there is none.
    """

    stage: str
    objects: int
    bytes: int
    first_key: str | None
    last_key: str | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One stored output in a listing.

    Attributes:
        key: `{execution_id}/{stage}/{path}`.
        stage: the declared one that it lies in; where none is, the one asked for, else the first folder.
        path: what follows the stage in the key.
        size: its size in bytes.
        modified_at: when the store last wrote it; RFC 3339 in UTC.
    """

    key: str
    stage: str
    path: str
    size: int
    modified_at: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """One message and what came of it.

    Attributes:
        correlation_id: the id of the message; it stays when it is tried or sent again.
        parent_correlation_id: the message whose output this one is about; None for an input of a run and
            for an object of a replay.
        execution_id: the execution that it belongs to.
        replay_batch_id: the batch of that execution; None unless it is a replay.
        config: the config that it is worked by.
        config_version: the version of it.
        route: the route that it is worked by.
        status: `pending`, `running` and `retry` (to be tried again) are open; `dead` is a dead letter.
        attempts: how often work on it was started; sending it again does not reset that.
        input_key: the key of the object that it is about.
        output_keys: the keys of the objects that it made, in order; empty until it is completed.
        error: what went wrong last; None where nothing did, and once it is completed or sent again.
        created_at: when it was recorded; RFC 3339 in UTC.
        started_at: when its last attempt started; RFC 3339 in UTC; None before the first.
        ended_at: when it was completed, dead or cancelled; RFC 3339 in UTC; None while it is open.
        duration_ms: milliseconds from `started_at` to `ended_at`; None where one of them is.
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
    input_key: str
    output_keys: list[str]
    error: Problem | None
    created_at: str
    started_at: str | None
    ended_at: str | None
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class ChainLink(Lineage):
    """A message in a chain.

    Attributes:
        distance: how far from the one asked about: 0 is that one, negative is up.
        via: its bond to the next one nearer to that: `parent`, one made what the other is about; `replay`,
            the same across two executions; `self` for the one asked about.
    """

    distance: int = 0
    via: Literal["self", "parent", "replay"] = "self"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that nothing tries again until someone sends it again.

    Attributes:
        correlation_id: the id of the message; it stays when it is sent again.
        execution_id: the execution that it belongs to.
        config: the config that it was worked by.
        config_version: the version of it.
        route: the route that it was worked by.
        queue: the inbound queue of the route.
        input_key: the key of the object that it is about.
        attempts: how often work on it was started, in all.
        error_code: why it is dead; stable: `adapter_error`, `rejected`, …
        error: what happened; in the adapter's own words where it raised something.
        failed_at: when it became a dead letter; RFC 3339 in UTC.
    """

    correlation_id: UUID
    execution_id: UUID
    config: str
    config_version: int
    route: str
    queue: str
    input_key: str
    attempts: int
    error_code: str
    error: str
    failed_at: str


@dataclass(frozen=True, slots=True)
class DeadLetterDetail(DeadLetter):
    """A dead letter with its traceback.

    Attributes:
        traceback: that of what the adapter raised last, cut in the middle where it is long; None for an
            error that has none, such as `rejected` or `adapter_timeout`.
    """

    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """A route of a newest active version, with its queue as it stands.

    Attributes:
        config: the config that the route belongs to.
        route: its name.
        queue: its inbound queue.
        stage: where its outputs are stored; None: they are not.
        adapters: types of its steps, in order; empty where other programs consume the queue.
        to: the routes that its outputs go to.
        queue_depth: messages in the queue that are not handed out.
        in_flight: messages of the queue that are handed out and not yet done with.
        dead: dead letters of the route, of all versions of the config.
        workers: processes alive that consume the queue.
    """

    config: str
    route: str
    queue: str
    stage: str | None
    adapters: list[str]
    to: list[str]
    queue_depth: int
    in_flight: int
    dead: int
    workers: int


@dataclass(frozen=True, slots=True)
class BackendHealth:
    """How a backend is.

    Attributes:
        backend: which one it is: `files`, `s3`, `sqlite`, `postgresql`, `nats`, …
        status: `down` when it can't be reached or does not answer in time.
        detail: what it says of itself, or why it is down.
    """

    backend: str
    status: Literal["ok", "down"]
    detail: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `doctor` looked at.

    Attributes:
        what: `reach`, `version`, `rights`, `durability`, `clock`, `round trip`, or another few plain words.
        status: `failed` when work can't go on like this; `warning` when a promise is weaker than it looks.
        detail: what was found, with the figure or the server's own words.
        fix: what to do about it; empty where all is well.
    """

    what: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Examined:
    """A backend, examined.

    Attributes:
        part: `store`, `broker` or `catalog`; `site` for what shows only between them.
        backend: which backend that is; None for the site, and for one that can't be opened.
        status: the status of its worst finding.
        findings: all that was looked at.
    """

    part: Literal["store", "broker", "catalog", "site"]
    backend: str | None
    status: Literal["ok", "warning", "failed"]
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Examination:
    """All parts, examined.

    Attributes:
        status: the status of the worst part.
        parts: store, broker and catalog; then the site, unless one of those failed.
    """

    status: Literal["ok", "warning", "failed"]
    parts: list[Examined]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A process that lately said it is alive.

    Attributes:
        worker_id: unique for ever; it begins with `kind`.
        kind: the command that it is of: `worker`, `serve`, `run` or `replay`.
        host: the name of its machine.
        pid: its process id there.
        queues: those that it consumes; empty for a process that does no work on messages.
        started_at: when it first said so; RFC 3339 in UTC.
        heartbeat_at: when it last said so; RFC 3339 in UTC.
    """

    worker_id: str
    kind: str
    host: str
    pid: int
    queues: list[str]
    started_at: str
    heartbeat_at: str


@dataclass(frozen=True, slots=True)
class AdapterInfo:
    """An adapter that is loaded.

    Attributes:
        type: its name, as configs have it.
        version: as its author counts; in the sidecar of all that it makes.
        produces: the content type of outputs that name none; None: what their path says, else the input's.
        effects: `external` when it changes something outside of Playhead.
        description: its docstring; may be empty.
        origin: where it was defined, for a reader.
        config: the JSON Schema of its config; None: it takes none.
    """

    type: str
    version: str
    produces: str | None
    effects: Literal["none", "external"]
    description: str
    origin: str
    config: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One answer of an index.

    Attributes:
        key: the key of the object whose text it is; for a text that an earlier step of the route made, the
            key that it would have beside the route's input.
        execution_id: the execution that put it into the index.
        path: what follows the stage in the key.
        title: the attribute `title` of the text; may be empty.
        snippet: a piece of the text, with the words found in brackets.
        score: the higher, the better; says nothing beyond this answer.
    """

    key: str
    execution_id: UUID
    path: str
    title: str
    snippet: str
    score: float


@dataclass(frozen=True, slots=True)
class Health:
    """How a server and its backends are.

    Attributes:
        status: `degraded` when a backend is down.
        version: the version of Playhead.
        store: how the store is.
        broker: how the broker is.
        catalog: how the catalog is.
        workers: the processes that are alive, oldest first; empty when the catalog is down.
    """

    status: Literal["ok", "degraded"]
    version: str
    store: BackendHealth
    broker: BackendHealth
    catalog: BackendHealth
    workers: list[WorkerInfo]


# -- lists -----------------------------------------------------------------------------------------

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A piece of a list.

    Attributes:
        items: the piece, in the order of the list.
        next_cursor: gives the next piece, as `cursor`; opaque; None at the end.
    """

    items: list[T]
    next_cursor: str | None = None
