"""Completion: from a stored outcome to an acked delivery.

The order of steps, and why each is right if the process is killed (`kill -9`) after any of them:

1. *Finish*: one transaction ends the attempt: its row, its outputs and its children. Before it, nothing of
   the attempt counts; after it, all of it does.
2. *Publish the children and mark them*, then *ack*. A crash in between leaves unpublished rows. They are
   published when the delivery comes again, or by the reconciler when their publisher is dead. Children that
   the broker does not take are first left to the reconciler, and then the delivery is acked.
   An attempt that was released for a short time has no children, and its delivery is not acked: it is held
   for the next claim. A crash leaves a row that waits for a claim, and the broker delivers it again.
3. *Check whether the execution has ended*, after the commit that closed a row. While this process works on
   another message of the execution, that message has an open row, and the check follows its own commit. The
   reconciler checks too.

`work.intake` and `work.binding` describe the steps before these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from playhead import faults
from playhead.envelope import Dispatch
from playhead.environment import Backends, Environment
from playhead.ports.catalog.work import Failed, Released, Result
from playhead.work import ending
from playhead.work.attempt import AttemptOutcome
from playhead.work.binding import StoredOutcome
from playhead.work.children import Children
from playhead.work.deliveries import Deliveries, HeldDelivery, State
from playhead.work.intake import AttemptCatalog
from playhead.work.reporting import report_cancelled, report_fenced, report_outcomes, with_span

MOST_ATTEMPTS: Final = 256
_MOST_OUTPUTS = 5000
"""Of one batch, unless a single attempt has more."""


def batches(ended: Sequence[AttemptOutcome]) -> Iterator[list[AttemptOutcome]]:
    """Split attempts into batches that a catalog can end in one transaction, by attempts and by outputs."""
    batch: list[AttemptOutcome] = []
    outputs = 0
    for one in ended:
        outputs += len(one.products)
        if batch and (len(batch) >= MOST_ATTEMPTS or outputs > _MOST_OUTPUTS):
            yield batch
            batch, outputs = [], len(one.products)
        batch.append(one)
    if batch:
        yield batch


class Completion:
    """Ends attempts. One for each consumer.

    Args:
        deliveries: those of the consumer; completion moves them.
        processing: as in `Intake`.
    """

    def __init__(
        self,
        backends: Backends[AttemptCatalog],
        env: Environment,
        deliveries: Deliveries,
        children: Children,
        *,
        processing: dict[UUID, UUID],
    ) -> None:
        self._catalog, self._broker, _ = backends
        self._env = env
        self._deliveries = deliveries
        self._children = children
        self._processing = processing
        self._unanswered: set[HeldDelivery] = set()

    async def end(self, batch: Sequence[AttemptOutcome], stored: Sequence[StoredOutcome]) -> None:
        """End attempts in one transaction, publish their children, and ack their deliveries.

        Args:
            batch: the attempts; their deliveries are `ENDED`, and are `SETTLED` afterwards. Those of attempts
                that were released without a delay are also held for another claim.
            stored: what `Binder.store` returned for them.

        Raises `Unavailable`: end the same batch again. Each step may be repeated, including one that took
        effect while its answer was lost.
        """
        # If an earlier answer was lost, the row of a failed or released attempt is closed to its token now.
        repeated = {one for one in batch if one.held in self._unanswered}
        self._unanswered.update(one.held for one in batch)
        finished = await self._catalog.finish(self._env.process, [result for _, result in stored])
        self._unanswered.difference_update(one.held for one in batch)
        # A repeated batch was reported and released the first time. Its messages may be processed here
        # again by now, because of newer dispatches.
        ended_now = {one for one in batch if one.held.state is State.ENDED}
        held_again = {
            outcome
            for (outcome, result), answer in zip(stored, finished, strict=True)
            if isinstance(result, Released)
            and result.delay is None
            # Without an answer, the row may wait for a claim or not: the claim finds out.
            and (outcome in repeated if answer is None else not answer.cancelled)
        }
        for outcome in ended_now:
            del self._processing[outcome.claim.correlation_id]
            if outcome in held_again:
                self._deliveries.hold_again(outcome.held)
            else:
                self._deliveries.move(outcome.held, State.TO_ACK)
        faults.reach("worker.committed", len(stored))
        children: list[Dispatch] = []
        recorded: list[tuple[AttemptOutcome, Result]] = []
        for (outcome, result), answer in zip(stored, finished, strict=True):
            if answer is not None:
                children += with_span(outcome, answer.children)
            if outcome not in ended_now:
                continue
            if answer is None and not (outcome in repeated and isinstance(result, Failed | Released)):
                report_fenced(outcome)
            elif answer is not None and answer.cancelled:
                report_cancelled(outcome)
            else:
                recorded.append((outcome, result))
        report_outcomes(recorded, self._env.counters)
        to_ack = [one.held for one in batch if one.held.state is State.TO_ACK]
        if await self._children.publish(children):
            faults.reach("worker.marked", len(stored))
            await self._broker.ack([held.delivery for held in to_ack])
            faults.reach("worker.acked", len(batch))
            await ending.end_executions(self._catalog, self._may_have_ended(batch))
            faults.reach("worker.checked", len(batch))
        # Otherwise the process stops while the broker is unavailable: the next worker publishes the children.
        self._deliveries.move_all(to_ack, State.SETTLED)

    def _may_have_ended(self, batch: Sequence[AttemptOutcome]) -> list[UUID]:
        """Return the executions of these attempts of which this process holds no further message."""
        return sorted({one.claim.execution_id for one in batch} - set(self._processing.values()))
