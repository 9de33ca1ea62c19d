"""One attempt at a message, from the claim to the ack, a batch at a time.

The order of steps, and why each is right after a `kill -9` at any line:

1. *claim* before reading: a row that is `running` by a dead worker is called again by the reconciler.
2. *bind* before the first byte: a key never gets two contents, so a zombie's late write is harmless.
3. *sidecar, then object*: an object of ours always has its sidecar. Until step 4 neither is in any list.
4. *finish*: one transaction ends the attempt: row, outputs, children. Before it, nothing counts; after
   it, all of it does.
5. *publish the children, mark them, then ack*: a crash in between leaves unpublished rows, which are
   published when this delivery comes again, or by the reconciler when its publisher is dead. Those that the
   broker does not take are given up first, then acked: from then on they are the reconciler's.
6. *look whether the execution has ended* after the commit that closed a row; the reconciler looks too.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from uuid import UUID

from playhead import events, faults, ids
from playhead.counters import Counters
from playhead.engine import ending, relay, sidecar
from playhead.engine.relay import Sleep
from playhead.envelope import Dispatch, correlation_of
from playhead.errors import MessageError, StoreFull, Unavailable
from playhead.keys import is_sidecar, sidecar_key
from playhead.ports.broker import Broker, Delivery
from playhead.ports.catalog import Work
from playhead.ports.catalog.work import (
    Binding,
    Bound,
    Claim,
    Done,
    Failed,
    NewOutput,
    Refusal,
    Released,
    Result,
    Unbound,
)
from playhead.ports.store import Blob, Store, WriteResult
from playhead.ports.tracer import OFF, Span, Tracer, nearest, trace_of

UNAVAILABLE_DELAY_SECONDS = 2.0
"""When an attempt that could not be made is due again."""
BESIDE_DELAY_SECONDS = 30.0
"""The same, of one whose object the store can't give or take though it does others: nobody knows until when,
and what it takes to try may be dear."""
_MOST_TOLD = 10
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_MOST_TRIES = 5
"""To publish a batch: for about two seconds, and what it takes to say no."""


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
class ClaimedMessage:
    """A claimed message with its input in hand. `data` is None when `problem` says why it can't be worked.

    `span` is None when traces are off. `told` is what a sidecar says of an object of which no row does.
    """

    delivery: Delivery
    claim: Claim
    data: bytes | None
    problem: Failed | Released | None = None
    span: Span | None = None
    told: sidecar.SidecarInfo = sidecar.NOTHING


@dataclass(frozen=True, slots=True)
class IntakeResult:
    """What came of a batch of deliveries.

    `suspects` were not claimed and are not acked: each wants to be taken again, alone. Nor were `later`: each
    wants to be taken again when what this process works on for its message has ended. `away` is a backend
    that could not be reached after the claim.
    """

    started: list[ClaimedMessage]
    suspects: list[Delivery]
    later: list[Delivery]
    away: Unavailable | None = None


@dataclass(frozen=True, slots=True)
class AttemptOutcome:
    """What came of a started message: its products, or a result that is none.

    `stage` is where its products go (None: it must have none); `adapters` made them, in so many `seconds`
    (None: they never ran).
    """

    started: ClaimedMessage
    stage: str | None = None
    products: Sequence[Product] = ()
    adapters: list[Mapping[str, str]] | None = None
    result: Failed | Released | None = None
    seconds: float | None = None


class AttemptsCatalog(Work, ending.EndingCatalog, Protocol): ...


class Attempts:
    """The steps, over the ports alone.

    Args:
        worker: this process.
        working: the messages that this process works on, each with the id of the call that brought it; all
            its lanes share one.
        max_object_bytes: inputs and outputs above it are dead letters (`object_too_large`).
        going_on: False once the process is to stop; then waiting for a broker ends.
        counters: where this process counts.
        tracer: begins a span for each attempt.
    """

    def __init__(
        self,
        catalog: AttemptsCatalog,
        broker: Broker,
        store: Store,
        *,
        worker: str,
        working: dict[UUID, str],
        max_object_bytes: int,
        sleep: Sleep,
        going_on: Callable[[], bool] = lambda: True,
        counters: Counters | None = None,
        tracer: Tracer = OFF,
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._store = store
        self._worker = worker
        self._working = working
        self._max_object_bytes = max_object_bytes
        self._sleep = sleep
        self._going_on = going_on
        self._counters = counters or Counters()
        self._tracer = tracer
        self._unknown: dict[str, None] = {}
        self._stuck = False

    # -- taking ------------------------------------------------------------------------------------

    async def take(self, deliveries: Sequence[Delivery], *, alone: bool = False) -> IntakeResult:
        """Claim, ack what is refused, and read the inputs of the rest.

        Args:
            deliveries: what came.
            alone: nothing of what may be lost with these is worked beside them, so that suspects are claimed.

        Raises `Unavailable`: what was claimed is not known. Take the same deliveries again until that is
        answered: a row of this process is held for all others.
        """
        named = [(d, correlation_of(d.message_id, d.headers)) for d in deliveries]
        unknown = [d for d, cid in named if cid is None]
        # The same call for what is being worked on here is the broker's double of it. Another one says that
        # what runs here was given up meanwhile, and nobody would call once more.
        duplicates = [d for d, cid in named if cid and self._working.get(cid) == d.message_id]
        later = [d for d, cid in named if cid and self._working.get(cid, d.message_id) != d.message_id]
        called = [(d, cid) for d, cid in named if cid and cid not in self._working]
        answers = await self._catalog.claim(self._worker, [cid for _, cid in called], alone=alone)
        claims = [(d, a) for (d, _), a in zip(called, answers, strict=True) if isinstance(a, Claim)]
        self._working.update((claim.correlation_id, d.message_id) for d, claim in claims)
        faults.reach("worker.claimed", len(claims))
        refused = [(d, a) for (d, _), a in zip(called, answers, strict=True) if isinstance(a, Refusal)]
        unknown += [d for d, a in refused if a.reason == "unknown"]
        suspects = [d for d, a in refused if a.reason == "suspect"]
        spans = self._begin_spans(claims) if self._tracer.on else {}
        # From here on rows are held by this process, and no other calls them while it lives: whatever
        # is away, each claim goes back to the caller.
        away: Unavailable | None = None
        try:
            await self._turn_away([(d, a) for d, a in refused if a.reason not in ("unknown", "suspect")])
            await self._ack_strangers(unknown)
            if duplicates:
                await self._broker.ack(duplicates)
        except Unavailable as exc:
            away = exc  # not acked: they come again by themselves
        started, unread = await self._read(claims, spans)
        away = unread or away
        faults.reach("worker.read", len(claims))
        return IntakeResult(started, suspects, later, away)

    async def _turn_away(self, refused: Sequence[tuple[Delivery, Refusal]]) -> None:
        """The catalog needs nothing more from these calls, but for children that nobody published yet."""
        if not refused:
            return
        for _, refusal in refused:
            if refusal.reason == "lost":
                self._tell_lost(refusal)
        children = [call for _, r in refused for call in r.children]
        if not await self._relay(children):
            return  # not acked: they come again, and their children with them
        await self._broker.ack([d for d, _ in refused])
        lost = {r.execution_id for _, r in refused if r.reason == "lost" and r.execution_id}
        if lost:
            await ending.end_executions(self._catalog, sorted(lost))

    def _tell_lost(self, refusal: Refusal) -> None:
        """The claim closed it as dead: its last attempts took their workers with them."""
        self._counters.of(refusal.config, refusal.route).dead += 1
        events.emit(
            events.MESSAGE_DEAD,
            logging.ERROR,
            correlation_id=str(refusal.correlation_id),
            execution_id=str(refusal.execution_id),
            config=refusal.config,
            route=refusal.route,
            code="worker_lost",
        )

    async def _ack_strangers(self, unknown: Sequence[Delivery]) -> None:
        """Ack calls without a row, the second time they come: the first may be ahead of a row's commit
        on a catalog that is just failing over."""
        again = [d for d in unknown if d.message_id in self._unknown]
        for delivery in unknown:
            self._unknown[delivery.message_id] = None
        while len(self._unknown) > 10_000:
            del self._unknown[next(iter(self._unknown))]
        if again:
            await self._broker.ack(again)
            for d in again:
                events.emit(events.UNKNOWN_MESSAGE, logging.WARNING, queue=d.queue, message_id=d.message_id)

    def _begin_spans(self, claims: Sequence[tuple[Delivery, Claim]]) -> dict[UUID, Span]:
        """A span for each attempt. It ends when the attempt does, in `end`."""
        return {
            claim.correlation_id: self._tracer.start(
                "work",
                nearest(claim.traceparent, delivery.headers.get("traceparent")),
                {
                    "playhead.execution_id": str(claim.execution_id),
                    "playhead.correlation_id": str(claim.correlation_id),
                    "playhead.config": claim.config,
                    "playhead.config_version": claim.config_version,
                    "playhead.route": claim.route,
                    "playhead.attempt": claim.attempt,
                    "playhead.object_key": claim.object_key,
                },
                "consumer",
            )
            for delivery, claim in claims
        }

    async def _read(
        self, claims: Sequence[tuple[Delivery, Claim]], spans: Mapping[UUID, Span]
    ) -> tuple[list[ClaimedMessage], Unavailable | None]:
        """Return what was claimed with its input; also why the store is away, if it is."""
        most = self._max_object_bytes
        keys = [c.object_key for _, c in claims]
        # Of an object of others no row says more than its key, but a sidecar may.
        strange = [c.object_key for _, c in claims if c.source is None]
        wanted = keys + [sidecar_key(key) for key in strange]
        try:
            found = await self._store.read(wanted) if claims else []
        except Unavailable as exc:
            found = [exc] * len(wanted)
        data, besides = found[: len(keys)], dict(zip(strange, found[len(keys) :], strict=True))
        away, delay = await self._look_at(found)
        started = []
        for (delivery, claim), blob in zip(claims, data, strict=True):
            beside = besides.get(claim.object_key)
            span = spans.get(claim.correlation_id)
            if isinstance(beside, Unavailable):
                # It may be there, and say what this is; refused by a store that answers, it is none.
                blob, beside = (beside if away else blob), None
            if isinstance(blob, Unavailable):
                back = Released(claim.correlation_id, claim.attempt, delay)
                started.append(ClaimedMessage(delivery, claim, None, back, span))
                continue
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
            started.append(ClaimedMessage(delivery, claim, blob, problem, span, sidecar.read(beside)))
        return started, away

    async def _look_at(self, outcome: Sequence[object]) -> tuple[Unavailable | None, float]:
        """Tell a store that is away (and why) from one that refuses these objects and serves others; also
        the delay after which those that failed are tried again."""
        reasons = {str(one): one for one in outcome if isinstance(one, Unavailable)}
        if not reasons:
            return None, 0.0
        first = next(iter(reasons.values()))
        try:
            await self._store.check()
        except Unavailable:
            return first, UNAVAILABLE_DELAY_SECONDS
        for reason in list(reasons.values())[:_MOST_TOLD]:
            events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, detail=reason.detail)
        return None, BESIDE_DELAY_SECONDS

    # -- ending ------------------------------------------------------------------------------------

    async def persist(self, batch: Sequence[AttemptOutcome]) -> list[tuple[AttemptOutcome, Result]]:
        """Bind and write what attempts made; returns a result for each attempt whose token is still good.

        Raises `Unavailable`: store the same batch again.
        """
        faults.reach("worker.ran", len(batch))
        return await self._store_products(batch)

    async def end(
        self, batch: Sequence[AttemptOutcome], results: Sequence[tuple[AttemptOutcome, Result]]
    ) -> None:
        """End attempts in one transaction, call their children, ack.

        Args:
            batch: all of them.
            results: as `persist` returned them.

        Raises `Unavailable`: end the same again; each step may be repeated, also one that happened and
        whose answer was lost.
        """
        finished = await self._catalog.finish(self._worker, [r for _, r in results])
        # What is repeated was told, counted and let go of the first time; by now the message may be worked
        # here under another call.
        ending_now = {id(e) for e in batch if self._holds(e)}
        for e in batch:
            if id(e) in ending_now:
                del self._working[e.started.claim.correlation_id]
        faults.reach("worker.committed", len(results))
        children: list[Dispatch] = []
        for (ended, result), answer in zip(results, finished, strict=True):
            if answer is not None:
                children += _below(ended, answer.children) if self._tracer.on else answer.children
            if id(ended) not in ending_now:
                continue
            if answer is None:
                _tell_fenced(ended)
            elif answer.cancelled:
                _end_span(ended, "cancelled")  # neither tried again nor a dead letter
            else:
                _tell(ended, result)
                self._count(ended, result)
        if not await self._relay(children):
            return  # stopping, broker away: not acked, so the next worker publishes them
        faults.reach("worker.marked", len(results))
        await self._broker.ack([e.started.delivery for e in batch])
        faults.reach("worker.acked", len(batch))
        await ending.end_executions(self._catalog, sorted({e.started.claim.execution_id for e in batch}))
        faults.reach("worker.checked", len(batch))

    def _holds(self, ended: AttemptOutcome) -> bool:
        started = ended.started
        return self._working.get(started.claim.correlation_id) == started.delivery.message_id

    def _count(self, ended: AttemptOutcome, result: Result) -> None:
        claim = ended.started.claim
        route = self._counters.of(claim.config, claim.route)
        if ended.seconds is not None:
            route.attempt_seconds.add(ended.seconds)
        if isinstance(result, Done):
            route.completed += 1
            # By the clocks of two machines: one that is behind must not make it negative.
            route.age_seconds.add(max(ids.now() - ids.created_at(claim.correlation_id), 0.0))
        elif isinstance(result, Released):
            route.released += 1
        elif result.delay is None:
            route.dead += 1
        else:
            route.retried += 1

    async def _store_products(self, batch: Sequence[AttemptOutcome]) -> list[tuple[AttemptOutcome, Result]]:
        """Bind and write; returns a result for each attempt whose token is still good."""
        results: dict[int, Result] = {}
        todo: list[tuple[int, AttemptOutcome, list[NewOutput]]] = []
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
        self, todo: list[tuple[int, AttemptOutcome, list[NewOutput]]], results: dict[int, Result]
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
        outcome: WriteResult
        try:
            outcome = await self._store.write(groups, written=_written)
        except StoreFull:
            raise
        except Unavailable as exc:
            outcome = [exc] * len(groups)
        away, delay = await self._look_at(outcome)
        if away and all(isinstance(one, Unavailable) for one in outcome):
            raise away
        for (i, claim), conflict in zip(of, outcome, strict=True):
            if isinstance(conflict, MessageError):
                results[i] = Failed(claim.correlation_id, claim.attempt, conflict.code, conflict.detail)
            elif isinstance(results.get(i), Failed):
                continue
            elif conflict:
                results[i] = Released(claim.correlation_id, claim.attempt, delay)
            elif i not in results:
                results[i] = Done(claim.correlation_id, claim.attempt, keys[i])

    async def _relay(self, children: Sequence[Dispatch]) -> bool:
        """Publish calls and mark them; False when told to stop before the broker took or refused each.

        What a broker does not take for a while is left to the reconciler, and what made it is acked: a
        broker without room gets some by acks alone. What comes after it is not waited for as long.
        """
        pause = _FIRST_PAUSE
        left = list(children)
        tries = _MOST_TRIES - 1 if self._stuck else 0
        while left:
            sent = await relay.publish(self._broker, left)
            settled = len(sent.confirmed) + len(sent.refused)
            tries += 1
            if settled:
                faults.reach("worker.published", settled)
                await self._catalog.mark_published(sent.confirmed, refused=sent.refused)
                relay.tell_marked(sent, self._counters)
            left = sent.uncertain
            if left:
                if not self._going_on():
                    return False
                if tries >= _MOST_TRIES:
                    if sent.away:
                        relay.tell_away(sent.away)
                    self._stuck = True
                    await self._catalog.mark_published([], left=left)
                    return True
                await self._sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
        if children:
            self._stuck = False
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


def _blobs(ended: AttemptOutcome, outputs: Sequence[NewOutput], bound: Sequence[Bound]) -> list[list[Blob]]:
    """One group an output: its sidecar, then its bytes."""
    claim, stage = ended.started.claim, ended.stage or ""
    return [
        [
            sidecar.of_output(claim, stage, output, where, ended.adapters or []),
            Blob(where.key, product.data, product.content_type),
        ]
        for product, output, where in zip(ended.products, outputs, bound, strict=True)
    ]


def _below(ended: AttemptOutcome, children: Sequence[Dispatch]) -> Sequence[Dispatch]:
    """Calls of children that name the attempt that made them, in place of what their execution was made
    under. Whoever calls them later, from their rows, knows only that; the trace is the same."""
    span = ended.started.span
    if span is None or not children:
        return children
    shared = {id(call.headers): call.headers for call in children}
    below = {at: replace(headers, traceparent=span.traceparent) for at, headers in shared.items()}
    return [call._replace(headers=below[id(call.headers)]) for call in children]


def _end_span(ended: AttemptOutcome, outcome: str, why: str | None = None) -> None:
    if span := ended.started.span:
        if why is not None:
            span.fail(why)
        span.set({"playhead.outcome": outcome})
        span.end()


def _ids(ended: AttemptOutcome) -> dict[str, Any]:
    claim, span = ended.started.claim, ended.started.span
    traced = {"trace_id": trace_of(span.traceparent)} if span else {}
    return traced | {
        "correlation_id": str(claim.correlation_id),
        "execution_id": str(claim.execution_id),
        "config": claim.config,
        "route": claim.route,
        "attempt": claim.attempt,
    }


def _tell_fenced(ended: AttemptOutcome) -> None:
    _end_span(ended, "fenced")
    events.emit(events.MESSAGE_FENCED, logging.WARNING, **_ids(ended))


def _tell(ended: AttemptOutcome, result: Result) -> None:
    if isinstance(result, Failed):
        dead = result.delay is None
        _end_span(ended, "dead" if dead else "retry", f"{result.code}: {result.error}")
        name, level = (
            (events.MESSAGE_DEAD, logging.ERROR) if dead else (events.MESSAGE_RETRIED, logging.WARNING)
        )
        events.emit(name, level, **_ids(ended), code=result.code, error=result.error)
    elif isinstance(result, Released):
        _end_span(ended, "released")
        events.emit(events.MESSAGE_RELEASED, logging.WARNING, **_ids(ended))
    else:
        _end_span(ended, "completed")
        if events.LOG.isEnabledFor(logging.DEBUG):
            events.emit(
                events.MESSAGE_COMPLETED,
                logging.DEBUG,
                **_ids(ended),
                outputs=len(result.keys),
                seconds=ended.seconds,
            )
