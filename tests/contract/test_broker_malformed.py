"""Every broker delivers, shows and removes messages that it cannot decode, and other messages continue."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from playhead import events
from playhead.envelope import correlation_of
from playhead.environment import Environment
from playhead.ports.broker import Broker, Delivery
from playhead.services.take import TakeService
from tests.attempts import Steps
from tests.catalog_memory import MemoryCatalog
from tests.contract.backends import BROKERS
from tests.contract.malformed import MALFORMED
from tests.contract.test_broker import depth_soon, put
from tests.lab import ids
from tests.store_memory import MemoryStore
from tests.waiting import take

if TYPE_CHECKING:
    from tests.contract.backends import Factory

QUEUE = "docs.convert"
OTHER = "docs.index"
CASES = [
    pytest.param(backend, name, id=f"{backend.name}-{name}")
    for backend in BROKERS
    for name in (MALFORMED[backend.name].messages if backend.name in MALFORMED else ())
]
BACKENDS = [pytest.param(backend, id=backend.name) for backend in BROKERS if backend.name in MALFORMED]


def is_plain(value: object) -> bool:
    """Whether an API can send it: JSON that is valid UTF-8."""
    return bool(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def is_decoded(delivery: Delivery) -> bool:
    headers = dict(delivery.headers)
    assert isinstance(delivery.message_id, str)
    assert all(isinstance(name, str) and isinstance(value, str) for name, value in headers.items())
    assert correlation_of(delivery.message_id, delivery.headers) is None
    return is_plain([delivery.message_id, headers])


def unavailable(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Log lines of a broker that was lost."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def with_all(factory: Factory[Broker]) -> tuple[Broker, int]:
    """A broker with a dispatch and all malformed messages in its queue, and how many these are."""
    malformed = MALFORMED[factory.name]
    broker = await factory()
    await put(broker)
    for raw in malformed.messages.values():
        await malformed.put(factory.place, QUEUE, raw)
    return broker, len(malformed.messages) + 1


@pytest.mark.parametrize(("broker_factory", "name"), CASES, indirect=["broker_factory"])
async def test_a_malformed_message_is_delivered_and_removed_like_any_other(
    broker_factory: Factory[Broker], name: str, caplog: pytest.LogCaptureFixture
):
    malformed = MALFORMED[broker_factory.name]
    broker = await broker_factory()
    (first,) = await put(broker)
    await malformed.put(broker_factory.place, QUEUE, malformed.messages[name])
    (last,) = await put(broker)

    shown = await broker.peek(QUEUE, 3)
    deliveries = await take(broker, 3, limit=10)

    assert len(shown) == 3
    assert is_plain([[dict(message.headers), dict(message.payload)] for message in shown])
    (other,) = [delivery for delivery in deliveries if delivery.message_id not in (first, last)]
    assert is_decoded(other)
    await broker.ack(deliveries)
    assert await depth_soon(broker, (0, 0)) == (0, 0)
    assert unavailable(caplog) == []


@pytest.mark.parametrize("broker_factory", BACKENDS, indirect=True)
async def test_malformed_messages_delay_no_other_route_and_no_other_consumer(
    broker_factory: Factory[Broker], caplog: pytest.LogCaptureFixture
):
    broker, count = await with_all(broker_factory)
    service = TakeService(MemoryCatalog(), broker, visibility=30.0, clock=lambda: 0.0)

    taken: list[Any] = []
    while len(taken) < count:
        hand_out = await service.take(QUEUE, count)
        taken += [[dict(message.headers), dict(message.payload)] for message in hand_out.items]
        if hand_out.receipt:
            await service.remove(QUEUE, hand_out.receipt)
    published = await put(broker, 1, OTHER)

    assert is_plain(taken)
    assert ids(await take(broker, 1, OTHER)) == published
    assert await depth_soon(broker, (0, 0)) == (0, 0)
    assert await broker.check()
    assert unavailable(caplog) == []


@pytest.mark.parametrize("broker_factory", BACKENDS, indirect=True)
async def test_a_worker_logs_malformed_messages_as_unknown_and_acks_them(
    broker_factory: Factory[Broker], caplog: pytest.LogCaptureFixture
):
    broker, count = await with_all(broker_factory)
    deliveries = await take(broker, count)
    worker = Steps(MemoryCatalog(), broker, MemoryStore(), Environment("w1"))

    for _ in range(2):  # the second time, as the first may be ahead of a row's commit
        await worker.intake.take(worker.deliveries.receive(deliveries))

    assert await depth_soon(broker, (0, 0)) == (0, 0)
    logged = [record for record in caplog.records if record.msg == events.UNKNOWN_MESSAGE]
    assert len(logged) == len(deliveries)


def test_every_broker_of_a_server_has_malformed_messages():
    tried = {backend.name for backend in BROKERS} - {"memory", "nats-three"}

    assert tried <= MALFORMED.keys()
