"""Publish the dispatches of an attempt's children, and mark their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from playhead import faults
from playhead.envelope import Dispatch
from playhead.environment import Backends, Environment
from playhead.ports.catalog import Work
from playhead.work import relay

_MOST_AT_ONCE = 1000
_FIRST_DELAY_SECONDS = 0.1
_LONGEST_DELAY_SECONDS = 5.0
_MOST_TRIES = 5
"""Tries to publish one batch. They take about two seconds, plus the time until the broker refuses."""


class Children:
    """Publishes children of finished attempts. One for each consumer.

    Args:
        may_wait: False once the process stops; then waiting for a broker ends.
    """

    def __init__(self, backends: Backends[Work], env: Environment, may_wait: Callable[[], bool]) -> None:
        self._catalog = backends.catalog
        self._broker = backends.broker
        self._env = env
        self._may_wait = may_wait
        self._is_stuck = False

    async def publish(self, children: Sequence[Dispatch]) -> bool:
        """Publish dispatches and mark their rows, a thousand at a time; see `_publish`."""
        for at in range(0, len(children), _MOST_AT_ONCE):
            if not await self._publish(children[at : at + _MOST_AT_ONCE]):
                return False
        return True

    async def _publish(self, children: Sequence[Dispatch]) -> bool:
        """Publish dispatches and mark their rows.

        After five failed tries the rest is left to the reconciler, so that its parents can be acked: a full
        broker gets room only by acks. While the broker takes nothing, later batches get one try each.

        Returns False if the process stops before the broker has taken or refused every dispatch. Then the
        parents must not be acked, and the next worker publishes the rest. Raises `Unavailable` for the
        catalog.
        """
        delay = _FIRST_DELAY_SECONDS
        remaining = list(children)
        tries = _MOST_TRIES - 1 if self._is_stuck else 0
        while remaining:
            sent = await relay.publish(self._broker, remaining)
            tries += 1
            if settled := len(sent.confirmed) + len(sent.refused):
                faults.reach("worker.published", settled)
                await self._catalog.mark_published(sent.confirmed, refused=sent.refused)
                relay.report_marked(sent, self._env.counters)
            remaining = sent.uncertain
            if not remaining:
                break
            if not self._may_wait():
                return False
            if tries >= _MOST_TRIES:
                if sent.unavailable:
                    relay.log_unavailable(sent.unavailable)
                self._is_stuck = True
                await self._catalog.mark_published([], left=remaining)
                return True
            await self._env.sleep(delay)
            delay = min(delay * 2, _LONGEST_DELAY_SECONDS)
        self._is_stuck = False
        return True
