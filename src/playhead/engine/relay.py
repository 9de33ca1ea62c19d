"""Publish calls and sort what came of them. Shared by the replayer, the worker and the reconciler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from playhead.envelope import Call
from playhead.errors import Unavailable
from playhead.ports.broker import Outcome

Rest = Callable[[float], Awaitable[None]]
"""How a loop waits: `asyncio.sleep`, or a step of a schedule in a test."""


class Publisher(Protocol):
    async def publish(self, calls: Sequence[Call]) -> list[Outcome]: ...


@dataclass(slots=True)
class Published:
    """Calls by what became of them."""

    confirmed: list[Call] = field(default_factory=list)
    refused: list[tuple[Call, str]] = field(default_factory=list)
    uncertain: list[Call] = field(default_factory=list)
    away: Unavailable | None = None


async def publish(broker: Publisher, calls: Sequence[Call]) -> Published:
    """Publish once. A broker that can't be reached leaves all of them uncertain, and is named in `away`."""
    try:
        outcomes = await broker.publish(calls)
    except Unavailable as exc:
        return Published(uncertain=list(calls), away=exc)
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
    return sorted_out
