"""Times that people write: RFC 3339 with an offset, or the time before now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Seconds of each unit."""


def duration(text: str) -> float:
    """Return the seconds of a duration that a person writes: `90s`, `30m`, `2h`, `7d`, `2w`.

    Raises:
        ValueError: the message continues a sentence that names the duration.
    """
    if found := _DURATION.fullmatch(text):
        return float(found[1]) * _UNITS[found[2]]
    raise ValueError("is not a duration: write for example 90s, 30m, 2h or 7d (units: s, m, h, d, w)")


def fixed_time(text: str, now: float) -> str:
    """Return a time of a request as RFC 3339 in UTC.

    Args:
        text: RFC 3339 with an offset, or the time before now: `-90s`, `-30m`, `-24h`, `-7d`, `-2w`.
        now: seconds since the epoch.

    Raises:
        ValueError: the message continues a sentence that names the time.
    """
    try:
        if text.startswith("-"):
            time = datetime.fromtimestamp(now, UTC) - timedelta(seconds=duration(text[1:]))
        elif _RFC_3339.fullmatch(text):
            time = datetime.fromisoformat(text.upper()).astimezone(UTC)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(
            "is not a time: write RFC 3339 with an offset, as in 2026-01-31T18:00:00Z, or the time before "
            "now, as in -24h or -7d (units: s, m, h, d, w)"
        ) from None
    return time.isoformat().replace("+00:00", "Z")


def fixed_times(now: float, **given: str | None) -> dict[str, Any]:
    """Return times of a request by their names, each as `fixed_time` returns it.

    Raises:
        ValueError: the message names the time.
    """
    found: dict[str, Any] = {}
    for name, text in given.items():
        try:
            found[name] = None if text is None else fixed_time(text, now)
        except ValueError as exc:
            raise ValueError(f"{name}: {text!r} {exc}") from None
    return found
