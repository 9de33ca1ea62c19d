"""A clock, a catalog with steps that tests combine, a config, and a deployment in memory, for all layers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from playhead.envelope import Dispatch, Headers
from playhead.environment import Backends
from playhead.ids import uuid7
from playhead.keys import content_type_of
from playhead.model import (
    Config,
    Counts,
    ErrorHandling,
    Execution,
    Lineage,
    OnReplay,
    Replay,
    ReplayRequest,
    Route,
    Skip,
    SkipCode,
)
from playhead.ports.broker import Delivery, PublishResult
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.jobs import LeasedJob, Listed
from playhead.ports.catalog.runs import Input
from playhead.ports.catalog.upkeep import Process
from playhead.ports.catalog.work import Binding, Bound, Claim, Done, Failed, NewOutput, Refusal, Unbound
from playhead.ports.store import Blob
from playhead.services.replay import ReplayService
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog
from tests.store_memory import MemoryStore

if TYPE_CHECKING:
    from playhead.bootstrap.process import Runtime

T = TypeVar("T")

LEASE = 15.0
HEARTBEAT = 10.0
DEAD_AFTER = 5 * HEARTBEAT
VISIBILITY = 1000.0
"""Of the broker in memory: longer than any test, unless the test moves the clock."""


class Clock:
    """A clock that moves only when the test moves it.

    Attributes:
        scale: for a server with its own clock: real seconds per second of the test.
    """

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.scale: float | None = None

    def __call__(self) -> float:
        return self.now

    def time(self) -> float:
        """Return the time in seconds of the test. With a server's own clock, real time has passed."""
        return self.now if self.scale is None else time.monotonic() / self.scale

    def advance(self, seconds: float) -> None:
        assert self.scale is None, "a real clock cannot be moved; use `wait`"
        self.now += seconds

    async def wait(self, seconds: float) -> None:
        """Let time pass: at once, or in real time if the backend has its own clock."""
        if self.scale is None:
            self.now += seconds
        else:
            await asyncio.sleep(seconds * self.scale)


def _route(name: str, **fields: Any) -> Route:
    given: dict[str, Any] = {"queue": f"docs.{name}", "errors": ErrorHandling(max_attempts=3)}
    return Route(name, **(given | fields))


def _config(name: str, *routes: Route) -> Config:
    return Config(name, routes[0].name, {route.name: route for route in routes})


KEEP = """
version: "1.0"
name: docs
entry: keep
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: kept}
"""
"""A config for tests to which the steps do not matter."""


async def pages(count: int = 1) -> AsyncIterator[tuple[str, bytes]]:
    """The inputs of a run."""
    for number in range(count):
        yield f"{number}.md", b"text"


DOCS = _config(
    "docs",
    _route("convert", stage="pages", to=("split",)),
    _route("split", stage="segments/small", to=("index",)),
    _route("index"),
)


@dataclass(frozen=True)
class Started:
    """A run or a replay whose objects are listed. `ids` are the ids of its messages, in order."""

    execution: UUID
    dispatches: list[Dispatch]
    batch: UUID | None = None

    @property
    def ids(self) -> list[UUID]:
        return Lab.ids(self.dispatches)


def dispatches(count: int, queue: str = "docs.convert", headers: Headers | None = None) -> list[Dispatch]:
    """Return dispatches of messages that are in no catalog, for the tests of brokers."""
    headers = headers or Headers(queue, uuid7(), "docs", 3, "convert")
    return [
        Dispatch(headers, str(uuid7()), 0, None, f"{headers.execution_id}/input/{n}") for n in range(count)
    ]


def ids(found: Sequence[Delivery | Dispatch]) -> list[str]:
    return [one.message_id for one in found]


def results(outcomes: Sequence[PublishResult]) -> set[str]:
    return {outcome.result for outcome in outcomes}


Given = Mapping[str, Any]
"""Fields of a managed request."""


def asked(source: UUID, stage: str, route: str, path: str | None = None, **given: Any) -> ReplayRequest:
    """Return a request for a replay. A managed one has no report, unless the fields say so."""
    if given:
        given = {"report": False} | given
    return ReplayRequest(source, stage, path, route, **given)


