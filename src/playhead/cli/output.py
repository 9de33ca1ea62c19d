"""The output of a command: JSON or human-readable text on stdout, notes on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO, TypeVar
from uuid import UUID

from playhead.terminal import visible, visible_json
from playhead.warningtext import warning_text

if TYPE_CHECKING:
    from playhead.model import Page, Warning

T = TypeVar("T")

SHORT_ID: Final = 8
"""Digits of an id in tables that list several ids a row."""
MAX_PAGE: Final = 1000
"""The most items that a service returns at once; longer lists are assembled here."""


class Unwritable(OSError):
    """Stdout cannot be written: its disk is full, or its reader has exited."""


_reserved: TextIO | None = None


@contextmanager
def stdout() -> Iterator[TextIO]:
    """Yield stdout. Raises `Unwritable` if it cannot be written within the block."""
    try:
        yield _reserved or sys.stdout
    except OSError as exc:
        raise Unwritable(exc.errno, exc.strerror) from exc


@contextmanager
def reserved() -> Iterator[None]:
    """Within the block, only this module writes to stdout.

    What steps print goes to stderr, also from child processes. Otherwise it would break the JSON.
    """
    global _reserved
    shared = sys.stdout
    shared.flush()
    try:
        number = shared.fileno()
    except OSError:  # a test runner has replaced the stream
        _reserved, sys.stdout = shared, sys.stderr
        try:
            yield
        finally:
            _reserved, sys.stdout = None, shared
        return
    own = os.dup(number)
    os.dup2(sys.stderr.fileno(), number)
    _reserved = os.fdopen(own, "w", encoding="utf-8", errors="backslashreplace")
    try:
        yield
    finally:
        try:
            with stdout() as stream:
                stream.flush()
        finally:
            shared.flush()  # what steps have printed
            os.dup2(own, number)
            kept, _reserved = _reserved, None
            with suppress(OSError):
                kept.close()


def _write(text: str) -> None:
    with stdout() as stream:
        stream.write(text)


def set_up_streams() -> None:
    """Write UTF-8 in any locale; a lone surrogate becomes `\\udcxx`, which JSON allows."""
    for stream in (sys.stdout, sys.stderr):
        # A test runner may have replaced a stream by one that cannot be reconfigured.
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(encoding="utf-8", errors="backslashreplace")


def plain(value: object) -> Any:
    """Convert a value for `json`: a dataclass to its fields, an id to its text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def emit(value: object) -> None:
    """Write one JSON document to stdout."""
    _write(visible_json(json.dumps(value, default=plain, ensure_ascii=False, indent=2)) + "\n")


def emit_line(value: object) -> None:
    """Write one JSON document to stdout, on one line."""
    _write(visible_json(json.dumps(value, default=plain, ensure_ascii=False)) + "\n")


def emit_list(items: Sequence[object], next_cursor: str | None = None) -> None:
    """Write a list as the API does."""
    emit({"items": items, "next_cursor": next_cursor})


def line(text: str = "") -> None:
    """Write one human-readable line to stdout. A line end in the text becomes an escape."""
    _write(visible(text) + "\n")


def block(text: str) -> None:
    """Write a human-readable text of several lines to stdout."""
    _write(visible(text, keep="\n\t") + "\n")


def note(text: str) -> None:
    """Write a message about the command itself to stderr, with `--json` too. Further lines are indented."""
    sys.stderr.write(visible(text, keep="\n").replace("\n", "\n  ") + "\n")
    sys.stderr.flush()


def warn(warning: Warning) -> None:
    """Write a warning to stderr."""
    note(f"Warning: {warning_text(warning)}")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write columns to stdout, one line per row. Values are not truncated, so that ids can be copied."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(headings))]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in (headings, *cells):
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        )
        _write("  ".join(padded).rstrip() + "\n")


def _cell(value: object) -> str:
    """One line of text, whatever the value."""
    return "-" if value is None or value == "" else visible(" ".join(str(value).split()))


async def gather(
    fetch: Callable[[str | None, int], Awaitable[Page[T]]], cursor: str | None, limit: int
) -> tuple[list[T], str | None]:
    """Read up to `limit` items, page by page; also return the next cursor, None at the end."""
    items: list[T] = []
    while True:
        page = await fetch(cursor, min(limit - len(items), MAX_PAGE))
        items.extend(page.items)
        cursor = page.next_cursor
        if cursor is None or len(items) >= limit:
            return items, cursor


def more(next_cursor: str | None) -> None:
    """Print how to list the remaining items."""
    if next_cursor:
        note(f"There is more: --cursor {next_cursor}, or a higher --limit")


def short(identity: UUID) -> str:
    """Return the end of an id. It is random, so it is unique in practice; commands accept it."""
    return identity.hex[-SHORT_ID:]


def code(fingerprint: str) -> str:
    """Shorten the fingerprint of a source; name and version of a package stay."""
    kind, colon, digits = fingerprint.partition(":")
    return f"{kind}:{digits[:12]}" if colon else fingerprint or "-"


def size(count: int) -> str:
    """Format a number of bytes: `1.2 MiB`."""
    if count < 1024:
        return f"{count} B"
    number = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        number /= 1024
        if number < 1024:
            return f"{number:.1f} {unit}"
    return f"{number / 1024:.1f} TiB"


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 object`, `2 objects`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def when(moment: str | None) -> str:
    """Format a time, to the second."""
    return f"{moment[:10]} {moment[11:19]}" if moment else "-"


def diagnostic(fault: Any, file: str = "") -> str:
    """Format a fault of a config like a compiler: `docs.yaml:4:9: error E101 at routes.x: …`."""
    where = f"{file}:{fault.line}:{fault.column}" if file else f"line {fault.line}, column {fault.column}"
    at = f" at {fault.path}" if fault.path else ""
    hint = f" (write {fault.suggestion})" if fault.suggestion else ""
    return f"{where}: {fault.severity} {fault.code}{at}: {fault.message}{hint}"
