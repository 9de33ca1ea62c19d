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
    """One fault of a config. Line and column count from 1."""

    severity: Literal["error", "warning"]
    code: str
    path: str
    line: int
    column: int
    message: str
    suggestion: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigVersion:
    """One immutable version of a config, as the API shows it."""

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
    """Sums over row states. `total` is the number of messages ever recorded."""

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
    """What went wrong, for a reader."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Execution:
    """One run, replay or adopted prefix."""

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


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay batch: the contract's numbers and where it stands. `status` is None until publishing ends."""

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
class RouteCounts:
    route: str
    queue: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class StageSummary:
    stage: str
    objects: int
    bytes: int
    first_key: str | None
    last_key: str | None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One stored output in a listing. `size` in bytes."""

    key: str
    stage: str
    path: str
    size: int
    modified_at: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """One message and what came of it."""

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
    """A message in a chain: how far from the one asked about (negative is up), and by which bond."""

    distance: int = 0
    via: Literal["self", "parent", "replay"] = "self"


@dataclass(frozen=True, slots=True)
class DeadLetter:
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
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """A route of a newest active version, with its queue as it stands."""

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
    backend: str
    status: Literal["ok", "down"]
    detail: str | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A process that lately said it is alive. `kind` is `worker`, `serve`, `run` or `replay`."""

    worker_id: str
    kind: str
    host: str
    pid: int
    queues: list[str]
    started_at: str
    heartbeat_at: str


@dataclass(frozen=True, slots=True)
class Health:
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
    """A piece of a list; `next_cursor` is opaque, None at the end."""

    items: list[T]
    next_cursor: str | None = None
