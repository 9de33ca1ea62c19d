"""Store the products of attempts: bind their keys, then write sidecars and objects.

*Bind* comes before the first byte, so a key never gets two contents and a late write of a dead attempt is
harmless. *The sidecar* comes before its object, so each of Playhead's objects has one. Until
`work.completion` has ended the attempt, no listing shows either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from playhead import faults
from playhead.environment import Backends, Environment
from playhead.errors import MessageError, StoreFull, Unavailable
from playhead.keys import is_sidecar
from playhead.ports.catalog import Work
from playhead.ports.catalog.work import (
    Binding,
    Bound,
    Done,
    Failed,
    NewOutput,
    Released,
    Result,
    Unbound,
    fingerprint_of,
)
from playhead.ports.store import Blob, WriteResult
from playhead.steps.outputs import Product
from playhead.work import sidecar
from playhead.work.attempt import AttemptOutcome
from playhead.work.backoff import examine_store
from playhead.work.reporting import report_fenced

_OUTPUTS_A_TURN = 250
_MOST_WRITTEN = 1000

StoredOutcome = tuple[AttemptOutcome, Result]
"""An outcome whose products are stored, and the result for the catalog."""


@dataclass(slots=True)
class _Write:
    """The outputs of one attempt that are to be written."""

    outcome: AttemptOutcome
    keys: list[str]
    groups: list[list[Blob]]


class Binder:
    """Binds and writes the products of a batch of attempts."""

    def __init__(self, backends: Backends[Work], env: Environment, *, max_object_bytes: int) -> None:
        self._catalog, _, self._store = backends
        self._env = env
        self._max_object_bytes = max_object_bytes

    async def store(self, batch: Sequence[AttemptOutcome]) -> list[StoredOutcome]:
        """Store products; return a result for each attempt whose token is still valid.

        Raises `Unavailable`: store the same batch again.
        """
        faults.reach("worker.ran", len(batch))
        results: dict[AttemptOutcome, Result] = {}
        to_bind: list[tuple[AttemptOutcome, list[NewOutput]]] = []
        for outcome in batch:
            claim = outcome.claim
            if outcome.result is not None:
                results[outcome] = outcome.result
            elif not outcome.products:
                results[outcome] = Done(
                    claim.correlation_id,
                    claim.attempt,
                    skip=outcome.skip,
                    ran=outcome.code,
                    reads=outcome.reads,
                )
            elif too_large := next(
                (one for one in outcome.products if len(one.data) > self._max_object_bytes), None
            ):
                results[outcome] = self._too_large(outcome, too_large)
            else:
                to_bind.append((outcome, await self._outputs(outcome)))
        if to_bind:
            writes = await self._bind(to_bind, results)
            await self._write(writes, results)
        return [(outcome, results[outcome]) for outcome in batch if outcome in results]

    async def _outputs(self, outcome: AttemptOutcome) -> list[NewOutput]:
        outputs = []
        for n, product in enumerate(outcome.products, 1):
            outputs.append(_new_output(product))
            await self._breathe(n)
        return outputs

    async def _breathe(self, n: int) -> None:
        """Let other tasks run after every few hundred outputs: a large fan-out takes seconds to prepare, and
        the heartbeat must not wait for it."""
        if n % _OUTPUTS_A_TURN == 0:
            await self._env.sleep(0)

    def _too_large(self, outcome: AttemptOutcome, product: Product) -> Failed:
        return Failed(
            *(outcome.claim.correlation_id, outcome.claim.attempt, "object_too_large"),
            f"output {product.path!r} has {len(product.data)} bytes; at most {self._max_object_bytes} are "
            "stored (PLAYHEAD_MAX_OBJECT_BYTES)",
            ran=outcome.code,
        )

    async def _bind(
        self,
        to_bind: Sequence[tuple[AttemptOutcome, list[NewOutput]]],
        results: dict[AttemptOutcome, Result],
    ) -> list[_Write]:
        """Bind keys; return what to write. Attempts that cannot be bound get their result here."""
        bindings = [
            Binding(outcome.claim.correlation_id, outcome.claim.attempt, outputs)
            for outcome, outputs in to_bind
        ]
        answers = await self._catalog.bind(bindings)
        writes = []
        for (outcome, outputs), bound in zip(to_bind, answers, strict=True):
            if bound is None:
                report_fenced(outcome)
            elif isinstance(bound, Unbound):
                results[outcome] = _failed(outcome, bound.code, bound.detail)
            else:
                groups = await self._blobs(outcome, outputs, bound)
                writes.append(_Write(outcome, [one.key for one in bound], groups))
        faults.reach("worker.bound", sum(len(write.groups) for write in writes))
        return writes

    async def _write(self, writes: Sequence[_Write], results: dict[AttemptOutcome, Result]) -> None:
        groups = [group for write in writes for group in write.groups]
        written: WriteResult = []
        for at in range(0, len(groups), _MOST_WRITTEN):
            some = groups[at : at + _MOST_WRITTEN]
            try:
                written += await self._store.write(some, written=_reach_fault)
            except StoreFull:
                raise
            except Unavailable as exc:
                written += [exc] * len(some)
        unavailable, delay = await examine_store(self._store, written)
        if unavailable and all(isinstance(one, Unavailable) for one in written):
            raise unavailable
        refusals = iter(written)
        for write in writes:
            claim = write.outcome.claim
            reasons = [reason for _, reason in zip(write.groups, refusals, strict=False) if reason]
            conflict = next((one for one in reasons if isinstance(one, MessageError)), None)
            if conflict:
                result: Result = _failed(write.outcome, conflict.code, conflict.detail)
            elif reasons:
                result = Released(claim.correlation_id, claim.attempt, delay)
            else:
                outcome = write.outcome
                result = Done(
                    claim.correlation_id, claim.attempt, write.keys, ran=outcome.code, reads=outcome.reads
                )
            results[write.outcome] = result

    async def _blobs(
        self, outcome: AttemptOutcome, outputs: Sequence[NewOutput], bound: Sequence[Bound]
    ) -> list[list[Blob]]:
        """Return one group for each output: its sidecar, then its bytes."""
        claim, stage = outcome.claim, outcome.stage or ""
        adapters: list[Mapping[str, str]] = list(outcome.adapters)
        groups = []
        for n, (product, output, where) in enumerate(zip(outcome.products, outputs, bound, strict=True), 1):
            about = sidecar.of_output(claim, stage, output, where, adapters)
            groups.append([about, Blob(where.key, product.data, product.content_type)])
            await self._breathe(n)
        return groups


def _failed(outcome: AttemptOutcome, code: str, error: str) -> Failed:
    claim = outcome.claim
    return Failed(claim.correlation_id, claim.attempt, code, error, ran=outcome.code)


def _reach_fault(key: str) -> None:
    faults.reach("worker.sidecar" if is_sidecar(key) else "worker.object")


def _new_output(product: Product) -> NewOutput:
    sha256 = hashlib.sha256(product.data).digest()
    fingerprint = fingerprint_of(sha256, product.content_type, product.attributes)
    return NewOutput(
        product.path, len(product.data), sha256, fingerprint, product.content_type, product.attributes
    )
