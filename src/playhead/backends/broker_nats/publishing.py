"""The window for publishing: up to 1,000 unconfirmed dispatches, each with a time limit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from playhead.backends.broker_nats.frames import Frames
from playhead.backends.broker_nats.link import ANSWER_SECONDS, Answer, Link
from playhead.clock import LONGEST_GAP_SECONDS
from playhead.envelope import Dispatch
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import CONFIRMED, PublishResult

_CHUNK = 250
_MOST_IN_FLIGHT = 1000  # more are not faster, and all of them become uncertain when the connection breaks

# The start of an answer without an error. Only one stream can have the subject of a queue.
_CONFIRMED = b'{"stream":"playhead-'
_TOO_LARGE = 10054


class Window:
    """The unconfirmed dispatches of one process. Concurrent publishers enter in their order of arrival."""

    def __init__(self) -> None:
        self._in_flight = 0
        self.silences = 0  # chunks of which no dispatch was answered within its time limit
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()

    async def _enter(self, count: int) -> bool:
        """Wait for room for `count` dispatches; returns False if a whole chunk gets no answer meanwhile."""
        silences = self.silences
        async with self._turn:
            while self._in_flight + count > _MOST_IN_FLIGHT:
                self._room.clear()
                await self._room.wait()
            if self.silences > silences:
                return False
            self._in_flight += count
            return True

    def leave(self, count: int) -> None:
        self._in_flight -= count
        self._room.set()

    async def publish(
        self, link: Link, dispatches: Sequence[Dispatch], prefix: str
    ) -> tuple[list[PublishResult], list[int]]:
        """Send dispatches; returns a result for each, and the positions of those that no stream took.

        Blocks until the last answer. Each dispatch in the window has a time limit. Publishers that wait for
        room stop when a chunk reaches its limit without an answer.

        Raises `Unavailable` when none was sent.
        """
        frames = Frames(f"{link.inbox}a.", prefix, link.most_bytes)
        chunks: list[_Chunk] = []
        stopped = ""
        for at in range(0, len(dispatches), _CHUNK):
            part = dispatches[at : at + _CHUNK]
            if not await self._enter(len(part)):
                stopped = link.unavailable("does not answer, so this was not sent").detail
                break
            chunk = _Chunk(link, part, self)
            try:
                await chunk.send(frames)
            except Unavailable as exc:
                stopped = exc.detail
                break
            chunks.append(chunk)
            # Lets the task that writes to the socket run before the next chunk is encoded.
            await asyncio.sleep(0)
        if stopped and not chunks:
            raise broker_unavailable(stopped)
        results: list[PublishResult] = []
        for chunk in chunks:
            # Shielded: a cancelled caller must not remove the chunk from the window.
            results += await asyncio.shield(chunk.done)
        results += [PublishResult("uncertain", stopped)] * (len(dispatches) - len(results))
        return results, [n * _CHUNK + at for n, chunk in enumerate(chunks) for at in chunk.without_stream]


class _Chunk:
    """Dispatches that are sent together.

    `done` is always set: by the last answer, by the loss of the connection, or by the time limit.

    Attributes:
        without_stream: positions of the dispatches that no stream took.
    """

    def __init__(self, link: Link, dispatches: Sequence[Dispatch], window: Window) -> None:
        self.done: asyncio.Future[list[PublishResult]] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(lambda _: window.leave(len(dispatches)))
        self._window = window
        self.without_stream: list[int] = []
        self._link = link
        self._dispatches = dispatches
        self._results: list[PublishResult | None] = [None] * len(dispatches)
        self._left = len(dispatches)
        self._first = link.expect(self, len(dispatches))
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, frames: Frames) -> None:
        """Send all. Raises `Unavailable`; then none was sent."""
        try:
            command, refused = frames.encode(self._dispatches, self._first)
            await self._link.send(command)
        except BaseException:
            # On any failure the chunk leaves the window, as it will never be answered.
            self._link.forget(self._first, len(self._dispatches))
            self.done.cancel()
            raise
        later = ANSWER_SECONDS - LONGEST_GAP_SECONDS
        self._timer = asyncio.get_running_loop().call_later(later, self._look_again)
        for at in refused:
            self._link.forget(self._first + at)
            self._settle(
                at,
                PublishResult("refused", f"it is larger than the limit of {self._link.most_bytes} bytes"),
            )

    def answered(self, number: int, answer: Answer) -> None:
        at = number - self._first
        self._settle(at, CONFIRMED if answer.data.startswith(_CONFIRMED) else self._judge(at, answer))

    def lost(self, why: str) -> None:
        self._give_up(f"the connection to NATS at {self._link.server} was lost before it answered: {why}")

    def _look_again(self) -> None:
        # As in `clock.done_within`: answers may be in the socket, unread.
        self._timer = asyncio.get_running_loop().call_later(LONGEST_GAP_SECONDS, self._expire)

    def _expire(self) -> None:
        self._window.silences += self._left == len(self._dispatches)
        self._link.forget(self._first, len(self._dispatches))
        self._give_up(self._link.unavailable(f"did not answer within {ANSWER_SECONDS:g} s").detail)

    def _give_up(self, why: str) -> None:
        uncertain = PublishResult("uncertain", why)
        for at, outcome in enumerate(self._results):
            if outcome is None:
                self._settle(at, uncertain)

    def _settle(self, at: int, outcome: PublishResult) -> None:
        self._results[at] = outcome
        self._left -= 1
        if self._left == 0 and not self.done.done():
            if self._timer:
                self._timer.cancel()
            self.done.set_result([o for o in self._results if o is not None])

    def _judge(self, at: int, answer: Answer) -> PublishResult:
        """Return the result for an answer that is not a plain confirmation."""
        if answer.status == "503":
            self.without_stream.append(at)
            return PublishResult("uncertain", f"NATS at {self._link.server} has no stream for it now")
        try:
            said = json.loads(answer.data)
            error = said.get("error")
            if not error and said.get("stream"):
                return CONFIRMED
            words = str(error["description"])
            code = error.get("err_code")
        except (ValueError, AttributeError, TypeError, KeyError):
            return PublishResult(
                "uncertain",
                f"NATS at {self._link.server} sent an unexpected reply (not a JetStream acknowledgement)",
            )
        if code == _TOO_LARGE:
            return PublishResult("refused", f"its stream rejects messages of this size: {words}")
        return PublishResult(
            "uncertain", f"its stream on NATS at {self._link.server} rejected it for now: {words}"
        )
