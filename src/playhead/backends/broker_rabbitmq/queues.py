"""Declaring queues and reading their state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from aiormq import spec
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
    close_channel,
    described,
    in_background,
    is_too_old,
    version_of,
)
from playhead.errors import Unavailable, broker_unavailable

QUEUE: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-delivery-limit": -1}
"""The same for every queue and config. With its default delivery limit, a quorum queue drops a message whose
consumers died 20 times."""
HELD: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-expires": 86_400_000}
"""For the empty queue that goes with each queue; see `held`. It is deleted after a day without use. A classic
queue would be on one node of a cluster, and unavailable together with that node."""
DELETED_SECONDS: Final = 0.25
"""How long to wait before a deleted queue is declared again. RabbitMQ 4.0.5 ends the connection
(INTERNAL_ERROR) if a queue is declared during its deletion."""
MARK_SECONDS: Final = 1.0
"""How long to wait for the mark of a held queue. Without one, dispatches are still delivered."""
_LEADER_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 3.0
_STUCK_SECONDS: Final = 10.0
_MOST_REQUESTS: Final = 50
"""Requests at once. Each has a channel, and a connection may have about 2,000."""


class Known(NamedTuple):
    """What the server reports about a queue.

    Attributes:
        is_sure: False if there was no answer, or if a zero took 0.25 s or longer. A node reports 0 when the
            leader of the queue does not answer it in that time.
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
    """

    def __init__(self, link: Link, prefix: str) -> None:
        self._link = link
        self._prefix = prefix
        self._declared: set[str] = set()
        self._declaring: dict[str, asyncio.Lock] = {}
        self._stuck: dict[str, float] = {}
        self._room = asyncio.Semaphore(_MOST_REQUESTS)

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
        """Log that a queue did not answer, and send it no request for a while. Returns the error."""
        exc = self._no_answer(name)
        events.emit(events.BACKEND_UNAVAILABLE, backend="rabbitmq", queue=name, detail=exc.detail)
        self._stuck[name] = time.monotonic() + _STUCK_SECONDS
        return exc

    def _no_answer(self, name: str) -> QueueStuck:
        return QueueStuck(
            "broker_unavailable",
            f"RabbitMQ at {self._link.address} does not answer for the queue {name}: no majority of its "
            f"nodes is up, or a crash damaged it. Look at `rabbitmq-queues quorum_status {name}`. If it does "
            "not recover, delete it: Playhead declares it again and publishes its messages again",
        )

    def forget(self, queue: str) -> None:
        """Declare a queue that was found missing again, before its next use."""
        self._declared.discard(queue)

    @asynccontextmanager
    async def request(self, name: str) -> AsyncIterator[Channel]:
        """Open a channel for one request. The server closes the channel of a request that it refuses.

        Blocks while many other requests are in progress.

        Raises `Unavailable`, or the exception for a queue that does not exist or has other arguments.
        """
        if self._stuck.get(name, 0.0) > time.monotonic():
            raise self._no_answer(name)
        async with self._room:
            channel = await self._link.channel()
            try:
                with as_lost():
                    yield channel
            except ChannelNotFoundEntity:
                raise
            except ChannelPreconditionFailed as exc:
                if "inequivalent arg" in described(exc):
                    raise
                raise broker_unavailable(
                    f"RabbitMQ at {self._link.address} refused a request for the queue {name} "
                    f"({described(exc)}). It must allow quorum queues with x-delivery-limit -1"
                ) from exc
            except ChannelAccessRefused as exc:
                raise broker_unavailable(
                    f"RabbitMQ at {self._link.address} does not let this user create or use the queue {name} "
                    f"({described(exc)}). Grant configure, write and read on {self._prefix}.*"
                ) from exc
            except TimeoutError as exc:
                if await self._link.is_answering():
                    raise self.stuck(name) from exc
                raise self._link.unavailable(exc) from exc
            except LOST as exc:
                raise self._link.unavailable(exc) from exc
            finally:
                in_background(close_channel(channel))

    async def declare(self, queue: str) -> None:
        """Declare a queue once. An existing queue with other arguments is used as it is.

        Raises `Unavailable`.
        """
        if queue in self._declared:
            return
        # In one task at a time, because a new queue rejects messages for a moment.
        async with self._declaring.setdefault(queue, asyncio.Lock()):
            if queue not in self._declared:
                await self._declare(queue)
                self._declared.add(queue)

    async def _declare(self, queue: str) -> None:
        name = self.name(queue)
        connection = self._link.connection()
        if is_too_old(connection):
            raise broker_unavailable(
                f"RabbitMQ {version_of(connection)} at {self._link.address} drops messages, because its "
                "quorum queues always have a delivery limit: install RabbitMQ 4.0 or later"
            )
        try:
            await self._create(name, QUEUE, ANSWER_SECONDS)
        except ChannelPreconditionFailed as exc:
            # Another program or an operator created it. A route may publish to such a queue.
            events.emit(events.QUEUE_DIFFERS, queue=name, detail=described(exc))

    async def _create(self, name: str, arguments: dict[str, Any], seconds: float) -> None:
        """Declare a queue, which must exist if this user may create no queue."""
        try:
            async with self.request(name) as channel:
                await channel.queue_declare(name, durable=True, arguments=arguments, timeout=seconds)
        except Unavailable as exc:
            if not isinstance(exc.__cause__, ChannelAccessRefused) or await self.look(name) is None:
                raise

    async def declare_held(self, queue: str) -> None:
        """Declare the queue that marks `queue` as held. Raises `Unavailable`."""
        name = self.held(queue)
        with suppress(ChannelPreconditionFailed):  # its consumers can be counted, whatever its arguments are
            await self._create(name, HELD, MARK_SECONDS)

    async def _state(self, name: str, channel: Channel) -> spec.Queue.DeclareOk:
        """Return the answer to a passive declaration.

        If this process was suspended, the answer may have arrived, but was not read before the time-out. The
        client would then close the channel, and RabbitMQ the connection if the answer had closed the channel.
        An answer to a later request shows that the first one has been read.

        Raises `Unavailable`, `QueueStuck`, or the exception for a queue that does not exist.
        """
        asked = asyncio.create_task(channel.queue_declare(name, passive=True))
        try:
            answered, _ = await asyncio.wait([asked], timeout=_LOOK_SECONDS)
            if not answered and not await self._link.is_answering():
                raise self._link.unavailable(TimeoutError())
            if not asked.done():
                raise self.stuck(name)
            return await asked
        finally:
            asked.cancel()

    async def look(self, name: str) -> Known | None:
        """Return the state of a queue, by its name on the server; None if there is no such queue."""
        try:
            async with self.request(name) as channel:
                began = time.monotonic()
                found = await self._state(name, channel)
                is_sure = bool(found.message_count) or time.monotonic() - began < _LEADER_SECONDS
                return Known(found.message_count or 0, found.consumer_count or 0, is_sure)
        except ChannelNotFoundEntity:
            return None
        except QueueStuck:
            return Known(0, 0, is_sure=False)
