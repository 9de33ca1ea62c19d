"""Where a listing will be some pages on: a guess from the keys of one page.

Names are mostly numbered, dated or hashed, so a page says how far the next ones go: between its first
and its last key lies a distance, if the part in which they differ is read as a number. A guess may be
wrong in any way and only costs time: it parts a listing, and both parts together are the whole.
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
"""Characters from the first difference on that tell which alphabet it is, while the word lasts."""
_WORD: Final = re.compile(r"[\W_]")
_DIGITS: Final = 10
"""Places of the number behind the first difference: more than any page's distance needs."""
_STEPS: Final = 8
"""Into so many steps a page is cut, to see whether it only goes over from one folder to the next."""


def ahead(keys: Sequence[str], pages: float) -> str | None:
    """A string about `pages` times as far after the last key as that is after the first.

    Args:
        keys: of one page, in byte order.
        pages: how far to look ahead.

    Returns:
        What is greater than the last key and can be a key, though nothing need stand there. None where
        the names tell nothing.
    """
    marks = [keys[(len(keys) - 1) * step // _STEPS] for step in range(_STEPS + 1)]
    first, last = marks[0], marks[-1]
    at = _same(first, last)
    if "/" in last[at:]:
        turns = [step for step in range(_STEPS) if _same(marks[step], marks[step + 1]) <= at]
        if len(turns) == 1:
            # The folders are larger than a page, so the way from one to the next is no measure.
            since = turns[0] + 1
            if since == _STEPS:
                return None
            return _ahead(marks[since], last, pages * _STEPS / (_STEPS - since))
    return _ahead(first, last, pages)


def _same(one: str, other: str) -> int:
    """The number of characters that both begin with."""
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
    """Read it as a fraction: `2` comes after `19`. A character of another kind counts as its neighbour."""
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
