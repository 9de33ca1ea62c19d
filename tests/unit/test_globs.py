"""Globs: what they match, what is refused, and that matching is never slow."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, strategies as st

from playhead.globs import compile_glob
from tests.slowness import slowness

MATCHES = {
    "*.md": {"a.md", ".md"},
    "**/*.md": {"a.md", ".md", "x/b.md", "x/c.md", "x/y/c.md", "x/y/z/c.md"},
    "x/**": {"x", "x/y", "x/b.md", "x/c.md", "x/y/c.md", "x/y/z/c.md"},
    "x/**/c.md": {"x/c.md", "x/y/c.md", "x/y/z/c.md"},
    "x/*/c.md": {"x/y/c.md"},
    "**/y/**": {"y", "x/y", "x/y/c.md", "x/y/z/c.md"},
    "?.md": {"a.md"},
    "[ab].md": {"a.md"},
    "[!ab].md": set(),
    "**": {"a.md", ".md", "x", "x/b.md", "x/c.md", "x/y", "x/y/c.md", "x/y/z/c.md", "y", "x.html"},
}
PATHS = set.union(*MATCHES.values())


@pytest.mark.parametrize("glob", MATCHES)
def test_a_glob_matches_whole_paths(glob: str):
    matches = compile_glob(glob)
    assert {path for path in PATHS if matches(path)} == MATCHES[glob]


@pytest.mark.parametrize(
    ("glob", "matched", "not_matched"),
    [
        ("a.b", ["a.b"], ["axb", "a.b/c", "A.b"]),
        ("[]]", ["]"], ["[", ""]),
        ("[!]]", ["[", "é"], ["]", "/", "ab"]),
        ("[^]]", ["["], ["]"]),
        ("[a-c-]", ["a", "b", "c", "-"], ["d"]),
        ("[+-9]", ["+", "5"], ["/"]),
        ("[[]*[*]", ["[*", "[x*"], ["[x"]),
        ("[&&~~||]", ["&", "~", "|"], ["a"]),
        (r"[\w]\d", [r"w\d", r"\\d"], ["ad", r"a\d", "15"]),
        ("(a|b)+$", ["(a|b)+$"], ["a", "b"]),
        ("a*b", ["ab", "a\nb", "a--b"], ["a/b", "abc"]),
    ],
)
def test_only_the_characters_of_globs_are_special(glob: str, matched: list[str], not_matched: list[str]):
    matches = compile_glob(glob)
    assert [path for path in matched + not_matched if matches(path)] == matched


@pytest.mark.parametrize(
    ("glob", "why"),
    [
        ("", "empty segment"),
        ("/a", "empty segment"),
        ("a/", "empty segment"),
        ("a//b", "empty segment"),
        ("**.md", "next to other characters"),
        ("a/***/b", "next to other characters"),
        ("[ab", "without `]`"),
        ("[]", "without `]`"),
        ("[a/b]", "without `]`"),
        ("[z-a]", "range z-a"),
        ("cafe\u0301", "NFC"),
    ],
)
def test_a_glob_that_could_not_match_as_meant_is_refused(glob: str, why: str):
    with pytest.raises(ValueError, match=why):
        compile_glob(glob)


def simple(glob: str, path: str) -> bool:
    """The same by trying everything, for globs without `[`."""

    def within(pattern: str, segment: str) -> bool:
        if not pattern:
            return not segment
        if pattern[0] == "*":
            return any(within(pattern[1:], segment[n:]) for n in range(len(segment) + 1))
        return bool(segment) and pattern[0] in ("?", segment[0]) and within(pattern[1:], segment[1:])

    def across(patterns: list[str], segments: list[str]) -> bool:
        if not patterns:
            return not segments
        if patterns[0] == "**":
            return any(across(patterns[1:], segments[n:]) for n in range(len(segments) + 1))
        return bool(segments) and within(patterns[0], segments[0]) and across(patterns[1:], segments[1:])

    return across(glob.split("/"), path.split("/"))


segments = st.text("ab", min_size=1, max_size=6)
patterns = st.text("ab?*", min_size=1, max_size=6).filter(lambda text: "**" not in text)


@given(
    glob=st.lists(patterns | st.just("**"), min_size=1, max_size=6).map("/".join),
    path=st.lists(segments, min_size=1, max_size=6).map("/".join),
)
@example(glob="**/a/**/b", path="a/b/a/b")
@example(glob="*a*b", path="aabb")
@example(glob="**/*a/b/**", path="aa/a/b")
def test_a_glob_matches_what_trying_everything_finds(glob: str, path: str):
    assert compile_glob(glob)(path) is simple(glob, path)


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("*a" * 400 + "b", "a" * 900),
        ("*a" + "?" * 400 + "b", "a" * 900),
        ("**/a/" * 150 + "b", "a/" * 450 + "a"),
        ("**/*a*a*a/" * 60 + "b", "aaaa/" * 180 + "a"),
        ("**/" + "a/" * 200 + "b", "a/" * 450 + "a"),
        ("**/" + "*a*a*a*a*a/" * 60 + "**/c", "aaaaaaaaaaab/" * 70 + "d"),
        ("*" + "[a-z]" * 150 + "*" + "[a-y]" * 50 + "0", "z" * 900),
    ],
)
def test_no_glob_takes_long(glob: str, path: str):
    matches = compile_glob(glob)
    began = time.process_time()
    assert not matches(path)
    assert time.process_time() - began < 0.1 * slowness()
