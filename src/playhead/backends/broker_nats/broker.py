"""The port, over one connection at a time."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from playhead import events
from playhead.backends._declared import publish_declared
from playhead.backends._reconnect import cancel, reconnect
from playhead.backends.broker_nats import diagnosis, streams
from playhead.backends.broker_nats.address import parse
from playhead.backends.broker_nats.frames import message_id, parse_headers, subject_of
from playhead.backends.broker_nats.link import Link
from playhead.backends.broker_nats.publishing import Window
from playhead.backends.broker_nats.receiving import PullFailed, Queue
from playhead.backends.broker_nats.streams import (
    BULK_CONSUMER,
    CONSUMER,
    NO_MESSAGE,
    ask,
    error_of,
    stream_of,
)
from playhead.envelope import Dispatch, EncodedHeaders, Message, decode_payload
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import Delivery, Depth, PublishResult
from playhead.ports.diagnosis import Finding

_QUIET_SECONDS = 0.25
_NEW_STREAM_SECONDS = (0.0, 0.05, 0.25, 1.0)
"""The delays before a dispatch that no stream took is sent again."""

# The texts for a consumer that moves to another server.
_MOVES = ("Leadership Change", "Server Shutdown")


@dataclass(slots=True, eq=False)
class _Hold:
    """The address to acknowledge a delivery at, and the (monotonic) time when its visibility ends."""

    queue: Queue
    is_bulk: bool
    ack: str
    until: float


class NatsBroker:
    """Queues on JetStream.

    Args:
        url: `nats://user:password@host:4222,host2:4222`, or `tls://`; see `address.Address` for options.
        visibility: seconds for which a received dispatch is hidden from other receivers.
        prefix: prepended to queue names, so that two deployments can share an account.

    Raises:
        CannotStart: `setup_invalid`, for an invalid URL.
    """

    name: str = "nats"

    def __init__(self, url: str, *, visibility: float = 30.0, prefix: str = "") -> None:
        self._address = parse(url)
        self._visibility = visibility
        self._prefix = prefix
        self._link: Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._queues: dict[str, Queue] = {}
        self._declaring: dict[str, asyncio.Lock] = {}
        self._window = Window()

    # -- the connection ----------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. From then on, lost connections are replaced until `close`.

        Raises `Unavailable` when no server can be reached, or when JetStream is not enabled.
        """
        if self._keeper is not None:
            return
        link = await Link.connect(self._address)
        try:
            await streams.account(link)
        except BaseException:
            await link.close()
            raise
        self._link = link
        self._keeper = asyncio.create_task(self._keep(link), name="nats connection")

    async def close(self) -> None:
        if self._keeper is not None:
            await cancel(self._keeper)
        link, self._link = self._link, None
        if link is not None:
            for queue in self._queues.values():
                await queue.close(link)
            await link.close()

    async def check(self) -> str:
        link = self._connected()
        await streams.account(link)
        return f"nats {link.version} with JetStream at {link.server}"

    async def diagnose(self) -> list[Finding]:
        return await diagnosis.diagnose(self._address, visibility=self._visibility, prefix=self._prefix)

    # -- publish -----------------------------------------------------------------------------------

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        if not dispatches:
            return []
        link = self._connected()
        return await publish_declared(
            dispatches,
            partial(self._publish, link),
            unfit=lambda queue: streams.unfit(self._prefix + queue),
            declare=partial(self._declare, link),
        )

    async def _publish(self, link: Link, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        """Send dispatches whose streams existed when they were last used.

        What no stream took is sent again for a moment, because it cannot be in the queue: the stream was
        deleted, or was created so recently that this server of the cluster does not know it yet.
        """
        results, without_stream = await self._window.publish(link, dispatches, self._prefix)
        for delay in _NEW_STREAM_SECONDS:
            if not without_stream:
                break
            left = [dispatches[at] for at in without_stream]
            queues = {dispatch.headers.queue for dispatch in left}
            for known in filter(None, map(self._queues.get, queues)):
                self._forget(known)
            await asyncio.sleep(delay)
            try:
                for queue in queues:
                    await self._declare(link, queue)
                again, still = await self._window.publish(link, left, self._prefix)
            except Unavailable:
                break
            for at, result in zip(without_stream, again, strict=True):
                results[at] = result
            without_stream = [without_stream[n] for n in still]
        return results

    # -- receive -----------------------------------------------------------------------------------

    async def receive(self, queue: str, limit: int, *, wait: float = 0.0) -> list[Delivery]:
        until = time.monotonic() + wait
        while True:
            found = await self._receive(queue, limit, wait)
            if found is not None:
                return found
            await asyncio.sleep(min(max(until - time.monotonic(), 0), _QUIET_SECONDS))
            wait = until - time.monotonic()
            if wait <= 0:
                return []

    async def _receive(self, queue: str, limit: int, wait: float) -> list[Delivery] | None:
        """Send one request. Returns None if the answer is inconclusive, because the consumer was created a
        moment ago or is moving to another server of the cluster."""
        link = self._connected()
        full = self._prefix + queue
        if why := streams.unfit(full):
            raise broker_unavailable(why)
        if wait > 0:  # a stream must exist before its server can notify a waiting receiver
            known = await self._declare(link, queue)
        else:
            known = self._queues.get(queue) or Queue(queue, stream_of(full))
        try:
            received = await known.receive(link, limit, wait)
        except PullFailed as exc:
            self._went_wrong(link, known, exc)
            return None
        return [
            Delivery(
                queue,
                message_id(one.headers) or _sequence(one.ack),
                EncodedHeaders(partial(parse_headers, one.headers)),
                _Hold(known, one.is_bulk, one.ack, one.at + self._visibility),
            )
            for one in received
        ]

    def _went_wrong(self, link: Link, queue: Queue, failed: PullFailed) -> None:
        """Handle an unexpected status of a request. Raises `Unavailable` if the fault would last."""
        pulled = failed.pulled
        if pulled.status == "503" or "Deleted" in pulled.words:
            self._forget(queue)
        elif not any(words in pulled.words for words in _MOVES):
            raise broker_unavailable(
                f"consumer {failed.consumer} of stream {queue.stream} on NATS at {link.server} delivers "
                f"nothing: {pulled.words or pulled.status}. Remove its limits, or delete it: it is created "
                "again"
            )

    # -- ack, extend, release -------------------------------------------------------------------

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        await self._settle(deliveries, b"+ACK")

    async def extend(self, deliveries: Sequence[Delivery]) -> None:
        now = time.monotonic()
        for hold in await self._settle(deliveries, b"+WPI"):
            hold.until = max(hold.until, now + self._visibility)

    async def release(self, deliveries: Sequence[Delivery]) -> None:
        for hold in await self._settle(deliveries, b"-NAK"):
            hold.until = 0.0

    async def _settle(self, deliveries: Sequence[Delivery], verb: bytes) -> list[_Hold]:
        """Send one acknowledgement for each delivery that this process still holds; returns those deliveries.

        JetStream identifies a message by its position in the stream and does not check its holder. An
        acknowledgement that is too late would apply to the new holder. If the stream was created again, it
        would apply to another dispatch. So late acknowledgements are not sent.
        """
        now = time.monotonic()
        holds = [d.tag for d in deliveries if d.tag.until > now and not d.tag.queue.is_gone]
        if not holds:
            return []
        link = self._connected()
        by_consumer: dict[tuple[Queue, bool], list[_Hold]] = {}
        for hold in holds:
            by_consumer.setdefault((hold.queue, hold.is_bulk), []).append(hold)
        for (queue, _), some in by_consumer.items():
            # Answers of a consumer arrive in order, so the answer to the last covers all.
            head = b"".join(b"PUB %b %d\r\n%b\r\n" % (h.ack.encode(), len(verb), verb) for h in some[:-1])
            if head:
                await link.send(head)
            try:
                answer = await link.ask(some[-1].ack, verb)
            except Unavailable:
                # The server sends no reply for a message that is no longer in the stream. If the message is
                # still there, it is redelivered, and its row rejects it.
                if link.lost_because is not None:
                    raise
                continue
            if answer.status == "503":
                self._forget(queue)
        return holds

    # -- depth and peek ----------------------------------------------------------------------------

    async def depth(self, queue: str) -> Depth:
        """See the port. JetStream counts a dispatch whose visibility ended as in flight until it is received
        again.

        If only the stream of the queue is unavailable, one message counts as in flight. With 0, the
        reconciler would publish the dispatches of the queue again, and an error would stop a caller that
        reads the depths of all queues.
        """
        link = self._connected()
        full = self._prefix + queue
        if streams.unfit(full):
            return Depth(0, 0)
        stream = stream_of(full)
        try:
            kept, *held = await asyncio.gather(
                ask(link, f"STREAM.INFO.{stream}"),
                *(ask(link, f"CONSUMER.INFO.{stream}.{consumer}") for consumer in (CONSUMER, BULK_CONSUMER)),
            )
        except Unavailable as exc:
            await streams.account(link)  # raises if all of JetStream is unavailable
            kept, held = {"error": {"description": exc.detail}}, []
        if error_of(kept) == streams.NO_STREAM:
            return Depth(0, 0)
        if error_of(kept):
            said = str(kept["error"].get("description"))
            events.emit(events.BACKEND_UNAVAILABLE, backend=self.name, queue=queue, detail=said)
            return Depth(0, 1)
        # A work queue contains exactly the unacknowledged messages. The count of the consumer is not used: it
        # includes a message only a moment after its confirmation.
        messages = int(kept["state"]["messages"])
        in_flight = min(sum(int(consumer.get("num_ack_pending", 0)) for consumer in held), messages)
        return Depth(messages - in_flight, in_flight)

    async def is_empty(self, queue: str) -> bool:
        return await self.depth(queue) == (0, 0)

    async def peek(self, queue: str, limit: int) -> list[Message]:
        link = self._connected()
        full = self._prefix + queue
        messages: list[Message] = []
        if streams.unfit(full):
            return messages
        for subject in (subject_of(full), subject_of(full, bulk=True)):
            sequence = 0
            while len(messages) < limit:
                found = await ask(
                    link,
                    f"STREAM.MSG.GET.{stream_of(full)}",
                    {"seq": sequence + 1, "next_by_subj": subject},
                )
                if error_of(found) in (NO_MESSAGE, streams.NO_STREAM):
                    break
                if error_of(found):
                    raise broker_unavailable(
                        f"NATS at {link.server} cannot show queue {queue}: {found['error']}"
                    )
                stored = found["message"]
                sequence = int(stored["seq"])
                headers, payload = (base64.b64decode(stored.get(part, "")) for part in ("hdrs", "data"))
                messages.append(Message(parse_headers(headers), decode_payload(payload)))
        return messages

    # -- within ------------------------------------------------------------------------------------

    def _connected(self) -> Link:
        if self._link is None:
            raise broker_unavailable(f"NATS at {self._address} is not connected: it was closed or not opened")
        if self._link.lost_because is not None:
            raise broker_unavailable(f"NATS at {self._address} is not connected: {self._link.lost_because}")
        return self._link

    async def _keep(self, link: Link) -> None:
        """Replace the connection whenever it is lost."""
        while True:
            await link.ended.wait()
            link = self._link = await reconnect(
                partial(Link.connect, self._address),
                link.lost_because or "",
                partial(setattr, link, "lost_because"),
                backend=self.name,
            )

    async def _declare(self, link: Link, queue: str) -> Queue:
        # One at a time, because a new stream rejects messages for a moment.
        async with self._declaring.setdefault(queue, asyncio.Lock()):
            if known := self._queues.get(queue):
                return known
            full = self._prefix + queue
            await streams.declare(link, full, visibility=self._visibility, replicas=self._address.replicas)
            known = self._queues[queue] = Queue(queue, stream_of(full))
            return known

    def _forget(self, queue: Queue) -> None:
        """Declare a queue again before its next use, because its stream or consumer is missing."""
        queue.is_gone = True
        if self._queues.get(queue.name) is queue:
            del self._queues[queue.name]


def _sequence(ack: str) -> str:
    """Return an id for a message that was published without one: its position in its stream."""
    parts = ack.split(".")
    return f"{parts[2]}:{parts[5]}" if len(parts) == 9 else ack
