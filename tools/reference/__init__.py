"""The reference pages: what stands in them between two marks is written from the code.

    <!-- from the code: NAME -->
    …
    <!-- end -->

`make reference` writes all of them; a test says so where one differs. What stands outside the marks is
written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / "docs" / "reference"

_MARKED: Final = re.compile(r"(<!-- from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Parts = Mapping[str, Callable[[], str]]


class MarksDiffer(Exception):
    """A page lacks a mark that the generator writes to, or has one that it does not know."""


def filled(page: str, text: str, parts: Parts) -> str:
    """A page with what stands between its marks written anew.

    Args:
        page: its name, for a reader.
        text: as it is.
        parts: what to write, by mark; each is asked once.

    Raises:
        MarksDiffer: with the name of the page, and of the marks.
    """
    there = [found[2] for found in _MARKED.finditer(text)]
    if sorted(there) != sorted(parts):
        raise MarksDiffer(f"{page} has the marks {sorted(there)}; the generator writes {sorted(parts)}")
    return _MARKED.sub(lambda found: f"{found[1]}\n{parts[found[2]]().strip()}\n\n{found[3]}", text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in markdown. Cells hold markdown; line breaks and bars are made harmless."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return re.sub(r"\|  (?=\|)", "| ", "\n".join(f"| {' | '.join(line)} |" for line in lines))


def _cell(value: object) -> str:
    text = " ".join(str("" if value is None else value).split())
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def code(text: object) -> str:
    """A piece of code within a line."""
    return f"`{text}`"
