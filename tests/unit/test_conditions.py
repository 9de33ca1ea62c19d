"""Conditions: which items go through a step."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from playhead import Item
from playhead.model import Condition
from playhead.steps.conditions import compile_condition, dropped_because

ITEM = Item(
    "guide/page.md",
    b"12345",
    "text/markdown",
    {
        "title": "A page",
        "part": 3,
        "draft": True,
        "score": 0.5,
        "none": None,
        "tags": ["x"],
        "a.b": 1,
        "accent": "café été",
        "half": "a\ud800",
    },
    stage="converted",
)


@pytest.mark.parametrize(
    ("field", "operator", "value", "admitted"),
    [
        ("content_type", "equals", "text/markdown", True),
        ("content_type", "equals", "text/html", False),
        ("path", "equals", "guide/page.md", True),
        ("stage", "not_equals", "input", True),
        ("size", "equals", 5, True),
        ("attributes.title", "equals", "A page", True),
        ("attributes.a.b", "equals", 1, True),
        ("attributes.tags", "equals", ["x"], True),
        ("attributes.none", "equals", None, True),
        ("attributes.missing", "equals", None, False),
        ("attributes.missing", "not_equals", "x", True),
        ("attributes.draft", "equals", True, True),
        ("attributes.draft", "equals", 1, False),
        ("attributes.part", "equals", 3.0, True),
        ("content_type", "in", ["text/plain", "text/markdown"], True),
        ("content_type", "in", [], False),
        ("content_type", "not_in", ["text/plain"], True),
        ("attributes.missing", "in", ["x", None], False),
        ("attributes.missing", "not_in", ["x"], True),
        ("attributes.draft", "in", [1], False),
        ("path", "matches", r"guide/.*\.md", True),
        ("path", "matches", r"guide/", False),
        ("size", "matches", r"\d+", False),
        ("attributes.accent", "matches", r"caf. \pL+", True),
        ("attributes.half", "matches", r"a.", True),
        ("attributes.missing", "matches", r".*", False),
        ("attributes.title", "exists", None, True),
        ("attributes.none", "exists", True, True),
        ("attributes.missing", "exists", None, False),
        ("attributes.missing", "exists", False, True),
        ("attributes.title", "exists", False, False),
        ("size", "gt", 4, True),
        ("size", "gt", 5, False),
        ("size", "gte", 5, True),
        ("size", "lt", 5, False),
        ("size", "lte", 5, True),
        ("attributes.score", "lt", 1, True),
        ("path", "gt", "a", True),
        ("path", "gt", 1, False),
        ("size", "lt", "9", False),
        ("attributes.draft", "gte", 0, False),
        ("attributes.missing", "lt", 1, False),
        ("attributes.tags", "gt", ["a"], False),
    ],
)
def test_a_condition_accepts_matching_items(field, operator, value, admitted):
    assert compile_condition(Condition(field, operator, value))(ITEM) is admitted


def test_unknown_fields_and_operators_are_named():
    with pytest.raises(ValueError, match="attribute"):
        compile_condition(Condition("attribute", "exists"))
    with pytest.raises(ValueError, match="like"):
        compile_condition(Condition("path", "like", "x"))  # type: ignore[arg-type]


def test_content_types_are_compared_without_their_parameters():
    """Web servers send `text/html; charset=utf-8`."""
    item = Item("page.html", b"", "Text/HTML; charset=utf-8")
    assert compile_condition(Condition("content_type", "equals", "text/html"))(item)
    assert not compile_condition(Condition("content_type", "matches", "text/html;.*"))(item)
    assert (
        dropped_because(Condition("content_type", "equals", "x"), item) == ": its content type is text/html"
    )
    assert dropped_because(Condition("path", "equals", "x"), item) == ""


@pytest.mark.parametrize("pattern", [r"(\w+\s?)*", r"(a+)+b", r"(a|a)*b", r"(.*a){20}b"])
def test_no_pattern_backtracks(pattern):
    before = time.process_time()
    admits = compile_condition(Condition("attributes.text", "matches", pattern))
    assert not admits(Item("x", b"", attributes={"text": "a" * 100_000 + "!"}))
    assert time.process_time() - before < 5


def test_the_pattern_library_is_imported_only_for_a_condition_with_a_pattern():
    probe = (
        "import sys, playhead.steps.conditions as c; from playhead.model import Condition; "
        "c.compile_condition(Condition('path', 'equals', 'x')); sys.exit('re2' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


@pytest.mark.parametrize("pattern", ["a" * 201, r"\pL" * 66, "(?=a)", r"(a)\1", "a{1001}"], ids=repr)
def test_a_pattern_that_is_too_large_or_not_of_re2_is_refused_at_once(pattern):
    before = time.process_time()
    with pytest.raises(ValueError):
        compile_condition(Condition("path", "matches", pattern))
    assert time.process_time() - before < 1
