"""Behaviour that is specific to RabbitMQ.

Operators delete, fill or declare queues, alarms block publishers, and the server closes channels or stops.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiormq
import pytest

from playhead.backends.broker_rabbitmq import RabbitBroker
from playhead.envelope import Message
from playhead.environment import Environment
from playhead.errors import Unavailable
from playhead.ids import uuid7
from playhead.ports.broker import CONFIRMED, Delivery, Depth
from playhead.services.reconcile import ReconcileService
from tests.catalog_memory import MemoryCatalog
from tests.lab import Clock, Lab, dispatches, ids, results
from tests.servers import need_fresh
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMq
from tests.waiting import take, until as until_seen, until_told

QUEUE = "docs.convert"
HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "rabbitmq.md"
ALARM = (
    "vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1}),"
    " Wait = fun Wait() -> rabbit_alarm:get_alarms() =:= [] andalso ok =:= timer:sleep(50) andalso Wait()"
    " end, Wait()."
)
"""Sets off the alarm of the memory, and waits for it. The node checks its memory once a second."""
OURS = {"x-queue-type": "quorum", "x-delivery-limit": -1}


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[RabbitBroker]:
    broker = RabbitBroker(url, **settings)
    await broker.open()
    try:
        yield broker
    finally:
        await broker.close()


@asynccontextmanager
async def by_hand(url: str) -> AsyncIterator[Any]:
    """A channel of another program."""
    connection = await aiormq.connect(url)
    try:
        yield await connection.channel()
    finally:
        await connection.close()


suspend = time.sleep
until = partial(until_seen, not_yet=(Unavailable,))


@pytest.fixture
def prefix() -> str:
    return f"{uuid7().hex}."


@pytest.fixture(scope="module")
def own() -> Iterator[RabbitMq]:
    """A node for this file alone, because each costs seconds. Each test restores what concerns others."""
    with need_fresh("rabbitmq") as node:
        assert isinstance(node, RabbitMq)
        yield node


@pytest.fixture
def url(own: RabbitMq) -> str:
    return own.url


# -- queues ----------------------------------------------------------------------------------------


async def test_a_deleted_queue_is_created_again_by_the_next_publish(url: str, prefix: str):
    async with opened(url, prefix=prefix) as broker, by_hand(url) as channel:
        await broker.publish(dispatches(1))
        await channel.queue_delete(f"{prefix}{QUEUE}")
        made = dispatches(70)

        assert results(await broker.publish(made)) == {"uncertain"}
        assert await broker.publish(made) == [CONFIRMED] * 70

        assert ids(await take(broker, 70)) == ids(made)


async def test_a_deleted_queue_is_not_declared_again_while_its_deletion_may_be_in_progress(
    url: str, prefix: str
):
    async with opened(url, prefix=prefix) as broker, by_hand(url) as channel:
        while True:
            await broker.publish(dispatches(1))
            await channel.queue_delete(f"{prefix}{QUEUE}")
            first = asyncio.create_task(broker.publish(dispatches(1)))
            await asyncio.sleep(0.1)
            if not first.done():  # else this machine stalled meanwhile
                break

        assert results(await broker.publish(dispatches(1))) == {"uncertain"}

        assert results(await first) == {"uncertain"}
        assert await broker.publish(dispatches(1)) == [CONFIRMED]


# A connection has 2,047 channels, and each queue has two levels.
@pytest.mark.parametrize(("queues", "rounds"), [(50, 10), (1100, 1)])
async def test_reading_many_queues_at_once_keeps_the_connection_and_its_deliveries(
    url: str, prefix: str, queues: int, rounds: int
):
    """The server closes the channel of a request for a queue that does not exist."""
    async with opened(url, prefix=prefix, visibility=3600) as broker:  # however long the reading takes
        await broker.publish(dispatches(1))
        (held,) = await take(broker, 1)

        for _ in range(rounds):
            depths = await asyncio.gather(*(broker.depth(f"no.{n}") for n in range(queues)))
            assert set(depths) == {Depth(0, 0)}

        await broker.ack([held])
        await until(lambda: broker.is_empty(QUEUE))


@pytest.mark.slow
async def test_answers_that_arrive_while_this_process_is_suspended_keep_the_connection(url: str, prefix: str):
    async with opened(url, prefix=prefix) as broker:
        await broker.publish(dispatches(1))
        (held,) = await take(broker, 1)
        depths = asyncio.gather(*(broker.depth(f"no.{n}") for n in range(300)))
        await asyncio.sleep(0.1)
        suspend(3.1)  # longer than a request for a depth may take

        assert set(await depths) == {Depth(0, 0)}
        await broker.ack([held])
        await until(lambda: broker.is_empty(QUEUE))


@pytest.mark.parametrize("count", [2, 3])
async def test_returned_duplicates_are_all_uncertain(url: str, prefix: str, count: int):
    """A return names a message by its id. The confirm of one duplicate must not count for the other."""
    async with opened(url, prefix=prefix) as broker, by_hand(url) as channel:
        (dispatch,) = dispatches(1)
        await broker.publish([dispatch])
        await channel.queue_delete(f"{prefix}{QUEUE}")

        assert results(await broker.publish([dispatch] * count)) == {"uncertain"}
        assert await broker.publish([dispatch] * count) == [CONFIRMED] * count

        assert ids(await take(broker, count)) == [dispatch.message_id] * count


async def test_a_queue_that_cannot_be_created_does_not_delay_dispatches_for_others(url: str, prefix: str):
    other = f"{prefix}{QUEUE}"
    async with opened(url) as broker, by_hand(url) as channel:
        outcomes = await broker.publish([*dispatches(1, "amq.convert"), *dispatches(1, other)])

        assert [outcome.result for outcome in outcomes] == ["refused", "confirmed"]
        assert "amq." in outcomes[0].reason
        assert [o.result for o in await broker.publish(dispatches(1, "amq.convert"))] == ["refused"]
        with pytest.raises(Unavailable, match="which RabbitMQ reserves"):
            await broker.receive("amq.convert", 1)
        await channel.queue_delete(other)


async def test_dispatches_for_a_queue_that_must_not_be_created_are_uncertain_and_others_confirmed(
    own: RabbitMq,
):
    await control(own, "add_user", "narrow", "secret")
    await control(own, "set_permissions", "narrow", ".*", ".*", ".*")
    url = own.url.replace("guest:guest", "narrow:secret")
    async with opened(url, prefix="narrow.") as broker, by_hand(own.url) as channel:
        assert await broker.publish([*dispatches(1), *dispatches(1, "other")]) == [CONFIRMED] * 2
        await control(own, "set_permissions", "narrow", "^narrow[.]other", ".*", ".*")
        for pause in (1, 2, 4, 8):
            # A channel caches permissions until it has been idle for a second or two.
            await asyncio.sleep(pause)
            await channel.queue_delete(f"narrow.{QUEUE}")
            await broker.publish(dispatches(1))  # finds that the queue is missing
            outcomes = await broker.publish([*dispatches(1), *dispatches(1, "other")])
            if outcomes[0] != CONFIRMED:
                break

        assert [outcome.result for outcome in outcomes] == ["uncertain", "confirmed"]
        assert f"narrow.{QUEUE}" in outcomes[0].reason


async def test_a_waiting_receiver_survives_the_deletion_of_its_queue(url: str, prefix: str):
    async with opened(url, prefix=prefix) as broker, by_hand(url) as channel:
        await broker.publish(dispatches(1))
        await broker.ack(await take(broker, 1))
        # RabbitMQ 4.0 may end a connection that declares a queue during its deletion.
        waiting = asyncio.create_task(until_told(lambda: broker.receive(QUEUE, 10, wait=120), Unavailable))
        await until(lambda: _consumes(channel, f"{prefix}{QUEUE}"))
        await channel.queue_delete(f"{prefix}{QUEUE}")

        await until(lambda: _takes(broker))

        assert len(await asyncio.wait_for(waiting, 60)) == 1


async def _consumes(channel: Any, name: str) -> bool:
    return bool((await channel.queue_declare(name, passive=True)).consumer_count)


@pytest.mark.slow
async def test_a_full_queue_that_rejects_makes_dispatches_uncertain(own: RabbitMq):
    await control(own, "set_policy", "full", "^full[.]", '{"max-length": 3, "overflow": "reject-publish"}')
    async with opened(own.url, prefix="full.") as broker:
        await broker.publish(dispatches(1))
        await until(lambda: _refuses(broker))
        (outcome,) = await broker.publish(dispatches(1))

        assert outcome.result == "uncertain"
        assert "full" in outcome.reason

        await broker.ack(await take(broker, (await broker.depth(QUEUE)).ready))
        await until(lambda: _takes(broker))


async def _refuses(broker: RabbitBroker) -> bool:
    return results(await broker.publish(dispatches(1))) == {"uncertain"}


async def _takes(broker: RabbitBroker) -> bool:
    return results(await broker.publish(dispatches(1))) == {"confirmed"}


async def test_an_existing_queue_with_other_arguments_is_used_unchanged_and_logged(
    url: str, prefix: str, caplog: pytest.LogCaptureFixture
):
    async with by_hand(url) as channel:
        await channel.queue_declare(f"{prefix}{QUEUE}", durable=True)  # a classic queue
        async with opened(url, prefix=prefix) as broker:
            made = dispatches(3)

            assert await broker.publish(made) == [CONFIRMED] * 3
            assert ids(await take(broker, 3)) == ids(made)

    logged = {record.event: record for record in caplog.records if hasattr(record, "event")}
    assert "x-queue-type" in str(vars(logged["queue_differs"]))


async def test_messages_of_other_programs_are_delivered(url: str, prefix: str):
    async with opened(url, prefix=prefix) as broker, by_hand(url) as channel:
        assert await broker.receive(QUEUE, 1) == []
        await channel.basic_publish(
            b"no JSON",
            routing_key=f"{prefix}{QUEUE}",
            properties=aiormq.spec.Basic.Properties(headers={"n": 3, "x": None}),
        )

        seen: list[Message] = []

        async def shows() -> bool:
            seen[:] = await broker.peek(QUEUE, 1)
            return bool(seen)

        await until(shows)  # after the consumer has returned it
        (message,) = seen
        (delivery,) = await take(broker, 1)

        assert dict(delivery.headers) == dict(message.headers) == {"n": "3", "x": "None"}
        assert message.payload == {}


@pytest.mark.slow
async def test_a_queue_without_a_quorum_does_not_block_other_queues(own: RabbitMq):
    leader = f"'%2F_stuck.{QUEUE}'"
    async with opened(own.url, prefix="stuck.", visibility=600) as broker:
        await broker.publish(dispatches(1))
        await broker.publish(dispatches(3, "other"))
        (held, *_) = await take(broker, 3, "other")
        await control(own, "eval", f"sys:suspend({leader}).")
        try:
            outcomes, found, empty = await asyncio.gather(
                broker.publish(dispatches(2)), broker.depth(QUEUE), broker.receive(QUEUE, 1, wait=0.5)
            )

            assert results(outcomes) == {"uncertain"}
            assert sum(found) > 0  # its dispatches must not count as lost
            assert empty == []
            assert await broker.publish(dispatches(2, "other")) == [CONFIRMED] * 2
            assert len(await take(broker, 2, "other")) == 2
            await broker.ack([held])  # still unacknowledged on the channel that delivered it
            await until(lambda: _holds(broker, 4, "other"))
        finally:
            await control(own, "eval", f"sys:resume({leader}).")
        await until(lambda: _takes(broker))


async def control(own: RabbitMq, *words: str) -> str:
    """Return the output of `rabbitmqctl`, which may take a minute. Meanwhile, connections send heartbeats."""
    return await asyncio.to_thread(own.control, *words)


async def _holds(broker: RabbitBroker, count: int, queue: str) -> bool:
    """A zero that arrives late is not trusted; the depth is requested again."""
    return (await broker.depth(queue)).in_flight == count


@pytest.mark.slow
async def test_a_queue_of_holders_that_does_not_answer_blocks_no_receiver(own: RabbitMq):
    mark = f"'%2F_mark.{QUEUE}:held'"
    async with opened(own.url, prefix="mark.") as other:
        await other.publish(dispatches(2))
        await other.ack(await take(other, 1))  # declares the queue of holders
        await asyncio.sleep(1)
    await control(own, "eval", f"sys:suspend({mark}).")
    try:
        async with opened(own.url, prefix="mark.") as broker:
            began = time.monotonic()

            taken = await broker.receive(QUEUE, 1, wait=60)
            await broker.ack(taken)

            assert len(taken) == 1
            assert time.monotonic() - began < 9.5  # each request waits ten seconds for its answer
            assert (await broker.depth(QUEUE)).in_flight > 0  # unknown, which is not "empty"
    finally:
        await control(own, "eval", f"sys:resume({mark}).")


# -- held messages ---------------------------------------------------------------------------------


async def test_a_message_survives_21_dead_consumers(url: str, prefix: str):
    made = dispatches(5)
    async with opened(url, prefix=prefix) as broker:
        assert await broker.publish(made) == [CONFIRMED] * 5
    for _ in range(21):
        async with opened(url, prefix=prefix) as broker:
            assert len(await take(broker, 5)) == 5  # and dies without acknowledging them
    async with opened(url, prefix=prefix) as broker:
        assert sorted(ids(await take(broker, 5))) == sorted(ids(made))


async def test_the_server_sends_no_more_messages_than_requested(url: str, prefix: str):
    async with opened(url, prefix=prefix) as one, opened(url, prefix=prefix) as two:
        made = dispatches(20)
        await one.publish(made)
        first = await take(one, 4)

        rest = await take(two, 16)

        assert len(first) == 4
        assert sorted(ids(first) + ids(rest)) == sorted(ids(made))


async def test_prefetched_messages_return_to_the_queue_when_receiving_stops(url: str, prefix: str):
    async with opened(url, prefix=prefix) as one, opened(url, prefix=prefix) as two:
        held = dispatches(4)
        await one.publish(held)
        taken = await take(one, 4)
        await one.ack(taken)  # which frees its consumer's prefetch
        made = dispatches(4)
        await one.publish(made)

        assert sorted(ids(await take(two, 4))) == sorted(ids(made))


async def test_the_prefetch_shrinks_with_the_requested_number(url: str, prefix: str):
    async with opened(url, prefix=prefix) as one, opened(url, prefix=prefix) as two:
        assert await one.receive(QUEUE, 100, wait=0.2) == []
        made = dispatches(100)
        await one.publish(made)

        few = await take(one, 2)

        rest = await take(two, 98)
        assert sorted(ids(few) + ids(rest)) == sorted(ids(made))


async def test_a_process_sees_that_another_holds_dispatches(url: str, prefix: str):
    async with opened(url, prefix=prefix) as one, opened(url, prefix=prefix) as two:
        await one.publish(dispatches(3))
        taken = await take(one, 3)

        assert await two.depth(QUEUE) == (0, 1)  # one holder, for any number of dispatches

        await one.ack(taken)
        await until(lambda: _is_empty(two))


async def test_a_reconciler_publishes_nothing_again_that_another_process_holds(url: str, prefix: str):
    clock = Clock()
    catalog = MemoryCatalog(clock=clock)
    lab = Lab(catalog, clock)
    await lab.beat("w1", "w2")
    run = await lab.started("a.md", "b.md")
    async with opened(url, prefix=prefix) as worker, opened(url, prefix=prefix) as other:
        await other.publish(run.dispatches)
        held = await take(worker, 2)  # received and not claimed, as suspects are until they run alone
        reconciler = ReconcileService(catalog, other, Environment("w2"), lease=15)

        for _ in range(5):
            clock.advance(1)
            await lab.beat("w1", "w2")
            await reconciler.cycle()
            await reconciler.find_lost()
            await worker.extend(held)

        assert await worker.receive(QUEUE, 10, wait=0.5) == []


async def _is_empty(broker: RabbitBroker) -> bool:
    return sum(await broker.depth(QUEUE)) == 0


async def test_a_process_that_waits_after_its_work_holds_nothing(url: str, prefix: str):
    # If it counted as a holder, dispatches lost by the broker would never be redelivered.
    async with opened(url, prefix=prefix) as one, opened(url, prefix=prefix) as two:
        await one.publish(dispatches(1))
        await two.ack(await take(two, 1))
        ended = asyncio.Event()

        async def wait_for_more() -> None:
            while not ended.is_set():
                assert await two.receive(QUEUE, 5, wait=1) == []

        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_more())
            try:
                await until(lambda: _is_empty(one))
            finally:
                ended.set()


async def test_a_process_that_waits_holds_nothing(url: str, prefix: str):
    async with opened(url, prefix=prefix) as one, opened(url, prefix=prefix) as two:
        waiting = asyncio.create_task(one.receive(QUEUE, 10, wait=120))
        await asyncio.sleep(0.3)

        await until(lambda: _is_empty(two))

        made = dispatches(1)
        await two.publish(made)
        assert ids(await waiting) == ids(made)


async def test_a_channel_closed_by_the_server_is_reopened_and_its_dispatches_are_redelivered(
    url: str, prefix: str
):
    """The server closes it if a message is held for longer than `consumer_timeout`."""
    async with opened(url, prefix=prefix) as broker:
        made = dispatches(3)
        await broker.publish(made)
        held = await take(broker, 3)
        inbox = broker._inboxes[QUEUE]
        channel = inbox._channel
        assert channel is not None
        await channel.basic_ack(999_999, wait=False)  # an error for which the server closes the channel
        await until(lambda: channel.is_closed)

        again = await take(broker, 3)
        await broker.ack(held)  # too late, and not an error on the new channel
        await broker.ack(again)

        assert sorted(ids(again)) == sorted(ids(made))
        await until(lambda: _is_empty(broker))
        assert await broker.receive(QUEUE, 1) == []


async def test_repeatedly_cancelled_receivers_lose_and_withhold_nothing(url: str, prefix: str):
    async with opened(url, prefix=prefix, visibility=600) as broker:
        made = dispatches(50)
        seen: list[Delivery] = []
        for n, dispatch in enumerate(made):
            waiting = asyncio.create_task(broker.receive(QUEUE, 5, wait=5))
            await asyncio.sleep(0.001 * (n % 7))
            await broker.publish([dispatch])
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                seen += waiting.result()

        seen += await take(broker, 50 - len(seen))

        assert sorted(ids(seen)) == sorted(ids(made))


# -- the connection --------------------------------------------------------------------------------


async def test_dispatches_with_interrupted_confirms_are_uncertain(url: str, prefix: str):
    with Proxy(url) as network:
        async with opened(network.url, prefix=prefix) as broker, opened(url, prefix=prefix) as other:
            await broker.publish(dispatches(1))
            made = dispatches(3)
            network.hold()
            sending = asyncio.create_task(broker.publish(made))
            await until(lambda: _has(other, 4))
            network.cut()
            network.release()

            assert results(await sending) == {"uncertain"}

            await until(lambda: _takes(broker))  # on a connection that was re-established automatically


async def _has(broker: RabbitBroker, count: int) -> bool:
    return (await broker.depth(QUEUE)).ready >= count


async def test_a_broker_can_be_opened_after_an_attempt_that_failed_half_way(url: str, prefix: str):
    with Proxy(url) as network:
        broker = RabbitBroker(network.url, prefix=prefix)
        network.latency(0.2)
        opening = asyncio.create_task(broker.open())
        await until(lambda: network.connections == 1)
        network.refuse()
        with pytest.raises(Unavailable):
            await opening
        network.accept()
        network.latency(0)
        await broker.open()
        try:
            made = dispatches(1)
            await broker.publish(made)
            network.cut()
            await until(lambda: _answers(broker))
            assert ids(await take(broker, 1)) == ids(made)
        finally:
            await broker.close()


@pytest.mark.slow
async def test_calls_to_a_server_that_does_not_answer_time_out(url: str, prefix: str):
    with Proxy(url) as network:
        async with opened(network.url, prefix=prefix) as broker:
            await broker.publish(dispatches(1))
            network.hold()
            began = time.monotonic()

            outcomes, depth = await asyncio.gather(
                broker.publish(dispatches(2)), broker.depth(QUEUE), return_exceptions=True
            )

            assert isinstance(depth, Unavailable)
            assert isinstance(outcomes, list)
            assert results(outcomes) == {"uncertain"}
            assert time.monotonic() - began < 60
            network.release()
            await until(lambda: _takes(broker))


@pytest.mark.slow
async def test_without_a_server_every_call_fails_at_once_and_works_again_when_it_is_back(own: RabbitMq):
    async with opened(own.url, prefix="stop.", visibility=600) as broker:
        made = dispatches(30)
        assert await broker.publish(made) == [CONFIRMED] * 30
        held = await take(broker, 10)
        await broker.ack(await take(broker, 20))
        assert (
            await broker.receive(QUEUE, 1) == []
        )  # on the channel of the acks, so the server has processed these
        # A node that is killed right after the declaration of a queue loses the queue: see the page.
        await asyncio.to_thread(own.write_down)
        waiting = asyncio.create_task(broker.receive(QUEUE, 100, wait=120))
        await asyncio.sleep(0.3)
        own.kill()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(waiting, 60)

        began = time.monotonic()
        for attempt in (
            broker.publish(dispatches(1)),
            broker.receive(QUEUE, 1, wait=5),
            broker.depth(QUEUE),
            broker.peek(QUEUE, 1),
            broker.check(),
        ):
            with pytest.raises(Unavailable) as caught:
                await attempt
            assert "guest" not in caught.value.detail.replace("user `guest`", "")
        await broker.ack(held)
        assert time.monotonic() - began < 9.5  # each request waits ten seconds for its answer, by each

        await asyncio.to_thread(own.start)
        await until(lambda: _answers(broker))
        again = await take(broker, 10)
        assert sorted(ids(again)) == sorted(ids(held))
        await broker.ack(again)
        await until(lambda: _is_empty(broker))


async def _answers(broker: RabbitBroker) -> bool:
    return bool(await broker.check())


@pytest.mark.slow
async def test_an_alarm_makes_dispatches_uncertain_then_unavailable_while_acks_work(own: RabbitMq):
    async with opened(own.url, prefix="alarm.", visibility=600) as broker:
        await broker.publish(dispatches(2))
        taken = await take(broker, 2)
        try:
            await control(own, "eval", ALARM)
            # At once, because each waits ten seconds for an answer.
            outcomes, findings = await asyncio.gather(broker.publish(dispatches(1)), broker.diagnose())
            assert results(outcomes) == {"uncertain"}
            assert "alarm" in outcomes[0].reason
            assert {f.what: f.status for f in findings}["alarm"] == "failed"

            with pytest.raises(Unavailable, match="alarm"):
                await broker.publish(dispatches(1))
            with pytest.raises(Unavailable, match="alarm"):
                await broker.check()
            await broker.ack(taken)
            await until(lambda: _is_empty(broker))
        finally:
            await control(own, "set_vm_memory_high_watermark", "0.6")
        await until(lambda: _takes(broker))


async def test_a_dispatch_over_the_servers_limit_is_refused_and_others_in_the_batch_are_not(own: RabbitMq):
    await control(own, "eval", "persistent_term:put(max_message_size, 500).")
    try:
        async with opened(own.url, prefix="size.") as broker:
            await broker.publish(dispatches(1))
            small, large = dispatches(2)
            large = large._replace(object_key="k" * 600)

            outcomes = await broker.publish([small, large])

            assert outcomes[1].result == "refused"
            assert "600" in outcomes[1].reason or "500" in outcomes[1].reason
            assert outcomes[0].result in ("confirmed", "uncertain")
            await until(lambda: _takes(broker))
    finally:
        await control(own, "eval", "persistent_term:put(max_message_size, 16777216).")


async def test_a_server_without_a_frame_limit_accepts_dispatches(own: RabbitMq):
    setting = "rabbit, frame_max"
    most = await control(
        own,
        "eval",
        f"{{ok, Most}} = application:get_env({setting}), application:set_env({setting}, 0), Most.",
    )
    most = most.strip()
    try:
        async with opened(own.url, prefix="frame.") as broker:
            assert await broker.publish(dispatches(2)) == [CONFIRMED] * 2
    finally:
        await control(own, "eval", f"application:set_env(rabbit, frame_max, {most}).")


async def test_a_dispatch_that_fits_in_no_frame_is_refused(url: str, prefix: str):
    async with opened(url, prefix=prefix) as broker:
        small, large = dispatches(2)

        outcomes = await broker.publish([small, large._replace(object_key="k" * 200_000)])

        assert [outcome.result for outcome in outcomes] == ["confirmed", "refused"]


# -- permissions and errors ------------------------------------------------------------------------


async def test_the_permissions_on_the_page_are_sufficient(own: RabbitMq):
    (command,) = re.findall(r"set_permissions (.*)", HOWTO.read_text(encoding="utf-8"))
    words = [word.strip("'") for word in command.split()]
    await control(own, "add_user", "playhead", "secret")
    await control(own, "set_permissions", *words)
    url = own.url.replace("guest:guest", "playhead:secret")
    async with opened(url, prefix="playhead.") as broker:
        made = dispatches(2)
        assert await broker.publish(made) == [CONFIRMED] * 2
        assert len(await broker.peek(QUEUE, 2)) == 2
        await broker.ack(await take(broker, 2))
        await until(lambda: _is_empty(broker))
        assert {f.status for f in await broker.diagnose()} == {"ok"}
    async with opened(url, prefix="others.") as broker:
        with pytest.raises(Unavailable, match=r"others\.docs\.convert"):
            await broker.publish(dispatches(1))
        findings = await broker.diagnose()
        assert ("rights", "failed") in [(f.what, f.status) for f in findings]
        assert all(f.fix for f in findings if f.status != "ok")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("guest:guest", "guest:wrong-word"), "refused the user guest"),
        (("5672/", "5672/nowhere"), "no such vhost"),
        ((":5672", ":1"), "cannot reach .* its port is the AMQP port"),
        (("amqp:", "amqps:"), "Check that this is its TLS port"),
    ],
)
async def test_connection_errors_are_reported_without_the_password(
    own: RabbitMq, change: tuple[str, str], words: str
):
    url = own.url.replace(f":{own.port}", ":5672").replace(*change).replace(":5672", f":{own.port}")
    broker = RabbitBroker(url)

    with pytest.raises(Unavailable, match=words) as caught:
        await broker.open()

    assert "wrong-word" not in caught.value.detail
    assert [(f.what, f.status) for f in await broker.diagnose()] == [("reach", "failed")]
    await broker.close()


@asynccontextmanager
async def that_calls_itself(version: bytes, node: RabbitMq) -> AsyncIterator[str]:
    """The node with another version in its greeting."""
    greeting = re.compile(rb"(\x07versionS\x00\x00\x00)\x05\d\.\d\.\d")

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, out = await asyncio.open_connection("127.0.0.1", node.port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                sink.write(greeting.sub(lambda found: found[1] + b"\x05" + version, data))
            sink.close()

        await asyncio.gather(pump(reader, out), pump(back, writer), return_exceptions=True)

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    yield node.url.replace(f":{node.port}", f":{server.sockets[0].getsockname()[1]}")
    server.close()


async def test_a_too_old_server_is_refused_before_anything_is_sent(own: RabbitMq):
    async with that_calls_itself(b"3.9.7", own) as url, opened(url, prefix="old.") as broker:
        for attempt in (broker.publish(dispatches(1)), broker.receive(QUEUE, 1, wait=1)):
            with pytest.raises(Unavailable, match=r"3\.9\.7 .* install RabbitMQ 4\.0 or later"):
                await attempt
        findings = await broker.diagnose()

    assert [(f.what, f.status) for f in findings][1] == ("version", "failed")
    async with by_hand(own.url) as channel:
        with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
            await channel.queue_declare(f"old.{QUEUE}", passive=True)


async def test_any_of_the_named_nodes_is_sufficient(own: RabbitMq):
    url = own.url.replace(f":{own.port}", f":1,127.0.0.1:{own.port}")
    async with opened(url, prefix="any.") as broker:
        assert await broker.publish(dispatches(1)) == [CONFIRMED]


@pytest.mark.parametrize("option", ["cafile=/not/there", "certfile=/not/there"])
async def test_a_missing_file_of_the_address_is_reported(own: RabbitMq, option: str):
    with pytest.raises(Unavailable, match="cafile, certfile or keyfile"):
        await RabbitBroker(f"{own.url.replace('amqp:', 'amqps:')}?{option}").open()


async def test_doctor_reports_success_and_leaves_nothing_behind(own: RabbitMq):
    findings = await RabbitBroker(own.url, prefix="doctor.").diagnose()

    assert {f.status for f in findings} == {"ok"}
    assert [f.what for f in findings] == ["reach", "version", "rights", "round trip", "durability"]
    assert "doctor." not in await control(own, "list_queues", "name")
