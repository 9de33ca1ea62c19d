"""What failures have in common: dead letters that failed alike have the same group, and the same cause.

The cause follows from the error code, the pattern of the error, and the place in the adapter's code that
raised it. The pattern of a cause also has a placeholder for the path of the object. The group follows from
the same, from the config and from the route. So every process computes the same for the same failure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

_LONGEST_ERROR: Final = 1_000
"""Characters of an error that its pattern is made from."""
_LONGEST_PATTERN: Final = 240
_LONGEST_TRACE: Final = 16_000
_SHORTEST_NAME: Final = 3
"""Characters of the name of an object that is looked for in an error."""
_PATH: Final = "<path>"
_PLACEHOLDERS: Final = (
    ("<url>", r"\b[a-zA-Z][a-zA-Z0-9+.-]{1,9}://[^\s'\"]+"),
    ("<id>", r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),
    ("<time>", r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"),
    ("<text>", r"(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`"),
    ("<path>", r"(?<![\w.~@%+-])(?:[a-zA-Z]:)?[\w.~@%+-]*(?:[/\\][\w.~@%+=:-]+)+[/\\]?"),
    ("<hex>", r"\b0[xX][0-9a-fA-F]+\b|\b(?=[a-fA-F]*\d)(?=\d*[a-fA-F])[0-9a-fA-F]{7,}\b"),
    ("<id>", r"\b(?=\w*[a-zA-Z])(?=(?:[^\W\d]*\d){3})\w{8,}\b"),
    ("<n>", r"\d+(?:[.,:]\d+)*"),
)
_ALL: Final = re.compile("|".join(f"(?P<p{n}>{pattern})" for n, (_, pattern) in enumerate(_PLACEHOLDERS)))
_FRAME: Final = re.compile(r'^\s*File "([^"\n]+)", line (\d+), in (\S+)', re.M)
_FOREIGN: Final = re.compile(
    r"[/\\](?:site|dist)-packages[/\\]|[/\\]lib[/\\]python3|[/\\]playhead[/\\](?:work|steps)[/\\]|^<"
)
_RAISED: Final = re.compile(r"^([A-Za-z_][\w.]*)(?::|$)", re.M)


def pattern_of(error: str, path: str = "") -> str:
    """Return an error with placeholders for what differs between similar failures.

    Placeholders replace numbers, times, quoted text, paths, URLs, hexadecimal digits and ids.

    Args:
        path: of the object that has failed. A placeholder also replaces it and its last part.
    """
    pieces = [_ALL.sub(_placeholder, piece) for piece in _around(_line_of(error), path)[1]]
    return _PATH.join(pieces)[:_LONGEST_PATTERN]


def parts_of(error: str, path: str = "") -> Iterator[tuple[str, bool]]:
    """Yield the parts of an error, each with whether a placeholder of the pattern stands for it."""
    name, pieces = _around(_line_of(error), path)
    for number, piece in enumerate(pieces):
        if number:
            yield name, True
        yield from _parts_of_piece(piece)


def _around(line: str, path: str) -> tuple[str, list[str]]:
    """Return how a line names an object, by its path or the last part of it, and what is around the name."""
    whole = " ".join(path.split())
    for name in (whole, whole.rpartition("/")[2]):
        if len(name) >= _SHORTEST_NAME and name in line:
            return name, line.split(name)
    return "", [line]


def _parts_of_piece(line: str) -> Iterator[tuple[str, bool]]:
    at = 0
    for found in _ALL.finditer(line):
        if found.start() > at:
            yield line[at : found.start()], False
        yield found[0], True
        at = found.end()
    if at < len(line):
        yield line[at:], False


def _line_of(error: str) -> str:
    return " ".join(error[:_LONGEST_ERROR].split())


def cause_of(code: str, error: str, traceback: str | None = None, path: str = "") -> int:
    """Return the cause of a failure, a number of 48 bits. `path` is that of the object."""
    return _digest(code, pattern_of(error, path), *_raised_at(traceback or ""))


def group_of(config: str, route: str, code: str, error: str, traceback: str | None = None) -> int:
    """Return the group of a failure, a number of 48 bits."""
    return _digest(config, route, code, pattern_of(error), *_raised_at(traceback or ""))


def place_of(traceback: str | None) -> str:
    """Return the file and the line of the adapter's code that raised: `steps.py:16`; empty if unknown."""
    frame = _frame_of((traceback or "")[-_LONGEST_TRACE:])
    return f"{_file_of(frame)}:{frame[2]}" if frame else ""


def _digest(*parts: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).digest()[:6])


def group_text(group: int | None) -> str:
    """Return the text form of a group or a cause: 12 hexadecimal digits; empty if a row has no group."""
    return "" if group is None else f"{group:012x}"


def group_number(text: str) -> int:
    """Return the group or the cause that a text names; -1, which no failure has, if it has another form."""
    return int(text, 16) if re.fullmatch(r"[0-9a-f]{12}", text) else -1


def _placeholder(found: re.Match[str]) -> str:
    return _PLACEHOLDERS[int((found.lastgroup or "p0")[1:])][0]


def _raised_at(traceback: str) -> tuple[str, ...]:
    """Return the type of the exception, and the file and function of the last frame of the adapter's code.

    Line numbers do not count: an edit elsewhere in the file would change them.
    """
    end = traceback[-_LONGEST_TRACE:]
    frame = _frame_of(end)
    if not frame:
        return ()
    last = list(_FRAME.finditer(end))[-1]
    raised = _RAISED.search(end, last.end())
    return raised[1] if raised else "", _file_of(frame), frame[3]


def _frame_of(end: str) -> re.Match[str] | None:
    """Return the last frame of the adapter's code in the end of a traceback; of any code without one."""
    frames = list(_FRAME.finditer(end))
    own = [frame for frame in frames if not _FOREIGN.search(frame[1])] or frames
    return own[-1] if own else None


def _file_of(frame: re.Match[str]) -> str:
    return re.split(r"[/\\]", frame[1])[-1]
