"""What one attempt at a message is, before its chain runs and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from playhead.model import Skip
from playhead.ports.catalog.work import Claim, Failed, Released
from playhead.ports.tracer import Span
from playhead.steps.outputs import Product
from playhead.work.deliveries import HeldDelivery
from playhead.work.sidecar import NOTHING, SidecarInfo


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A claimed message with its input.

    Attributes:
        data: the bytes of the input; None if `problem` is set.
        problem: why the chain cannot run; None if it can.
        span: None when traces are off.
        sidecar: what the input's sidecar describes, if no catalog row describes the input.
        alone: it is a suspected poison message, so it shares no batch.
    """

    held: HeldDelivery
    claim: Claim
    data: bytes | None
    problem: Failed | Released | None = None
    span: Span | None = None
    sidecar: SidecarInfo = NOTHING
    alone: bool = False


class CooldownRequest(NamedTuple):
    """A step found that no further call of a key can succeed for some seconds."""

    key: str
    seconds: float
    reason: str


class NotRun(NamedTuple):
    """Why a process cannot run the steps of a route now, whatever the item is.

    Attributes:
        is_missing: it lacks an adapter, a secret or the current code, and may get them only by a restart.
    """

    code: str
    detail: str
    is_missing: bool


@dataclass(frozen=True, slots=True, eq=False)
class AttemptOutcome:
    """How an attempt ended: with products, or with a result that replaces them.

    Attributes:
        stage: where the products are stored; None if the route stores nothing.
        products: what the chain returned.
        skip: see `chain.Result`.
        adapters: name, version and code of each adapter that ran.
        code: the number of that code.
        reads: what the result depends on; see `chain.Result`.
        result: why there are no products; None if the chain returned.
        seconds: how long the chain ran; None if it did not.
        cooldown: the cooldown that a step asks for.
        not_run: why the process cannot run a step of the route, whatever the item is; None if it can.
        is_reported: the reason of a release is reported once for all messages.
    """

    message: ClaimedMessage
    stage: str | None = None
    products: Sequence[Product] = ()
    skip: Skip | None = None
    adapters: Sequence[Mapping[str, str]] = ()
    code: int | None = None
    reads: int | None = None
    result: Failed | Released | None = None
    seconds: float | None = None
    cooldown: CooldownRequest | None = None
    not_run: NotRun | None = None
    is_reported: bool = False

    @property
    def is_made(self) -> bool:
        """Whether this is an attempt for people: one that was released before a step was called is not."""
        return not isinstance(self.result, Released) or self.result.called

    @property
    def claim(self) -> Claim:
        return self.message.claim

    @property
    def held(self) -> HeldDelivery:
        return self.message.held


def released(message: ClaimedMessage, delay: float | None, *, is_reported: bool = False) -> AttemptOutcome:
    """The outcome of an attempt that is not made. It does not count. `delay` is that of `Released`."""
    claim = message.claim
    result = Released(claim.correlation_id, claim.attempt, delay)
    return AttemptOutcome(message, result=result, is_reported=is_reported)
