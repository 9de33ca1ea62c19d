"""Declaring queues and asking about them, one question at a time on a channel of their own.

The server answers a question about a queue that is not there by closing the channel; the next question
opens another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

from aiormq.channel import Channel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
)

from playhead import events
from playhead.backends.broker_rabbitmq.link import (
    ANSWER_SECONDS,
    LOST,
    Link,
    as_lost,
    is_too_old,
    told,
    version_of,
)
from playhead.errors import Unavailable, broker_unavailable

T = TypeVar("T")

QUEUE: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-delivery-limit": -1}
"""The same for every queue, whatever the config. Without the limit, a quorum queue drops a message whose
consumers died 20 times."""
HELD: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-expires": 86_400_000}
"""An empty queue beside each; see `held`. Gone after a day without use. One of another kind would live on one
node of a cluster, and be away with it."""
DELETED_SECONDS: Final = 0.25
"""How long a queue that was found deleted is left alone: one that is declared in the middle of its deletion
costs the connection (INTERNAL_ERROR of 4.0.5)."""
_LEADER_SECONDS: Final = 0.25
_TRIES: Final = 3
_STUCK_SECONDS: Final = 10.0


class Known(NamedTuple):
    """What the server tells about a queue.

    Attributes:
        is_sure: a node says 0 for what a queue's leader does not tell it within 0.25 s; so no zero that took
            that long is one.
    """

    ready: int
    consumers: int
    is_sure: bool


class QueueStuck(Unavailable):
    """The server answers, but not about this queue."""


class Queues:
    """The queues of one server.

    Args:
        prefix: goes before their names.

    Attributes:
        there: queues that were declared and not found gone since.
    """

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._channel: Channel | None = None
        self._turn = asyncio.Lock()
        self.there: set[str] = set()
        self._stuck: dict[str, float] = {}

    def name(self, queue: str) -> str:
        """As the server names it."""
        return f"{self._prefix}{queue}"

    def unfit(self, queue: str) -> str | None:
        """Why there can't be a queue of that name; None if there can."""
        if not self.name(queue).startswith("amq."):
            return None
        return (
            f"the queue's name {self.name(queue)!r} begins with `amq.`, which RabbitMQ keeps for its own: "
            "rename it"
        )

    def held(self, queue: str) -> str:
        """Return the name of the queue on which each process that holds dispatches of `queue` has a consumer.

        AMQP reports the number of consumers of a queue, but not the number of its unacknowledged messages.
        Without these queues, the reconciler publishes every held dispatch again in each of its cycles. No
        config can give a queue such a name.
        """
        return f"{self._prefix}{queue}:held"

    def stuck(self, name: str) -> QueueStuck:
        """Remember, and say, that a queue did not answer. It is left alone for a while: meanwhile a
        question about it would keep all others waiting."""
        self._stuck[name] = time.monotonic() + _STUCK_SECONDS
        exc = QueueStuck(
            "broker_unavailable",
            f"RabbitMQ at {self._link.address} does not answer for the queue {name}: a majority of its nodes "
            f"is missing, or it was broken by a kill (`rabbitmq-queues quorum_status {name}`); a queue that "
            "stays like that is made anew once it is deleted, and its calls are published again",
        )
        events.emit(
            events.BACKEND_UNAVAILABLE, logging.WARNING, backend="rabbitmq", queue=name, detail=exc.detail
        )
        return exc

    async def ensure(self, queue: str) -> None:
        """Declare a queue once. Raises `Unavailable`."""
        if queue not in self.there:
            await self.declare(queue)

    def forget(self, queue: str) -> None:
        """It was found gone: declare it again before its next use."""
        self.there.discard(queue)

    async def declare(self, queue: str) -> None:
        """Declare a queue; one that is there with other arguments is used as it is. Raises `Unavailable`."""
        name = self.name(queue)
        connection = self._link.connection()
        if is_too_old(connection):
            raise broker_unavailable(
                f"RabbitMQ {version_of(connection)} at {self._link.address} has no quorum queues without a "
                "delivery limit, and with one it drops messages: install RabbitMQ 4.0 or later"
            )

        async def ask(channel: Channel) -> None:
            await channel.queue_declare(name, durable=True, arguments=QUEUE, timeout=ANSWER_SECONDS)

        try:
            await self._ask(name, ask)
        except ChannelPreconditionFailed as exc:
            if "inequivalent arg" not in told(exc):
                raise broker_unavailable(
                    f"RabbitMQ {version_of(connection)} at {self._link.address} does not make the queue "
                    f"{name} ({told(exc)}); it has to take quorum queues with x-delivery-limit -1"
                ) from exc
            # Somebody else's, or made by hand: a queue of other programs is a target like any other.
            events.emit(events.QUEUE_DIFFERS, logging.WARNING, queue=name, detail=told(exc))
        except ChannelAccessRefused as exc:
            raise broker_unavailable(
                f"RabbitMQ at {self._link.address} does not let this user make or use the queue {name} "
                f"({told(exc)}); it needs configure, write and read on {self._prefix or ''}.*"
            ) from exc
        self.there.add(queue)

    async def declare_held(self, queue: str, *, within: float) -> None:
        """Declare the queue that marks `queue` as held.

        Raises `Unavailable`; `QueueStuck` when it does not answer `within` so many seconds.
        """
        name = self.held(queue)

        async def ask(channel: Channel) -> None:
            await channel.queue_declare(name, durable=True, arguments=HELD, timeout=within)

        try:
            await self._ask(name, ask)
        except (ChannelPreconditionFailed, ChannelAccessRefused) as exc:
            if "inequivalent arg" in told(exc):
                return  # it has consumers to count, whatever else it is
            raise broker_unavailable(
                f"RabbitMQ at {self._link.address} does not make the queue {name} ({told(exc)}); if it is "
                "there and is not ours, delete it"
            ) from exc

    async def look(self, name: str) -> Known | None:
        """What there is in a queue, by the server's name; None when there is no such queue."""

        async def ask(channel: Channel) -> Known:
            began = time.monotonic()
            found = await channel.queue_declare(name, passive=True, timeout=ANSWER_SECONDS)
            is_sure = bool(found.message_count) or time.monotonic() - began < _LEADER_SECONDS
            return Known(found.message_count or 0, found.consumer_count or 0, is_sure)

        try:
            return await self._ask(name, ask)
        except ChannelNotFoundEntity:
            return None
        except (ChannelPreconditionFailed, ChannelAccessRefused) as exc:
            raise self._link.unavailable(exc) from exc

    async def answers(self) -> None:
        """Ask something that needs no queue. Raises `Unavailable`."""

        async def ask(channel: Channel) -> None:
            await channel.basic_qos(prefetch_count=1, timeout=ANSWER_SECONDS)

        await self._ask("", ask)

    async def _ask(self, name: str, ask: Callable[[Channel], Awaitable[T]]) -> T:
        """Ask about a queue on the channel there is, or on a new one if it was closed meanwhile.

        Raises `Unavailable`, or what the server has against the question.
        """
        # In a task of its own: the client closes the channel of a caller who is cancelled in between.
        asked = asyncio.ensure_future(self._in_turn(name, ask))
        # Nobody hears then how it ended, which is no fault to tell of; `shield` would, from Python 3.14 on.
        asked.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait([asked])
        return asked.result()

    async def _in_turn(self, name: str, ask: Callable[[Channel], Awaitable[T]]) -> T:
        async with self._turn:
            if self._stuck.get(name, 0) > time.monotonic():
                raise QueueStuck("broker_unavailable", f"RabbitMQ does not answer for the queue {name}")
            for left in reversed(range(_TRIES)):
                channel = self._channel
                if channel is None or channel.is_closed or channel.connection.is_closed:
                    channel = self._channel = await self._link.channel()
                try:
                    with as_lost():
                        return await ask(channel)
                except (ChannelNotFoundEntity, ChannelPreconditionFailed, ChannelAccessRefused):
                    self._channel = None
                    raise
                except TimeoutError as exc:
                    self._channel = None
                    if await self._link.is_answering() and name:
                        raise self.stuck(name) from exc
                    raise self._link.unavailable(exc) from exc
                except LOST as exc:
                    self._channel = None
                    if not left:
                        raise self._link.unavailable(exc) from exc
            raise AssertionError("unreachable")
