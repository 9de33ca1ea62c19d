"""SQLite's index of parts of texts: what its rows hold, and its queries."""

from __future__ import annotations

from typing import Final

LENGTH: Final = 3
_MOST: Final = 12
"""More do not make a search faster."""


def marked(text: str, *, is_path: bool) -> str:
    """Return a text with the mark of its kind, a trigram at its beginning: a query finds one kind."""
    return _mark(is_path=is_path) + text


def match(text: str, *, is_path: bool) -> str:
    """Return a query for texts of a kind with the trigrams of a text.

    Every third trigram and the last one are enough, because what is found is compared with the text.
    """
    starts = [*range(0, len(text) - LENGTH, LENGTH), len(text) - LENGTH]
    parts = [text[at : at + LENGTH] for at in starts]
    step = -(-len(parts) // _MOST)
    quoted = (part.replace('"', '""') for part in dict.fromkeys([_mark(is_path=is_path), *parts[::step]]))
    return " AND ".join(f'"{part}"' for part in quoted)


def _mark(*, is_path: bool) -> str:
    return "\x01p\x01" if is_path else "\x01o\x01"
