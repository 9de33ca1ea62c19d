"""Outputs of two executions are paired by content, so that one inserted part is one addition."""

from __future__ import annotations

from hashlib import sha256

import pytest

from playhead.ports.catalog.outputs import RecordedOutput
from playhead.reading.joining import Records
from playhead.reading.pairing import paired


def records(execution: str, texts: str) -> Records:
    """Return an output for each word, with a number as its name."""
    made: Records = {}
    for n, text in enumerate(texts.split(), 1):
        rest = f"parts/a/{n:04}.md"
        made[rest] = RecordedOutput(
            f"{execution}/{rest}", 1, sha256(text.encode()).digest(), "text/plain", None
        )
    return made


@pytest.mark.parametrize(
    ("left", "right", "states"),
    [
        ("a b c", "a b c", "same same same"),
        ("a b c", "new a b c", "added moved moved moved"),
        ("a b c", "a new b c", "same added moved moved"),
        ("a b c", "a c", "same moved missing"),
        ("a b c", "a b2 c", "same changed same"),
        ("a b c", "new a b2 c", "added moved changed moved"),
        ("a a a", "a a", "same same missing"),
        ("a b", "b a", "moved moved"),
        ("a b c", "x y z", "changed changed changed"),
        ("a b c", "x y z v", "changed changed changed added"),
        ("", "a", "added"),
        ("a", "", "missing"),
    ],
)
def test_parts_are_paired_by_content_then_by_path_and_place(left: str, right: str, states: str):
    assert [one.state for one in paired(records("e1", left), records("e2", right))] == states.split()


def test_each_output_is_in_one_pair_with_both_of_its_sides():
    found = paired(records("e1", "a b c d"), records("e2", "n a c2 d"))

    assert [(one.rest[-7:-3], one.state) for one in found] == [
        ("0001", "added"),
        ("0002", "moved"),
        ("0003", "changed"),
        ("0004", "same"),
        ("0002", "missing"),
    ]
    assert [one.left.key[-7:-3] for one in found if one.left] == ["0001", "0003", "0004", "0002"]
