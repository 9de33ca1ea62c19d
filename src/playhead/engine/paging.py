"""Cursors: where a list goes on, as text that nobody else reads."""

from __future__ import annotations

import base64
import json
from typing import TypeVar

from playhead.errors import BadRequest

Place = TypeVar("Place", int, str)

_MAX_INT = 2**63 - 1


def encode_cursor(place: int | str | None) -> str | None:
    """The cursor for a place in a list; None at its end."""
    if place is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, kind: type[Place]) -> Place | None:
    """The place that a cursor stands for; None when there is no cursor.

    Args:
        cursor: as a caller gave it.
        kind: what the cursors of this list hold.

    Raises:
        BadRequest: `invalid_cursor`; it is not a cursor of such a list.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        place = json.loads(raw.decode())
        if type(place) is kind and _fits(place):  # type(): True is an int, too
            return place
    except (ValueError, RecursionError):
        pass
    raise BadRequest(
        "invalid_cursor", f"{cursor[:80]!r} is not a cursor of this list; give back `next_cursor` as it came"
    )


def _fits(place: int | str) -> bool:
    """Whether every catalog and store can take it: 64 bits, or Unicode without NUL."""
    if isinstance(place, int):
        return 0 <= place <= _MAX_INT
    return "\0" not in place and bool(place.encode())
