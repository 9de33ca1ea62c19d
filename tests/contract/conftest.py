"""The backends that the contract suites test, and the helpers that the tests use.

A backend joins a suite with one line in a table below. If it cannot give a guarantee, its line has a waiver
with the reason. The tests of that guarantee are then expected to fail for it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar, get_args
from uuid import UUID

import pytest

from playhead.envelope import Dispatch
from playhead.ids import uuid7
from playhead.keys import content_type_of
from playhead.model import Config, Counts, ErrorHandling, Execution, Lineage, Replay, Route
from playhead.ports.broker import Broker
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.jobs import Input, LeasedJob, Listed
from playhead.ports.catalog.upkeep import Process
from playhead.ports.catalog.work import Binding, Bound, Claim, Done, Failed, NewOutput, Refusal, Unbound
from tests.servers.schema import schema

T = TypeVar("T")

Promise = Literal["outlives its process", "is shared by processes"]

LEASE = 15.0
HEARTBEAT = 10.0
DEAD_AFTER = 5 * HEARTBEAT
VISIBILITY = 30.0


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


# -- backends --------------------------------------------------------------------------------------


@asynccontextmanager
async def _folder(place: Path) -> AsyncIterator[str]:
    yield str(place)


@dataclass(frozen=True)
class Backend(Generic[T]):
    """One row of a table.

    Attributes:
        module: the backend is tested if this module exists.
        open: opens the backend. Takes the address of the test, an exit stack and the clock. Two backends
            with the same address act as two processes that share it.
        at: returns the address for the folder of a test, valid while the test runs.
        waivers: guarantees that it does not give, or names of tests that it cannot pass, each with a
            reason. A test that passes despite its waiver fails: remove the waiver.
        visibility: in real seconds, for a server that measures it by its own clock. It applies only to
            tests that wait for its end. In other tests the visibility is longer, so that none is too slow.
    """

    name: str
    module: str
    open: Callable[[str, AsyncExitStack, Clock], Awaitable[T]]
    at: Callable[[Path], AbstractAsyncContextManager[str]] = _folder
    waivers: Mapping[str, str] = field(default_factory=dict)
    visibility: float | None = None


# Embedded.


async def _memory_broker(place: str, stack: AsyncExitStack, clock: Clock) -> Broker:
    from tests.broker_memory import MemoryBroker

    return MemoryBroker(clock=clock, visibility=VISIBILITY)


async def _memory_catalog(place: str, stack: AsyncExitStack, clock: Clock) -> Catalog:
    from tests.catalog_memory import MemoryCatalog

    return MemoryCatalog(clock=clock, heartbeat_seconds=HEARTBEAT)


async def _sqlite_broker(place: str, stack: AsyncExitStack, clock: Clock) -> Broker:
    from playhead.backends._sqlite import Database
    from playhead.backends.broker_sqlite import SqliteBroker

    db = Database(Path(place) / "playhead.db")
    await db.open()
    stack.push_async_callback(db.close)
    return SqliteBroker(db, visibility=VISIBILITY, clock=clock)


async def _sqlite_catalog(place: str, stack: AsyncExitStack, clock: Clock) -> Catalog:
    from playhead.backends._sqlite import Database
    from playhead.backends.catalog_sqlite import SqliteCatalog

    db = Database(Path(place) / "playhead.db", clock=clock)
    await db.open()
    stack.push_async_callback(db.close)
    return SqliteCatalog(db, heartbeat_seconds=HEARTBEAT)


# On servers. Each test has its own schema, or its own prefix of queue names.


async def _postgres_broker(url: str, stack: AsyncExitStack, clock: Clock) -> Broker:
    from playhead.backends._postgres import Postgres
    from playhead.backends.broker_postgres import PostgresBroker

    db = Postgres(url, clock=clock)
    await db.open()
    stack.push_async_callback(db.close)
    return PostgresBroker(db, visibility=VISIBILITY)


async def _postgres_catalog(url: str, stack: AsyncExitStack, clock: Clock) -> Catalog:
    from playhead.backends._postgres import Postgres
    from playhead.backends.catalog_postgres import PostgresCatalog

    db = Postgres(url, clock=clock)
    await db.open()
    stack.push_async_callback(db.close)
    return PostgresCatalog(db, heartbeat_seconds=HEARTBEAT)


def _prefix(server: str) -> Callable[[Path], AbstractAsyncContextManager[str]]:
    @asynccontextmanager
    async def prefix(place: Path) -> AsyncIterator[str]:
        from tests.servers import need

        yield f"{need(server)} {uuid7().hex}."

    return prefix


REAL_VISIBILITY = 1.5


async def _nats_broker(place: str, stack: AsyncExitStack, clock: Clock) -> Broker:
    from playhead.backends.broker_nats import NatsBroker

    url, prefix = place.split(" ")
    broker = NatsBroker(url, visibility=VISIBILITY * (clock.scale or 1.0), prefix=prefix)
    await broker.open()
    return broker


async def _rabbit_broker(place: str, stack: AsyncExitStack, clock: Clock) -> Broker:
    from playhead.backends.broker_rabbitmq import RabbitBroker

    url, prefix = place.split(" ")
    broker = RabbitBroker(url, visibility=VISIBILITY * (clock.scale or 1.0), prefix=prefix)
    await broker.open()
    return broker


def _nats(server: str) -> Backend[Broker]:
    return Backend(
        server,
        "playhead.backends.broker_nats",
        _nats_broker,
        _prefix(server),
        visibility=REAL_VISIBILITY,
        waivers={
            "test_depth_counts_dispatches_with_expired_visibility_as_ready": "JetStream counts an expired "
            "delivery as in flight until it is redelivered; the sum is right, and Playhead uses only the sum"
        },
    )


IN_ONE_PROCESS: Mapping[str, str] = dict.fromkeys(get_args(Promise), "it exists in one process only")

BROKERS: Sequence[Backend[Broker]] = [
    Backend("memory", "tests.broker_memory", _memory_broker, waivers=IN_ONE_PROCESS),
    Backend("sqlite", "playhead.backends.broker_sqlite", _sqlite_broker),
    Backend("postgresql", "playhead.backends.broker_postgres", _postgres_broker, lambda _: schema()),
    _nats("nats"),
    _nats("nats-three"),
    Backend(
        "rabbitmq",
        "playhead.backends.broker_rabbitmq",
        _rabbit_broker,
        _prefix("rabbitmq"),
        visibility=REAL_VISIBILITY,
    ),
]
CATALOGS: Sequence[Backend[Catalog]] = [
    Backend("memory", "tests.catalog_memory", _memory_catalog, waivers=IN_ONE_PROCESS),
    Backend("sqlite", "playhead.backends.catalog_sqlite", _sqlite_catalog),
    Backend("postgresql", "playhead.backends.catalog_postgres", _postgres_catalog, lambda _: schema()),
]


def _there(backends: Sequence[Backend[T]]) -> list[Any]:
    return [pytest.param(b, id=b.name) for b in backends if importlib.util.find_spec(b.module)]


class Factory(Generic[T]):
    """Opens as many instances of one backend as a test needs. All of them share one address."""

    def __init__(self, backend: Backend[T], place: str, clock: Clock, request: pytest.FixtureRequest) -> None:
        self.name = backend.name
        self.place = place
        self._backend = backend
        self._clock = clock
        self._node = request.node
        self._closing: list[AsyncExitStack] = []

    def must(self, promise: Promise) -> bool:
        """Return whether the backend gives this guarantee. If not, the test is expected to fail."""
        self.waive_if(promise)
        return promise not in self._backend.waivers

    def waive_if(self, what: str) -> None:
        if reason := self._backend.waivers.get(what):
            why = f"not guaranteed by {self._backend.name}: {reason}"
            self._node.add_marker(pytest.mark.xfail(reason=why, strict=True))

    async def __call__(self) -> T:
        stack = AsyncExitStack()
        self._closing.append(stack)
        made = await self._backend.open(self.place, stack, self._clock)
        stack.push_async_callback(made.close)  # type: ignore[attr-defined]
        return made

    async def close(self) -> None:
        """Close all instances, as if their processes had ended."""
        while self._closing:
            await self._closing.pop().aclose()


@asynccontextmanager
async def _factory(request: pytest.FixtureRequest, place: Path, clock: Clock) -> AsyncIterator[Factory[Any]]:
    backend: Backend[Any] = request.param
    if backend.visibility:
        waits = "clock" in inspect.signature(request.function).parameters
        clock.scale = backend.visibility / VISIBILITY if waits else 1.0
    async with backend.at(place) as address:
        factory: Factory[Any] = Factory(backend, address, clock, request)
        factory.waive_if(getattr(request.node, "originalname", ""))
        yield factory
        await factory.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=_there(BROKERS))
async def broker_factory(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Factory[Broker]]:
    async with _factory(request, tmp_path, clock) as factory:
        yield factory


@pytest.fixture
async def broker(broker_factory: Factory[Broker]) -> Broker:
    return await broker_factory()


@pytest.fixture(params=_there(CATALOGS))
async def catalog_factory(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Factory[Catalog]]:
    async with _factory(request, tmp_path, clock) as factory:
        yield factory


@pytest.fixture
async def catalog(catalog_factory: Factory[Catalog]) -> Catalog:
    return await catalog_factory()


@pytest.fixture
async def lab(catalog: Catalog, clock: Clock) -> Lab:
    lab = Lab(catalog, clock)
    await lab.beat("w1", "w2")
    return lab


# -- helpers of the catalog's tests ----------------------------------------------------------------


def _route(name: str, **fields: Any) -> Route:
    given: dict[str, Any] = {"queue": f"docs.{name}", "errors": ErrorHandling(max_attempts=3)}
    return Route(name, **(given | fields))


def _config(name: str, *routes: Route) -> Config:
    return Config(name, routes[0].name, {route.name: route for route in routes})


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
        self, source: UUID, stage: str = "input", route: str = "convert", *, config: Config = DOCS
    ) -> Replay:
        """Open a replay of a whole stage. No process holds its job."""
        return await self.catalog.open_replay(
            batch=uuid7(),
            source=source,
            stage=stage,
            path=None,
            prefix=f"{source}/{stage}",
            to_route=route,
            config=config.name,
            version=await self.save(config),
            route=route,
        )

    async def hold(self, job: UUID, owner: str = "w1") -> LeasedJob:
        held = await self.catalog.acquire(job, owner=owner, lease=LEASE)
        assert held is not None, "the job is free"
        return held

    async def list_all(self, held: LeasedJob, *keys: str, last: bool = True) -> list[Dispatch]:
        """Record keys as one page of the stage of the job."""
        dispatches = await self.catalog.record(
            held, [Listed(key, held.default_stage) for key in keys], cursor=keys[-1], last=last
        )
        assert dispatches is not None, "the page is recorded"
        return dispatches

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
        self, source: UUID, *keys: str, stage: str = "input", route: str = "convert", config: Config = DOCS
    ) -> Started:
        """Start a replay and publish all its messages."""
        replay = await self.replayed(source, stage, route, config=config)
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

    async def skip(self, claim: Claim, reason: str) -> None:
        done = Done(claim.correlation_id, claim.attempt, skip_reason=reason)
        (answer,) = await self.catalog.finish("w1", [done])
        assert answer is not None, "the token holds"

    async def fail(self, claim: Claim, *, delay: float | None = None, code: str = "adapter_error") -> None:
        failed = Failed(claim.correlation_id, claim.attempt, code, "it broke", "Traceback: …", delay)
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
