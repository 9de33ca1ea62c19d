"""What services and engine parts receive when they are constructed, as three values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from playhead.clock import Clock
from playhead.counters import Counters
from playhead.ports.broker import Broker
from playhead.ports.store import Store
from playhead.ports.tracer import OFF, Tracer
from playhead.secrets import Resolve, no_secrets
from playhead.steps.isolation import StartChild

C_co = TypeVar("C_co", covariant=True)

Sleep = Callable[[float], Awaitable[None]]
"""How a loop waits: `asyncio.sleep`, or one step of a schedule in a test."""


class Spawned(Awaitable[None], Protocol):
    """Work that was started: its end can be awaited, or it can be cancelled."""

    def cancel(self) -> object: ...


Spawn = Callable[[Coroutine[Any, Any, None]], Spawned]
"""How work is started that runs next to its caller: as a task, or as part of a schedule in a test."""


class Backends(NamedTuple, Generic[C_co]):
    """The three backends. `C_co` is the part of the catalog that the receiver uses."""

    catalog: C_co
    broker: Broker
    store: Store


@dataclass(frozen=True, slots=True)
class Environment:
    """What a process provides to everything that runs in it.

    Attributes:
        process: id of this process; it holds claims and leases.
        sleep: waits for seconds.
        clock: elapsed seconds.
        spawn: starts a coroutine that may outlive its caller.
        counters: what this process has counted.
        tracer: starts spans.
        resolve: returns the secrets that configs reference.
        isolate: starts a child process for a step; None: all steps run in this process.
    """

    process: str
    sleep: Sleep = asyncio.sleep
    clock: Clock = time.monotonic
    spawn: Spawn = asyncio.create_task
    counters: Counters = field(default_factory=Counters)
    tracer: Tracer = OFF
    resolve: Resolve = no_secrets
    isolate: StartChild | None = None


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What the operator sets for a worker.

    Attributes:
        visibility: seconds; held deliveries are extended every third of it.
        data_dir: where adapters keep their files.
        max_object_bytes: a larger input or output makes its message a dead letter.
        internal_hosts: hosts and networks with internal addresses that steps may connect to.
    """

    visibility: float
    data_dir: str
    max_object_bytes: int
    internal_hosts: Sequence[str] = ()
