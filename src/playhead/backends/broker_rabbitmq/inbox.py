"""Consuming one queue.

RabbitMQ pushes messages to a consumer until the number of unacknowledged ones reaches its prefetch. The
number that a worker asks for changes all the time, so the consumer is replaced whenever its prefetch no
longer fits. Surplus messages, and messages that no receiver waits for, are returned to the queue.

RabbitMQ has no visibility time: a message is held until its channel closes. So the time is kept here, and a
dispatch that is neither acknowledged nor extended in time is returned to the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from aiormq.abc import ChannelFrame, DeliveredMessage
from aiormq.channel import Channel
from pamqp.commands import Basic

from playhead import events
from playhead.backends._reconnect import cancel
from playhead.backends.broker_rabbitmq import frames
from playhead.backends.broker_rabbitmq.frames import headers_of
from playhead.backends.broker_rabbitmq.link import (
    ANSWER_SECONDS,
    LOST,
    Link,
    as_lost,
    close_channel,
    in_background,
)
from playhead.backends.broker_rabbitmq.mark import Mark
from playhead.backends.broker_rabbitmq.queues import DELETED_SECONDS, Queues
from playhead.envelope import EncodedHeaders
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import Delivery

_TICK_SECONDS: Final = 0.25
_IDLE_SECONDS: Final = 0.5
"""How long dispatches may wait here for a receiver before they are returned to the queue."""
_LOOK_SECONDS: Final = 2.0
"""Time limit of a `receive` that does not wait for dispatches to arrive."""
_TRIES: Final = 3


class Tag:
    """The tag of a delivery: its number on its channel, and when its visibility ends."""

    __slots__ = ("consumer", "inbox", "number", "until")

    def __init__(self, inbox: Inbox, number: int, consumer: str | None) -> None:
        self.inbox = inbox
        self.number = number
        self.consumer = consumer
        self.until = 0.0


class _Receiver:
    """One `receive` in progress."""

    __slots__ = ("answer", "is_patient", "limit")

    def __init__(self, limit: int, is_patient: bool) -> None:
        self.limit = limit
        self.is_patient = is_patient
        self.answer: asyncio.Future[list[Delivery]] = asyncio.get_running_loop().create_future()


class Inbox:
    """The consumer of one level of a queue in this process.

    Only one task sends requests to the server, and receivers wait for it. If a receiver sent requests itself
    and were cancelled, the client would close the channel, and the server would redeliver all its messages.

    Args:
        queue: the name without the prefix; deliveries have it.
        level: the queue of the level, without the prefix.
        visibility: seconds.
    """

    def __init__(self, link: Link, queues: Queues, queue: str, level: str, *, visibility: float) -> None:
        self._link = link
        self._queues = queues
        self._queue = queue
        self._level = level
        self._name = queues.name(level)
        self._mark = Mark(link, queues, level)
        self._visibility = visibility
        self._tick = min(_TICK_SECONDS, visibility / 20)
        self._channel: Channel | None = None
        self._consumer: str | None = None
        self._prefetch = 0
        self._taken = 0  # of the prefetch
        self._consumers = 0
        self._buffer: deque[Delivery] = deque()
        self._unacked: dict[int, Tag] = {}
        self._receivers: deque[_Receiver] = deque()
        self._asked_at = self._not_before = 0.0
        self._kick = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"inbox {level}")

    @property
    def held(self) -> tuple[int, int]:
        """The numbers of dispatches in this process: those in the buffer, and those that were received."""
        return len(self._buffer), len(self._unacked)

    @property
    def is_marked(self) -> bool:
        """Whether other processes can see that this process holds dispatches of the queue."""
        return self._mark.is_set

    async def receive(self, limit: int, wait: float) -> list[Delivery]:
        """See the port."""
        if self._task.done():
            self._task.result()  # raises the bug that ended the task; else the queue would look empty forever
        receiver = _Receiver(limit, wait > 0)
        self._receivers.append(receiver)
        self._kick.set()
        try:
            await asyncio.wait([receiver.answer], timeout=wait or _LOOK_SECONDS)
            if not receiver.answer.done():
                return []
            return receiver.answer.result()
        except asyncio.CancelledError:
            if receiver.answer.done() and not receiver.answer.exception():
                self.put_back(receiver.answer.result())
            raise
        finally:
            self._asked_at = time.monotonic()
            with contextlib.suppress(ValueError):
                self._receivers.remove(receiver)

    async def ack(self, tags: Sequence[Tag]) -> None:
        """Acknowledge deliveries that are still held."""
        mine = sorted(tag.number for tag in tags if self._unacked.get(tag.number) is tag)
        if not mine or self._channel is None:
            return
        for number in mine:
            self._release(number)
        # One frame acknowledges all deliveries up to a number, if no other delivery before it is held.
        rest = min([*self._unacked, *(d.tag.number for d in self._buffer)], default=mine[-1] + 1)
        run = [number for number in mine if number < rest]
        several = [(number, False) for number in mine[len(run) :]]
        if run:
            several.insert(0, (run[-1], True))
        await self._write(self._channel, frames.acks(self._channel.number, several))

    def extend(self, tags: Sequence[Tag]) -> None:
        """Restart the visibility of deliveries that are still held."""
        until = time.monotonic() + self._visibility
        for tag in tags:
            if self._unacked.get(tag.number) is tag:
                tag.until = until

    async def release(self, tags: Sequence[Tag]) -> None:
        """Return deliveries that are still held to the queue."""
        await self._return([tag.number for tag in tags if self._unacked.get(tag.number) is tag])

    async def close(self) -> None:
        """Return everything to the queue."""
        await cancel(self._task)
        if (channel := self._channel) is not None:
            self._channel = None
            await close_channel(channel)
        self._lose()
        self._fail(broker_unavailable("the broker is closed"))

    # -- the task ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        tries = 0
        while True:
            busy = self._consumer or self._unacked or self._buffer or self._mark.is_set
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._tick if busy else None):
                    await self._kick.wait()
            self._kick.clear()
            try:
                with as_lost():
                    await self._serve()
                    await self._tidy()
                tries = 0
            except Unavailable as exc:
                self._lose()
                self._fail(exc)
            except Exception as exc:
                # The queue was deleted, or the server closed the channel, for example after
                # `consumer_timeout`. All deliveries of the channel are redelivered.
                tries += 1
                self._lose()
                if not isinstance(exc, LOST):
                    # Logged with its traceback, and retried: without its inbox a queue would look empty
                    # forever.
                    detail = f"inbox {self._level}: {type(exc).__name__}: {exc}"
                    events.emit(events.LOOP_FAILED, exc_info=True, detail=detail)
                why = self._link.unavailable(exc)
                if isinstance(exc, TimeoutError) and await self._link.is_answering():
                    why = self._queues.stuck(self._name)
                if tries < _TRIES:
                    self._kick.set()
                else:
                    self._fail(why)

    async def _serve(self) -> None:
        """Hand dispatches to receivers, after asking the server for more if needed."""
        if not self._receivers:
            return
        channel = self._channel or await self._open()
        await self._fit(channel)
        asked = sum(receiver.limit for receiver in self._receivers)
        ready = await self._look(channel) if len(self._buffer) < asked else 0
        if self._buffer and not self._mark.is_set:
            await self._mark.set()  # before the first one is received
        now = self._asked_at = time.monotonic()
        for receiver in list(self._receivers):
            taken = [self._buffer.popleft() for _ in range(min(receiver.limit, len(self._buffer)))]
            for delivery in taken:
                delivery.tag.until = now + self._visibility
                self._unacked[delivery.tag.number] = delivery.tag
            if taken or (not receiver.is_patient and not ready):
                self._receivers.remove(receiver)
                receiver.answer.set_result(taken)

    async def _open(self) -> Channel:
        await asyncio.sleep(self._not_before - time.monotonic())
        self._queues.forget(self._level)  # its deletion may have ended the last channel
        await self._queues.declare(self._level)
        channel = await self._link.channel()
        self._link.lost.add_done_callback(lambda _: self._gone(channel))
        channel.closing.add_done_callback(lambda _: self._gone(channel))
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        self._channel = channel
        return channel

    async def _fit(self, channel: Channel) -> None:
        """Adjust the prefetch of the consumer to the number that receivers request."""
        asked = sum(receiver.limit for receiver in self._receivers)
        room = self._prefetch - self._taken if self._consumer else 0
        if asked <= len(self._buffer) + room <= 2 * asked:
            return
        await self._stop(channel)
        await self._requeue(channel, len(self._buffer) - asked)
        if (more := asked - len(self._buffer)) > 0:
            await channel.basic_qos(prefetch_count=min(more, 65535), timeout=ANSWER_SECONDS)
            self._consumers += 1
            self._consumer = f"playhead-{self._consumers}"
            self._prefetch, self._taken = min(more, 65535), 0
            await channel.basic_consume(
                self._name, self._arrived, consumer_tag=self._consumer, timeout=ANSWER_SECONDS
            )

    async def _look(self, channel: Channel) -> int:
        """Wait until all delivered messages are in the buffer, and return the number of ready messages.

        The second request is a barrier: messages that the queue sent before the first reply arrive before the
        second reply.
        """
        found = await channel.queue_declare(self._name, passive=True, timeout=ANSWER_SECONDS)
        await channel.basic_qos(prefetch_count=self._prefetch, timeout=ANSWER_SECONDS)
        return found.message_count or 0

    async def _tidy(self) -> None:
        """Return dispatches whose visibility ended, and those that no receiver waits for."""
        channel, now = self._channel, time.monotonic()
        if channel is None:
            return
        await self._return([tag.number for tag in self._unacked.values() if tag.until <= now])
        if not self._receivers and now - self._asked_at > _IDLE_SECONDS:
            await self._stop(channel)
            await self._requeue(channel, len(self._buffer))
        if self._unacked or self._buffer:
            self._mark.use()
        else:
            self._mark.clear_unused()

    async def _return(self, numbers: Sequence[int]) -> None:
        """Return received dispatches to the queue."""
        if numbers and self._channel is not None:
            for number in numbers:
                self._release(number)
            await self._write(self._channel, frames.requeues(self._channel.number, sorted(numbers)))

    async def _stop(self, channel: Channel) -> None:
        if self._consumer:
            # After the reply, no more messages arrive for this consumer.
            await channel.basic_cancel(self._consumer, timeout=ANSWER_SECONDS)
            self._consumer = None

    async def _requeue(self, channel: Channel, count: int) -> None:
        """Return the last dispatches of the buffer to the queue."""
        if count > 0:
            last = [self._buffer.pop() for _ in range(count)]
            await self._write(channel, frames.requeues(channel.number, [d.tag.number for d in last[::-1]]))

    # -- callbacks of the client --------------------------------------------------------------------

    async def _arrived(self, message: DeliveredMessage) -> None:
        frame = message.delivery
        if message.channel is not self._channel or not isinstance(frame, Basic.Deliver):
            return
        self._taken += 1
        tag = Tag(self, int(frame.delivery_tag or 0), frame.consumer_tag)
        properties = message.header.properties
        self._buffer.append(
            Delivery(
                self._queue,
                properties.message_id or "",
                EncodedHeaders(partial(headers_of, properties.headers)),
                tag,
            )
        )
        if self._receivers:
            self._kick.set()

    def _cancelled(self, frame: Basic.Cancel) -> None:
        """The server cancelled a consumer, because the queue or its node is gone. Start again."""
        if self._channel is not None:
            self._lose()
        self._not_before = time.monotonic() + DELETED_SECONDS
        self._kick.set()

    def _gone(self, channel: Channel) -> None:
        if self._channel is channel:
            self._lose()
            self._kick.set()

    # -- within ------------------------------------------------------------------------------------

    def _release(self, number: int) -> None:
        tag = self._unacked.pop(number)
        if tag.consumer == self._consumer:
            self._taken -= 1

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Keep deliveries that their receiver did not take for the next one."""
        for delivery in reversed(deliveries):
            tag: Tag = delivery.tag
            if self._unacked.get(tag.number) is tag:
                del self._unacked[tag.number]
                self._buffer.appendleft(delivery)
        self._kick.set()

    def _lose(self) -> None:
        """Drop all deliveries. The server redelivers them when the channel closes."""
        channel, self._channel = self._channel, None
        self._consumer = None
        self._mark.clear()
        self._buffer.clear()
        self._unacked.clear()
        if channel is not None and not channel.is_closed:
            in_background(close_channel(channel))

    def _fail(self, exc: Unavailable) -> None:
        while self._receivers:
            self._receivers.popleft().answer.set_exception(exc)

    async def _write(self, channel: Channel, payload: bytes) -> None:
        """Send frames that have no answer.

        Raises `Unavailable` after closing the channel. The server then redelivers all its messages.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
        except BaseException as exc:
            # The frames were not sent, but this process no longer counts their deliveries as held.
            if self._channel is channel:
                self._lose()
            if isinstance(exc, TimeoutError):
                self._link.drop("the server does not read")
                raise self._link.unavailable(exc) from exc
            raise
