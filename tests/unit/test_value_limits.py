"""Values that users choose: one that breaks a limit cannot be constructed, and the error names the field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from playhead.ids import uuid7
from playhead.limits import InvalidValue, Limited, descriptions
from playhead.model import Canary, DepthPace, RatePace, ReplayRequest, Selection


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (RatePace, 0, "rate: 0 is out of range; use a number from 0.01 to 1,000,000"),
        (RatePace, -1, "rate: -1 is out of range"),
        (RatePace, math.nan, "rate: nan is out of range"),
        (RatePace, math.inf, "rate: inf is out of range"),
        (RatePace, "5", "rate: '5' is not a number"),
        (RatePace, True, "rate: True is not a number"),
        (DepthPace, 0, "queue_depth: 0 is out of range; use a number from 1 to 1,000,000"),
        (DepthPace, 1.5, "queue_depth: 1.5 is not a whole number"),
        (DepthPace, True, "queue_depth: True is not a whole number"),
        (Canary, 0, "objects: 0 is out of range; use a number from 1 to 10,000"),
    ],
)
def test_a_pace_or_a_canary_outside_its_range_cannot_be_constructed(kind: Any, value: Any, expected: str):
    with pytest.raises(InvalidValue, match=f"^{expected}"):
        kind(value)


@pytest.mark.parametrize("failed", [-1, 1.5, math.nan, 10_001])
def test_a_canary_tolerates_a_number_of_objects_or_a_share(failed: float):
    with pytest.raises(InvalidValue, match=r"^max_failed: "):
        Canary(5, failed)
    assert Canary(5, 0.25).max_failed == 0.25
    assert Canary(5, 2.0).max_failed == 2


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"include": ["*.md", "a//b"]}, "include: 'a//b' has an empty segment"),
        ({"include": ["*.md"] * 101}, "include: has 101 values; at most 100 are allowed"),
        ({"exclude": ["a" * 1001]}, "exclude: has 1,001 characters; at most 1,000 are allowed"),
        ({"exclude": ["[a"]}, "exclude: '\\[a' has a `\\[` without `]`"),
        ({"modified_before": "yesterday"}, "modified_before: 'yesterday' is not a time"),
        ({"content_type": ["text"]}, "content_type: 'text' is not a media type"),
        ({"content_type": ["*/*"]}, "content_type: '\\*/\\*' is not a media type"),
        ({"content_type": ["text/html; charset=utf-8"]}, "content_type: .* is not a media type"),
        ({"in_replay": uuid7()}, "in_replay: needs `only`"),
        ({"in_replay": "latest", "only": "failed"}, "in_replay: 'latest' is not a UUID"),
        ({"include": []}, "include: needs at least one text in a list"),
        ({"exclude": "*.md"}, "exclude: needs at least one text in a list"),
        ({"content_type": []}, "content_type: needs at least one text"),
        ({"attributes": {}}, "attributes: needs at least one name and value"),
        ({"only": "dead"}, "only: 'dead' is not failed or unfinished"),
        ({"limit": 0}, "limit: 0 is out of range; use a number from 1 to"),
    ],
)
def test_an_invalid_selection_cannot_be_constructed(fields: dict[str, Any], expected: str):
    with pytest.raises(InvalidValue, match=f"^{expected}"):
        Selection(**fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"config_version": 0}, "config_version: 0 is out of range"),
        ({"effects": "never"}, "effects: 'never' is not run or skip or refuse"),
        ({"effects": {"mail": "never"}}, "effects: 'never' is not run or skip or refuse"),
        ({"effects": {}}, "effects: needs at least one name and value"),
        ({"reason": "a" * 1001}, "reason: has 1,001 characters; at most 1,000"),
        ({"reason": "a\0b"}, "reason: has a NUL character; remove it"),
        ({"pace": 5}, "pace: 5 is not a RatePace"),
    ],
)
def test_an_invalid_request_cannot_be_constructed(fields: dict[str, Any], expected: str):
    with pytest.raises(InvalidValue, match=f"^{expected}"):
        ReplayRequest(uuid7(), "pages", None, "split", **fields)


def test_the_docstring_of_a_dataclass_describes_its_fields():
    @dataclass(frozen=True)
    class Base(Limited):
        """Base.

        Attributes:
            first, second: both,
                on two lines.
        """

    @dataclass(frozen=True)
    class Below(Base):
        """Below.

        Attributes:
            second: another one.
        """

    assert descriptions(Below) == {"first": "both, on two lines.", "second": "another one."}
