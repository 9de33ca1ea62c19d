"""Globs of paths, matched in a time of at most the length of the glob times the length of the path.

Python's `re` backtracks: a plain translation of `*a*a*a*a*b` can take longer than any client waits. Here each
part between two stars is an atomic group, which keeps its leftmost match. No match is lost: if a later match
of the part leads to a match of the whole, so does the leftmost one, because a star follows. Only the part
after the last star is tried at several places. The same holds for the segments between two `**`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Final

_ANY_SEGMENTS: Final = "**"
_ONE: Final = "[^/]"


@lru_cache(10_000)
def compile_glob(glob: str) -> Callable[[str], bool]:
    """Return a test of whether a path as a whole matches a glob.

    `*` matches any text within a segment, `?` one character within a segment, and `[a-z]` or `[!a-z]` one of
    these characters or one of the others. A segment `**` matches any number of segments, also none.

    Raises:
        ValueError: the message continues a sentence that names the glob.
    """
    if not unicodedata.is_normalized("NFC", glob):
        raise ValueError("is not in Unicode normal form C (NFC), so it matches no path: normalize it")
    groups: list[list[str]] = [[]]
    for segment in glob.split("/"):
        if segment == _ANY_SEGMENTS:
            groups.append([])
        else:
            groups[-1].append(_segment(segment))
    first, *others = ["".join(group) for group in groups]
    text = first
    for group in others[:-1]:
        if group:
            text += rf"(?>(?:{_ONE}*+/)*?{group})"
    if others:
        text += rf"(?:{_ONE}*+/)*{others[-1]}"
    matches = re.compile(text).fullmatch
    return lambda path: matches(path + "/") is not None


def _segment(segment: str) -> str:
    """Return the expression of one segment and the `/` after it."""
    if not segment:
        raise ValueError(
            "has an empty segment: remove `/` at the beginning, replace `//` by `/`, and end with `/**` for "
            "all objects of a folder"
        )
    if _ANY_SEGMENTS in segment:
        raise ValueError("has `**` next to other characters: write `**` as a whole segment, as in `**/*.md`")
    pieces = [""]
    at = 0
    while at < len(segment):
        one = segment[at]
        if one == "*":
            pieces.append("")
        elif one == "?":
            pieces[-1] += _ONE
        elif one == "[":
            characters, at = _characters(segment, at + 1)
            pieces[-1] += characters
        else:
            pieces[-1] += re.escape(one)
        at += 1
    first, *others = pieces
    text = first + "".join(rf"(?>{_ONE}*?{piece})" for piece in others[:-1])
    if others:
        text += rf"{_ONE}*{others[-1]}"
    return rf"(?>{text})/"


def _characters(segment: str, at: int) -> tuple[str, int]:
    """Return the expression of a set of characters that begins after its `[`, and where its `]` is."""
    others = segment[at : at + 1] in ("!", "^")
    first = at + others
    end = segment.find("]", first + 1)  # a `]` in the first place is one of the characters
    if end < 0:
        raise ValueError("has a `[` without `]`: close it, or write `[[]` for the character `[`")
    text = ""
    at = first
    while at < end:
        low = high = segment[at]
        if segment[at + 1] == "-" and at + 2 < end:
            high = segment[at + 2]
            at += 2
        if low > high:
            raise ValueError(f"has the range {low}-{high}, whose end is before its start: exchange the two")
        text += re.escape(low) + (f"-{re.escape(high)}" if high != low else "")
        at += 1
    return (rf"[^/{text}]" if others else rf"(?!/)[{text}]"), end
