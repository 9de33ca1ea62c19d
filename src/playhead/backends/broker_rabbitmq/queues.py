"""Declaring queues and reading their state, one request at a time on a separate channel.

The server closes the channel when a request names a queue that does not exist. The next request opens
another.
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
    described,
    is_too_old,
    version_of,
)
from playhead.errors import Unavailable, broker_unavailable

T = TypeVar("T")

QUEUE: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-delivery-limit": -1}
"""The same for every queue and config. With its default delivery limit, a quorum queue drops a message whose
consumers died 20 times."""
HELD: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-expires": 86_400_000}
"""For the empty queue that goes with each queue; see `held`. It is deleted after a day without use. A classic
queue would be on one node of a cluster, and unavailable together with that node."""
DELETED_SECONDS: Final = 0.25
"""How long to wait before a deleted queue is declared again. RabbitMQ 4.0.5 ends the connection
(INTERNAL_ERROR) if a queue is declared during its deletion."""
_LEADER_SECONDS: Final = 0.25
_TRIES: Final = 3
_STUCK_SECONDS: Final = 10.0


class Known(NamedTuple):
    """What the server reports about a queue.

    Attributes:
        is_sure: False if a zero took 0.25 s or longer. A node reports 0 when the leader of the queue does not
            answer it in that time.
    """

    ready: int
    consumers: int
    is_sure: bool


class QueueStuck(Unavailable):
    """The server answers, but not for this queue."""


class Queues:
    """The queues of one server.

    Args:
        prefix: prepended to their names.

    Attributes:
        there: queues that were declared, and not reported missing since.
    """

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._channel: Channel | None = None
        self._turn = asyncio.Lock()
        self.there: set[str] = set()
        self._stuck: dict[str, float] = {}

    def name(self, queue: str) -> str:
        """Return the name of a queue on the server."""
        return f"{self._prefix}{queue}"

    def unfit(self, queue: str) -> str | None:
        """Return why a queue cannot have this name; None if it can."""
        if not self.name(queue).startswith("amq."):
            return None
        return (
            f"the queue name {self.name(queue)!r} begins with `amq.`, which RabbitMQ reserves: rename the "
            "queue"
        )

    def held(self, queue: str) -> str:
        """Return the name of the queue on which each process that holds dispatches of `queue` has a consumer.

        AMQP reports the number of consumers of a queue, but not the number of its unacknowledged messages.
        Without these queues, the reconciler publishes every held dispatch again in each of its cycles. No
        config can give a queue such a name.
        """
        return f"{self._prefix}{queue}:held"

    def stuck(self, name: str) -> QueueStuck:
        """Log that a queue did not answer, and send it no request for a while: each would delay all
        others."""
        self._stuck[name] = time.monotonic() + _STUCK_SECONDS
        exc = QueueStuck(
            "broker_unavailable",
            f"RabbitMQ at {self._link.address} does not answer for the queue {name}: no majority of its "
            f"nodes is up, or a crash damaged it. Look at `rabbitmq-queues quorum_status {name}`. If it does "
            "not recover, delete it: Playhead declares it again and publishes its messages again",
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
        """Declare a queue that was found missing again, before its next use."""
        self.there.discard(queue)

    async def declare(self, queue: str) -> None:
        """Declare a queue. An existing queue with other arguments is used as it is. Raises `Unavailable`."""
        name = self.name(queue)
        connection = self._link.connection()
        if is_too_old(connection):
            raise broker_unavailable(
                f"RabbitMQ {version_of(connection)} at {self._link.address} drops messages, because its "
                "quorum queues always have a delivery limit: install RabbitMQ 4.0 or later"
            )

        async def ask(channel: Channel) -> None:
            await channel.queue_declare(name, durable=True, arguments=QUEUE, timeout=ANSWER_SECONDS)

        try:
            await self._ask(name, ask)
        except ChannelPreconditionFailed as exc:
            if "inequivalent arg" not in described(exc):
                raise broker_unavailable(
                    f"RabbitMQ {version_of(connection)} at {self._link.address} refused to create the queue "
                    f"{name} ({described(exc)}). It must allow quorum queues with x-delivery-limit -1"
                ) from exc
            # Another program or an operator created it. A route may publish to such a queue.
            events.emit(events.QUEUE_DIFFERS, logging.WARNING, queue=name, detail=described(exc))
        except ChannelAccessRefused as exc:
            raise broker_unavailable(
                f"RabbitMQ at {self._link.address} does not let this user create or use the queue {name} "
                f"({described(exc)}). Grant configure, write and read on {self._prefix or ''}.*"
            ) from exc
        self.there.add(queue)

    async def declare_held(self, queue: str, *, within: float) -> None:
        """Declare the queue that marks `queue` as held.

        Args:
            within: seconds.

        Raises `Unavailable`, or `QueueStuck` when the queue does not answer in time.
        """
        name = self.held(queue)

        async def ask(channel: Channel) -> None:
            await channel.queue_declare(name, durable=True, arguments=HELD, timeout=within)

        try:
            await self._ask(name, ask)
        except (ChannelPreconditionFailed, ChannelAccessRefused) as exc:
            if "inequivalent arg" in described(exc):
                return  # its consumers can be counted, whatever its arguments are
            raise broker_unavailable(
                f"RabbitMQ at {self._link.address} refused to create the queue {name} ({described(exc)}). "
                "If another program created it, delete it"
            ) from exc

    async def look(self, name: str) -> Known | None:
        """Return the state of a queue, by its name on the server; None if there is no such queue."""

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
        """Send a request that concerns no queue. Raises `Unavailable` if it is not answered."""

        async def ask(channel: Channel) -> None:
            await channel.basic_qos(prefetch_count=1, timeout=ANSWER_SECONDS)

        await self._ask("", ask)

    async def _ask(self, name: str, ask: Callable[[Channel], Awaitable[T]]) -> T:
        """Send a request on the current channel, or on a new one if that was closed meanwhile.

        Raises `Unavailable`, or the exception with which the server closed the channel.
        """
        # In a separate task, because the client closes the channel of a caller that is cancelled.
        asked = asyncio.ensure_future(self._in_turn(name, ask))
        # After a cancellation its failure is ignored. `shield` would log it, from Python 3.14 on.
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
