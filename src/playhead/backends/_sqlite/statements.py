"""Statements about many values, and the statements of a script."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

_ROWS_A_STATEMENT = (256, 32)
_VALUES_A_STATEMENT = (1, 4, 16, 64, 256)


def insert(con: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, hundreds per statement.

    `executemany` runs one statement per row, and releases the interpreter lock for each. It takes twice as
    long, and even longer next to a thread that computes.

    Args:
        into: table and columns, such as `dispatches (queue, payload)`.
        rows: one tuple per row, with a value for each column.
    """
    at = 0
    for size in _ROWS_A_STATEMENT:
        while len(rows) - at >= size:
            marks = f"({', '.join('?' * len(rows[at]))})"
            con.execute(
                f"INSERT INTO {into} VALUES {', '.join([marks] * size)}",
                tuple(chain.from_iterable(rows[at : at + size])),
            )
            at += size
    if at < len(rows):
        marks = f"({', '.join('?' * len(rows[at]))})"
        con.executemany(f"INSERT INTO {into} VALUES {marks}", rows[at:])


def among(values: Sequence[Any]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Split values into pieces for `x IN (…)`. Yield the placeholders and the values of each piece.

    Pieces have one of a few lengths, so few statements are prepared. A shorter piece is padded with its last
    value, which does not change the result.
    """
    most = _VALUES_A_STATEMENT[-1]
    for at in range(0, len(values), most):
        piece = tuple(values[at : at + most])
        size = next(size for size in _VALUES_A_STATEMENT if size >= len(piece))
        yield ", ".join("?" * size), piece + piece[-1:] * (size - len(piece))


def statements(script: str) -> list[str]:
    """Split a migration into statements, so that all of them can run in one transaction."""
    found, rest = [], ""
    for line in script.splitlines(keepends=True):
        rest += line
        if sqlite3.complete_statement(rest):
            found.append(rest)
            rest = ""
    return found
