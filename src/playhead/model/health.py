"""The state of a deployment: its backends, processes and adapters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from playhead.sourcecode import CoveredFile, WholeFiles


@dataclass(frozen=True, slots=True)
class BackendHealth:
    """The state of a backend.

    Attributes:
        backend: its kind: `files`, `s3`, `sqlite`, `postgresql`, `nats`, …
        status: `down` if it cannot be reached or does not answer in time.
        detail: its own description, or why it is down.
    """

    backend: str
    status: Literal["ok", "down"]
    detail: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of `doctor`.

    Attributes:
        what: subject: `reach`, `version`, `rights`, `durability`, `clock`, `round trip`, or others.
        status: `failed` if Playhead cannot work; `warning` if a guarantee is weaker than expected.
        detail: description, with the measured value or the message of the server.
        fix: what to do; empty if nothing is wrong.
    """

    what: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Examined:
    """All findings about one backend.

    Attributes:
        part: `store`, `broker` or `catalog`; `deployment` for findings that concern several of them.
        backend: kind of the backend; None for the deployment, and if the backend cannot be opened.
        status: status of its worst finding.
        findings: all findings.
    """

    part: Literal["store", "broker", "catalog", "deployment"]
    backend: str | None
    status: Literal["ok", "warning", "failed"]
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Examination:
    """The findings about all parts.

    Attributes:
        status: status of the worst part.
        parts: store, broker and catalog; then the deployment, unless one of those failed.
    """

    status: Literal["ok", "warning", "failed"]
    parts: list[Examined]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A live process: its last heartbeat is recent.

    Attributes:
        worker_id: unique id; begins with `kind`.
        kind: command that started it: `worker`, `serve`, `run`, `replay` or `plan`; or `client`, in Python.
        host: name of its machine.
        pid: its process id on that machine.
        queues: queues that it consumes; empty for a process that does not process messages.
        started_at: time of its first heartbeat; RFC 3339 in UTC.
        heartbeat_at: time of its last heartbeat; RFC 3339 in UTC.
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
    """A loaded adapter.

    Attributes:
        type: its name in configs.
        version: as set by its author; recorded in the sidecar of each output.
        produces: content type of outputs that do not name one; None: by their path, else as the input.
        effects: `external` or `idempotent` if it changes anything outside Playhead; see `@adapter`.
        batch: number of items that one call takes at most; None: it takes single items.
        description: its docstring; may be empty.
        origin: human-readable place of its definition.
        code: fingerprint of its code: `sha256:` of its source, or name and version of its package.
        source: file, module or package that was loaded.
        covers: what the fingerprint of its source covers.
        whole: why it covers whole files; None if it covers only what the adapter uses.
        config: JSON Schema of its config; None if it has no config.
    """

    type: str
    version: str
    produces: str | None
    effects: Literal["none", "idempotent", "external"]
    batch: int | None
    description: str
    origin: str
    code: str
    source: str
    covers: list[CoveredFile]
    whole: WholeFiles | None
    config: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a server and its backends.

    Attributes:
        status: `degraded` if a backend is down.
        version: version of Playhead.
        store: state of the store.
        broker: state of the broker.
        catalog: state of the catalog.
        workers: live processes, oldest first; empty if the catalog is down.
    """

    status: Literal["ok", "degraded"]
    version: str
    store: BackendHealth
    broker: BackendHealth
    catalog: BackendHealth
    workers: list[WorkerInfo]
