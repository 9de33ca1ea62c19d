"""Parts of a worker over in-memory backends: the steps of an attempt, one at a time, or one consumer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from playhead import Item, adapter
from playhead.environment import Backends, Environment, WorkerSettings
from playhead.model import Route, Step
from playhead.ports.adapter import spec_of
from playhead.ports.broker import Broker
from playhead.ports.catalog.upkeep import Subscription
from playhead.ports.catalog.work import Claim, Failed
from playhead.ports.store import Store
from playhead.steps.chain import Chain
from playhead.steps.outputs import Product
from playhead.work.attempt import AttemptOutcome, ClaimedMessage, CooldownRequest
from playhead.work.binding import Binder
from playhead.work.children import Children
from playhead.work.completion import Completion
from playhead.work.consumer import Consumer
from playhead.work.deliveries import Deliveries, HeldDelivery, State
from playhead.work.dispatch import RouteRuntime
from playhead.work.intake import AttemptCatalog, Intake, IntakeResult
from tests.lab import VISIBILITY, MemoryDeployment
from tests.waiting import SECONDS

QUEUE = "docs.convert"


class Steps:
    """The parts of one consumer, and what it holds."""

    def __init__(
        self,
        catalog: AttemptCatalog,
        broker: Broker,
        store: Store,
        env: Environment,
        *,
        max_object_bytes: int = 100,
    ) -> None:
        backends = Backends(catalog, broker, store)
        self.processing: dict[UUID, UUID] = {}
        self.deliveries = Deliveries()
        children = Children(backends, env, may_wait=lambda: True)
        self.intake = Intake(
            backends,
            env,
            self.deliveries,
            children,
            processing=self.processing,
            max_object_bytes=max_object_bytes,
        )
        self.binder = Binder(backends, env, max_object_bytes=max_object_bytes)
        self.completion = Completion(backends, env, self.deliveries, children, processing=self.processing)

    def end_chains(self, batch: Sequence[AttemptOutcome]) -> None:
        """Move deliveries as a consumer does when their chains have ended."""
        for one in batch:
            if one.result is None and one.held.state is State.CLAIMED:
                self.deliveries.move(one.held, State.RUNNING)
            self.deliveries.move(one.held, State.ENDED)


class Worker(MemoryDeployment):
    """A worker process `w1` with one queue, and a peer `w2` that sends heartbeats.

    Args:
        backends: arguments of `MemoryDeployment`.
        environment: further fields of the worker's `Environment`.
    """

    def __init__(self, *, environment: Mapping[str, Any] | None = None, **backends: Any) -> None:
        super().__init__(**backends)
        self.env = Environment("w1", **(environment or {}))
        self.steps = Steps(self.catalog, self.broker, self.store, self.env)

    @property
    def deliveries(self) -> Deliveries:
        return self.steps.deliveries

    async def receive(self, queue: str = QUEUE) -> list[HeldDelivery]:
        return self.deliveries.receive(await self.broker.receive(queue, 10))

    async def take(self, held: Sequence[HeldDelivery] | None = None) -> IntakeResult:
        return await self.steps.intake.take(await self.receive() if held is None else held)

    async def claim(self) -> ClaimedMessage:
        """Take the only message that is in the queue."""
        (message,) = (await self.take()).claimed
        return message

    async def end(self, *outcomes: AttemptOutcome) -> None:
        """End attempts, as a consumer does when nothing fails."""
        self.steps.end_chains(outcomes)
        await self.steps.completion.end(outcomes, await self.steps.binder.store(outcomes))


class OneConsumer(MemoryDeployment):
    """A worker process `w1` with one consumer, and a peer `w2` that sends heartbeats.

    Args:
        step: the only adapter of the route.
        backends: arguments of `MemoryDeployment`.
    """

    may_start_suspect = True

    def __init__(self, step: Callable[[Item], Any], *, concurrency: int = 4, **backends: Any) -> None:
        super().__init__(**backends)
        self.processing: dict[UUID, UUID] = {}
        self.slept: list[float] = []

        @adapter("step")
        def run(item: Item) -> Any:
            return step(item)

        spec = spec_of(run)
        assert spec
        steps = (Step("step"),)
        self.route = Route("convert", QUEUE, steps, stage="pages", concurrency=concurrency)
        self._runtime = RouteRuntime(self.route, Chain(self.route, {"step": spec}))

    def consumer(self, *, visibility: float = VISIBILITY) -> Consumer:
        return Consumer(
            self,
            self.backends,
            Environment("w1", sleep=self._sleep),
            WorkerSettings(visibility=visibility, data_dir="/nowhere", max_object_bytes=100),
            Subscription(QUEUE, "docs", 1, "convert"),
            self.route,
        )

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    # -- what a consumer needs from its worker -----------------------------------------------------

    def reserve_suspect_slot(self, suspect: HeldDelivery) -> None: ...
    def settled(self, held: HeldDelivery) -> None: ...
    def finished(self, count: int) -> None: ...

    async def show_wait(self, config: str, route: str, seconds: float, reason: str) -> None: ...

    async def cool_down(self, request: CooldownRequest) -> None: ...

    async def runtime(self, claim: Claim) -> RouteRuntime:
        return self._runtime


async def ended(consumer: Consumer) -> None:
    """Wait until a consumer has ended."""
    await asyncio.wait_for(consumer.task, SECONDS)


def failed(message: ClaimedMessage, error: str, *, delay: float | None = None) -> AttemptOutcome:
    """An attempt whose adapter raised an error."""
    claim = message.claim
    return AttemptOutcome(
        message,
        result=Failed(claim.correlation_id, claim.attempt, "adapter_error", error, delay=delay),
    )


def completed(message: ClaimedMessage, *paths: str) -> AttemptOutcome:
    """An attempt that returned outputs under these paths."""
    products = [Product(path, b"made", "text/plain", {}) for path in paths]
    return AttemptOutcome(message, "pages", products)
