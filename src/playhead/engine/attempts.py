"""One attempt at a message, from the claim to the ack, a batch at a time.

The order of steps, and why each is right after a `kill -9` at any line:

1. *claim* before reading: a row that is `running` by a dead worker is called again by the reconciler.
2. *bind* before the first byte: a key never gets two contents, so a zombie's late write is harmless.
3. *sidecar, then object*: an object of ours always has its sidecar. Until step 4 neither is in any list.
4. *finish*: one transaction ends the attempt: row, outputs, children. Before it, nothing counts; after
   it, all of it does.
5. *publish the children, mark them, then ack*: a crash in between leaves unpublished rows, which are
   published when this delivery comes again, or by the reconciler when its publisher is dead.
6. *look whether the execution has ended* after the commit that closed a row; the reconciler looks too.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from playhead import events, faults
from playhead.engine import relay, sidecar
from playhead.engine.relay import Rest
from playhead.envelope import Call, correlation_of
from playhead.errors import MessageError, Unavailable
from playhead.keys import is_sidecar
from playhead.ports.broker import Broker, Delivery
from playhead.ports.catalog import Work
from playhead.ports.catalog.work import (
    Binding,
    Bound,
    Claim,
    Done,
    Failed,
    GivenBack,
    NewOutput,
    Refusal,
    Result,
    Unbound,
)
from playhead.ports.store import Blob, Store

AWAY_DELAY_SECONDS = 2.0
"""When an attempt that could not be made is due again."""
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class Product(Protocol):
    """An output of a chain, with its final path."""

    @property
    def path(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def content_type(self) -> str: ...
    @property
    def attributes(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Started:
    """A claimed message with its input in hand. `data` is None when `problem` says why it can't be worked."""

    delivery: Delivery
    claim: Claim
    data: bytes | None
    problem: Failed | GivenBack | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a batch of deliveries.

    `suspects` were not claimed and are not acked: each wants to be taken again, alone. `away` is a
    backend that could not be reached after the claim.
    """

    started: list[Started]
    suspects: list[Delivery]
    away: Unavailable | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a started message: its products, or a result that is none.

    `stage` is where its products go (None: it must have none); `adapters` made them.
    """

    started: Started
    stage: str | None = None
    products: Sequence[Product] = ()
    adapters: list[Mapping[str, str]] | None = None
    result: Failed | GivenBack | None = None


