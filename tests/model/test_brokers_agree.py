"""A broker in a database gives the same answers as the in-memory broker, for any sequence of calls.

A state machine publishes, receives, acks, extends, releases and reads in random order, with two consumers
whose deliveries expire. It compares all answers of both brokers. `PLAYHEAD_TEST_EXAMPLES=2000` runs more
sequences.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeVar, cast

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from playhead.backends.broker_sqlite import SqliteBroker
from playhead.envelope import Dispatch, Headers, correlation_of
from playhead.ids import uuid7
from playhead.ports.broker import Broker, Delivery
from tests.broker_memory import MemoryBroker
from tests.model.agreement import run_both
from tests.model.databases import open_postgres, open_sqlite
from tests.servers import need

T = TypeVar("T")

EXAMPLES = int(os.environ.get("PLAYHEAD_TEST_EXAMPLES", "24"))

VISIBILITY = 10.0
QUEUES = ["a", "b.c"]
LIMITS = st.integers(1, 4)
Pair = tuple[Delivery, Delivery]


class Brokers(RuleBasedStateMachine):
    """Both brokers, and their deliveries: `held` by the first and by the second consumer."""

    open_other: Callable[[AsyncExitStack, Callable[[], float]], Awaitable[Broker]]
    all_at_once: bool = False
    """Take all there is: which dispatches come first when some come back is left to the broker."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_800_000_000.0
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        memory: Broker = MemoryBroker(clock=lambda: self.now, visibility=VISIBILITY)
        self.sides = (
            memory,
            self.loop.run_until_complete(type(self).open_other(self.stack, lambda: self.now)),
        )
        self.dispatches: list[Dispatch] = []
        self.held: tuple[list[Pair], list[Pair]] = ([], [])

    def teardown(self) -> None:
        self.loop.run_until_complete(self.sides[1].close())
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()

    def both(self, ask: Callable[[Broker, int], Awaitable[T]]) -> tuple[T, T]:
        async def asked() -> tuple[T, T]:
            return await ask(self.sides[0], 0), await ask(self.sides[1], 1)

        return self.loop.run_until_complete(asked())

    @rule(
        queue=st.sampled_from(QUEUES),
        keys=st.lists(st.text(min_size=1, max_size=6), max_size=4),
        parent=st.booleans(),
        bulk=st.booleans(),
    )
    def publish(self, queue: str, keys: list[str], parent: bool, bulk: bool) -> None:
        headers = Headers(queue, uuid7(), "docs", 1, "convert", uuid7() if parent else None, bulk=bulk)
        self._publish(
            [Dispatch(headers, str(uuid7()), 0, str(uuid7()) if parent else None, key) for key in keys]
        )

    @rule(data=st.data(), again=st.booleans())
    @precondition(lambda self: self.dispatches)
    def publish_again(self, data: st.DataObject, again: bool) -> None:
        """The same dispatch, or the next generation of it."""
        dispatch = data.draw(st.sampled_from(self.dispatches))
        self._publish([dispatch._replace(generation=dispatch.generation + again)])

    def _publish(self, dispatches: Sequence[Dispatch]) -> None:
        ours, theirs = self.both(lambda b, _: b.publish(dispatches))
        assert ours == theirs
        self.dispatches += dispatches

    @rule(queue=st.sampled_from([*QUEUES, "never"]), limit=LIMITS, consumer=st.integers(0, 1))
    def receive(self, queue: str, limit: int, consumer: int) -> None:
        most = 1000 if self.all_at_once else limit
        ours, theirs = self.both(lambda b, _: b.receive(queue, most))
        assert [_shown(d) for d in ours] == [_shown(d) for d in theirs]
        for delivery in theirs:
            assert str(correlation_of(delivery.message_id, delivery.headers)) in delivery.message_id
        self.held[consumer].extend(zip(ours, theirs, strict=True))

    @rule(
        data=st.data(),
        consumer=st.integers(0, 1),
        count=st.integers(1, 4),
        what=st.sampled_from(["ack", "extend", "release"]),
    )
    def settle(self, data: st.DataObject, consumer: int, count: int, what: str) -> None:
        """Of what was handed out once, however long ago and to however many since."""
        held = self.held[consumer]
        if held:
            some = [data.draw(st.sampled_from(held)) for _ in range(count)]
            once = list({id(pair): pair for pair in some}.values())
            self.both(lambda b, n: getattr(b, what)([pair[n] for pair in once]))

    @rule(seconds=st.sampled_from([1.0, VISIBILITY / 2, VISIBILITY, VISIBILITY + 1]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def depth_and_peek_are_the_same(self) -> None:
        for queue in (*QUEUES, "never"):
            ours, theirs = self.both(lambda b, _, q=queue: b.depth(q))  # type: ignore[misc]
            assert ours == theirs, queue
            for limit in (2, 100):
                shown = self.both(lambda b, _, q=queue, most=limit: b.peek(q, most))  # type: ignore[misc]
                assert [(dict(m.headers), m.payload) for m in shown[0]] == [
                    (dict(m.headers), m.payload) for m in shown[1]
                ]


def _shown(delivery: Delivery) -> tuple[str, str, dict[str, str]]:
    return delivery.queue, delivery.message_id, dict(delivery.headers)


async def _sqlite(stack: AsyncExitStack, clock: Callable[[], float]) -> Broker:
    return SqliteBroker(await open_sqlite(stack, clock), visibility=VISIBILITY)


async def _postgres(stack: AsyncExitStack, clock: Callable[[], float]) -> Broker:
    from playhead.backends.broker_postgres import PostgresBroker

    db = await open_postgres(stack, clock)

    class Another:
        """A process of its own for each call: what one remembers for a moment goes by the real clock."""

        def __getattr__(self, name: str) -> Any:
            return getattr(PostgresBroker(db, visibility=VISIBILITY), name)

    return cast(Broker, Another())


@pytest.mark.slow
def test_sqlite_delivers_the_same_as_the_broker_in_memory():
    run_both(Brokers, EXAMPLES, steps=40, open_other=staticmethod(_sqlite))


@pytest.mark.slow
def test_postgresql_delivers_the_same_as_the_broker_in_memory():
    need("postgres")
    run_both(Brokers, EXAMPLES // 4, steps=40, open_other=staticmethod(_postgres), all_at_once=True)
