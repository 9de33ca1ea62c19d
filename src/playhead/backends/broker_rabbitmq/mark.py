"""Showing other processes that this process holds dispatches of a queue; see `Queues.held`."""

from __future__ import annotations

import time
from typing import Final

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from playhead import events
from playhead.backends.broker_rabbitmq.link import (
    LOST,
    Link,
    as_lost,
    close_channel,
    described,
    in_background,
)
from playhead.backends.broker_rabbitmq.queues import MARK_SECONDS, Queues
from playhead.errors import Unavailable

_KEPT_SECONDS: Final = 3.0
"""How long a queue stays marked after this process held its last dispatch. Longer than two cycles of the
reconciler."""
_UNMARKED_SECONDS: Final = 30.0


class Mark:
    """A consumer on the `:held` queue of one queue.

    It has a separate channel, so that work continues if the mark fails.

    Args:
        queue: its name without the prefix.
    """

    def __init__(self, link: Link, queues: Queues, queue: str) -> None:
        self._link = link
        self._queues = queues
        self._queue = queue
        self._channel: Channel | None = None
        self._used_at = self._failed_until = 0.0

    @property
    def is_set(self) -> bool:
        return self._channel is not None and not self._channel.is_closed

    async def set(self) -> None:
        """Set the mark. If that fails, log it, and do not try again for a while."""
        if time.monotonic() < self._failed_until:
            return
        self.clear()
        name = self._queues.held(self._queue)
        channel: Channel | None = None
        try:
            await self._queues.declare_held(self._queue)
            channel = await self._link.channel()
            channel.on_consumer_cancel_callbacks.add(lambda _: self.clear())
            with as_lost():
                await channel.basic_consume(name, _nothing, no_ack=True, timeout=MARK_SECONDS)
        except (Unavailable, *LOST) as exc:
            why = exc.detail if isinstance(exc, Unavailable) else described(exc)
            events.emit(events.BACKEND_UNAVAILABLE, backend="rabbitmq", queue=name, detail=why)
            self._failed_until = time.monotonic() + _UNMARKED_SECONDS
            if channel is not None:
                in_background(close_channel(channel))
        else:
            self._channel = channel
            self.use()

    def use(self) -> None:
        """Keep the mark for some time from now on."""
        self._used_at = time.monotonic()

    def clear_unused(self) -> None:
        """Clear the mark if that time is over. With a permanent mark, no lost dispatch would be found."""
        if self._channel and time.monotonic() - self._used_at > _KEPT_SECONDS:
            self.clear()

    def clear(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None and not channel.is_closed:
            in_background(close_channel(channel))


async def _nothing(message: DeliveredMessage) -> None:
    """Ignore messages of a `:held` queue, to which no program should publish."""
