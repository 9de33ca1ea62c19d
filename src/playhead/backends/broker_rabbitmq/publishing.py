"""Publishing with many unconfirmed messages, over one channel that all callers share."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Sequence
from typing import Any, Final

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import PublishError

from playhead.backends.broker_rabbitmq.frames import Encoder
from playhead.backends.broker_rabbitmq.link import ANSWER_SECONDS, close_channel
from playhead.envelope import Dispatch
from playhead.ports.broker import CONFIRMED, PublishResult

WINDOW: Final = 256
"""Unconfirmed messages on one channel. The server confirms in groups, and more messages are not faster."""
_PIECE: Final = 64
_FRAME_OVERHEAD: Final = 8
RETURNED: Final = PublishResult("uncertain", "its queue did not exist")
"""The server had no queue for the message and returned it."""
_NACKED: Final = PublishResult(
    "uncertain",
    "the queue rejected it: the queue is full (max-length with reject-publish) or has no majority",
)


class _Batch:
    """The answers that one `publish` waits for, in the order of its dispatches."""

    __slots__ = ("answers", "done", "left")

    def __init__(self, count: int) -> None:
        self.answers: list[PublishResult | None] = [None] * count
        self.left = count
        self.done = asyncio.Event()

    def answer(self, n: int, answer: PublishResult) -> None:
        self.answers[n] = answer
        self.left -= 1
        if not self.left:
            self.done.set()


class _Slot:
    """A message in the client's table of confirmations, where the client itself puts a future.

    A future costs more than the message: the client adds each to two sets, to fail it when the channel
    closes. `PublishChannel.end` does so for all messages at once.
    """

    __slots__ = ("_batch", "_duplicate", "_line", "_n", "_settled", "message_id", "tag")

    def __init__(self, line: PublishChannel, batch: _Batch, n: int, tag: int, message_id: str) -> None:
        self._line = line
        self._batch = batch
        self._n = n
        self.tag = tag
        self.message_id = message_id
        self._settled = False
        self._duplicate = line.unanswered(message_id)

    def done(self) -> bool:
        return self._settled

    def cancelled(self) -> bool:
        return self._settled  # so that the client does not log a second answer

    def set_result(self, frame: object) -> None:
        """The server confirmed the message."""
        self._settle(CONFIRMED)

    def set_exception(self, exc: BaseException) -> None:
        """The server returned or rejected the message."""
        if not isinstance(exc, PublishError):
            self._settle(_NACKED)
            return
        # A returned message is identified by its id alone. Unconfirmed duplicates of it have the same queue,
        # and their confirms must not count as success.
        slot: _Slot | None = self
        while slot:
            slot._settle(RETURNED)
            slot = slot._duplicate

    def _settle(self, answer: PublishResult) -> None:
        if not self._settled:
            self._settled = True
            self._line.settled(self.tag, self.message_id)
            self._batch.answer(self._n, answer)


class PublishChannel:
    """One channel with confirms.

    The server and the client both count the messages, and the server confirms by number. So a message gets
    its number when its bytes are queued for the socket. If they cannot be queued, the number is used again.

    Args:
        channel: opened with confirms, and used only here.
        prefix: prepended to queue names.

    Attributes:
        ended: why no more answers arrive; None while they may.
    """

    def __init__(self, channel: Channel, prefix: str) -> None:
        self._channel = channel
        # The client expects futures here; a slot has the methods that it dispatches.
        self._confirmations: dict[int, Any] = channel.confirmations
        self._tags: dict[str, int] = channel.message_id_delivery_tag
        self._encoder = Encoder(channel.number, prefix)
        # 0 means no limit.
        self._most_bytes = (channel.connection.connection_tune.frame_max or sys.maxsize) - _FRAME_OVERHEAD
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._in_flight = 0
        self._batches: set[_Batch] = set()
        self.ended: str | None = None
        channel.closing.add_done_callback(
            lambda end: self.end("" if end.cancelled() else str(end.exception() or ""))
        )

    def end(self, why: str) -> None:
        """Stop waiting for answers on this channel. May be called twice."""
        if self.ended is None:
            self.ended = why or "the connection was closed"
            self._room.set()
            for batch in self._batches:
                batch.done.set()

    async def retire(self) -> None:
        """Close the channel after the time in which messages in flight can be confirmed."""
        await asyncio.sleep(ANSWER_SECONDS + 1)
        self.end("the channel was replaced, because another queue confirmed nothing")
        await close_channel(self._channel)

    async def publish(self, dispatches: Sequence[Dispatch]) -> tuple[list[PublishResult | None], int]:
        """Send dispatches and wait for the answers.

        Waits `ANSWER_SECONDS` for room to send, and `ANSWER_SECONDS` for all answers after the last was sent.
        Returns an answer for each dispatch, or None, and the number of dispatches that were processed. None
        of the remaining dispatches was sent.
        """
        batch = _Batch(len(dispatches))
        self._batches.add(batch)
        sent = 0
        try:
            numbered = enumerate(dispatches)
            while piece := list(itertools.islice(numbered, _PIECE)):
                async with self._turn:
                    if not await self._has_room() or not await self._send(batch, piece):
                        break
                sent += len(piece)
            if self.ended is None:
                await _within(batch.done)
        finally:
            self._batches.discard(batch)
        return batch.answers, sent

    def unanswered(self, message_id: str) -> _Slot | None:
        """Return the message of this id that has no answer yet."""
        found = self._confirmations.get(self._tags.get(message_id, 0))
        return found if isinstance(found, _Slot) else None

    def settled(self, tag: int, message_id: str) -> None:
        """Release the room of a message that was answered."""
        if self._tags.get(message_id) == tag:
            del self._tags[message_id]
        self._in_flight -= 1
        if self._in_flight <= WINDOW - _PIECE:
            self._room.set()

    async def _has_room(self) -> bool:
        while self.ended is None and self._in_flight > WINDOW - _PIECE:
            self._room.clear()
            if not await _within(self._room):
                return False
        return self.ended is None

    async def _send(self, batch: _Batch, piece: Sequence[tuple[int, Dispatch]]) -> bool:
        """Number messages and queue them for the socket; returns False if that times out."""
        channel = self._channel
        slots: list[_Slot] = []
        frames: list[bytes] = []
        try:
            for n, dispatch in piece:
                payload = dispatch.payload().encode()
                if len(payload) > self._most_bytes:
                    why = f"its payload is larger than {self._most_bytes} bytes"
                    batch.answer(n, PublishResult("refused", why))
                    continue
                frames.append(self._encoder.message(dispatch, payload))
                channel.delivery_tag += 1
                slot = _Slot(self, batch, n, channel.delivery_tag, dispatch.message_id)
                slots.append(slot)
                self._confirmations[slot.tag] = slot
                self._tags[slot.message_id] = slot.tag
                self._in_flight += 1
            async with asyncio.timeout(ANSWER_SECONDS):
                await channel.write_queue.put(ChannelFrame(payload=b"".join(frames), should_close=False))
        except BaseException as exc:
            for slot in slots:
                del self._confirmations[slot.tag]
                self.settled(slot.tag, slot.message_id)
            channel.delivery_tag -= len(slots)
            if isinstance(exc, TimeoutError):
                return False
            raise
        return True


async def _within(event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await event.wait()
    except TimeoutError:
        return False
    return True
