"""Rate limits of routes and steps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from playhead.config import declared
from playhead.config.diagnostics import shown
from playhead.config.fields import Pattern, Spot
from playhead.model import RateLimit

_KEY: Final = Pattern(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", re.ASCII),
    "letters, digits, `.`, `_`, `/` and `-`, at most 200, a letter or digit first",
    r"[^a-z0-9._/-]+",
)


def read_rate_limit(spot: Spot | None, default_key: str) -> RateLimit | None:
    """Return the `rate_limit` of a route or a step; None without one."""
    if spot is None:
        return None
    table = declared.table(spot, declared.RATE_LIMIT)
    return RateLimit(
        calls=declared.CALLS.read(table),
        seconds=declared.SECONDS.read(table),
        key=table.text("key", default_key, _KEY),
        burst=declared.BURST.read(table),
    )


def check_keys(limits: Iterable[tuple[RateLimit, Spot]]) -> None:
    """E311: limits with the same key have the same numbers."""
    first: dict[str, tuple[RateLimit, Spot]] = {}
    for limit, spot in limits:
        other, where = first.setdefault(limit.key, (limit, spot))
        if other != limit:
            spot.fault(
                "E311",
                f"key {shown(limit.key)} has other numbers in line {where.named.line}; limits with one key "
                "share their calls, so they must be equal",
                at_key=True,
            )