EXECUTION: Final = Execution(
    execution_id=UUID(int=1),
    kind="run",
    status="running",
    config="docs",
    config_version=1,
    config_hash="sha256:0",
    parent_execution_id=None,
    replay_batch_id=None,
    tags=[],
    created_at="2026-01-01T00:00:00.000Z",
    ended_at=None,
    error=None,
    counts=Counts(pending=3, total=3),
)
"""An example. Tests replace the fields that matter to them."""
REPLAY: Final = Replay(
    execution_id=UUID(int=1),
    from_execution_id=UUID(int=2),
    from_stage="pages",
    from_path=None,
    to_route="index",
    to_queue="docs.index",
    objects_found=0,
    objects_published=0,
    objects_failed=0,
    status=None,
    replay_batch_id=UUID(int=1),
    errors=None,
    state="publishing",
    to_config="docs",
    to_config_version=1,
    created_at="2026-01-01T00:00:00.000Z",
    ended_at=None,
)
"""An example, likewise."""


class Lab:
    """A catalog with two live workers, `w1` and `w2`, and steps that tests combine."""

    LEASE: Final = LEASE
    HEARTBEAT: Final = HEARTBEAT
    DEAD_AFTER: Final = DEAD_AFTER
    DOCS: Final = DOCS

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self.catalog = catalog
        self.clock = clock

    async def beat(self, *processes: str) -> None:
        for name in processes:
            await self.catalog.heartbeat(Process(name, "worker", "host", 1))

    async def die(self, process: str, *, others: Sequence[str] = ("w1", "w2")) -> None:
        """Let a process miss its heartbeats while the others continue."""
        await self.beat(process)
        self.clock.advance(DEAD_AFTER + 0.5)
        await self.beat(*(name for name in others if name != process))

    async def save(self, config: Config = DOCS, *, digest: str | None = None) -> int:
        """Store a config and return its version."""
        version, _ = await self.catalog.save_config(
            config, source=f"name: {config.name}", digest=digest or repr(config)
        )
        return version.version

    # -- values ------------------------------------------------------------------------------------

    @staticmethod
    def route(name: str, **fields: Any) -> Route:
        """Return a route. By default its queue is `docs.{name}`, and it allows three attempts."""
        return _route(name, **fields)

    @staticmethod
    def config(name: str, *routes: Route) -> Config:
        """A config that enters at its first route."""
        return _config(name, *routes)

    @staticmethod
    def input(path: str, content: str = "") -> Input:
        return Input(path, len(content), sha256(content.encode()).digest(), content_type_of(path))

    @staticmethod
    def output(path: str, content: str = "", **attributes: Any) -> NewOutput:
        """Return an output whose sha256 and fingerprint are computed from its content, as in a worker."""
        digest = sha256(content.encode()).digest()
        kind = content_type_of(path)
        fingerprint = sha256(digest + kind.encode() + repr(sorted(attributes.items())).encode()).digest()
        return NewOutput(path, len(content), digest, fingerprint, kind, attributes)

    @staticmethod
    def ids(dispatches: Sequence[Dispatch]) -> list[UUID]:
        return [UUID(dispatch.correlation_id) for dispatch in dispatches]

    @staticmethod
    async def pages(fetch: Callable[[int | None], Awaitable[tuple[list[T], int | None]]]) -> list[list[T]]:
        """Return all pages of a list, from the first to the last."""
        pages, before = [], None
        while True:
            items, before = await fetch(before)
            pages.append(items)
            if before is None:
                return pages
            assert items, "a page that is not the last is empty"
            assert len(pages) < 100, "the list does not end"

    @staticmethod
    def unknown() -> UUID:
        """Return an id that is not in the catalog."""
        return uuid7()

    # -- jobs --------------------------------------------------------------------------------------

    async def opened(self, config: Config = DOCS, *, tags: Sequence[str] = (), owner: str = "w1") -> UUID:
        """Open a run that waits for its inputs."""
        version = await self.save(config)
        execution = await self.catalog.open_run(
            uuid7(), config.name, version, tags=tags, owner=owner, lease=LEASE
        )
        return execution.execution_id

    async def sealed(self, *paths: str, config: Config = DOCS, tags: Sequence[str] = ()) -> UUID:
        """Open a run and seal its inputs. No process holds its job."""
        execution = await self.opened(config, tags=tags)
        await self.catalog.bind_inputs(execution, [self.input(path) for path in paths])
        assert await self.catalog.seal(execution)
        return execution

    async def replayed(
        self,
        source: UUID,
        stage: str = "input",
        route: str = "convert",
        *,
        config: Config = DOCS,
        effects: Mapping[str, OnReplay] = MappingProxyType({}),
        managed: Given | None = None,
    ) -> Replay:
        """Open a replay of a whole stage. No process holds its job. A managed one is `queued`."""
        opened = await self.catalog.open_replay(
            batch=uuid7(),
            request=asked(source, stage, route, **(managed or {})),
            prefix=f"{source}/{stage}",
            config=config.name,
            version=await self.save(config),
            route=route,
            effects=effects,
        )
        return opened.replay

    async def managed(
        self, source: UUID, managed: Given, stage: str = "input", route: str = "convert"
    ) -> Replay:
        """Open a managed replay of a whole stage, and admit it. No process holds its job."""
        opened = await self.catalog.open_replay(
            batch=uuid7(),
            request=asked(source, stage, route, **(managed or {})),
            prefix=f"{source}/{stage}",
            config="docs",
            version=await self.save(),
            route=route,
        )
        await self.catalog.admit(per_queue=0)
        return opened.replay

    async def hold(self, job: UUID, owner: str = "w1") -> LeasedJob:
        held = await self.catalog.acquire(job, owner=owner, lease=LEASE)
        assert held is not None, "the job is free"
        return held

    async def list_all(self, held: LeasedJob, *keys: str, last: bool = True) -> list[Dispatch]:
        """Record keys as one page of the stage of the job."""
        dispatches = await self.record(
            held, [Listed(key, held.default_stage) for key in keys], cursor=keys[-1], last=last
        )
        assert dispatches is not None, "the page is recorded"
        return dispatches

    async def record(
        self, held: LeasedJob, objects: Sequence[Listed], *, cursor: str, last: bool
    ) -> list[Dispatch] | None:
        """Record a page, and return the dispatches of its window; None if the epoch was raised."""
        window = await self.catalog.record(held, objects, cursor=cursor, last=last)
        return None if window is None else window.dispatches

    async def unpublished(self, held: LeasedJob, *, limit: int = 10) -> list[Dispatch]:
        """Return the dispatches of the next window; none if the epoch was raised."""
        window = await self.catalog.unpublished(held, limit=limit)
        return window.dispatches if window else []

    async def publish_all(self, held: LeasedJob, dispatches: Sequence[Dispatch]) -> None:
        """Mark everything as published and end the job."""
        assert await self.catalog.mark(held, dispatches[-1].ordinal or 0)
        assert await self.catalog.close_job(held)

    async def started(self, *paths: str, config: Config = DOCS, tags: Sequence[str] = ()) -> Started:
        """Start a run and publish all its messages."""
        execution = await self.sealed(*paths, config=config, tags=tags)
        held = await self.hold(execution)
        dispatches = await self.list_all(held, *(f"{execution}/input/{path}" for path in paths))
        await self.publish_all(held, dispatches)
        return Started(execution, dispatches)

    async def started_replay(
        self,
        source: UUID,
        *keys: str,
        stage: str = "input",
        route: str = "convert",
        config: Config = DOCS,
        effects: Mapping[str, OnReplay] = MappingProxyType({}),
    ) -> Started:
        """Start a replay and publish all its messages."""
        replay = await self.replayed(source, stage, route, config=config, effects=effects)
        held = await self.hold(replay.execution_id)
        dispatches = await self.list_all(held, *keys)
        await self.publish_all(held, dispatches)
        return Started(replay.execution_id, dispatches, replay.replay_batch_id)

    # -- work --------------------------------------------------------------------------------------

    async def claim(self, identity: UUID, worker: str = "w1", *, alone: bool = False) -> Claim:
        (answer,) = await self.catalog.claim(worker, [identity], alone=alone)
        assert isinstance(answer, Claim), f"the row can be claimed, but: {answer}"
        return answer

    async def refusal(self, identity: UUID, worker: str = "w1") -> Refusal:
        (answer,) = await self.catalog.claim(worker, [identity])
        assert isinstance(answer, Refusal), f"the claim is refused, but: {answer}"
        return answer

    async def try_bind(self, claim: Claim, *outputs: NewOutput) -> list[Bound] | Unbound | None:
        (answer,) = await self.catalog.bind([Binding(claim.correlation_id, claim.attempt, outputs)])
        return answer

    async def bind(self, claim: Claim, *outputs: NewOutput) -> list[Bound]:
        answer = await self.try_bind(claim, *outputs)
        assert isinstance(answer, list), f"the outputs can be bound, but: {answer}"
        return answer

    async def done(self, claim: Claim, *outputs: NewOutput, publisher: str = "w1") -> list[Dispatch]:
        """Bind the outputs, finish the attempt, and return the children."""
        keys = [bound.key for bound in await self.bind(claim, *outputs)] if outputs else []
        (answer,) = await self.catalog.finish(publisher, [Done(claim.correlation_id, claim.attempt, keys)])
        assert answer is not None, "the token holds"
        return answer.children

    async def work(self, identity: UUID, *outputs: NewOutput, worker: str = "w1") -> list[Dispatch]:
        """Claim a message, bind its outputs, finish the attempt, and return the children."""
        return await self.done(await self.claim(identity, worker), *outputs, publisher=worker)

    async def skip(self, claim: Claim, reason: str, code: SkipCode = "no_output") -> None:
        done = Done(claim.correlation_id, claim.attempt, skip=Skip(code, reason))
        (answer,) = await self.catalog.finish("w1", [done])
        assert answer is not None, "the token holds"

    async def fail(
        self,
        claim: Claim,
        *,
        delay: float | None = None,
        code: str = "adapter_error",
        error: str = "it broke",
        traceback: str = "Traceback: …",
    ) -> None:
        failed = Failed(claim.correlation_id, claim.attempt, code, error, traceback, delay)
        (answer,) = await self.catalog.finish("w1", [failed])
        assert answer is not None, "the token holds"

    async def kill(self, identity: UUID) -> None:
        """Turn a row into a dead letter."""
        await self.fail(await self.claim(identity))

    # -- reading -----------------------------------------------------------------------------------

    async def execution(self, execution: UUID) -> Execution:
        found = await self.catalog.execution(execution)
        assert found is not None, "there is such an execution"
        return found

    async def counts(self, execution: UUID) -> Counts:
        return (await self.execution(execution)).counts

    async def replay(self, batch: UUID) -> Replay:
        found = await self.catalog.replay(batch)
        assert found is not None, "there is such a batch"
        return found

    async def row(self, identity: UUID) -> Lineage:
        found = await self.catalog.lineage(identity)
        assert found is not None, "there is such a message"
        return found

    async def state(self, identity: UUID) -> str:
        return (await self.row(identity)).status


