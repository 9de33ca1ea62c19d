"""The broker on RabbitMQ: a durable quorum queue for each queue, every publish confirmed.

Two connections: the server stops reading from one that publishes while it is short of memory or disk,
and acks must go on then, as they are what frees it.

What RabbitMQ does not do itself is done here: a call's visibility (see `inbox`), and telling that another
process holds calls (see `Queues.held`). Crash-only: a process that dies takes its channels with it, so
all that it held is handed out again, and nothing else of it was anywhere but in the queues.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence

from aiormq.channel import Channel

from playhead.backends.broker_rabbitmq.address import parse
from playhead.backends.broker_rabbitmq.diagnosis import diagnose
from playhead.backends.broker_rabbitmq.frames import headers_of
from playhead.backends.broker_rabbitmq.inbox import Inbox, Tag
from playhead.backends.broker_rabbitmq.link import (
    ANSWER_SECONDS,
    LOST,
    Link,
    as_lost,
    close_channel,
    in_background,
    version_of,
)
from playhead.backends.broker_rabbitmq.publishing import PublishChannel, Returned
from playhead.backends.broker_rabbitmq.queues import DELETED_SECONDS, Known, Queues, QueueStuck
from playhead.envelope import Dispatch, Message, decode_payload
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import Delivery, Depth, PublishResult
from playhead.ports.diagnosis import Finding

_LOOKS = 3
_ALARM = (
    "it takes no messages for now (memory or disk alarm); free memory or disk on its nodes, "
    "`rabbitmq-diagnostics alarms` says which"
)


class RabbitBroker:
    """Calls in the queues of a RabbitMQ server or cluster.

    Args:
        url: `amqp://user:password@host:port,host2:port/vhost`, or `amqps://`; see `address`.
        visibility: seconds for which a received call is hidden from others.
        prefix: goes before queue names, one an installation.

    Raises:
        CannotStart: the URL can't be read.
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
        self._retired: PublishChannel | None = None
        self._lining = asyncio.Lock()
        self._inboxes: dict[str, Inbox] = {}

    async def open(self) -> None:
        """Connect. Raises `Unavailable`; afterwards the connections come back by themselves."""
        await self._consuming.open()
        try:
            await self._publishing.open()
        except BaseException:
            await self._consuming.close()
            raise

    # -- the port ----------------------------------------------------------------------------------

    async def publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]:
        if not calls:
            return []
        line = await self._open_line()
        queues = {call.headers.queue for call in calls}
        if not (blocked := await self._blocked(queues)):
            return await self._publish(line, calls)
        away = next((why for why in blocked.values() if isinstance(why, Unavailable)), None)
        if away and blocked.keys() >= queues:
            raise away
        told = {
            queue: PublishResult("uncertain", why.detail)
            if isinstance(why, Unavailable)
            else PublishResult("refused", why)
            for queue, why in blocked.items()
        }
        sent = iter(await self._publish(line, [c for c in calls if c.headers.queue not in told]))
        return [told.get(call.headers.queue) or next(sent) for call in calls]

    async def _blocked(self, queues: set[str]) -> dict[str, str | Unavailable]:
        """Declare what was not declared yet; returns what can't be, with the reason.

        A name that can't be is the call's own fault; all else can pass, and is no reason to keep back the
        calls of other queues.
        """
        blocked: dict[str, str | Unavailable] = {}
        for queue in sorted(queues):
            if why := self._queues.unfit(queue):
                blocked[queue] = why
                continue
            try:
                await self._queues.ensure(queue)
            except Unavailable as exc:
                blocked[queue] = exc
        return blocked

    async def _publish(self, line: PublishChannel, calls: Sequence[Dispatch]) -> list[PublishResult]:
        """Send calls whose queues were there when they were last seen."""
        if not calls:
            return []
        answers = await self._send(line, calls, first=True)
        if returned := [n for n, answer in enumerate(answers) if isinstance(answer, Returned)]:
            # Their queue was deleted: make it again, and try once more.
            await asyncio.sleep(DELETED_SECONDS)
            for queue in {calls[n].headers.queue for n in returned}:
                self._queues.forget(queue)
            blocked = await self._blocked({calls[n].headers.queue for n in returned})
            for n in returned:
                if why := blocked.get(calls[n].headers.queue):
                    answers[n] = PublishResult("uncertain", why if isinstance(why, str) else why.detail)
            if left := [n for n in returned if calls[n].headers.queue not in blocked]:
                again = await self._send(line, [calls[n] for n in left], first=False)
                for n, answer in zip(left, again, strict=True):
                    answers[n] = answer
        return [_outcome(answer) for answer in answers]

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        if limit < 1:
            return []
        self._consuming.connection()
        if why := self._queues.unfit(queue):
            raise broker_unavailable(why)
        inbox = self._inboxes.get(queue)
        if inbox is None:
            inbox = self._inboxes[queue] = Inbox(
                self._consuming, self._queues, queue, visibility=self._visibility
            )
        return await inbox.receive(limit, wait)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        for inbox, tags in _by_inbox(deliveries):
            await inbox.ack(tags)

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        for inbox, tags in _by_inbox(deliveries):
            inbox.extend(tags)

    async def depth(self, queue: str) -> Depth:
        """See the port. What another process holds is not told by AMQP; each that holds any, or did so within
        the last three seconds, counts as one."""
        found = Depth(0, 0)
        for _ in range(_LOOKS):
            # What the server tells and what is here belong together if nothing came or went meanwhile.
            before = self._held_here(queue)
            found = await self._depth(queue)
            if self._held_here(queue) == before:
                break
        return found

    def _held_here(self, queue: str) -> tuple[int, int]:
        """How many calls are in this process: not handed out, and handed out."""
        inbox = self._inboxes.get(queue)
        return (inbox.waiting, inbox.holds - inbox.waiting) if inbox else (0, 0)

    async def _depth(self, queue: str) -> Depth:
        inbox = self._inboxes.get(queue)
        try:
            found = await self._queues.look(self._queues.name(queue))
        except QueueStuck:
            found = Known(0, 0, is_sure=False)
        if found is None:
            return Depth(0, 0)
        if not found.is_sure:
            # It may hold anything. Of "empty" one would conclude that its calls are lost, and an error
            # would keep whoever goes through all queues from the others.
            return Depth(0, (inbox.holds if inbox else 0) + 1)
        try:
            holders = await self._queues.look(self._queues.held(queue))
        except QueueStuck:
            holders = Known(0, 0, is_sure=False)
        others = (holders.consumers if holders else 0) - (inbox.is_marked if inbox else 0)
        if holders and not holders.is_sure:
            others = max(others, 1)
        # Ours is looked at after the queue, so that a call on its way from there to here is not missed
        # in both places; one on its way back is counted twice.
        ready, held = self._held_here(queue)
        return Depth(found.ready + ready, held + max(others, 0))

    async def is_empty(self, queue: str) -> bool:
        return await self.depth(queue) == (0, 0)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        """See the port. AMQP can only show what it hands out: for the moment of looking it is hidden, and
        then stands where it was."""
        name = self._queues.name(queue)
        if limit < 1 or await self._queues.look(name) is None:
            return []
        channel = await self._consuming.channel()
        seen: list[Message] = []
        try:
            with as_lost():
                async with asyncio.timeout(ANSWER_SECONDS):
                    last = None
                    while len(seen) < limit:
                        got = await channel.basic_get(name)
                        if got.delivery_tag is None:
                            break
                        last = got.delivery_tag
                        seen.append(
                            Message(headers_of(got.header.properties.headers), decode_payload(got.body))
                        )
                    if last is not None:
                        await channel.basic_nack(last, multiple=True, requeue=True)
                        await _until_ready(channel, name, len(seen))
        except LOST as exc:
            raise self._consuming.unavailable(exc) from exc
        finally:
            await close_channel(channel)  # which gives back what was not, whatever happened
        return seen

    async def check(self) -> str:
        await self._queues.answers()
        if await self._publishing.is_blocked():
            raise broker_unavailable(f"RabbitMQ at {self._publishing.address}: {_ALARM}")
        return f"rabbitmq {version_of(self._consuming.connection())} at {self._consuming.address}"

    async def close(self) -> None:
        inboxes, self._inboxes = self._inboxes, {}
        await asyncio.gather(*(inbox.close() for inbox in inboxes.values()))
        await self._publishing.close()
        await self._consuming.close()

    async def diagnose(self) -> list[Finding]:
        """What `playhead doctor` asks; over connections of its own, whether this broker is open or not."""
        return await diagnose(self._address, self._prefix, sorted(self._queues.there))

    # -- within ------------------------------------------------------------------------------------

    async def _open_line(self) -> PublishChannel:
        """The channel to publish on. Raises `Unavailable`: nothing was sent."""
        if await self._publishing.is_blocked():
            raise broker_unavailable(f"RabbitMQ at {self._publishing.address}: {_ALARM}")
        async with self._lining:
            if self._line is None or self._line.ended is not None:
                lost = self._publishing.lost
                channel = await self._publishing.channel(confirms=True)
                line = self._line = PublishChannel(channel, self._prefix)
                lost.add_done_callback(lambda why: line.end(why.result()))
            return self._line

    async def _send(
        self, line: PublishChannel, calls: Sequence[Dispatch], *, first: bool
    ) -> list[PublishResult | Returned]:
        """Publish over a line, and say of those without an answer why there is none.

        Raises `Unavailable` when none was sent, and it was the first time.
        """
        answers, sent = await line.publish(calls)
        if sent == len(calls) and None not in answers:
            return [answer for answer in answers if answer is not None]
        why = line.ended
        if why is None:
            if await self._publishing.is_blocked():
                why = _ALARM
            elif await self._publishing.is_answering():
                # A queue's fault, not the server's. Others that wait for answers on this channel get them;
                # new calls go over another one, where what is never confirmed takes no room.
                why = f"not confirmed within {ANSWER_SECONDS:.0f} s: its queue has no majority of its nodes"
                self._retire(line)
            else:
                why = f"no answer within {ANSWER_SECONDS:.0f} s"
        if first and not sent:
            raise broker_unavailable(f"RabbitMQ at {self._publishing.address}: {why}")
        most = _most_bytes(why)
        lost = PublishResult("uncertain", f"RabbitMQ at {self._publishing.address}: {why}")
        refused = PublishResult("refused", why)
        return [
            answer or (refused if most is not None and len(call.payload().encode()) > most else lost)
            for answer, call in zip(answers, calls, strict=True)
        ]

    def _retire(self, line: PublishChannel) -> None:
        if self._line is line:
            self._line = None
            if self._retired and self._retired.ended is None:
                in_background(self._retired.close())
            self._retired = line


async def _until_ready(channel: Channel, name: str, count: int) -> None:
    """Wait until a queue shows that it took calls back; not for long, as others may have taken them."""
    for _ in range(20):
        if ((await channel.queue_declare(name, passive=True)).message_count or 0) >= count:
            break
        await asyncio.sleep(0.01)


def _outcome(answer: PublishResult | Returned) -> PublishResult:
    if isinstance(answer, Returned):
        return PublishResult(
            "uncertain", f"its queue was deleted, and again when it had been made anew: {answer.reason}"
        )
    return answer


def _most_bytes(why: str) -> int | None:
    """The server's limit for a payload, where it closed the channel over one that was larger.

    It does not say which message that was; of all without an answer, those above the limit never go in.
    """
    found = re.search(r"larger than configured max size (\d+)", why)
    return int(found[1]) if found else None


def _by_inbox(deliveries: Sequence[Delivery]) -> Iterable[tuple[Inbox, list[Tag]]]:
    tags: dict[Inbox, list[Tag]] = {}
    for delivery in deliveries:
        tag: Tag = delivery.tag
        tags.setdefault(tag.inbox, []).append(tag)
    return tags.items()
