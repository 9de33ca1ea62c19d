"""Text that is safe to show: characters that could steer a terminal, or hide in it, become escapes."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_UNUSUAL: Final = re.compile(r"[^ -~]")
# Controls, formats (bidirectional marks, zero-width characters, tags), separators of lines, halves of pairs.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})


def is_visible(text: str) -> bool:
    """Whether a text has no character that `visible` would escape."""
    return text.isprintable() or not any(map(_is_hidden, text))


def visible(text: object, *, keep: str = "") -> str:
    r"""Return a text with every hidden character as an escape of Python: `\n`, `\x9b`, `\u202e`.

    Args:
        keep: hidden characters that stay, such as the line ends of a text of several lines.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return _UNUSUAL.sub(
        lambda found: repr(found[0])[1:-1] if _is_hidden(found[0]) and found[0] not in keep else found[0],
        shown,
    )


def visible_json(document: str) -> str:
    r"""Return a JSON document with the hidden characters of its strings as `\uXXXX`. The value is the same.

    The line ends between values stay: those within strings are escaped by any writer of JSON.
    """
    if document.isprintable():
        return document
    return _UNUSUAL.sub(
        lambda found: _json_escape(found[0]) if _is_hidden(found[0]) and found[0] != "\n" else found[0],
        document,
    )


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
