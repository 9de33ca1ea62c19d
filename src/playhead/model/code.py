"""Which code ran: adapters with their versions and fingerprints, and the processes that have loaded them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from playhead.model.health import WorkerInfo

CodeNote = Literal["changed", "differs", "other_here"]
Compare = Literal["code", "version"]
"""What has to be the same of an adapter whose earlier results are taken over: its code, or its version."""


@dataclass(frozen=True, slots=True)
class AdapterCode:
    """An adapter with the code that ran.

    Attributes:
        type: its name in configs.
        version: as set by its author.
        code: fingerprint of its code: `sha256:` of its source, or name and version of its package.
    """

    type: str
    version: str
    code: str


@dataclass(frozen=True, slots=True)
class RanCode:
    """Code that ran in a route.

    Attributes:
        adapters: the adapters of the route, in their order.
        messages: number of messages whose last attempt ran this code.
    """

    adapters: list[AdapterCode]
    messages: int


@dataclass(frozen=True, slots=True)
class RouteCode:
    """The code that ran in a route of an execution.

    Attributes:
        route: name of the route in the execution's config.
        codes: more than one if adapters changed while the execution ran, or differ between workers.
    """

    route: str
    codes: list[RanCode]


@dataclass(frozen=True, slots=True)
class LoadedAdapter(AdapterCode):
    """An adapter that a process has loaded.

    Attributes:
        source: file, module or package that was loaded.
    """

    source: str


@dataclass(frozen=True, slots=True)
class LoadedCode:
    """What a process runs.

    Attributes:
        version: version of Playhead.
        adapters: its adapters, sorted by name.
        changed: types of adapters whose source has changed since they were loaded.
    """

    version: str
    adapters: tuple[LoadedAdapter, ...] = ()
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerAdapter(LoadedAdapter):
    """An adapter of a live process.

    Attributes:
        notes: `changed`: its code has changed in the source since the process loaded it. `differs`: another
            live process that consumes the same queue has loaded other code. `other_here`: the machine that
            answers would load other code.
    """

    notes: list[CodeNote] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Worker(WorkerInfo):
    """A live process with the code that it has loaded.

    Attributes:
        heartbeat_age_seconds: seconds since its last heartbeat.
        version: version of Playhead that it runs.
        adapters: adapters that it has loaded, sorted by name.
    """

    heartbeat_age_seconds: float
    version: str
    adapters: list[WorkerAdapter]
