"""The backends that the contract suites test.

A backend joins a suite with one line in a table below. If it cannot give a guarantee, its line has a waiver
with the reason. The tests of that guarantee are then expected to fail for it.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

import pytest

from playhead.ids import uuid7
from playhead.ports.broker import Broker
from playhead.ports.catalog import Catalog
from tests.catalog_memory import database
from tests.lab import HEARTBEAT, Clock
from tests.servers.schema import emptied_schema

T = TypeVar("T")

Promise = Literal["outlives its process", "is shared by processes"]

VISIBILITY = 30.0


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


async def _sqlite_broker(place: str, stack: AsyncExitStack, clock: Clock) -> Broker:
    from playhead.backends.broker_sqlite import SqliteBroker

    db = database(Path(place), clock)
    await db.open()
    stack.push_async_callback(db.close)
    return SqliteBroker(db, visibility=VISIBILITY)


async def _sqlite_catalog(place: str, stack: AsyncExitStack, clock: Clock) -> Catalog:
    from playhead.backends.catalog_sqlite import SqliteCatalog

    db = database(Path(place), clock)
    await db.open()
    stack.push_async_callback(db.close)
    return SqliteCatalog(db, heartbeat_seconds=HEARTBEAT)


# On servers. Each test has a schema for itself, or its own prefix of queue names.


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
    Backend("postgresql", "playhead.backends.broker_postgres", _postgres_broker, lambda _: emptied_schema()),
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
    # The one in memory has the statements and the database of `sqlite`: tests/unit/test_catalog_memory.py.
    Backend("sqlite", "playhead.backends.catalog_sqlite", _sqlite_catalog),
    Backend(
        "postgresql", "playhead.backends.catalog_postgres", _postgres_catalog, lambda _: emptied_schema()
    ),
]


def existing(backends: Sequence[Backend[T]]) -> list[Any]:
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
async def open_factory(
    request: pytest.FixtureRequest, place: Path, clock: Clock
) -> AsyncIterator[Factory[Any]]:
    backend: Backend[Any] = request.param
    if backend.visibility:
        waits = "clock" in inspect.signature(request.function).parameters
        clock.scale = backend.visibility / VISIBILITY if waits else 1.0
    async with backend.at(place) as address:
        factory: Factory[Any] = Factory(backend, address, clock, request)
        factory.waive_if(getattr(request.node, "originalname", ""))
        yield factory
        await factory.close()
