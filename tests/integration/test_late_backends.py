"""A process may start before its broker or store. It logs that, and uses them when they are available."""

from __future__ import annotations

from pathlib import Path

import pytest

from playhead.bootstrap import open_runtime
from playhead.errors import Unavailable
from playhead.settings import Settings
from tests.servers import SERVERS, Missing, absent, need_fresh
from tests.waiting import until_told

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["nats", "rabbitmq", "postgres"])
async def test_a_broker_that_starts_late_is_used(name: str, tmp_path: Path) -> None:
    with SERVERS[name]() as server:
        async with open_runtime(Settings(home=tmp_path, broker=server.url)) as rt:
            with pytest.raises(Unavailable):
                await rt.broker.check()
            try:
                server.start()
            except Missing as exc:
                absent(exc)
            assert name in await until_told(rt.broker.check, Unavailable)


async def test_a_store_that_starts_late_is_used(tmp_path: Path) -> None:
    with need_fresh("s3") as server:
        server.stop()
        async with open_runtime(Settings(home=tmp_path, store=server.url)) as rt:
            with pytest.raises(Unavailable):
                await rt.store.check()
            server.start()
            assert "s3" in await until_told(rt.store.check, Unavailable)
