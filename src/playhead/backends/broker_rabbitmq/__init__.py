"""The broker on RabbitMQ: a durable quorum queue for each queue, with publisher confirms.

It uses two connections. While the server is short of memory or disk, it stops reading from connections that
publish. Acknowledgements must still reach the server then, because they free its memory.

RabbitMQ has neither a visibility time (see `inbox`) nor a count of the messages that other processes hold
(see `Queues.held`). Both are implemented here. When a process dies, the server closes its channels and
redelivers all its messages. The process has no other state.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence

from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity

from playhead.backends._declared import publish_declared
from playhead.backends.broker_rabbitmq.address import parse
from playhead.backends.broker_rabbitmq.diagnosis import diagnose
from playhead.backends.broker_rabbitmq.frames import bulk, headers_of, queue_of
from playhead.backends.broker_rabbitmq.inbox import Inbox, Tag
from playhead.backends.broker_rabbitmq.link import (
    ANSWER_SECONDS,
    Link,
    close_channel,
    in_background,
    version_of,
)
from playhead.backends.broker_rabbitmq.publishing import RETURNED, PublishChannel
from playhead.backends.broker_rabbitmq.queues import DELETED_SECONDS, Known, Queues
from playhead.backends.broker_rabbitmq.receiving import Receiver
from playhead.envelope import Dispatch, Message, decode_payload
from playhead.errors import broker_unavailable
from playhead.ports.broker import Delivery, Depth, PublishResult
from playhead.ports.diagnosis import Finding

_ALARM = (
    "it accepts no messages while a memory or disk alarm is set; free memory or disk on its nodes "
    "(`rabbitmq-diagnostics alarms` lists the alarms)"
)


class RabbitBroker:
    """Queues on a RabbitMQ server or cluster.

    Args:
        url: `amqp://user:password@host:port,host2:port/vhost`, or `amqps://`; see `address`.
        visibility: seconds for which a received dispatch is hidden from other receivers.
        prefix: prepended to queue names; each deployment has its own.

    Raises:
        CannotStart: the URL is invalid.
    """

    name: str = "rabbitmq"

    def __init__(self, url: str, *, visibility: float = 30.0, prefix: str = "") -> None:
        self._address = parse(url)
        self._visibility = visibility
        self._prefix = prefix
        self._publishing = Link(self._address, "publishing")
        self._consuming = Link(self._address, "consuming")
        self._queues = Queues(self._consuming, prefix)
        self._line: PublishChannel | None = None
        self._lining = asyncio.Lock()
        self._inboxes: dict[str, Inbox] = {}
        self._receivers: dict[str, Receiver] = {}

    async def open(self) -> None:
        """Connect. Raises `Unavailable`. After success, lost connections are replaced automatically."""
        await self._consuming.open()
        await self._publishing.open()

    # -- the port ----------------------------------------------------------------------------------

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        if not dispatches:
            return []
        return await publish_declared(
            dispatches,
            self._publish,
            unfit=self._queues.unfit,
            declare=self._queues.declare,
            queue_of=queue_of,
        )

    async def _publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        """Send dispatches whose queues existed when they were last used, and explain each missing answer."""
        line = await self._open_line()
        answers, sent = await line.publish(dispatches)
        results = [answer for answer in answers if answer is not None]
        if RETURNED in results:
            # Before the queues are forgotten: no other publish may declare them during this time.
            await asyncio.sleep(DELETED_SECONDS)
            for dispatch, answer in zip(dispatches, answers, strict=True):
                if answer is RETURNED:
                    self._queues.forget(queue_of(dispatch.headers))  # the next publish declares it again
        if len(results) == len(dispatches):
            return results
        why = await self._why_unanswered(line)
        if not sent:
            raise broker_unavailable(f"RabbitMQ at {self._publishing.address}: {why}")
        most = _most_bytes(why)
        lost = PublishResult("uncertain", f"RabbitMQ at {self._publishing.address}: {why}")
        refused = PublishResult("refused", why)
        return [
            answer or (refused if most is not None and len(dispatch.payload().encode()) > most else lost)
            for answer, dispatch in zip(answers, dispatches, strict=True)
        ]

    async def _why_unanswered(self, line: PublishChannel) -> str:
        if line.ended is not None:
            return line.ended
        if await self._publishing.is_blocked():
            return _ALARM
        if not await self._publishing.is_answering():
            return f"no answer within {ANSWER_SECONDS:.0f} s"
        # One queue is at fault, not the server. New dispatches use another channel, whose window the
        # unconfirmed ones do not fill.
        if self._line is line:
            self._line = None
            in_background(line.retire())
        return f"not confirmed within {ANSWER_SECONDS:.0f} s: no majority of the queue's nodes is up"

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        if limit < 1:
            return []
        self._consuming.connection()
        if why := self._queues.unfit(queue):
            raise broker_unavailable(why)
        receiver = self._receivers.get(queue)
        if receiver is None:
            inboxes = (self._inbox(queue, level) for level in (queue, bulk(queue)))
            receiver = self._receivers[queue] = Receiver(*inboxes)
        return await receiver.receive(limit, wait)

    def _inbox(self, queue: str, level: str) -> Inbox:
        inbox = Inbox(self._consuming, self._queues, queue, level, visibility=self._visibility)
        self._inboxes[level] = inbox
        return inbox

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        for inbox, tags in _by_inbox(deliveries):
            await inbox.ack(tags)

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        for inbox, tags in _by_inbox(deliveries):
            inbox.extend(tags)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        for inbox, tags in _by_inbox(deliveries):
            await inbox.release(tags)

    async def depth(self, queue: str) -> Depth:
        """See the port. AMQP does not report the dispatches that another process holds. Each process that
        holds any of a level, or did so in the last three seconds, counts as one."""
        normal, of_bulk = await asyncio.gather(self._depth(queue), self._depth(bulk(queue)))
        return Depth(normal.ready + of_bulk.ready, normal.in_flight + of_bulk.in_flight)

    async def _depth(self, queue: str) -> Depth:
        """Return the depth of one level."""
        before = self._held_here(queue)
        found = await self._queues.look(self._queues.name(queue))
        if found is None:
            return Depth(0, 0)
        if not found.is_sure:
            # The real number is unknown. With 0, the reconciler would publish the dispatches again, and an
            # error would stop a caller that reads the depths of all queues.
            return Depth(0, sum(before) + 1)
        holders = await self._queues.look(self._queues.held(queue)) or Known(0, 0, is_sure=True)
        inbox = self._inboxes.get(queue)
        others = holders.consumers - (inbox is not None and inbox.is_marked)
        # The larger of two numbers, so that a dispatch that was delivered or returned meanwhile is counted.
        ready, held = map(max, before, self._held_here(queue))
        return Depth(found.ready + ready, held + max(others, 0 if holders.is_sure else 1))

    def _held_here(self, queue: str) -> tuple[int, int]:
        inbox = self._inboxes.get(queue)
        return inbox.held if inbox else (0, 0)

    async def is_empty(self, queue: str) -> bool:
        return await self.depth(queue) == (0, 0)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        """See the port. AMQP can show only what it delivers, so the messages are hidden for a moment and then
        returned to their places."""
        seen: list[Message] = []
        for level in (queue, bulk(queue)):
            if limit > len(seen):
                seen += await self._peek(level, limit - len(seen))
        return seen

    async def _peek(self, queue: str, limit: int) -> list[Message]:
        name = self._queues.name(queue)
        seen: list[Message] = []
        try:
            async with self._queues.request(name) as channel:
                last = None
                while len(seen) < limit:
                    got = await channel.basic_get(name, timeout=ANSWER_SECONDS)
                    if got.delivery_tag is None:
                        break
                    last = got.delivery_tag
                    seen.append(Message(headers_of(got.header.properties.headers), decode_payload(got.body)))
                if last is not None:
                    await channel.basic_nack(last, multiple=True, requeue=True)
                    await _until_ready(channel, name, len(seen))
        except ChannelNotFoundEntity:
            return []
        return seen

    async def check(self) -> str:
        await close_channel(await self._consuming.channel())
        if await self._publishing.is_blocked():
            raise broker_unavailable(f"RabbitMQ at {self._publishing.address}: {_ALARM}")
        return f"rabbitmq {version_of(self._consuming.connection())} at {self._consuming.address}"

    async def close(self) -> None:
        inboxes, self._inboxes, self._receivers = self._inboxes, {}, {}
        await asyncio.gather(*(inbox.close() for inbox in inboxes.values()))
        await self._publishing.close()
        await self._consuming.close()

    async def diagnose(self) -> list[Finding]:
        """Examine the server for `playhead doctor`, over separate connections. The broker need not be
        open."""
        return await diagnose(self._address, self._prefix)

    # -- within ------------------------------------------------------------------------------------

    async def _open_line(self) -> PublishChannel:
        """Return the channel to publish on. Raises `Unavailable`; then nothing was sent."""
        if await self._publishing.is_blocked():
            raise broker_unavailable(f"RabbitMQ at {self._publishing.address}: {_ALARM}")
        async with self._lining:
            if self._line is None or self._line.ended is not None:
                lost = self._publishing.lost
                channel = await self._publishing.channel(confirms=True)
                line = self._line = PublishChannel(channel, self._prefix)
                lost.add_done_callback(lambda why: line.end(why.result()))
            return self._line


async def _until_ready(channel: Channel, name: str, count: int) -> None:
    """Wait until a queue reports that messages were returned; briefly, as others may receive them at once."""
    for _ in range(20):
        if ((await channel.queue_declare(name, passive=True)).message_count or 0) >= count:
            break
        await asyncio.sleep(0.01)


def _most_bytes(why: str) -> int | None:
    """Return the server's limit for a payload, if the server closed the channel because of a larger one.

    The server does not name the message. Every unanswered message above the limit can never be published.
    """
    found = re.search(r"larger than configured max size (\d+)", why)
    return int(found[1]) if found else None


def _by_inbox(deliveries: Sequence[Delivery]) -> Iterable[tuple[Inbox, list[Tag]]]:
    tags: dict[Inbox, list[Tag]] = {}
    for delivery in deliveries:
        tag: Tag = delivery.tag
        tags.setdefault(tag.inbox, []).append(tag)
    return tags.items()
