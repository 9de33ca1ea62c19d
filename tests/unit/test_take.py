"""A receipt is valid as long as no other consumer can receive its messages."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from playhead import acting
from playhead.bootstrap import open_runtime
from playhead.envelope import Dispatch, Headers
from playhead.errors import Forbidden, NotFound
from playhead.ids import uuid7
from playhead.model.access import Caller
from playhead.ports.broker import Broker, Delivery
from playhead.ports.catalog.access import AuditFilter
from playhead.services.take import TakeService
from playhead.settings import Settings
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock, Lab

QUEUE = "elsewhere"
VISIBILITY = 30.0


class SlowBroker(MemoryBroker):
    """Each answer arrives ten seconds after the messages were delivered."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock, visibility=VISIBILITY)
        self._time = clock

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        found = await super().receive(queue, limit, wait=wait)
        self._time.now += 10
        return found


async def filled(broker: Broker) -> None:
    headers = Headers(QUEUE, uuid7(), "docs", 3, "convert")
    await broker.publish([Dispatch(headers, str(uuid7()), 0, None, f"{headers.execution_id}/input/a")])


@pytest.mark.parametrize(("later", "removes"), [(9, True), (11, False)])
async def test_the_time_of_a_receipt_starts_before_the_messages_are_received(later: int, removes: bool):
    clock = Clock()
    broker = SlowBroker(clock)
    await filled(broker)
    service = TakeService(MemoryCatalog(), broker, visibility=VISIBILITY, clock=clock)
    taken = await service.take(QUEUE, 2)  # two answers: one message, and none
    assert taken.receipt
    assert len(taken.items) == 1
    clock.now += later
    if removes:
        assert await service.remove(QUEUE, taken.receipt) == 1
    else:
        with pytest.raises(NotFound):
            await service.remove(QUEUE, taken.receipt)
        assert len(await broker.receive(QUEUE, 1)) == 1, "another can have it"


async def test_the_payloads_of_many_messages_are_read_in_one_transaction():
    transactions = 0

    async def began() -> None:
        nonlocal transactions
        transactions += 1

    clock = Clock()
    catalog, broker = (
        MemoryCatalog(clock=clock, pause=began),
        MemoryBroker(clock=clock, visibility=VISIBILITY),
    )
    run = await Lab(catalog, clock).started(*(f"{n}.md" for n in range(20)))
    await broker.publish(run.dispatches)
    transactions = 0

    taken = await TakeService(catalog, broker, visibility=VISIBILITY, clock=clock).take("docs.convert", 30)

    assert [one.payload["object_key"] for one in taken.items] == [d.object_key for d in run.dispatches]
    assert transactions == 3, "the owner of the queue, all payloads, and the audit"


def limited(config: str) -> acting.Acting:
    return acting.Acting(Caller("key", "k", "ci", frozenset({"take"}), frozenset({config})), "http")


async def test_a_limited_caller_takes_and_removes_only_messages_of_its_own_queues():
    catalog, broker = MemoryCatalog(), MemoryBroker()
    run = await Lab(catalog, Clock()).started("a.md")
    await broker.publish(run.dispatches)
    await filled(broker)  # into a queue that no config has
    service = TakeService(catalog, broker, visibility=VISIBILITY, clock=Clock())
    taken = {queue: await service.take(queue, 1) for queue in ("docs.convert", QUEUE)}

    for caller, queue in (("other", "docs.convert"), ("docs", QUEUE)):
        receipt = taken[queue].receipt
        assert receipt
        with acting.acting(limited(caller)):
            for change in (service.take(queue, 1), service.remove(queue, receipt)):
                with pytest.raises(Forbidden) as refused:
                    await change
                assert refused.value.code == "outside_limit"
    rows = await catalog.audit(AuditFilter(action="queue"))
    assert [one.actor_kind for one in rows] == ["process"] * 2, "a refused change leaves no row"

    receipt = taken["docs.convert"].receipt
    assert receipt
    with acting.acting(limited("docs")):
        assert await service.remove("docs.convert", receipt) == 1


async def test_a_receipt_expires_while_the_machine_sleeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wall = time.time()
    monkeypatch.setattr(time, "time", lambda: wall)
    async with open_runtime(Settings(home=tmp_path, visibility_seconds=VISIBILITY)) as rt:
        await filled(rt.broker)
        taken = await rt.services.take.take(QUEUE, 1)
        assert taken.receipt
        wall += VISIBILITY + 1  # as after a suspension that stopped the monotonic clock
        with pytest.raises(NotFound):
            await rt.services.take.remove(QUEUE, taken.receipt)


class ForeignBroker(MemoryBroker):
    """A broker with messages that another program published."""

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        found = await super().receive(queue, limit, wait=wait)
        odd = {"correlation_id": "\x00", "": "x", "execution_id": "not an id"}
        return [*found, Delivery(QUEUE, "", {}, 1), Delivery(QUEUE, "a.b.c", odd, 2)] if found else []


async def test_unknown_messages_are_handed_out_with_an_empty_payload():
    broker = ForeignBroker()
    await filled(broker)
    service = TakeService(MemoryCatalog(), broker, visibility=VISIBILITY, clock=Clock())
    taken = await service.take(QUEUE, 10)
    assert [item.payload for item in taken.items] == [{}, {}, {}]
    assert [len(item.headers) for item in taken.items[1:]] == [0, 3]
