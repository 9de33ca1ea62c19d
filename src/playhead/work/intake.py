"""Intake: from a received delivery to a claimed message with its input.

The order of steps, and why each is right if the process is killed (`kill -9`) after any of them:

1. *Claim* before anything is read. A row that is `running` under a dead worker gets a new dispatch from
   the reconciler.
2. *Ack what the catalog refuses*: it needs nothing more from that delivery, and dispatches the message
   again when it is due. Unpublished children of a completed row are published first. A crash in between
   leaves the delivery unacked, so this is repeated. If the message is being processed because of another
   delivery, this one is not acked: the other one may have expired, and its attempt may end without a new
   dispatch.
3. *Read* the inputs of what was claimed. Nothing is changed by that.

`work.completion` continues with the attempts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from playhead import events, faults
from playhead.envelope import correlation_of
from playhead.environment import Backends, Environment
from playhead.errors import Unavailable
from playhead.keys import owner_of, sidecar_key
from playhead.ports.catalog import Work
from playhead.ports.catalog.work import Claim, Failed, Refusal, Released
from playhead.work import ending, sidecar
from playhead.work.attempt import ClaimedMessage
from playhead.work.backoff import examine_store
from playhead.work.children import Children
from playhead.work.deliveries import Deliveries, HeldDelivery, State
from playhead.work.reporting import report_lost, start_span

_MOST_REMEMBERED = 10_000


class AttemptCatalog(Work, ending.EndingCatalog, Protocol):
    """The part of the catalog that attempts need."""

    async def records_deleted(self, executions: Sequence[UUID]) -> Mapping[UUID, str]: ...


@dataclass(frozen=True, slots=True)
class IntakeResult:
    """What was claimed.

    Attributes:
        unavailable: a backend that could not be reached after the claim.
        is_full: whether messages were refused because as many messages of the queue run as may run.
    """

    claimed: Sequence[ClaimedMessage]
    unavailable: Unavailable | None = None
    is_full: bool = False


class Intake:
    """Claims messages, and acks deliveries that need no attempt. One for each consumer.

    Args:
        deliveries: those of the consumer; the intake moves them.
        processing: the messages that this process works on, with their executions; shared by its
            consumers.
        max_object_bytes: a larger input makes its message a dead letter (`object_too_large`).
    """

    def __init__(
        self,
        backends: Backends[AttemptCatalog],
        env: Environment,
        deliveries: Deliveries,
        children: Children,
        *,
        processing: dict[UUID, UUID],
        max_object_bytes: int,
    ) -> None:
        self._catalog, self._broker, self._store = backends
        self._env = env
        self._deliveries = deliveries
        self._children = children
        self._processing = processing
        self._max_object_bytes = max_object_bytes
        self._unknown: dict[str, None] = {}

    async def take(
        self, received: Sequence[HeldDelivery], *, alone: bool = False, most_running: int | None = None
    ) -> IntakeResult:
        """Claim the messages of received deliveries, ack what needs no attempt, and read the inputs.

        Every delivery is then `CLAIMED`, `DEFERRED`, `SUSPECTED`, `LIMITED` or `SETTLED`.

        Args:
            alone: no other suspected poison message runs in this process, so that one may be claimed.
            most_running: as in `Work.claim`.

        Raises `Unavailable`: the answer to the claim is not known. Call this again with what is still
        `RECEIVED` until it is: a row that this process has claimed is closed to all others.
        """
        to_ack: list[HeldDelivery] = []
        unknown: list[HeldDelivery] = []
        asked: list[tuple[HeldDelivery, UUID]] = []
        for held in received:
            message = correlation_of(held.delivery.message_id, held.delivery.headers)
            if message is None:
                unknown.append(held)
            elif message in self._processing:
                self._deliveries.move(held, State.DEFERRED)
            else:
                asked.append((held, message))
        answers = await self._catalog.claim(
            self._env.process,
            [message for _, message in asked],
            alone=alone,
            most_running=most_running,
        )
        claims: list[tuple[HeldDelivery, Claim]] = []
        refusals: list[Refusal] = []
        is_full = False
        for (held, message), answer in zip(asked, answers, strict=True):
            if isinstance(answer, Claim):
                self._deliveries.move(held, State.CLAIMED)
                self._processing[message] = answer.execution_id
                claims.append((held, answer))
            elif answer.reason == "unknown":
                unknown.append(held)
            elif answer.reason == "held":
                is_here = message in self._processing  # received twice at once
                self._deliveries.move(held, State.DEFERRED if is_here else State.SETTLED)
            elif answer.reason == "suspect":
                self._deliveries.move(held, State.SUSPECTED)
            elif answer.reason == "full":
                self._deliveries.move(held, State.LIMITED)
                is_full = True
            else:
                refusals.append(answer)
                to_ack.append(held)
        to_ack += self._seen_before(unknown)
        self._deliveries.move_all(to_ack, State.TO_ACK)
        faults.reach("worker.claimed", len(claims))
        # From here on, this process holds the claimed rows, and no other can claim them while it lives. So
        # whatever is unavailable, the caller gets every claim.
        unavailable = await self._ack(to_ack, refusals)
        claimed, unreadable = await self._read(claims, alone=alone)
        faults.reach("worker.read", len(claims))
        return IntakeResult(claimed, unreadable or unavailable, is_full)

    def _seen_before(self, unknown: Sequence[HeldDelivery]) -> list[HeldDelivery]:
        """Return the deliveries without a row that come for the second time, and leave the others.

        The first time, the delivery may be ahead of its row's commit, while a catalog is failing over.
        """
        again = [held for held in unknown if held.dispatch_id in self._unknown]
        for held in unknown:
            if held.dispatch_id not in self._unknown:
                self._deliveries.move(held, State.SETTLED)
        self._unknown.update(dict.fromkeys(held.dispatch_id for held in unknown))
        while len(self._unknown) > _MOST_REMEMBERED:
            del self._unknown[next(iter(self._unknown))]
        for held in again:
            delivery = held.delivery
            events.emit(events.UNKNOWN_MESSAGE, queue=delivery.queue, message_id=delivery.message_id)
        return again

    async def _ack(self, to_ack: Sequence[HeldDelivery], refusals: Sequence[Refusal]) -> Unavailable | None:
        """Ack deliveries that need no attempt; return the backend that could not be reached.

        Deliveries that could not be acked are left to the broker, which hands them out again.
        """
        for refusal in refusals:
            if refusal.reason == "lost":
                report_lost(refusal, self._env.counters)
        try:
            if await self._children.publish([child for one in refusals for child in one.children]):
                if to_ack:
                    await self._broker.ack([held.delivery for held in to_ack])
                closed = {one.execution_id for one in refusals if one.reason in ("lost", "skipped")}
                if closed:
                    await ending.end_executions(self._catalog, sorted(filter(None, closed)))
        except Unavailable as exc:
            return exc
        finally:
            self._deliveries.move_all(to_ack, State.SETTLED)
        return None

    async def _read(
        self, claims: Sequence[tuple[HeldDelivery, Claim]], *, alone: bool
    ) -> tuple[list[ClaimedMessage], Unavailable | None]:
        """Read the inputs; also return why the store is unavailable, if it is."""
        if not claims:
            return [], None
        keys = [(claim.source and claim.source.location) or claim.object_key for _, claim in claims]
        # The catalog has no description of an external object, but its sidecar may have one.
        external = [claim.object_key for _, claim in claims if claim.source is None]
        wanted = keys + [sidecar_key(key) for key in external]
        try:
            found = await self._store.read(wanted)
        except Unavailable as exc:
            found = [exc] * len(wanted)
        unavailable, delay = await examine_store(self._store, found)
        deleted = await self._deleted(claims, found)
        sidecars = dict(zip(external, found[len(keys) :], strict=True))
        claimed = []
        for (held, claim), data in zip(claims, found[: len(keys)], strict=True):
            its_sidecar = sidecars.get(claim.object_key)
            if isinstance(its_sidecar, Unavailable):
                # The sidecar may exist, so its input waits for a store that is unavailable. A store that
                # answers and refuses only the sidecar is treated as one without it.
                data, its_sidecar = (its_sidecar if unavailable else data), None
            span = start_span(self._env.tracer, held.delivery, claim)
            problem: Failed | Released | None
            if isinstance(data, Unavailable):
                problem, data = Released(claim.correlation_id, claim.attempt, delay), None
            else:
                problem = self._fault_of(claim, data, deleted)
            claimed.append(ClaimedMessage(held, claim, data, problem, span, sidecar.read(its_sidecar), alone))
        return claimed, unavailable

    async def _deleted(
        self, claims: Sequence[tuple[HeldDelivery, Claim]], found: Sequence[bytes | Unavailable | None]
    ) -> Mapping[UUID, str]:
        """Return when the records were deleted of executions whose objects are missing, and not recorded."""
        missing = zip(claims, found, strict=False)
        owners = {
            owner_of(claim.object_key) for (_, claim), data in missing if data is None and not claim.source
        }
        return await self._catalog.records_deleted(list(owners)) if owners else {}

    def _fault_of(self, claim: Claim, data: bytes | None, deleted: Mapping[UUID, str]) -> Failed | None:
        """Why an input cannot be processed, now or later; None if it can."""

        def failed(code: str, error: str) -> Failed:
            return Failed(claim.correlation_id, claim.attempt, code, error)

        source, most = claim.source, self._max_object_bytes
        key = claim.object_key
        if source and source.location:
            key = f"{key}, which is stored as {source.location},"
        pruned = source.pruned_at if source else deleted.get(owner_of(claim.object_key))
        if data is None and pruned:
            what = "was pruned on" if source else "was pruned, and its records were deleted on"
            return failed(
                "object_pruned",
                f"{key} {what} {pruned}: run its input again, or replay a stage that is still stored",
            )
        if data is None:
            return failed(
                "object_gone",
                f"{key} is not in the store: check that all processes have the same "
                "PLAYHEAD_STORE; restore the object and resend the message, or replay the previous stage",
            )
        if len(data) > most:
            return failed(
                "object_too_large",
                f"{key} is larger than {most} bytes: raise PLAYHEAD_MAX_OBJECT_BYTES of the "
                "workers and resend the message",
            )
        if source and (len(data) != source.size or hashlib.sha256(data).digest() != source.sha256):
            return failed(
                "object_lost",
                f"{key} does not have the bytes that were stored ({len(data)} bytes found, "
                f"{source.size} recorded): restore it, or replay the previous stage",
            )
        return None
