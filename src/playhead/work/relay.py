"""Publish dispatches and sort them by the result. The replayer, the worker and the reconciler share this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from playhead import events
from playhead.counters import Counters
from playhead.envelope import Dispatch
from playhead.errors import Unavailable
from playhead.ports.broker import PublishResult


class Publisher(Protocol):
    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]: ...


@dataclass(slots=True)
class Published:
    """Dispatches by the result of one publish.

    Attributes:
        unavailable: why the broker cannot be reached; None if it can.
        why: the broker's reason for the first uncertain one, or empty.
    """

    confirmed: list[Dispatch] = field(default_factory=list)
    refused: list[tuple[Dispatch, str]] = field(default_factory=list)
    uncertain: list[Dispatch] = field(default_factory=list)
    unavailable: Unavailable | None = None
    why: str = ""


async def publish(broker: Publisher, dispatches: Sequence[Dispatch]) -> Published:
    """Publish once. If the broker cannot be reached, all are uncertain and `unavailable` is set."""
    try:
        results = await broker.publish(dispatches)
    except Unavailable as exc:
        return Published(uncertain=list(dispatches), unavailable=exc, why=exc.detail)
    published = Published()
    if all(one.result == "confirmed" for one in results):
        published.confirmed = list(dispatches)
        return published
    for dispatch, one in zip(dispatches, results, strict=True):
        if one.result == "confirmed":
            published.confirmed.append(dispatch)
        elif one.result == "refused":
            published.refused.append((dispatch, one.reason))
        else:
            published.uncertain.append(dispatch)
            published.why = published.why or one.reason
    if published.uncertain:
        events.emit(
            events.NOT_TAKEN,
            queue=", ".join(sorted({dispatch.headers.queue for dispatch in published.uncertain})),
            count=len(published.uncertain),
            detail=published.why,
        )
    return published


def log_unavailable(why: Unavailable) -> None:
    """Log that a backend cannot be reached, where no caller does."""
    events.emit(events.BACKEND_UNAVAILABLE, code=why.code, detail=why.detail)


def report_marked(published: Published, counters: Counters) -> None:
    """Log and count the outcomes that rows got by being marked.

    Refused dispatches are dead letters. Confirmed dispatches of external routes are completed.
    """
    for dispatch in published.confirmed:
        if dispatch.external:
            counters.of(dispatch.headers.config, dispatch.headers.route).completed += 1
    for dispatch, why in published.refused:
        headers = dispatch.headers
        counters.count_dead(headers.config, headers.route)
        events.emit(
            events.MESSAGE_DEAD,
            correlation_id=dispatch.correlation_id,
            execution_id=str(headers.execution_id),
            config=headers.config,
            route=headers.route,
            code="publish_refused",
            error=why,
        )
