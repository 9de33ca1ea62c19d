"""What a replay was asked for, as the row of its job holds it: `jobs.options`, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import NamedTuple
from uuid import UUID

from playhead.model import Canary, DepthPace, OnReplay, Pace, RatePace, Selection
from playhead.ports.catalog.jobs import Managed


def pace_columns(pace: Pace | None) -> tuple[float | None, int | None]:
    """Return `pace_rate` and `pace_depth`."""
    if isinstance(pace, RatePace):
        return pace.rate, None
    return None, pace.queue_depth if pace else None


def pace_of(rate: float | None, depth: int | None) -> Pace | None:
    if rate is not None:
        return RatePace(rate)
    return DepthPace(depth) if depth is not None else None


class Options(NamedTuple):
    """See `Managed` and `open_replay` for the fields."""

    selection: Selection | None = None
    effects: Mapping[str, OnReplay] = {}
    canary: Canary | None = None
    reason: str | None = None
    webhook: str | None = None

    @classmethod
    def of(cls, managed: Managed | None, effects: Mapping[str, OnReplay]) -> Options:
        if managed is None:
            return cls(effects=effects)
        return cls(managed.selection, effects, managed.canary, managed.reason, managed.webhook)

    def encode(self) -> str | None:
        """Return the JSON text; None if nothing was asked for."""
        given = {
            name: asdict(value) if isinstance(value, Selection | Canary) else value
            for name, value in self._asdict().items()
            if value
        }
        return json.dumps(given, default=str) if given else None

    @classmethod
    def decode(cls, text: str | None) -> Options:
        given = json.loads(text or "{}")
        if selection := given.get("selection"):
            within = selection["in_replay"]
            given["selection"] = Selection(**selection | {"in_replay": UUID(within) if within else None})
        if canary := given.get("canary"):
            given["canary"] = Canary(**canary)
        return cls(**given)
