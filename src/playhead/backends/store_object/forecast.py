"""Estimating the key that a listing will reach some pages later, from the keys of one page.

Most names are numbered, dated or hashed. So the part in which the first and last key of a page differ can be
read as a number, and their distance predicts the following pages. A wrong estimate costs only time: it
divides a listing in two, and the two parts together are complete.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from string import ascii_letters, ascii_lowercase, digits
from typing import Final

_ALPHABETS: Final = (
    digits,
    digits + "abcdef",
    digits + ascii_lowercase,
    "".join(sorted(digits + ascii_letters)),
)
_LOOK: Final = 4
"""The number of characters, from the first difference to the end of the word, that determine the alphabet."""
_WORD: Final = re.compile(r"[\W_]")
_DIGITS: Final = 10
"""Digits of the number after the first difference: more than the distance of any page needs."""
_STEPS: Final = 8
"""A page is divided into this many steps, to find a single change from one folder to the next."""


def ahead(keys: Sequence[str], pages: float) -> str | None:
    """Return a string about `pages` times as far after the last key as the last key is after the first.

    Args:
        keys: of one page, in byte order.
        pages: how far to look ahead.

    Returns:
        A possible key greater than the last key; no such object need exist. None if the names allow no
        estimate.
    """
    marks = [keys[(len(keys) - 1) * step // _STEPS] for step in range(_STEPS + 1)]
    first, last = marks[0], marks[-1]
    at = _same(first, last)
    if "/" in last[at:]:
        turns = [step for step in range(_STEPS) if _same(marks[step], marks[step + 1]) <= at]
        if len(turns) == 1:
            # The folders are larger than a page, so the distance between them predicts nothing.
            since = turns[0] + 1
            if since == _STEPS:
                return None
            return _ahead(marks[since], last, pages * _STEPS / (_STEPS - since))
    return _ahead(first, last, pages)


def _same(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def _ahead(first: str, last: str, times: float) -> str | None:
    at = _same(first, last)
    if not last[at : at + 1].isalnum():
        return None
    seen = set(_WORD.split(first[at : at + _LOOK])[0] + _WORD.split(last[at : at + _LOOK])[0])
    alphabet = next((alphabet for alphabet in _ALPHABETS if seen.issubset(alphabet)), None)
    if alphabet is None:
        return None
    start = at
    while start and last[start - 1] in alphabet:
        start -= 1
    width = at - start + _DIGITS
    here = _number(last[start : start + width], alphabet, width)
    step = here - _number(first[start : start + width], alphabet, width)
    there = here + int(step * times)
    if step <= 0 or there >= len(alphabet) ** width:
        return None
    found = last[:start] + _text(there, alphabet, width)
    return found if found > last else None


def _number(text: str, alphabet: str, width: int) -> int:
    """Read text as a fraction: `2` is after `19`. A character outside the alphabet counts as its
    neighbour."""
    number, base = 0, len(alphabet)
    for char in text.ljust(width, alphabet[0]):
        number = number * base + min(bisect_left(alphabet, char), base - 1)
    return number


def _text(number: int, alphabet: str, width: int) -> str:
    chars: list[str] = []
    for _ in range(width):
        number, digit = divmod(number, len(alphabet))
        chars.append(alphabet[digit])
    return "".join(reversed(chars))
