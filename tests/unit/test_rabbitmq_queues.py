"""How queues of RabbitMQ are declared and read while others are, and while one of them does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from playhead.backends.broker_rabbitmq.link import Link
from playhead.backends.broker_rabbitmq.queues import Queues
from playhead.errors import Unavailable
from tests.waiting import SECONDS


class Server:
    """A connection whose server never answers for the queue `stuck`, and gives up on `silent`."""

    address = "localhost:5672"

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def connection(self) -> Any:
        return SimpleNamespace(server_properties={"version": "4.1.0"})

    async def channel(self) -> Any:
        return SimpleNamespace(queue_declare=self._declare, close=self._close)

    async def is_answering(self) -> bool:
        return True

    async def _declare(self, name: str, **_: Any) -> None:
        self.asked[name] += 1
        if name == "silent":
            raise TimeoutError
        await asyncio.sleep(SECONDS * 2 if name == "stuck" else 0)

    async def _close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def queues(server: Server) -> Queues:
    return Queues(cast(Link, server), "")


async def test_a_queue_that_does_not_answer_delays_no_declaration_of_another(queues: Queues):
    stuck = asyncio.create_task(queues.declare("stuck"))
    await asyncio.sleep(0)

    async with asyncio.timeout(SECONDS):
        await queues.declare("docs.convert")

    assert not stuck.done()
    stuck.cancel()
    await asyncio.wait([stuck])


async def test_a_queue_is_declared_once_for_all_that_use_it_at_once(queues: Queues, server: Server):
    await asyncio.gather(*(queues.declare("docs.convert") for _ in range(10)))

    assert server.asked == {"docs.convert": 1}


async def test_a_queue_that_did_not_answer_is_logged_once_and_gets_no_request_for_a_while(
    queues: Queues, server: Server, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING)

    for _ in range(3):
        found = await queues.look("silent")
        assert found is not None
        assert not found.is_sure
    with pytest.raises(Unavailable, match="does not answer for the queue silent"):
        await queues.declare("silent")

    assert server.asked == {"silent": 1}
    assert [vars(record)["fields"]["queue"] for record in caplog.records] == ["silent"]
