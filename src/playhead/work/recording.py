"""Recording the outcomes of attempts, which waits as long as a backend is unavailable."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from playhead.errors import Unavailable
from playhead.work.attempt import AttemptOutcome, ClaimedMessage, released
from playhead.work.backoff import UNAVAILABLE_DELAY_SECONDS, Backoff
from playhead.work.binding import Binder, StoredOutcome
from playhead.work.completion import Completion
from playhead.work.deliveries import Deliveries, State


class Recorder:
    """Ends the attempts of one consumer.

    It waits for unavailable backends, because no other process can end these attempts. Outputs stay in memory
    meanwhile, because their steps may have been expensive.

    Args:
        deliveries: those of the consumer; recording moves them.
        withdraw: returns the messages that wait for a slot; they will not start.
        ended: called after each batch, with the number of attempts that were made.
        unblocked: called when the store accepts outputs again.

    Attributes:
        is_blocked: whether the store does not accept outputs. Then nothing may be received or started.
    """

    def __init__(
        self,
        binder: Binder,
        completion: Completion,
        backoff: Backoff,
        deliveries: Deliveries,
        *,
        withdraw: Callable[[], Sequence[ClaimedMessage]],
        ended: Callable[[int], None],
        unblocked: Callable[[], None],
    ) -> None:
        self._binder = binder
        self._completion = completion
        self._backoff = backoff
        self._deliveries = deliveries
        self._withdraw = withdraw
        self._ended = ended
        self._unblocked = unblocked
        self.is_blocked = False

    async def release(
        self, messages: Sequence[ClaimedMessage], *, delay: float | None, is_reported: bool = False
    ) -> None:
        """End attempts without an outcome, so that their messages are claimed again."""
        await self.end([released(message, delay, is_reported=is_reported) for message in messages])

    async def end(self, batch: Sequence[AttemptOutcome]) -> None:
        """End attempts. Return when they are recorded, or left to other processes."""
        if batch:
            self._deliveries.move_all([one.held for one in batch], State.ENDED)
            await self._record(batch, None)

    async def _record(self, batch: Sequence[AttemptOutcome], stored: Sequence[StoredOutcome] | None) -> None:
        """Record the outcomes of attempts, in one transaction if the catalog does so in time.

        Args:
            stored: the result of the binder for the batch; None if the outputs are not stored yet.
        """
        retries = self._backoff.retries()
        while True:
            try:
                if stored is None:
                    stored = await self._binder.store(batch)
                    # If a batch was halved, the call that succeeds may not be the call that blocked.
                    if self.is_blocked and any(one.result is None for one in batch):
                        self.is_blocked = False
                        self._unblocked()
                await self._completion.end(batch, stored)
                break
            except Unavailable as exc:
                if stored is None and exc.code.startswith("store"):
                    await self._block()
                if await retries.may_try_again(exc):
                    if len(batch) > 1 and exc.code.startswith("catalog"):
                        # The transaction may have been too large for its time limit.
                        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                            await self._record(half, stored and [one for one in stored if one[0] in half])
                        return
                    continue
                if stored is None and any(one.result is None for one in batch):
                    batch = [one if one.result else released(one.message, 0) for one in batch]
                    continue
                # Rows of unrecorded outcomes are dispatched again when this process has departed. The broker
                # redelivers an unacknowledged delivery, and its row refuses it.
                for one in batch:
                    if one.held.state is not State.SETTLED:
                        self._deliveries.move(one.held, State.SETTLED)
                break
        self._ended(sum(one.is_made for one in batch))

    async def _block(self) -> None:
        """Stop receiving and starting until the store accepts outputs again."""
        self.is_blocked = True
        await self.release(self._withdraw(), delay=UNAVAILABLE_DELAY_SECONDS)
