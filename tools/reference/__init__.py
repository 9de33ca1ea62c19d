"""Generator of the reference pages: it writes the text between these marks from the code.

    <!-- from the code: NAME -->
    …
    <!-- end -->

`make reference` writes all pages. A test fails if a page differs from the code. The text outside the marks is
written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
FOLDER: Final = DOCS / "reference"

_MARKED: Final = re.compile(r"(<!-- from the code: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Parts = Mapping[str, Callable[[], str]]


class MarksDiffer(Exception):
    """A page lacks a mark that the generator writes, or has a mark that the generator does not know."""


def filled(page: str, text: str, parts: Parts) -> str:
    """Return the text of a page with a new text between each pair of marks.

    Args:
        page: the name of the page, for the error.
        text: the current text.
        parts: functions that return the new text, by mark. Each is called once.

    Raises:
        MarksDiffer: the marks of the page are not the names of `parts`.
    """
    marks = [found[2] for found in _MARKED.finditer(text)]
    if sorted(marks) != sorted(parts):
        raise MarksDiffer(f"{page} has the marks {sorted(marks)}; the generator writes {sorted(parts)}")
    return _MARKED.sub(lambda found: f"{found[1]}\n{parts[found[2]]().strip()}\n\n{found[3]}", text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown. Cells contain Markdown; their line breaks and bars are escaped."""
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return re.sub(r"\|  (?=\|)", "| ", "\n".join(f"| {' | '.join(line)} |" for line in lines))


def _cell(value: object) -> str:
    text = " ".join(str("" if value is None else value).split())
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def code(text: object) -> str:
    """Format a value as inline code."""
    return f"`{text}`"
