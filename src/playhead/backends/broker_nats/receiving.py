"""Receiving the two levels of a queue: its stream has a consumer for each.

While bulk dispatches are ready, both consumers are asked at once, each for its share. Otherwise normal ones
are requested as if there were no other level, next to a *standing* request for one bulk dispatch. It outlasts
a `receive` that returns normal ones, so the bulk level of a queue costs hardly anything while it is empty.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from playhead.backends._levels import Levels
from playhead.backends.broker_nats.link import Link
from playhead.backends.broker_nats.pulls import NOTHING, Pulled, hand_back, pull, returning
from playhead.backends.broker_nats.streams import BULK_CONSUMER, CONSUMER
from playhead.errors import Unavailable

_UNCLAIMED_SECONDS: Final = 0.5
"""How long a bulk dispatch may wait here for the next `receive` before it returns to the queue."""
_LEAST_SECONDS: Final = 0.02
_NONE_CAME: Final = ("", "404", "408")
"""The statuses of a reply without messages."""


class PullFailed(Exception):
    """A consumer answered with an unexpected status, and no message was received."""

    def __init__(self, consumer: str, pulled: Pulled) -> None:
        super().__init__(pulled.words)
        self.consumer = consumer
        self.pulled = pulled


class Received(NamedTuple):
    """A message: where to acknowledge it, its raw headers, when it arrived (monotonic), and its level."""

    ack: str
    headers: bytes
    at: float
    is_bulk: bool


@dataclass(slots=True, eq=False)
class Queue:
    """A queue whose stream and consumers exist. It is replaced when they are found missing.

    Attributes:
        name: without the prefix.
        has_bulk: whether the bulk level had ready dispatches when it was asked last.
        standing: the standing request.
    """

    name: str
    stream: str
    is_gone: bool = False
    has_bulk: bool = True
    standing: asyncio.Task[Pulled] | None = None
    levels: Levels = field(default_factory=Levels)

    async def receive(self, link: Link, limit: int, wait: float) -> list[Received]:
        """Receive up to `limit` messages, and wait up to `wait` seconds for the first.

        Raises `Unavailable` and `PullFailed`.
        """
        normal = bulk = NOTHING
        if self.has_bulk:
            normal, bulk = await self._receive_ready(link, limit)
        if not normal.messages and not bulk.messages:
            normal, bulk = await self._receive_first(link, limit, wait)
        self.levels.received(len(normal.messages), len(bulk.messages))
        return [
            Received(ack, headers, pulled.at, pulled is bulk)
            for pulled in (normal, bulk)
            for ack, headers in pulled.messages
        ]

    async def _receive_ready(self, link: Link, limit: int) -> tuple[Pulled, Pulled]:
        """Receive what is ready: what the bulk level is owed, normal ones, and then more bulk ones."""
        owed = self.levels.owed(limit)
        requests = [
            asyncio.create_task(self._pull(link, CONSUMER, limit - owed, None)),
            asyncio.create_task(self._pull(link, BULK_CONSUMER, owed, None)),
        ]
        try:
            await asyncio.wait(requests)
            normal, bulk = (request.result() for request in requests)
            self.has_bulk = len(bulk.messages) == owed
            rest = limit - len(normal.messages) - len(bulk.messages)
            if self.has_bulk and rest:
                requests.append(asyncio.create_task(self._pull(link, BULK_CONSUMER, rest, None)))
                await asyncio.wait(requests)
                more = requests[-1].result()
                self.has_bulk = len(more.messages) == rest
                bulk = more._replace(messages=bulk.messages + more.messages, at=bulk.at or more.at)
        except BaseException:
            for request in requests:
                _cancel(link, request)
            raise
        _check(normal, bulk)
        return normal, bulk

    async def _receive_first(self, link: Link, limit: int, wait: float) -> tuple[Pulled, Pulled]:
        """Wait for the first dispatch of either level."""
        until = time.monotonic() + max(wait, _LEAST_SECONDS)
        request = asyncio.create_task(self._pull(link, CONSUMER, limit, wait))
        bulk = NOTHING
        try:
            # The request ends by itself: with a message, with a status at the end of the wait, or with
            # `Unavailable` if no answer arrives. So a server that hangs is not taken for an empty queue.
            while not request.done() and not bulk.messages and bulk.status in _NONE_CAME:
                if (rest := until - time.monotonic()) > 0:
                    self._stand(link, rest)
                await asyncio.wait(
                    [task for task in (request, self.standing) if task], return_when=asyncio.FIRST_COMPLETED
                )
                bulk = self._claim()
            normal = request.result() if request.done() else NOTHING
        except BaseException:
            _cancel(link, request)
            raise
        request.cancel()
        self.has_bulk = bool(bulk.messages)
        if len(normal.messages) == limit:
            hand_back(link, bulk)
            bulk = NOTHING
        _check(normal, bulk)
        return normal, bulk

    # -- the standing request ----------------------------------------------------------------------

    def _stand(self, link: Link, seconds: float) -> None:
        if self.standing is None:
            task = asyncio.create_task(self._pull(link, BULK_CONSUMER, 1, seconds))
            task.add_done_callback(lambda _: self._ended(link, task))
            self.standing = task

    def _ended(self, link: Link, task: asyncio.Task[Pulled]) -> None:
        if not task.cancelled() and task.exception() is None and task.result().messages:
            asyncio.get_running_loop().call_later(_UNCLAIMED_SECONDS, self._give_up, link, task)

    def _give_up(self, link: Link, task: asyncio.Task[Pulled]) -> None:
        if self.standing is task:
            self.standing = None
            self.has_bulk = True
            hand_back(link, task.result())

    async def close(self, link: Link) -> None:
        """Return a dispatch that no `receive` has claimed to the queue, before the link is closed."""
        with contextlib.suppress(Unavailable):
            await link.send(returning(self._claim()))

    def _claim(self) -> Pulled:
        """Return what the standing request has received."""
        if self.standing is None or not self.standing.done():
            return NOTHING
        task, self.standing = self.standing, None
        if task.cancelled() or isinstance(task.exception(), Unavailable):
            return NOTHING
        return task.result()

    async def _pull(self, link: Link, consumer: str, limit: int, wait: float | None) -> Pulled:
        return await pull(link, f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{consumer}", limit, wait)


def _cancel(link: Link, request: asyncio.Task[Pulled]) -> None:
    """End a request that no process waits for any more. Its messages return to the queue."""
    if not request.cancel() and not request.cancelled() and request.exception() is None:
        hand_back(link, request.result())


def _check(normal: Pulled, bulk: Pulled) -> None:
    """Raise `PullFailed` for an unexpected status, if no message was received."""
    if normal.messages or bulk.messages:
        return
    for consumer, pulled in ((CONSUMER, normal), (BULK_CONSUMER, bulk)):
        if pulled.status not in _NONE_CAME:
            raise PullFailed(consumer, pulled)
