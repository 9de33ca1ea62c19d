"""Report attempts: one log line each, counters, and a span from the claim to the outcome."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from playhead import events, ids
from playhead.counters import Counters
from playhead.envelope import Dispatch, Headers
from playhead.ports.broker import Delivery
from playhead.ports.catalog.work import Claim, Done, Failed, Refusal, Released, Result
from playhead.ports.tracer import Span, Tracer, nearest, trace_of
from playhead.work.attempt import AttemptOutcome


def start_span(tracer: Tracer, delivery: Delivery, claim: Claim) -> Span | None:
    """Start the span of an attempt, ended by `report_outcomes` or `report_fenced`. None if traces are off."""
    if not tracer.on:
        return None
    return tracer.start(
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


def with_span(outcome: AttemptOutcome, children: Sequence[Dispatch]) -> Sequence[Dispatch]:
    """Return the children's dispatches with the attempt's span as parent, in place of the execution's.

    Later dispatches of the same rows have only the execution's span. The trace is the same.
    """
    span = outcome.message.span
    if span is None or not children:
        return children
    # `Headers` compares by identity, and one instance is shared by a batch: it stays shared.
    own: dict[Headers, Headers] = {}
    for dispatch in children:
        if dispatch.headers not in own:
            own[dispatch.headers] = replace(dispatch.headers, traceparent=span.traceparent)
    return [dispatch._replace(headers=own[dispatch.headers]) for dispatch in children]


def report_lost(refusal: Refusal, counters: Counters) -> None:
    """Report a message that the claim closed as dead because its last attempts ended with their workers."""
    counters.count_dead(refusal.config, refusal.route)
    events.emit(
        events.MESSAGE_DEAD,
        correlation_id=str(refusal.correlation_id),
        execution_id=str(refusal.execution_id),
        config=refusal.config,
        route=refusal.route,
        code="worker_lost",
    )


def report_fenced(outcome: AttemptOutcome) -> None:
    """Report an attempt whose token was no longer valid."""
    _end_span(outcome, "fenced")
    events.emit(events.MESSAGE_FENCED, **_ids(outcome))


def report_cancelled(outcome: AttemptOutcome) -> None:
    """Report an attempt that failed or was released in a cancelled execution: no retry, no dead letter."""
    _end_span(outcome, "cancelled")


def report_outcomes(ended: Sequence[tuple[AttemptOutcome, Result]], counters: Counters) -> None:
    """Report attempts whose results the catalog has recorded together.

    Of failures with the same error that are retried, such as those of one call with many items, only the
    first is a warning. It has their number.
    """
    alike = Counter(_failure(*one) for one in ended)
    for outcome, result in ended:
        _report_outcome(outcome, result, counters, alike.pop(_failure(outcome, result), 0))


def _failure(outcome: AttemptOutcome, result: Result) -> tuple[UUID, str, str, str] | None:
    """Return what failures have in common that are logged once; None for other results."""
    if not isinstance(result, Failed) or result.delay is None:
        return None
    return outcome.claim.execution_id, outcome.claim.route, result.code, result.error


def _report_outcome(outcome: AttemptOutcome, result: Result, counters: Counters, alike: int) -> None:
    """Report an attempt.

    Args:
        alike: number of failures that one line reports; 0 if this one is reported already.
    """
    _count(outcome, result, counters)
    if isinstance(result, Failed):
        is_dead = result.delay is None
        _end_span(outcome, "dead" if is_dead else "retry", f"{result.code}: {result.error}")
        about = _ids(outcome) | {"code": result.code, "error": result.error}
        if is_dead:
            events.emit(events.MESSAGE_DEAD, **about)
        else:
            about |= {"count": alike} if alike > 1 else {}
            level = logging.WARNING if alike else logging.DEBUG
            events.emit(events.MESSAGE_RETRIED, level, **about)
    elif isinstance(result, Released):
        _end_span(outcome, "released")
        # `cooldown_started` or `route_waits` has reported the reason once for all messages.
        is_reported = outcome.cooldown or outcome.not_run or outcome.is_reported
        level = logging.DEBUG if is_reported else logging.WARNING
        events.emit(events.MESSAGE_RELEASED, level, **_ids(outcome))
    elif result.skip:
        _end_span(outcome, "skipped")
        events.emit(events.MESSAGE_SKIPPED, **_ids(outcome), reason=result.skip.reason)
    else:
        _end_span(outcome, "completed")
        if events.LOG.isEnabledFor(logging.DEBUG):
            events.emit(
                events.MESSAGE_COMPLETED, **_ids(outcome), outputs=len(result.keys), seconds=outcome.seconds
            )


def _count(outcome: AttemptOutcome, result: Result, counters: Counters) -> None:
    claim = outcome.claim
    route = counters.of(claim.config, claim.route)
    if outcome.seconds is not None:
        route.attempt_seconds.add(outcome.seconds)
    if isinstance(result, Done):
        route.completed += 1
        # The two times come from two machines: a clock that is behind must not make the age negative.
        route.age_seconds.add(max(ids.now() - ids.created_at(claim.correlation_id), 0.0))
    elif isinstance(result, Released):
        if outcome.is_made or result.delay is not None:  # else it only waited for the end of a cooldown
            route.released += 1
        if outcome.cooldown:
            route.rate_limited += 1
    elif result.delay is None:
        counters.count_dead(claim.config, claim.route)
    else:
        route.retried += 1


def _end_span(outcome: AttemptOutcome, name: str, why: str | None = None) -> None:
    if span := outcome.message.span:
        if why is not None:
            span.fail(why)
        span.set({"playhead.outcome": name})
        span.end()


def _ids(outcome: AttemptOutcome) -> dict[str, Any]:
    claim, span = outcome.claim, outcome.message.span
    traced = {"trace_id": trace_of(span.traceparent)} if span else {}
    return traced | {
        "correlation_id": str(claim.correlation_id),
        "execution_id": str(claim.execution_id),
        "config": claim.config,
        "route": claim.route,
        "attempt": claim.attempt,
    }