class Wrapper:
    """A backend that passes its calls on to another one. Subclasses replace some of the methods."""

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)


def drive_over(
    rt: Runtime, *, catalog: Any = None, broker: Any = None, store: Any = None, settle: float | None = None
) -> None:
    """Let the jobs of a process use other backends. Its workers and its reconciler keep the real ones.

    Args:
        settle: seconds without progress after which a client gets an answer.
    """
    replays = ReplayService(
        Backends(catalog or rt.catalog, broker or rt.broker, store or rt.store),
        rt.environment,
        lease=rt.settings.lease_seconds,
        settle=rt.settings.settle_seconds if settle is None else settle,
    )
    replays.drives.own = rt.services.replay.drives.own
    rt.services = replace(rt.services, replay=replays)
    if rt.process:
        rt.services.submit._sealed, rt.services.control._drive = replays.drives.begin, replays.drives.offer


@asynccontextmanager
async def working(rt: Runtime) -> AsyncIterator[None]:
    """Run the worker of a process during a block."""
    stop = asyncio.Event()
    task = asyncio.create_task(rt.work(stop=stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await task


class MemoryDeployment:
    """The three backends in memory, on one clock that only the test moves.

    Args:
        clock, catalog, broker, store: the test's own, instead of the usual ones.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        catalog: MemoryCatalog | None = None,
        broker: MemoryBroker | None = None,
        store: MemoryStore | None = None,
    ) -> None:
        self.clock = clock or Clock()
        self.catalog = catalog or MemoryCatalog(clock=self.clock, heartbeat_seconds=HEARTBEAT)
        self.broker = broker or MemoryBroker(clock=self.clock, visibility=VISIBILITY)
        self.store = store or MemoryStore()
        self.lab = Lab(self.catalog, self.clock)

    @property
    def backends(self) -> Backends:
        return Backends(self.catalog, self.broker, self.store)

    async def started(self, *paths: str) -> Started:
        """A run of some messages (one by default), which are in their queue. `w1` and `w2` are live."""
        paths = paths or ("a.md",)
        await self.lab.beat("w1", "w2")
        run = await self.lab.started(*paths)
        await self.put(*(f"{run.execution}/input/{path}" for path in paths))
        await self.broker.publish(run.dispatches)
        return run

    async def external(self, count: int) -> UUID:
        """Store this number of objects in the stage `pages` of an execution that is not in the catalog."""
        execution = uuid7()
        await self.put(*(f"{execution}/pages/{number:03d}.md" for number in range(count)))
        return execution

    async def put(self, *keys: str) -> None:
        """Store empty objects, also if the store of the test would refuse them."""
        await MemoryStore.write(self.store, [[Blob(key, b"")] for key in keys])
