"""A thousand calls in flight, each with its time: the window that publishing goes through."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence

from playhead.backends.broker_nats.frames import Frames
from playhead.backends.broker_nats.link import ANSWER_SECONDS, LAST_SECONDS, Answer, Link, came_within
from playhead.envelope import Dispatch
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import CONFIRMED, PublishResult

_CHUNK = 250
_MOST_IN_FLIGHT = 1000  # more are not faster, and what is in flight is uncertain when it breaks

# How an answer begins that says no error; the stream is ours, as no two can have one subject.
_CONFIRMED = b'{"stream":"playhead-'
_TOO_LARGE = 10054


class Window:
    """What one process has in flight, however many publish at once; who comes first is let in first."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def _enter(self, count: int) -> None:
        """Wait for room for so many calls, for as long as one of those before may take.

        Raises `TimeoutError`.
        """
        if not self._waiting and self._has_room(count):
            self._in_flight += count
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, admitted))
        try:
            await came_within(ANSWER_SECONDS + 1, admitted)
        except asyncio.CancelledError:
            if admitted.done():
                self._leave(count)
            else:
                self._waiting.remove((count, admitted))
                self._admit()
            raise
        if not admitted.done():
            self._waiting.remove((count, admitted))
            self._admit()
            raise TimeoutError

    def _leave(self, count: int) -> None:
        self._in_flight -= count
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            count, admitted = self._waiting.popleft()
            self._in_flight += count
            admitted.set_result(None)

    def _has_room(self, count: int) -> bool:
        return self._in_flight + count <= _MOST_IN_FLIGHT

    async def publish(
        self, link: Link, calls: Sequence[Dispatch], prefix: str
    ) -> tuple[list[PublishResult], set[str]]:
        """Send calls; returns an outcome each, and the queues for which no stream was there.

        Takes as long as the last answer, and no longer than the time that one call has plus that of those
        sent before it by others.

        Raises `Unavailable` when none was sent.
        """
        frames = Frames(f"{link.inbox}a.", prefix, link.most_bytes)
        chunks: list[_Chunk] = []
        stopped = ""
        for at in range(0, len(calls), _CHUNK):
            part = calls[at : at + _CHUNK]
            try:
                await self._enter(len(part))
            except TimeoutError:
                stopped = link.unavailable("did not answer what others published before").detail
                break
            if any(chunk.is_silent for chunk in chunks):
                self._leave(len(part))
                stopped = link.unavailable("does not answer, so this was not sent").detail
                break
            chunk = _Chunk(link, part, self._leave)
            try:
                await chunk.send(frames)
            except Unavailable as exc:
                stopped = exc.detail
                break
            chunks.append(chunk)
            # The one who writes to the socket is a task of its own: let it, while the next is encoded.
            await asyncio.sleep(0)
        if stopped and not chunks:
            raise broker_unavailable(stopped)
        outcomes: list[PublishResult] = []
        for chunk in chunks:
            # Shielded: who gives up waiting does not take the chunk out of the window.
            outcomes += await asyncio.shield(chunk.done)
        outcomes += [PublishResult("uncertain", stopped)] * (len(calls) - len(outcomes))
        return outcomes, {queue for chunk in chunks for queue in chunk.without_stream}


class _Chunk:
    """Calls that are sent in one go.

    `done` always comes: with the last answer, with the end of the connection, or with the end of its time.

    Attributes:
        is_silent: its time is over and not one was answered.
        without_stream: queues for which no stream was there.
    """

    def __init__(self, link: Link, calls: Sequence[Dispatch], leave: Callable[[int], None]) -> None:
        self.done: asyncio.Future[list[PublishResult]] = asyncio.get_running_loop().create_future()
        self.done.add_done_callback(lambda _: leave(len(calls)))
        self.is_silent = False
        self.without_stream: set[str] = set()
        self._link = link
        self._calls = calls
        self._outcomes: list[PublishResult | None] = [None] * len(calls)
        self._left = len(calls)
        self._first = link.expect(self, len(calls))
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, frames: Frames) -> None:
        """Raises `Unavailable`, and then none was sent."""
        try:
            command, refused = frames.encode(self._calls, self._first)
            await self._link.send(command)
        except BaseException:
            # Whatever it was: what will never be answered takes no room in the window.
            self._link.forget(self._first, len(self._calls))
            self.done.cancel()
            raise
        self._call_later(ANSWER_SECONDS - LAST_SECONDS, self._look_again)
        for at in refused:
            self._link.forget(self._first + at)
            self._settle(
                at,
                PublishResult("refused", f"it is larger than the {self._link.most_bytes} bytes of a message"),
            )

    def answered(self, number: int, answer: Answer) -> None:
        at = number - self._first
        self._settle(at, CONFIRMED if answer.data.startswith(_CONFIRMED) else self._judge(at, answer))

    def lost(self, why: str) -> None:
        self._give_up(f"the connection to NATS at {self._link.server} was lost before it answered: {why}")

    def _call_later(self, seconds: float, then: Callable[[], None]) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _look_again(self) -> None:
        # As `came_within`: answers may be there, only not read yet.
        self._call_later(LAST_SECONDS, self._expire)

    def _expire(self) -> None:
        self.is_silent = self._left == len(self._calls)
        self._link.forget(self._first, len(self._calls))
        self._give_up(self._link.unavailable(f"did not answer within {ANSWER_SECONDS:g} s").detail)

    def _give_up(self, why: str) -> None:
        uncertain = PublishResult("uncertain", why)
        for at, outcome in enumerate(self._outcomes):
            if outcome is None:
                self._settle(at, uncertain)

    def _settle(self, at: int, outcome: PublishResult) -> None:
        self._outcomes[at] = outcome
        self._left -= 1
        if self._left == 0 and not self.done.done():
            if self._timer:
                self._timer.cancel()
            self.done.set_result([o for o in self._outcomes if o is not None])

    def _judge(self, at: int, answer: Answer) -> PublishResult:
        """What an answer means that is no plain confirmation."""
        if answer.status == "503":
            self.without_stream.add(self._calls[at].headers.queue)
            return PublishResult("uncertain", f"NATS at {self._link.server} has no stream for it just now")
        try:
            said = json.loads(answer.data)
            error = said.get("error")
            if not error and said.get("stream"):
                return CONFIRMED
            words = str(error["description"])
            code = error.get("err_code")
        except (ValueError, AttributeError, TypeError, KeyError):
            return PublishResult(
                "uncertain", f"NATS at {self._link.server} answered what is no answer of a stream"
            )
        if code == _TOO_LARGE:
            return PublishResult("refused", f"its stream takes no message of this size: {words}")
        return PublishResult(
            "uncertain", f"its stream on NATS at {self._link.server} refused it for now: {words}"
        )
