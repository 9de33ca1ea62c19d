"""Publish calls and sort what came of them. Shared by the replayer, the worker and the reconciler."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from playhead import events
from playhead.counters import Counters
from playhead.envelope import Dispatch
from playhead.errors import Unavailable
from playhead.ports.broker import PublishResult

Sleep = Callable[[float], Awaitable[None]]
"""How a loop waits: `asyncio.sleep`, or a step of a schedule in a test."""


class Publisher(Protocol):
    async def publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]: ...


@dataclass(slots=True)
class Published:
    """Calls by what became of them.

    Attributes:
        away: the broker could not be reached.
        why: what it has against the first of the uncertain ones; empty without any.
    """

    confirmed: list[Dispatch] = field(default_factory=list)
    refused: list[tuple[Dispatch, str]] = field(default_factory=list)
    uncertain: list[Dispatch] = field(default_factory=list)
    away: Unavailable | None = None
    why: str = ""


async def publish(broker: Publisher, calls: Sequence[Dispatch]) -> Published:
    """Publish once. A broker that can't be reached leaves all of them uncertain, and is named in `away`."""
    try:
        outcomes = await broker.publish(calls)
    except Unavailable as exc:
        return Published(uncertain=list(calls), away=exc, why=exc.detail)
    sorted_out = Published()
    if all(o.result == "confirmed" for o in outcomes):
        sorted_out.confirmed = list(calls)
        return sorted_out
    for call, outcome in zip(calls, outcomes, strict=True):
        if outcome.result == "confirmed":
            sorted_out.confirmed.append(call)
        elif outcome.result == "refused":
            sorted_out.refused.append((call, outcome.reason))
        else:
            sorted_out.uncertain.append(call)
            sorted_out.why = sorted_out.why or outcome.reason
    if sorted_out.uncertain:
        events.emit(
            events.NOT_TAKEN,
            logging.WARNING,
            queue=", ".join(sorted({call.headers.queue for call in sorted_out.uncertain})),
            count=len(sorted_out.uncertain),
            detail=sorted_out.why,
        )
    return sorted_out


def tell_away(why: Unavailable) -> None:
    """Say that a broker can't be reached, where nobody else will."""
    events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, code=why.code, detail=why.detail)


def tell_marked(sent: Published, counters: Counters) -> None:
    """Tell and count what rows became by being marked: refused ones are dead, and of those of external
    routes the confirmed ones are completed."""
    for call in sent.confirmed:
        if call.external:
            counters.of(call.headers.config, call.headers.route).completed += 1
    for call, why in sent.refused:
        headers = call.headers
        counters.of(headers.config, headers.route).dead += 1
        events.emit(
            events.MESSAGE_DEAD,
            logging.ERROR,
            correlation_id=call.correlation_id,
            execution_id=str(headers.execution_id),
            config=headers.config,
            route=headers.route,
            code="publish_refused",
            error=why,
        )
