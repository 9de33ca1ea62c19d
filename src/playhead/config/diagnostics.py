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
    "E003": "The source is too large, too deep, not UTF-8, or too large after its aliases are expanded.",
    "E101": "Unknown key.",
    "E102": "A required key is missing.",
    "E103": "The value has the wrong type.",
    "E104": "The value is out of range or has the wrong form.",
    "E201": "No adapter of that name is loaded.",
    "E202": "The adapter is loaded, but the operator does not allow it.",
    "E203": "The adapter's config lacks a required field.",
    "E204": "The adapter's config has an unknown field.",
    "E205": "A field of the adapter's config has an invalid value.",
    "E206": "A reference to a secret is invalid.",
    "E207": "A secret is written as text instead of as a reference.",
    "E208": "The adapter declares a return type that no step may return.",
    "E301": "`entry` names a route that does not exist.",
    "E302": "`to` names a route that does not exist.",
    "E303": "Routes form a cycle.",
    "E304": "Two routes store in the same stage.",
    "E305": "A stage is inside another stage.",
    "E306": "The name of the stage is reserved.",
    "E307": "The queue belongs to another route.",
    "E308": "The regular expression of a condition is invalid or too large.",
    "E309": "`to` names a route twice.",
    "E310": "An external route has adapters, an outbound or a rate limit.",
    "E311": "Two rate limits have the same key and different numbers.",
    "E312": "The last adapter always returns an output, and the route has no outbound.",
    "E313": "`retention` names a stage that no route has.",
    "E314": "`retention` has `records` and `stages`: records are deleted only after all objects.",
    "E315": "A dataset names a route that does not exist, or that belongs to another dataset.",
    "E316": "The operator does not allow the URL of a webhook.",
    "W101": "No path leads from `entry` to the route; only a replay reaches it.",
    "W102": "`prefetch` is below `concurrency` (times the size of batches) and was raised to it.",
    "W103": "An adapter with external effects may run more than once for one message.",
    "W104": "The new version lacks a route or a stage of the previous one.",
    "W105": "The process that checks the config cannot read a secret.",
    "W106": "A route has an adapter with external effects, and no `on_replay`.",
    "W107": "A route of a dataset has no stage, and no sink that follows it: its rows are visible at once.",
    "W108": "A dataset is published automatically, and a run of one file would remove all others.",
}
"""The meaning of each code. An E0 fault ends the check; all others are found in one pass."""

_SHOWN: Final = 60
_LISTED: Final = 10
_LONGEST_NAME: Final = 200
_COMPARISONS: Final = 20_000


class Mark(NamedTuple):
    """A place in the source. Both count from 1; a column is a character."""

    line: int
    column: int


class Diagnostics:
    """The faults found so far, each once."""

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
        """Whether there is no document to read."""
        return any(fault.code.startswith("E0") for fault in self._found.values())

    def in_order(self) -> tuple[Diagnostic, ...]:
        """All faults by line and column; only those of level E0 when they stopped the reading."""
        only = "E0" if self.stopped else ""
        faults = [fault for fault in self._found.values() if fault.code.startswith(only)]
        return tuple(sorted(faults, key=lambda fault: (fault.line, fault.column, fault.code, fault.path)))

    def nearest(self, word: str, known: Iterable[str]) -> str | None:
        """Return the known name that is most similar, if any is."""
        names = list(known)
        self._comparisons -= len(names)
        if self._comparisons < 0 or len(word) > _LONGEST_NAME:
            return None
        by_lower = {name.lower(): name for name in reversed(names)}
        close = get_close_matches(word.lower(), by_lower, n=1)
        return by_lower[close[0]] if close else None


def shown(value: Any) -> str:
    """Return a value for a message: as JSON, shortened if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def listed(names: Iterable[str]) -> str:
    """Return the first few names for a message."""
    all_names = list(names)
    more = len(all_names) - _LISTED
    text = ", ".join(all_names[:_LISTED]) or "none"
    return f"{text} and {more} more" if more > 0 else text
