"""Behaviour that is specific to NATS: streams that operators delete, fill or declare; servers that stop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from playhead.backends.broker_nats import NatsBroker
from playhead.backends.broker_nats.address import parse
from playhead.backends.broker_nats.link import Link
from playhead.backends.broker_nats.streams import (
    CONSUMER,
    ask,
    consumer_configs,
    error_of,
    queue_of,
    stream_config,
    stream_of,
)
from playhead.envelope import Dispatch
from playhead.errors import Unavailable
from playhead.ids import uuid7
from playhead.model import Finding
from playhead.ports.broker import CONFIRMED
from tests.lab import dispatches, ids, results
from tests.servers import Server, need, need_fresh
from tests.servers.proxy import Proxy
from tests.waiting import take, until_told

QUEUE = "docs.convert"
HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "nats.md"
CONF = Path(__file__).parents[2] / "deploy" / "nats.conf"

Open = Callable[..., Any]


async def connected(broker: NatsBroker) -> None:
    """Open it. A server that stalls for some seconds counts as unavailable."""
    await until_told(broker.open, Unavailable)


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[NatsBroker]:
    broker = NatsBroker(url, **settings)
    await connected(broker)
    try:
        yield broker
    finally:
        await broker.close()


@pytest.fixture
def prefix() -> str:
    return f"{uuid7().hex}."


@pytest.fixture
async def broker(prefix: str) -> AsyncIterator[NatsBroker]:
    async with opened(need("nats"), prefix=prefix) as broker:
        yield broker


def normal_consumer(queue: str) -> dict[str, Any]:
    normal, _ = consumer_configs(queue, 30)
    return normal


class Operator:
    """An operator with the `nats` command, who changes streams."""

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix

    def stream(self, queue: str = QUEUE) -> str:
        return stream_of(self._prefix + queue)

    async def asks(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return await ask(self._link, subject, body)

    async def publishes(self, subject: str, payload: str) -> None:
        await self._link.ask(subject, payload.encode())

    async def deletes(self, queue: str = QUEUE) -> None:
        assert (await self.asks(f"STREAM.DELETE.{self.stream(queue)}"))["success"]

    async def purges(self) -> None:
        assert (await self.asks(f"STREAM.PURGE.{self.stream()}"))["success"]

    async def config(self) -> dict[str, Any]:
        config: dict[str, Any] = (await self.asks(f"STREAM.INFO.{self.stream()}"))["config"]
        return config

    async def edits(self, **changes: Any) -> None:
        found = await self.asks(f"STREAM.UPDATE.{self.stream()}", await self.config() | changes)
        assert "error" not in found, found

    async def streams(self) -> list[str]:
        found = await self.asks("STREAM.NAMES")
        return [name for name in found["streams"] or [] if name.startswith(stream_of(self._prefix))]


@pytest.fixture
async def operator(prefix: str) -> AsyncIterator[Operator]:
    link = await Link.connect(parse(need("nats")))
    yield Operator(link, prefix)
    await link.close()


async def published(broker: NatsBroker, wanted: list[Dispatch], *, seconds: float = 60) -> None:
    """Publish dispatches as the replayer does: repeat uncertain ones until all are confirmed."""
    left, until = wanted, time.monotonic() + seconds
    while left:
        assert time.monotonic() < until, f"{len(left)} dispatches are not confirmed after {seconds} s"
        try:
            outcomes = await broker.publish(left)
        except Unavailable:
            await asyncio.sleep(0.1)
            continue
        assert "refused" not in results(outcomes)
        left = [dispatch for dispatch, outcome in zip(left, outcomes, strict=True) if outcome != CONFIRMED]


async def drained(broker: NatsBroker, queue: str = QUEUE) -> set[str]:
    """Receive and acknowledge everything in a queue, except what other receivers hold."""
    seen: set[str] = set()
    until = time.monotonic() + 120
    while (deliveries := await broker.receive(queue, 256, wait=0.3)) or (await broker.depth(queue)).ready:
        assert time.monotonic() < until, "there is more than is handed out"
        seen |= set(ids(deliveries))
        await broker.ack(deliveries)
    return seen


async def until_connected(broker: NatsBroker) -> None:
    await until_told(broker.check, Unavailable)


# -- streams that operators change -----------------------------------------------------------------


async def test_a_deleted_stream_is_created_again_by_the_next_publish(broker: NatsBroker, operator: Operator):
    await published(broker, dispatches(3))
    await operator.deletes()
    some = dispatches(3)

    assert await broker.publish(some) == [CONFIRMED] * 3
    assert await drained(broker) == set(ids(some))


async def test_a_stream_may_be_deleted_while_dispatches_are_published_to_it(
    broker: NatsBroker, operator: Operator
):
    await published(broker, dispatches(1))
    some = dispatches(20_000)

    publishing = asyncio.create_task(published(broker, some))
    await asyncio.sleep(0.05)
    await operator.deletes()
    await publishing

    # Dispatches confirmed before are lost with the stream; unconfirmed ones were published again.
    kept = sum(await broker.depth(QUEUE))
    assert 0 < kept <= 20_000
    assert await drained(broker) <= set(ids(some))


async def test_a_waiting_receiver_survives_the_deletion_of_its_stream(broker: NatsBroker, operator: Operator):
    await published(broker, dispatches(1))
    await drained(broker)
    seen: list[str] = []

    async def works() -> None:
        while not seen:
            seen.extend(ids(await broker.receive(QUEUE, 10, wait=0.5)))

    working = asyncio.create_task(works())
    await asyncio.sleep(0.1)
    await operator.deletes()
    await asyncio.sleep(0.1)
    some = dispatches(1)
    await published(broker, some)
    await asyncio.wait_for(working, 60)

    assert seen == ids(some)


async def test_deliveries_of_a_deleted_stream_acknowledge_nothing_in_the_new_one(
    broker: NatsBroker, operator: Operator
):
    await published(broker, dispatches(2))
    held = await take(broker, 2)
    await operator.deletes()
    some = dispatches(2)
    await published(broker, some)  # they have the same sequence numbers as the old ones
    await take(broker, 2)

    await broker.ack(held)

    assert sum(await broker.depth(QUEUE)) == 2


async def test_a_purged_stream_is_an_empty_queue(broker: NatsBroker, operator: Operator):
    await published(broker, dispatches(5))
    await take(broker, 2)

    await operator.purges()

    assert await broker.depth(QUEUE) == (0, 0)
    assert await broker.receive(QUEUE, 10, wait=0.1) == []
    some = dispatches(1)
    await published(broker, some)
    assert ids(await take(broker, 1)) == ids(some)


async def test_a_full_stream_refuses_temporarily_and_drops_nothing(broker: NatsBroker, operator: Operator):
    await published(broker, dispatches(1))
    await drained(broker)
    await operator.edits(max_msgs=5)
    some = dispatches(8)

    outcomes = await broker.publish(some)

    assert [o.result for o in outcomes] == ["confirmed"] * 5 + ["uncertain"] * 3
    assert "maximum messages" in outcomes[-1].reason
    assert await drained(broker) == set(ids(some[:5]))
    assert await broker.publish(some[5:]) == [CONFIRMED] * 3
    assert await drained(broker) == set(ids(some[5:]))


async def test_a_dispatch_too_large_for_its_stream_is_refused(broker: NatsBroker, operator: Operator):
    await published(broker, dispatches(1))
    await operator.edits(max_msg_size=700)
    small, large = dispatches(2)

    outcomes = await broker.publish([small, large._replace(object_key="x" * 800)])

    assert [o.result for o in outcomes] == ["confirmed", "refused"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"discard": "old"}, "discard is old"),
        ({"max_age": 60_000_000_000}, "max_age is 60 s"),
        ({"max_msgs_per_subject": 3}, "max_msgs_per_subject is 3"),
        ({"retention": "limits"}, "retention is limits"),
        ({"subjects": ["playhead.>"]}, "subjects"),
        ({"subjects": [], "mirror": {"name": "another"}}, "subjects"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_nothing_is_published_to_a_stream_that_may_discard_messages(
    prefix: str, change: dict[str, Any], words: str
):
    with need_fresh("nats") as server:
        link = await Link.connect(parse(server.url))
        stream = stream_of(prefix + QUEUE)
        config = {"name": stream, "subjects": [f"playhead.{prefix}{QUEUE}"], "retention": "workqueue"}
        made = await ask(link, f"STREAM.CREATE.{stream}", config | {"discard": "new"} | change)
        assert "error" not in made
        async with opened(server.url, prefix=prefix) as broker:
            with pytest.raises(Unavailable, match=words):
                await broker.publish(dispatches(3))
            others = (
                await broker.publish([*dispatches(1), *dispatches(1, "other")])
                if "subjects" not in change
                else []
            )
            findings = await broker.diagnose()
        state = (await ask(link, f"STREAM.INFO.{stream}"))["state"]
        await link.close()

    assert state["messages"] == 0
    assert [o.result for o in others] in (["uncertain", "confirmed"], [])
    if "subjects" not in change:
        assert any(f.status == "failed" and words in f.detail for f in findings)


async def test_a_consumer_with_another_visibility_is_corrected(
    broker: NatsBroker, operator: Operator, prefix: str
):
    await published(broker, dispatches(1))

    async with opened(need("nats"), prefix=prefix, visibility=7) as other:
        await other.receive(QUEUE, 1, wait=0.1)

    found = await operator.asks(f"CONSUMER.INFO.{operator.stream()}.playhead")
    assert found["config"]["ack_wait"] == 7_000_000_000


async def test_a_stream_and_a_consumer_without_levels_are_updated_and_keep_their_messages(
    operator: Operator, prefix: str
):
    config = stream_config(prefix + QUEUE, 1)
    old = config | {"subjects": config["subjects"][:1]}
    assert "error" not in await operator.asks(f"STREAM.CREATE.{operator.stream()}", old)
    consumer = normal_consumer(prefix + QUEUE)
    del consumer["filter_subject"]
    made = {"stream_name": operator.stream(), "config": consumer}
    assert "error" not in await operator.asks(f"CONSUMER.CREATE.{operator.stream()}.{CONSUMER}", made)
    (before,) = dispatches(1)
    await operator.publishes(config["subjects"][0], before.payload())

    async with opened(need("nats"), prefix=prefix) as broker:
        (after,) = dispatches(1)
        bulk = after._replace(headers=replace(after.headers, bulk=True))
        await published(broker, [bulk])
        taken = await take(broker, 2)

    assert bulk.message_id in ids(taken)
    assert (await operator.config())["subjects"] == config["subjects"]


@pytest.mark.parametrize(
    ("limit", "words"), [({"max_batch": 1}, "MaxRequestBatch"), ({"max_waiting": 1}, "MaxWaiting")]
)
async def test_a_consumer_that_refuses_requests_is_an_error_and_deliveries_stay_valid(
    broker: NatsBroker, operator: Operator, prefix: str, limit: dict[str, Any], words: str
):
    await published(broker, dispatches(1))
    name = f"{operator.stream()}.{CONSUMER}"
    assert (await operator.asks(f"CONSUMER.DELETE.{name}"))["success"]
    made = {"stream_name": operator.stream(), "config": normal_consumer(prefix + QUEUE) | limit}
    assert "error" not in await operator.asks(f"CONSUMER.CREATE.{name}", made)
    held = await take(broker, 1)

    waiting = [asyncio.create_task(broker.receive(QUEUE, 2, wait=1)) for _ in range(2)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    await broker.ack(held)

    assert [str(one) for one in outcomes if isinstance(one, Unavailable) and words in one.detail]
    assert await broker.depth(QUEUE) == (0, 0)


async def test_reading_the_depth_of_a_queue_creates_no_stream(broker: NatsBroker, operator: Operator):
    await broker.receive("typo", 1)
    await broker.depth("typo")
    await broker.peek("typo", 1)

    assert await operator.streams() == []


async def test_many_brokers_may_declare_one_queue_at_once(prefix: str):
    brokers = [NatsBroker(need("nats"), prefix=prefix) for _ in range(6)]
    for broker in brokers:
        await connected(broker)

    outcomes = await asyncio.gather(*(broker.publish(dispatches(5)) for broker in brokers))

    depth = await brokers[0].depth(QUEUE)
    for broker in brokers:
        await broker.close()
    assert outcomes == [[CONFIRMED] * 5] * 6
    assert depth == (30, 0)


# -- queues ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", ["docs.convert", "a_b", "a_.d", "a._d", "a__d", "a_d", "_d.x-1"])
def test_each_queue_has_its_own_stream(queue: str):
    assert queue_of(stream_of(queue)) == queue
    assert re.fullmatch(r"playhead-[A-Za-z0-9_-]+", stream_of(queue))


async def test_a_queue_name_that_is_not_a_valid_subject_is_refused_with_a_reason(broker: NatsBroker):
    outcomes = await broker.publish([*dispatches(1, "docs..convert"), *dispatches(1)])

    assert [o.result for o in outcomes] == ["refused", "confirmed"]
    assert "'" in outcomes[0].reason
    assert "docs..convert" in outcomes[0].reason


async def test_a_queue_with_a_too_long_stream_name_is_refused_and_others_are_not(
    broker: NatsBroker, prefix: str
):
    outcomes = await broker.publish([*dispatches(1, "_" * 120), *dispatches(1, "_" * 100)])

    assert [o.result for o in outcomes] == ["refused", "confirmed"]
    assert "255" in outcomes[0].reason
    with pytest.raises(Unavailable, match="too long"):
        await broker.receive("_" * 120, 1)


async def test_prefixes_keep_two_installations_apart(prefix: str):
    async with opened(need("nats"), prefix=prefix) as one, opened(need("nats"), prefix=f"b{prefix}") as two:
        await published(one, dispatches(2))

        assert await two.receive(QUEUE, 10, wait=0.1) == []
        assert await one.depth(QUEUE) == (2, 0)


async def test_a_cancelled_receiver_returns_messages_in_transit_to_the_queue(broker: NatsBroker):
    """The visibility is half a minute, longer than this test waits."""
    waiting = asyncio.create_task(broker.receive(QUEUE, 1, wait=60))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    some = dispatches(1)
    await published(broker, some)

    began = time.monotonic()
    seen: list[str] = []
    while not seen:
        seen = ids(await broker.receive(QUEUE, 1, wait=1))
        assert time.monotonic() - began < 20

    assert seen == ids(some)


async def test_receivers_that_start_and_stop_lose_nothing(prefix: str):
    some = dispatches(2000)
    seen: list[str] = []

    patience = itertools.cycle(range(8))
    # A message that stays hidden would arrive too late.
    async with opened(need("nats"), prefix=prefix, visibility=300) as broker:

        async def works() -> None:
            while len(set(seen)) < 2000:
                receiving = asyncio.create_task(broker.receive(QUEUE, 7, wait=1))
                await asyncio.wait([receiving], timeout=0.001 * next(patience))
                if not receiving.done():
                    receiving.cancel()
                    await asyncio.wait([receiving])
                if not receiving.cancelled():
                    deliveries = receiving.result()
                    await broker.ack(deliveries)
                    seen.extend(ids(deliveries))

        working = [asyncio.create_task(works()) for _ in range(3)]
        await published(broker, some)
        await asyncio.wait_for(asyncio.gather(*working), 120)

        assert set(seen) == set(ids(some))
        assert await broker.depth(QUEUE) == (0, 0)


async def test_many_publish_at_once_through_one_window(broker: NatsBroker):
    batches = [dispatches(700, f"q{n % 3}") for n in range(12)]

    outcomes = await asyncio.gather(*(broker.publish(batch) for batch in batches))

    assert outcomes == [[CONFIRMED] * 700] * 12
    assert sum([sum(await broker.depth(f"q{n}")) for n in range(3)]) == 12 * 700


async def test_a_cancelled_publisher_frees_its_place_in_the_window(broker: NatsBroker):
    await published(broker, dispatches(1))
    for _ in range(8):
        publishing = asyncio.create_task(broker.publish(dispatches(1000)))
        await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.wait([publishing])

    assert await asyncio.wait_for(broker.publish(dispatches(1000)), 60) == [CONFIRMED] * 1000


async def test_waiting_calls_fail_when_the_broker_is_closed(prefix: str):
    with Proxy(need("nats")) as network:
        async with opened(network.url, prefix=prefix) as broker:
            await published(broker, dispatches(1))
            network.hold()
            waiting = [
                asyncio.create_task(broker.receive(QUEUE, 1, wait=20)),
                asyncio.create_task(broker.depth(QUEUE)),
            ]
            publishing = asyncio.create_task(broker.publish(dispatches(3)))
            await asyncio.sleep(0.1)
            await broker.close()

            told = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(one) for one in told] == [Unavailable, Unavailable]
            outcomes = await publishing
            assert results(outcomes) == {"uncertain"}
            # At once, not after the timeout of each request.
            assert all("it was closed" in why for why in (*map(str, told), *(o.reason for o in outcomes)))


async def test_small_publishes_are_concurrent(prefix: str):
    """Each takes 0.2 s here, and a thousand of them are in flight at once."""
    with Proxy(need("nats")) as network:
        async with opened(network.url, prefix=prefix) as broker:
            await published(broker, dispatches(1))
            network.latency(0.2)
            began = time.monotonic()

            outcomes = await asyncio.gather(*(broker.publish(dispatches(1)) for _ in range(100)))

            assert outcomes == [[CONFIRMED]] * 100
            assert time.monotonic() - began < 10  # half of the time that they would take one after another


async def test_a_message_of_another_program_has_a_name(broker: NatsBroker, operator: Operator, prefix: str):
    await published(broker, dispatches(1))
    await drained(broker)
    link = operator._link
    await link.ask(f"playhead.{prefix}{QUEUE}", b"not JSON")

    (message,) = await broker.peek(QUEUE, 1)
    (delivery,) = await take(broker, 1)

    assert (message.headers, message.payload) == ({}, {})
    assert delivery.message_id == f"{operator.stream()}:2"
    assert dict(delivery.headers) == {}


# -- failures of servers and connections -----------------------------------------------------------


async def test_a_broker_reconnects_when_its_server_is_back(
    prefix: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.INFO, "playhead")
    with need_fresh("nats") as server:
        async with opened(server.url, prefix=prefix) as broker:
            some = dispatches(500)
            await published(broker, some)
            held = await take(broker, 100)

            server.kill()
            with pytest.raises(Unavailable):
                await broker.check()
            for again in (lambda: broker.publish(dispatches(1)), lambda: broker.receive(QUEUE, 1, wait=1)):
                # At once: the call waits for an answer.
                with pytest.raises(Unavailable, match=f"127.0.0.1:{server.port} is not connected"):
                    await again()
            server.start()
            await until_connected(broker)

            # A killed server may have lost which consumer holds which message. It redelivers them, and their
            # rows
            # refuse the claim.
            await broker.ack(held)
            rest = await drained(broker)
            assert set(ids(some)) - set(ids(held)) <= rest <= set(ids(some))

    events = [record.event for record in caplog.records if hasattr(record, "event")]
    assert events == ["backend_unavailable", "backend_back"]
    assert capfd.readouterr().err == ""


async def test_confirmed_messages_survive_a_kill_of_the_server(prefix: str):
    with need_fresh("nats") as server:
        async with opened(server.url, prefix=prefix) as broker:
            await published(broker, dispatches(1))
            await drained(broker)
            confirmed: list[str] = []

            async def publishes() -> None:
                while True:
                    some = dispatches(250)
                    outcomes = await broker.publish(some)
                    confirmed.extend(
                        dispatch.message_id
                        for dispatch, o in zip(some, outcomes, strict=True)
                        if o == CONFIRMED
                    )
                    assert results(outcomes) <= {"confirmed", "uncertain"}

            publishing = asyncio.create_task(publishes())
            until = time.monotonic() + 60
            while not confirmed:
                assert time.monotonic() < until
                await asyncio.sleep(0.3)
            server.kill()
            with pytest.raises(Unavailable):
                await asyncio.wait_for(publishing, 60)
            server.start()
            await until_connected(broker)

            assert set(confirmed) <= await drained(broker)


async def test_a_connection_cut_between_send_and_answer_leaves_dispatches_uncertain(prefix: str):
    with Proxy(need("nats")) as network:
        async with opened(network.url, prefix=prefix) as broker:
            await published(broker, dispatches(1))
            await drained(broker)
            some = dispatches(600)

            network.hold()
            publishing = asyncio.create_task(broker.publish(some))
            await asyncio.sleep(0.3)
            network.cut()
            outcomes = await publishing
            assert results(outcomes) == {"uncertain"}
            assert all("was lost" in o.reason for o in outcomes)  # none waited for its timeout
            network.release()

            await published(broker, some)
            assert await drained(broker) == set(ids(some))


async def test_an_interrupted_ack_raises_and_can_be_repeated(prefix: str):
    with Proxy(need("nats")) as network:
        async with opened(network.url, prefix=prefix) as broker:
            await published(broker, dispatches(3))
            held = await take(broker, 3)

            network.hold()
            acking = asyncio.create_task(broker.ack(held))
            await asyncio.sleep(0.2)
            network.cut()
            with pytest.raises(Unavailable):
                await acking
            network.release()
            await until_connected(broker)

            await broker.ack(held)
            assert await broker.depth(QUEUE) == (0, 0)


async def test_a_lost_connection_fails_a_waiting_receive_at_once(prefix: str):
    """nats-py counts as closed before it calls the callback; with a broken socket it never calls it."""
    with Proxy(need("nats")) as network:
        async with opened(network.url, prefix=prefix) as broker:
            await published(broker, dispatches(1))
            told: list[Unavailable] = []

            async def receives() -> None:
                try:
                    await broker.receive(QUEUE, 1, wait=0.05)
                except Unavailable as exc:
                    told.append(exc)

            for _ in range(5):
                link = broker._link
                assert link is not None
                cutting = asyncio.get_running_loop().call_later(0.1, network.cut)
                turns = 0
                async with asyncio.TaskGroup() as tasks:
                    while link.lost_because is None:
                        # Also if this process was suspended: the error must arrive within some turns of the
                        # event loop.
                        known_by = cutting.when() + 1.5
                        assert turns < 200 or asyncio.get_running_loop().time() < known_by, "it is known"
                        turns += asyncio.get_running_loop().time() > cutting.when()
                        tasks.create_task(receives())
                        await asyncio.sleep(0)
                assert cutting.when() <= asyncio.get_running_loop().time()
                await until_connected(broker)
            assert told


@pytest.mark.slow
async def test_a_reconnecting_broker_can_be_closed_at_any_moment(prefix: str):
    """The client may lose a cancellation that arrives together with an answer."""

    async def close_after(moments: Sequence[float]) -> None:
        with Proxy(need("nats")) as network:
            network.latency(0.02)
            for seconds in moments:
                broker = NatsBroker(network.url, prefix=prefix)
                await connected(broker)
                network.cut()
                await asyncio.sleep(seconds)
                await asyncio.wait_for(broker.close(), 60)
            until = time.monotonic() + 30
            while network.connections:
                assert time.monotonic() < until, f"{network.connections} connections are left"
                await asyncio.sleep(0.05)

    moments = [0.1 + 0.0025 * n for n in range(60)]
    await asyncio.gather(*(close_after(moments[n::4]) for n in range(4)))


async def test_repeated_connection_losses_lose_no_dispatch(prefix: str):
    with Proxy(need("nats")) as network:
        async with opened(network.url, prefix=prefix, visibility=1) as broker:
            some = dispatches(6000)
            seen: set[str] = set()

            async def works() -> None:
                while len(seen) < len(some):
                    try:
                        deliveries = await broker.receive(QUEUE, 100, wait=0.5)
                        seen.update(ids(deliveries))
                        await broker.ack(deliveries)
                    except Unavailable:
                        await asyncio.sleep(0.05)

            async def cuts() -> None:
                pause = 0.4
                while True:
                    await asyncio.sleep(pause)
                    network.cut()
                    pause *= 1.1  # long enough for a slow machine

            cutting = asyncio.create_task(cuts())
            working = asyncio.create_task(works())
            for at in range(0, len(some), 600):
                await published(broker, some[at : at + 600])
                await asyncio.sleep(0.2)
            await asyncio.wait_for(working, 120)
            cutting.cancel()

            assert seen == set(ids(some))


async def test_no_call_waits_forever_for_a_suspended_server(prefix: str):
    with need_fresh("nats") as server:
        async with opened(server.url, prefix=prefix, visibility=3) as broker:
            await published(broker, dispatches(1))
            held = await take(broker, 1)
            some = dispatches(5000)
            server.pause()

            async def bounded(what: Any, seconds: float) -> Any:
                began = time.monotonic()
                try:
                    return await what
                except Unavailable as exc:
                    return exc
                finally:
                    assert time.monotonic() - began < seconds

            outcomes, received, acked, depth = await asyncio.gather(
                bounded(broker.publish(some), 30),
                bounded(broker.receive(QUEUE, 1, wait=1), 30),
                bounded(broker.ack(held), 30),
                bounded(broker.depth(QUEUE), 30),
            )
            assert isinstance(outcomes, Unavailable) or results(outcomes) == {"uncertain"}
            assert isinstance(received, Unavailable)
            assert isinstance(depth, Unavailable)
            assert acked is None or isinstance(acked, Unavailable)

            # Now the connection counts as lost: calls fail at once, and closing does not wait either.
            assert broker._link is not None
            await asyncio.wait_for(broker._link.ended.wait(), 30)
            with pytest.raises(Unavailable, match="is not connected"):
                await broker.publish(some)
            server.resume()
            await until_connected(broker)
            await published(broker, some)
            # The server may have sent one to the receiver before; it is hidden for the visibility.
            seen = await drained(broker)
            async with asyncio.timeout(60):
                while not set(ids(some)) <= seen:
                    await asyncio.sleep(0.5)
                    seen |= await drained(broker)
            server.pause()
            await bounded(broker.close(), 30)
            server.resume()


async def test_a_closed_or_unopened_broker_raises(prefix: str):
    broker = NatsBroker(need("nats"), prefix=prefix)
    with pytest.raises(Unavailable, match="not opened"):
        await broker.publish(dispatches(1))
    await broker.open()
    await broker.close()
    with pytest.raises(Unavailable, match="closed"):
        await broker.receive(QUEUE, 1, wait=5)


# -- opening ---------------------------------------------------------------------------------------


async def test_the_error_for_an_unreachable_server_names_it_without_the_password():
    with need_fresh("nats") as server:
        url = server.url.replace("://", "://playhead:hush@")
        server.kill()

        with pytest.raises(Unavailable) as caught:
            await NatsBroker(url).open()

    assert f"127.0.0.1:{server.port}" in caught.value.detail
    assert "hush" not in caught.value.detail


async def test_any_of_several_servers_is_sufficient(prefix: str):
    with need_fresh("nats") as gone:
        gone.kill()
        url = need("nats").replace("nats://", f"nats://127.0.0.1:{gone.port},")
        for _ in range(4):
            broker = NatsBroker(url, prefix=prefix)
            await broker.open()  # once: a client of one server would find the other the next time
            assert f"127.0.0.1:{gone.port}" not in await broker.check()
            await broker.close()


async def test_invalid_messages_on_its_inbox_are_ignored(broker: NatsBroker, operator: Operator):
    await published(broker, dispatches(1))
    assert broker._link is not None
    for subject in ("a.x", "a.99", "a.-1", "m.x", "m.2", "m.99"):
        for payload in (b"", b"\xff{"):
            to = f"{broker._link.inbox}{subject}"
            await operator._link.send(
                b"PUB %b %b%d\r\n%b\r\n" % (to.encode(), b"\xff ", len(payload), payload)
            )
            head = b"NATS/1.0 \xff\xff\xff\r\n\r\n"
            await operator._link.send(
                b"HPUB %b %d %d\r\n%b%b\r\n"
                % (to.encode(), len(head), len(head) + len(payload), head, payload)
            )
    # Answers of the server arrive after all that it sent before. So none of these messages can arrive during
    # the first `receive`, whose inbox is `m.2`.
    await operator.streams()
    await broker.depth(QUEUE)

    assert len(await drained(broker)) == 1
    await published(broker, dispatches(100))
    assert await broker.depth(QUEUE) == (100, 0)


async def test_tls_is_never_dropped_silently():
    with pytest.raises(Unavailable, match="offers no TLS"):
        await NatsBroker(need("nats").replace("nats://", "tls://user:hush@")).open()


@pytest.mark.slow
async def test_a_slow_greeting_of_the_server_is_accepted(prefix: str):
    """The default of nats-py is two seconds."""
    with Proxy(need("nats")) as network:
        broker = NatsBroker(network.url, prefix=prefix)
        for _ in range(9):
            network.hold()
            began = time.monotonic()
            opening = asyncio.create_task(broker.open())
            await asyncio.sleep(2.5)
            network.release()
            await asyncio.wait([opening])
            # The limit is five seconds. A timeout after them is correct: then the machine stalled.
            if opening.exception() is None or time.monotonic() - began < 4.5:
                break
        await opening
        await broker.close()


async def test_a_missing_file_of_the_url_is_named():
    with pytest.raises(Unavailable, match="cannot read /not/there, which PLAYHEAD_BROKER names"):
        await NatsBroker(f"{need('nats')}?ca=/not/there").open()


def test_a_url_has_servers_and_credentials():
    address = parse("tls://us%40er:pa%3Ass@a,b:1,[::1]:2?replicas=3&ca=/x&credentials=/y")

    assert address.servers == ("a:4222", "b:1", "[::1]:2")
    assert (address.user, address.password, address.encrypted) == ("us@er", "pa:ss", True)
    assert (address.replicas, address.ca, address.credentials) == (3, "/x", "/y")
    assert "pa:ss" not in repr(address)
    assert str(address) == "a:4222,b:1,[::1]:2"


# -- rights ----------------------------------------------------------------------------------------


def with_conf(folder: Path, text: str) -> Server:
    conf = folder / "nats.conf"
    conf.write_text(text)
    return need_fresh("nats", "-c", str(conf))


def howto_conf() -> str:
    """Return the configuration on the page."""
    (text,) = re.findall(r"```\n(accounts \{.*?)```", HOWTO.read_text(), re.DOTALL)
    return re.sub(r"jetstream \{ .*? \}", "", text)  # the folder of the fixture


async def test_the_permissions_on_the_page_are_sufficient(tmp_path: Path, prefix: str):
    with with_conf(tmp_path, howto_conf()) as server:
        url = server.url.replace("://", "://playhead:secret@")
        async with opened(url, prefix=prefix) as broker:
            some = dispatches(10)
            assert await broker.publish(some) == [CONFIRMED] * 10
            assert len(await broker.peek(QUEUE, 3)) == 3
            held = await take(broker, 10)
            await broker.extend(held)
            await broker.ack(held)
            assert await broker.depth(QUEUE) == (0, 0)
            findings = await broker.diagnose()

    assert [f.what for f in findings if f.status == "failed"] == []
    assert [f.what for f in findings if f.status == "warning"] == ["durability"]


async def test_doctor_names_a_missing_permission(tmp_path: Path, prefix: str):
    async def diagnosed_without(subject: str) -> Finding:
        folder = Path(mkdtemp(dir=tmp_path))
        with with_conf(folder, howto_conf().replace(f'"{subject}"\n', "")) as server:
            url = server.url.replace("://", "://playhead:secret@")
            findings = await NatsBroker(url, prefix=prefix).diagnose()
        (failed,) = [f for f in findings if f.status == "failed"]
        return failed

    subjects = ["playhead.>", "$JS.API.STREAM.CREATE.*", "$JS.API.CONSUMER.MSG.NEXT.*.playhead"]
    for subject, failed in zip(
        subjects, await asyncio.gather(*map(diagnosed_without, subjects)), strict=True
    ):
        assert "ermissions" in failed.detail
        assert subject.partition(".*")[0].rstrip(">") in failed.detail
        assert "docs/howto/nats.md" in failed.fix


async def test_a_wrong_password_is_reported_as_such(tmp_path: Path):
    with (
        with_conf(tmp_path, howto_conf()) as server,
        pytest.raises(Unavailable, match="check user, password") as caught,
    ):
        await NatsBroker(server.url.replace("://", "://playhead:hush@")).open()

    assert "hush" not in caught.value.detail


async def test_a_queue_that_may_not_be_read_counts_as_not_empty_and_hides_no_other(tmp_path: Path):
    denied = '{ publish: { deny: ["$JS.API.STREAM.INFO.playhead-docs_dconvert"] } }'
    users = f"{{user: a, password: b, permissions: {denied}}}, {{user: c, password: d}}"
    with with_conf(tmp_path, f"accounts {{ A {{ jetstream: enabled, users: [{users}] }} }}") as server:
        async with opened(server.url.replace("://", "://c:d@")) as other:
            await published(other, [*dispatches(3), *dispatches(2, "other")])
        async with opened(server.url.replace("://", "://a:b@")) as broker:
            assert await broker.depth("other") == (2, 0)
            assert await broker.depth(QUEUE) == (0, 1)
            server.kill()
            with pytest.raises(Unavailable):
                await broker.depth(QUEUE)


async def test_an_account_without_jetstream_is_reported_as_such(tmp_path: Path):
    with with_conf(tmp_path, "accounts { A { users: [{user: a, password: b}] } }") as server:
        url = server.url.replace("://", "://a:b@")
        with pytest.raises(Unavailable, match="no JetStream"):
            await NatsBroker(url).open()
        findings = await NatsBroker(url).diagnose()

    assert findings[-1].what == "JetStream"
    assert findings[-1].status == "failed"


# -- doctor ----------------------------------------------------------------------------------------


async def test_doctor_reports_success_and_leaves_nothing_behind(broker: NatsBroker, operator: Operator):
    await published(broker, dispatches(1))
    before = await operator.streams()

    findings = await broker.diagnose()

    assert {f.what for f in findings} >= {"reach", "version", "rights", "round trip", "durability", "streams"}
    assert [f.what for f in findings if f.status != "ok"] == ["durability"]
    (durability,) = [f for f in findings if f.what == "durability"]
    assert "sync_interval: always" in durability.fix
    assert await operator.streams() == before


async def test_doctor_reports_a_changed_consumer(broker: NatsBroker, operator: Operator, prefix: str):
    await published(broker, dispatches(1))

    findings = await NatsBroker(need("nats"), prefix=prefix, visibility=7).diagnose()

    (streams,) = [f for f in findings if f.what == "streams" and f.status == "warning"]
    assert operator.stream() in streams.detail
    assert "ack_wait is 30 s, not 7 s" in streams.detail


async def test_doctor_reports_a_stream_in_memory(broker: NatsBroker, operator: Operator, prefix: str):
    config = stream_config(prefix + QUEUE, 1) | {"storage": "memory"}
    assert not error_of(await operator.asks(f"STREAM.CREATE.{operator.stream()}", config))

    (streams,) = [f for f in await broker.diagnose() if f.what == "streams"]

    assert streams.status == "warning"
    assert f"{operator.stream()} is in memory only" in streams.detail
    assert streams.fix


async def test_doctor_reports_failed_streams_first(broker: NatsBroker, operator: Operator, prefix: str):
    await published(broker, [*dispatches(1), *(one for n in range(6) for one in dispatches(1, f"a{n}"))])
    await operator.edits(discard="old")

    findings = await NatsBroker(need("nats"), prefix=prefix, visibility=7).diagnose()

    first, *others = [f for f in findings if f.what == "streams"]
    assert (first.status, operator.stream() in first.detail) == ("failed", True)
    assert {f.status for f in others} == {"warning"}


async def test_doctor_finds_its_streams_behind_those_of_many_other_deployments(prefix: str):
    with need_fresh("nats") as server:
        async with opened(server.url, prefix=f"{prefix}z.") as broker:
            await published(broker, dispatches(1))
            link = await Link.connect(parse(server.url))
            for n in range(260):
                queue = f"{prefix}a.{n}"
                config = stream_config(queue, 1) | {"storage": "memory"}
                assert not error_of(await ask(link, f"STREAM.CREATE.{stream_of(queue)}", config))
            await link.close()

            (streams,) = [f for f in await broker.diagnose() if f.what == "streams"]

    assert (streams.status, streams.detail) == ("ok", "1 streams, all with the expected settings")


async def test_doctor_reports_an_unreachable_server_instead_of_raising():
    with need_fresh("nats") as server:
        server.kill()
        (finding,) = await NatsBroker(server.url).diagnose()

    assert (finding.what, finding.status) == ("reach", "failed")


async def test_the_sample_configuration_starts(prefix: str):
    with need_fresh("nats", "-c", str(CONF)) as server:
        async with opened(server.url, prefix=prefix) as broker:
            assert await broker.publish(dispatches(100)) == [CONFIRMED] * 100
