"""What a consumer does while its process cannot run the steps of the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from playhead import events
from playhead.environment import Environment
from playhead.work.attempt import AttemptOutcome, NotRun
from playhead.work.backoff import UNAVAILABLE_DELAY_SECONDS
from playhead.work.host import Host

_LONGEST_WAIT_SECONDS: Final = 30.0
_CHECK_SECONDS: Final = 0.1


class Readiness:
    """Reports once why the steps of a queue cannot run, and lets the consumer wait. One for each consumer.

    Attributes:
        missing: a text that names what the process lacks, such as an adapter or a secret. None if it lacks
            nothing, or if what it lacks may come by itself.
        is_wait_due: whether the consumer must wait before it claims further messages.
    """

    def __init__(self, host: Host, env: Environment, queue: str) -> None:
        self._host = host
        self._env = env
        self._queue = queue
        self._reported: set[str] = set()
        self._reason = ""
        self._wait_seconds = UNAVAILABLE_DELAY_SECONDS
        self.missing: str | None = None
        self.is_wait_due = False

    def cannot_run(self, why: NotRun) -> None:
        """Note that a step could not run."""
        self.missing = why.detail if why.is_missing else None
        self.is_wait_due, self._reason = True, why.detail
        if why.detail not in self._reported:
            self._reported.add(why.detail)
            events.emit(events.ROUTE_WAITS, queue=self._queue, code=why.code, detail=why.detail)

    def note(self, ended: Iterable[AttemptOutcome]) -> None:
        """Note whether the steps of attempts ran."""
        for one in ended:
            if one.not_run:
                self.cannot_run(one.not_run)
            elif one.seconds is not None:
                self._wait_seconds = UNAVAILABLE_DELAY_SECONDS
                self.missing = None
                self._reported.clear()

    async def wait(self, config: str, route: str, *, is_over: Callable[[], bool]) -> None:
        """Wait until the released messages are due and other workers have had time to claim them.

        Each wait is twice as long as the previous one. It ends at once if `is_over` returns true.
        """
        self.is_wait_due = False
        self._wait_seconds = min(self._wait_seconds * 2, _LONGEST_WAIT_SECONDS)
        until = self._env.clock() + self._wait_seconds
        await self._host.show_wait(config, route, self._wait_seconds, self._reason)
        while not is_over() and self._env.clock() < until:
            await self._env.sleep(_CHECK_SECONDS)
