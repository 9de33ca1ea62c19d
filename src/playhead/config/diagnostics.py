"""The faults of a config: their codes, and the list that is filled while one is read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple

from playhead.model import Diagnostic

CODES: Final = {
    "E001": "The source is not YAML.",
    "E002": "A mapping has the same key twice.",
    "E003": "The source is too large, too deep, not UTF-8, or its aliases blow it up.",
    "E101": "No such key.",
    "E102": "A required key is missing.",
    "E103": "The value has the wrong type.",
    "E104": "The value is out of range, or does not look as it must.",
    "E201": "No adapter of that name is loaded.",
    "E202": "The adapter is loaded, but the operator does not allow it.",
    "E203": "The adapter's config lacks a required field.",
    "E204": "The adapter's config has a field that the adapter does not know.",
    "E205": "A field of the adapter's config has a bad value.",
    "E301": "`entry` names no route.",
    "E302": "`to` names no route.",
    "E303": "Routes feed each other in a circle.",
    "E304": "Two routes store into one stage.",
    "E305": "One stage lies inside another.",
    "E306": "The stage's name is reserved.",
    "E307": "The queue belongs to another route.",
    "E308": "The condition's regular expression can't be used.",
    "E309": "`to` names a route twice.",
    "E310": "An external route has adapters or an outbound.",
    "W101": "Nothing leads from `entry` to the route; only a replay reaches it.",
    "W102": "`prefetch` is under `concurrency` and was raised to it.",
    "W103": "An adapter with effects outside may run more than once for one message.",
    "W104": "The new version drops a route or a stage of the last one.",
}
"""What each code means. E0 stops the reading; all others are found in one pass."""

_SHOWN: Final = 60
_LISTED: Final = 10
_LONGEST_NAME: Final = 200
_COMPARISONS: Final = 20_000


class Mark(NamedTuple):
    """A place in the source. Both count from 1; a column is a character."""

    line: int
    column: int


class Diagnostics:
    """What was found so far, each fault once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, Mark], Diagnostic] = {}
        # A hostile config may misspell thousands of names against thousands; hints are not worth that.
        self._comparisons = _COMPARISONS
        self._patterns: set[str] = set()

    def add(self, code: str, at: Mark, path: str, message: str, suggestion: str | None = None) -> None:
        """Note a fault. A pydantic union reports one fault once a member: the first is kept."""
        severity: Literal["error", "warning"] = "warning" if code.startswith("W") else "error"
        fault = Diagnostic(severity, code, path, at.line, at.column, message, suggestion)
        self._found.setdefault((code, path, at), fault)

    def counts_pattern(self, pattern: str, most: int) -> bool:
        """Count a regular expression of the config, each once; False if it is one too many to compile."""
        self._patterns.add(pattern)
        return len(self._patterns) <= most

    @property
    def failed(self) -> bool:
        return any(fault.severity == "error" for fault in self._found.values())

    @property
    def stopped(self) -> bool:
        """Whether there is no document to go on with."""
        return any(fault.code.startswith("E0") for fault in self._found.values())

    def in_order(self) -> tuple[Diagnostic, ...]:
        """All faults by line and column; only those of level E0 when they stopped the reading."""
        only = "E0" if self.stopped else ""
        faults = [fault for fault in self._found.values() if fault.code.startswith(only)]
        return tuple(sorted(faults, key=lambda fault: (fault.line, fault.column, fault.code, fault.path)))

    def nearest(self, word: str, known: Iterable[str]) -> str | None:
        """The known name that was most likely meant, if any comes near."""
        names = list(known)
        self._comparisons -= len(names)
        if self._comparisons < 0 or len(word) > _LONGEST_NAME:
            return None
        by_lower = {name.lower(): name for name in reversed(names)}
        close = get_close_matches(word.lower(), by_lower, n=1)
        return by_lower[close[0]] if close else None


def shown(value: Any) -> str:
    """A value as it may stand in a message: JSON, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def listed(names: Iterable[str]) -> str:
    """Names for a message, the first few of them."""
    all_names = list(names)
    more = len(all_names) - _LISTED
    text = ", ".join(all_names[:_LISTED]) or "none"
    return f"{text} and {more} more" if more > 0 else text
