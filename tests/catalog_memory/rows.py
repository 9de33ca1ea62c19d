"""The rows of the catalog. They refer to each other directly, and not by numbers as in a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from playhead.counters import Numbers
from playhead.envelope import Dispatch, Headers
from playhead.ids import moment
from playhead.model import (
    OPEN_STATES,
    Config,
    ConfigVersion,
    Kind,
    LoadedCode,
    Problem,
    PrunedStage,
    Route,
    RowState,
    Status,
)
from playhead.ports.catalog.jobs import Since
from playhead.ports.catalog.upkeep import Process

Phase = Literal["uploading", "publishing", "stalled", "ended", "cancelled"]
"""The progress of a job. The outcome of an ended replay is computed from its rows."""

DispatchState = Literal["listed", "unpublished", "uncertain", "published"]
"""The state of the dispatch of a row's generation. `listed`: its job publishes it, up to the mark of the job.
`unpublished`: its publisher publishes it, or the reconciler if the publisher is dead or None."""


@dataclass(slots=True, eq=False)
class VersionRow:
    n: int
    number: int
    digest: str
    source: str
    config: Config
    created_at: str


@dataclass(slots=True, eq=False)
class ConfigRow:
    """`versions` in order; the last is the newest."""

    name: str
    active: bool = True
    versions: list[VersionRow] = field(default_factory=list)

    @property
    def newest(self) -> VersionRow:
        return self.versions[-1]

    def view(self, version: VersionRow) -> ConfigVersion:
        config = version.config
        return ConfigVersion(
            name=self.name,
            version=version.number,
            hash=version.digest,
            active=self.active,
            created_at=version.created_at,
            entry=config.entry,
            routes=list(config.routes),
            stages=list(config.stages),
            source=version.source,
        )


@dataclass(slots=True, eq=False)
class ExecutionRow:
    """`version` is the config version that it runs, for a replay of its target; None if adopted."""

    n: int
    id: UUID
    kind: Kind
    version: VersionRow | None
    created_at: float
    status: Status = "running"
    parent: UUID | None = None
    batch: UUID | None = None
    traceparent: str | None = None
    tags: tuple[str, ...] = ()
    ended_at: float | None = None
    revision: int = 0
    job: JobRow | None = None
    messages: list[MessageRow] = field(default_factory=list)
    headers: dict[str, Headers] = field(default_factory=dict)
    pinned: bool = False
    prunings: list[PruningRow] = field(default_factory=list)

    @property
    def pruned(self) -> list[PrunedStage]:
        return [row.view() for row in self.prunings]

    @property
    def settled(self) -> bool:
        """Whether it has ended, and no message of it is open."""
        return self.status != "running" and not any(message.open for message in self.messages)

    @property
    def ran(self) -> VersionRow:
        """Return the version of an execution that has messages or a job."""
        assert self.version is not None, f"execution {self.id} was adopted: it has no config"
        return self.version

    def end(self, status: Status, now: float) -> None:
        self.status = status
        self.ended_at = now
        self.revision += 1


@dataclass(slots=True, eq=False)
class PruningRow:
    """`stage` is None for all stages. The objects up to `cursor` are deleted."""

    n: int
    execution: ExecutionRow
    stage: str | None
    pruned_at: float
    deleted_at: float | None = None
    cursor: str = ""

    def view(self) -> PrunedStage:
        deleted = moment(self.deleted_at) if self.deleted_at is not None else None
        return PrunedStage(self.stage, moment(self.pruned_at), deleted)

    def has(self, key: str) -> bool:
        prefix = f"{self.execution.id}/{self.stage}/" if self.stage else f"{self.execution.id}/"
        return key.startswith(prefix)


@dataclass(slots=True, eq=False)
class JobRow:
    """The listing and publishing of an execution, and its listing_state."""

    execution: ExecutionRow
    source: UUID
    stage: str
    path: str | None
    prefix: str
    to_route: str
    route: Route
    phase: Phase
    listing_state: Literal["open", "completed", "dead", "cancelled"] = "open"
    epoch: int = 0
    owner: str | None = None
    lease_until: float = 0.0
    idle_takeovers: int = 0
    cursor: str = ""
    ended_at: float | None = None
    error: Problem | None = None
    since: Since | None = None
    has_inputs: bool = True

    @property
    def messages(self) -> list[MessageRow]:
        """Return the listed rows in order. Their ordinals start at 1."""
        return [m for m in self.execution.messages if m.ordinal is not None]

    def release(self) -> None:
        self.owner = None
        self.lease_until = 0.0

    def end(self, phase: Literal["ended", "cancelled"], now: float) -> None:
        self.phase = phase
        self.ended_at = now
        self.release()


@dataclass(slots=True, eq=False)
class MessageRow:
    """A message.

    Attributes:
        ordinal: place in its job's listing; None for children.
        publisher: the process that has to publish it.
        confirmed: whether its job is done with it. True if the broker confirmed one of its dispatches, if a
            worker claimed it, or if it was resent after its dispatch was refused.
        attempt: number of started attempts; with the id, the token of a claim.
        uncounted_attempts: attempts that do not count towards `max_attempts`.
        consecutive_crashes: number of its last attempts that ended with the death of their worker.
        generation: how often a new dispatch was requested.
        worker: the process that runs the attempt.
    """

    n: int
    id: UUID
    execution: ExecutionRow
    route: Route
    object_key: str
    stage: str
    created_at: float
    dispatch_state: DispatchState
    state: RowState = "pending"
    ordinal: int | None = None
    parent: MessageRow | None = None
    publisher: str | None = None
    confirmed: bool = False
    attempt: int = 0
    uncounted_attempts: int = 0
    consecutive_crashes: int = 0
    generation: int = 0
    worker: str | None = None
    not_before: float = 0.0
    started_at: float | None = None
    ended_at: float | None = None
    error: Problem | None = None
    traceback: str | None = None
    skip_reason: str | None = None
    ran: int | None = None
    original: MessageRow | None = None

    @property
    def open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def waits(self) -> bool:
        """Whether it is open and no worker holds it."""
        return self.state in ("pending", "retry")

    @property
    def path(self) -> str:
        rest = self.object_key.partition("/")[2]
        return rest.removeprefix(self.stage + "/")

    def dispatch(self) -> Dispatch:
        return Dispatch(
            headers=self.execution.headers[self.route.name],
            correlation_id=str(self.id),
            generation=self.generation,
            parent=str(self.parent.id) if self.parent else None,
            object_key=self.object_key,
            external=self.route.external,
            ordinal=self.ordinal,
        )

    def holds(self, attempt: int) -> bool:
        """Whether the token of a claim still holds."""
        return self.state == "running" and self.attempt == attempt

    def wants(self, dispatch: Dispatch) -> bool:
        """Whether this dispatch is current: not published yet, not claimed, and not superseded."""
        return self.waits and self.generation == dispatch.generation and self.dispatch_state != "published"

    def publish(self, now: float) -> None:
        """Record that its dispatch was confirmed. On an external route this completes it."""
        self.dispatch_state = "published"
        self.confirmed = True
        if self.route.external and self.waits:
            self.state = "completed"
            self.ended_at = now

    def dispatch_again(self, *, publisher: str | None) -> None:
        """Request a new dispatch. Its generation makes it a different message for the broker."""
        self.generation += 1
        self.dispatch_state = "unpublished"
        self.publisher = publisher

    def retry(self, not_before: float) -> None:
        self.state = "retry"
        self.worker = None
        self.not_before = not_before
        self.dispatch_again(publisher=None)

    def close(self, state: RowState, now: float, error: Problem | None = None) -> None:
        self.state = state
        self.worker = None
        self.ended_at = now
        if state != "cancelled":  # a cancelled message keeps its last error
            self.error = error
            self.traceback = None


@dataclass(slots=True, eq=False)
class OutputRow:
    """An object of Playhead, bound before its first byte. `message` and `attempt` are None for inputs.

    `original`: the object that has the bytes, if this is a reference.
    """

    key: str
    message: MessageRow | None
    attempt: int | None
    size: int
    sha256: bytes
    fingerprint: bytes
    content_type: str
    attributes: Mapping[str, Any]
    created_at: float
    state: Literal["writing", "stored", "superseded"] = "writing"
    pruned_at: float | None = None
    original: OutputRow | None = None

    @property
    def place(self) -> OutputRow:
        """The object that has the bytes."""
        return self.original or self


@dataclass(slots=True, eq=False)
class ProcessRow:
    process: Process
    queues: tuple[str, ...]
    started_at: float
    heartbeat_at: float
    counters: Numbers
    loaded: LoadedCode | None


@dataclass(slots=True, eq=False)
class LeaseRow:
    owner: str
    until: float
