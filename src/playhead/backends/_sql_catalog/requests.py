"""What a replay was asked for, as the row of its job holds it: `jobs.request` and `jobs.effects`, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from playhead.model import DepthPace, OnReplay, Pace, RatePace, ReplayRequest


def encode(request: ReplayRequest) -> str:
    return json.dumps(request.body(), separators=(",", ":"))


def decode(text: str) -> ReplayRequest:
    return ReplayRequest.of_body(json.loads(text))


def decode_effects(text: str | None) -> Mapping[str, OnReplay]:
    """Return what a replay does in routes with external effects. Other jobs have no text."""
    found: Mapping[str, OnReplay] = json.loads(text or "{}")
    return found


def pace_columns(pace: Pace | None) -> tuple[float | None, int | None]:
    """Return `pace_rate` and `pace_depth`."""
    if isinstance(pace, RatePace):
        return pace.rate, None
    return None, pace.queue_depth if pace else None


def pace_of(rate: float | None, depth: int | None) -> Pace | None:
    if rate is not None:
        return RatePace(rate)
    return DepthPace(depth) if depth is not None else None