class Attempts:
    """The steps, over the ports alone.

    Args:
        worker: this process.
        max_object_bytes: inputs and outputs above it are dead letters (`object_too_large`).
        going_on: False once the process is to stop; then waiting for a broker ends.
    """

    def __init__(
        self,
        catalog: Work,
        broker: Broker,
        store: Store,
        *,
        worker: str,
        max_object_bytes: int,
        rest: Rest,
        going_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._store = store
        self._worker = worker
        self._max_object_bytes = max_object_bytes
        self._rest = rest
        self._going_on = going_on
        self._unknown: dict[str, None] = {}

    # -- taking ------------------------------------------------------------------------------------

    async def take(self, deliveries: Sequence[Delivery], *, beside_others: bool = False) -> Taken:
        """Claim, ack what is refused, and read the inputs of the rest.

        Args:
            deliveries: what came.
            beside_others: other messages are worked beside these, so that no suspect is claimed, not even
                by a call that names one message alone.

        Raises `Unavailable`: nothing was claimed, and the deliveries come back by themselves.
        """
        called = [(d, cid) for d in deliveries if (cid := correlation_of(d.message_id, d.headers))]
        strangers = [d for d in deliveries if correlation_of(d.message_id, d.headers) is None]
        ids = [cid for _, cid in called]
        # Named twice, a message is not named alone; it is claimed once all the same.
        twice = ids * 2 if beside_others and len(ids) == 1 else ids
        answers = (await self._catalog.claim(self._worker, twice))[: len(ids)]
        claims = [(d, a) for (d, _), a in zip(called, answers, strict=True) if isinstance(a, Claim)]
        faults.reach("worker.claimed", len(claims))
        refused = [(d, a) for (d, _), a in zip(called, answers, strict=True) if isinstance(a, Refusal)]
        strangers += [d for d, a in refused if a.reason == "unknown"]
        suspects = [d for d, a in refused if a.reason == "suspect"]
        # From here on rows are held by this process, and no other calls them while it lives: whatever
        # is away, each claim goes back to the caller.
        away: Unavailable | None = None
        try:
            await self._turn_away([(d, a) for d, a in refused if a.reason not in ("unknown", "suspect")])
            await self._ack_strangers(strangers)
        except Unavailable as exc:
            away = exc  # not acked: they come again by themselves
        try:
            started = await self._read(claims)
        except Unavailable as exc:
            away = exc
            started = [
                Started(d, c, None, GivenBack(c.correlation_id, c.attempt, AWAY_DELAY_SECONDS))
                for d, c in claims
            ]
        faults.reach("worker.read", len(claims))
        return Taken(started, suspects, away)

    async def _turn_away(self, refused: Sequence[tuple[Delivery, Refusal]]) -> None:
        """The catalog needs nothing more from these calls, but for children that nobody published yet."""
        if not refused:
            return
        children = [call for _, r in refused for call in r.children]
        if not await self._relay(children):
            return  # not acked: they come again, and their children with them
        await self._broker.ack([d for d, _ in refused])
        lost = {r.execution_id for _, r in refused if r.reason == "lost" and r.execution_id}
        if lost:
            await self._catalog.end_executions(sorted(lost))

    async def _ack_strangers(self, strangers: Sequence[Delivery]) -> None:
        """Ack calls without a row, the second time they come: the first may be ahead of a row's commit
        on a catalog that is just failing over."""
        again = [d for d in strangers if d.message_id in self._unknown]
        for delivery in strangers:
            self._unknown[delivery.message_id] = None
        while len(self._unknown) > 10_000:
            del self._unknown[next(iter(self._unknown))]
        if again:
            await self._broker.ack(again)
            for d in again:
                events.emit(events.UNKNOWN_MESSAGE, logging.WARNING, queue=d.queue, message_id=d.message_id)

    async def _read(self, claims: Sequence[tuple[Delivery, Claim]]) -> list[Started]:
        most = self._max_object_bytes
        data = await self._store.read([c.object_key for _, c in claims]) if claims else []
        started = []
        for (delivery, claim), blob in zip(claims, data, strict=True):
            source = claim.source
            fault: tuple[str, str] | None = None
            if blob is None:
                fault = (
                    "object_gone",
                    f"{claim.object_key} is not in the store any more: put it back and send this again, or "
                    "replay the stage before",
                )
            elif len(blob) > most:
                fault = (
                    "object_too_large",
                    f"{claim.object_key} is larger than {most} bytes; raise PLAYHEAD_MAX_OBJECT_BYTES of the "
                    "workers and send it again",
                )
            elif source and (len(blob) != source.size or hashlib.sha256(blob).digest() != source.sha256):
                fault = (
                    "object_lost",
                    f"{claim.object_key} does not hold the bytes that were stored under it "
                    f"({len(blob)} bytes there, {source.size} recorded): restore it, or replay "
                    "the stage before",
                )
            problem = Failed(claim.correlation_id, claim.attempt, *fault) if fault else None
            started.append(Started(delivery, claim, blob, problem))
        return started

    # -- ending ------------------------------------------------------------------------------------

    async def end(self, batch: Sequence[Ended]) -> None:
        """Store what attempts made, end them in one transaction, call their children, ack.

        Raises `Unavailable`: call it again with the same batch; each step may be repeated.
        """
        faults.reach("worker.ran", len(batch))
        results = await self._store_products(batch)
        finished = await self._catalog.finish(self._worker, [r for _, r in results])
        faults.reach("worker.committed", len(results))
        children: list[Call] = []
        for (ended, result), answer in zip(results, finished, strict=True):
            if answer is None:
                _tell_fenced(ended)
            else:
                children += answer.children
                _tell(ended, result)
        if not await self._relay(children):
            return  # stopping, broker away: not acked, so the next worker publishes them
        faults.reach("worker.marked", len(results))
        await self._broker.ack([e.started.delivery for e in batch])
        faults.reach("worker.acked", len(batch))
        await self._catalog.end_executions(sorted({e.started.claim.execution_id for e in batch}))
        faults.reach("worker.checked", len(batch))

    async def _store_products(self, batch: Sequence[Ended]) -> list[tuple[Ended, Result]]:
        """Bind and write; returns a result for each attempt whose token is still good."""
        results: dict[int, Result] = {}
        todo: list[tuple[int, Ended, list[NewOutput]]] = []
        for i, ended in enumerate(batch):
            claim = ended.started.claim
            if ended.result is not None:
                results[i] = ended.result
            elif not ended.products:
                results[i] = Done(claim.correlation_id, claim.attempt)
            elif too_large := next((p for p in ended.products if len(p.data) > self._max_object_bytes), None):
                results[i] = Failed(
                    *(claim.correlation_id, claim.attempt, "object_too_large"),
                    f"output {too_large.path!r} has {len(too_large.data)} bytes; at most "
                    f"{self._max_object_bytes} are stored (PLAYHEAD_MAX_OBJECT_BYTES)",
                )
            else:
                todo.append((i, ended, [_new_output(p) for p in ended.products]))
        if todo:
            await self._bind_and_write(todo, results)
        return [(batch[i], results[i]) for i in sorted(results)]

    async def _bind_and_write(
        self, todo: list[tuple[int, Ended, list[NewOutput]]], results: dict[int, Result]
    ) -> None:
        answers = await self._catalog.bind(
            [
                Binding(e.started.claim.correlation_id, e.started.claim.attempt, outputs)
                for _, e, outputs in todo
            ]
        )
        groups: list[list[Blob]] = []
        of: list[tuple[int, Claim]] = []
        keys: dict[int, list[str]] = {}
        for (i, ended, outputs), bound in zip(todo, answers, strict=True):
            claim = ended.started.claim
            if bound is None:
                _tell_fenced(ended)
            elif isinstance(bound, Unbound):
                results[i] = Failed(claim.correlation_id, claim.attempt, bound.code, bound.detail)
            else:
                keys[i] = [b.key for b in bound]
                groups += _blobs(ended, outputs, bound)
                of += [(i, claim)] * len(bound)
        faults.reach("worker.bound", len(groups))
        conflicts = await self._store.write(groups, written=_written)
        for (i, claim), conflict in zip(of, conflicts, strict=True):
            if isinstance(conflict, MessageError):
                results[i] = Failed(claim.correlation_id, claim.attempt, conflict.code, conflict.detail)
            elif i not in results:
                results[i] = Done(claim.correlation_id, claim.attempt, keys[i])

    async def _relay(self, children: Sequence[Call]) -> bool:
        """Publish calls until each is confirmed or refused, and mark them; False when told to stop first."""
        pause = _FIRST_PAUSE
        left = list(children)
        while left:
            sent = await relay.publish(self._broker, left)
            settled = len(sent.confirmed) + len(sent.refused)
            if settled:
                faults.reach("worker.published", settled)
                await self._catalog.mark_published(sent.confirmed, refused=sent.refused)
            left = sent.uncertain
            if left:
                if not self._going_on():
                    return False
                await self._rest(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        return True


def _written(key: str) -> None:
    faults.reach("worker.sidecar" if is_sidecar(key) else "worker.object")


def _new_output(product: Product) -> NewOutput:
    sha256 = hashlib.sha256(product.data).digest()
    what = json.dumps([product.content_type, product.attributes], sort_keys=True, ensure_ascii=False)
    fingerprint = hashlib.sha256(sha256 + what.encode("utf-8", "surrogatepass")).digest()
    return NewOutput(
        product.path, len(product.data), sha256, fingerprint, product.content_type, product.attributes
    )


def _blobs(ended: Ended, outputs: Sequence[NewOutput], bound: Sequence[Bound]) -> list[list[Blob]]:
    """One group an output: its sidecar, then its bytes."""
    claim, stage = ended.started.claim, ended.stage or ""
    return [
        [
            sidecar.of_output(claim, stage, output, where, ended.adapters or []),
            Blob(where.key, product.data, product.content_type),
        ]
        for product, output, where in zip(ended.products, outputs, bound, strict=True)
    ]


def _ids(ended: Ended) -> dict[str, Any]:
    claim = ended.started.claim
    return {
        "correlation_id": str(claim.correlation_id),
        "execution_id": str(claim.execution_id),
        "route": claim.route,
        "attempt": claim.attempt,
    }


def _tell_fenced(ended: Ended) -> None:
    events.emit(events.MESSAGE_FENCED, logging.WARNING, **_ids(ended))


def _tell(ended: Ended, result: Result) -> None:
    if isinstance(result, Failed):
        dead = result.delay is None
        name, level = (
            (events.MESSAGE_DEAD, logging.ERROR) if dead else (events.MESSAGE_RETRIED, logging.WARNING)
        )
        events.emit(name, level, **_ids(ended), code=result.code, error=result.error)
    elif isinstance(result, GivenBack):
        events.emit(events.MESSAGE_GIVEN_BACK, logging.WARNING, **_ids(ended))
