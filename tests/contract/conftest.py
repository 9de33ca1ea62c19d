"""The fixtures of the contract suites. Each one opens every backend of its table in `backends.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from playhead.ports.broker import Broker
from playhead.ports.catalog import Catalog
from tests import servers
from tests.contract.backends import BROKERS, CATALOGS, Factory, existing, open_factory
from tests.lab import Clock, Lab


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    """The streams of a cluster cost processor time also while no test uses them."""
    yield
    servers.close("nats-three")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=existing(BROKERS))
async def broker_factory(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Factory[Broker]]:
    async with open_factory(request, tmp_path, clock) as factory:
        yield factory


@pytest.fixture
async def broker(broker_factory: Factory[Broker]) -> Broker:
    return await broker_factory()


@pytest.fixture(params=existing(CATALOGS))
async def catalog_factory(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> AsyncIterator[Factory[Catalog]]:
    async with open_factory(request, tmp_path, clock) as factory:
        yield factory


@pytest.fixture
async def catalog(catalog_factory: Factory[Catalog]) -> Catalog:
    return await catalog_factory()


@pytest.fixture
async def lab(catalog: Catalog, clock: Clock) -> Lab:
    lab = Lab(catalog, clock)
    await lab.beat("w1", "w2")
    return lab


@pytest.fixture
def queue() -> str:
    return "docs.convert"
