"""Cursors: the position at which a list continues, as opaque text.

A cursor contains which list it belongs to, and which filters. Used with another list, it would leave items
out without an error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from playhead.errors import BadRequest
from playhead.model import Page

T = TypeVar("T")
Place = TypeVar("Place", int, str)

_MAX_INT = 2**63 - 1


def list_of(name: str, *filters: object) -> str:
    """Return what identifies a list for its cursors: its name and its filters."""
    return "\0".join((name, *("" if value is None else f"={value}" for value in filters)))


def encode_cursor(place: int | str | None, of: str) -> str | None:
    """Return the cursor for a position in a list; None at its end.

    Args:
        place: where the list continues.
        of: the list, from `list_of`.
    """
    if place is None:
        return None
    return base64.urlsafe_b64encode(json.dumps([place, _mark(of)]).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None, kind: type[Place], of: str) -> Place | None:
    """Return the position of a cursor; None without a cursor.

    Args:
        cursor: from a caller.
        kind: the type of this list's positions.
        of: the list, from `list_of`.

    Raises:
        BadRequest: `invalid_cursor`: it does not belong to this list with these filters.
    """
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        place, mark = json.loads(raw.decode())
        # type(): True is an int, too
        if type(place) is kind and _fits(place) and mark == _mark(of):
            return place
    except (ValueError, TypeError, RecursionError):
        pass
    raise _invalid(cursor)


def encode_parts(place: Sequence[float | int | str] | None, of: str) -> str | None:
    """Return the cursor for a position of several parts; None at the end of the list."""
    return encode_cursor(None if place is None else json.dumps(place), of)


def decode_parts(cursor: str | None, kinds: Sequence[type], of: str) -> list[Any] | None:
    """Return the parts of a position; None without a cursor.

    Args:
        kinds: the type of each part.

    Raises:
        BadRequest: `invalid_cursor`, as of `decode_cursor`.
    """
    text = decode_cursor(cursor, str, of)
    if cursor is None or text is None:
        return None
    try:
        parts = json.loads(text)
        if [type(one) for one in parts] == list(kinds) and all(one == "" or _fits(one) for one in parts):
            return list(parts)
    except (ValueError, TypeError, RecursionError):
        pass
    raise _invalid(cursor)


def page_of(items: Sequence[T], key: Callable[[T], str], cursor: str | None, limit: int, of: str) -> Page[T]:
    """Return a page of a list that is in memory.

    Continues after the last item of the previous page, wherever that is now. If the item is gone, continues
    at its former position.

    Args:
        items: all of them, in their order.
        key: identifies an item, and does not change.
        cursor: where the last page ended.
        limit: items a page.
        of: the list, from `list_of`.

    Raises:
        BadRequest: `invalid_cursor`.
    """
    start = 0
    place = decode_cursor(cursor, str, of)
    if place is not None:
        number, _, last = place.partition(" ")
        if not number.isdecimal() or len(number) > 9:
            raise _invalid(cursor or "")
        start = next((at + 1 for at, item in enumerate(items) if key(item) == last), int(number))
    end = start + limit
    if end >= len(items):
        return Page(list(items[start:]))
    return Page(list(items[start:end]), encode_cursor(f"{end - 1} {key(items[end - 1])}", of))


def page_before(found: tuple[list[T], int | None], of: str) -> Page[T]:
    """Return a page of a list that a catalog reads, newest first.

    Args:
        found: the items, and the position before which the list continues; None at its end.
        of: the list, from `list_of`.
    """
    items, before = found
    return Page(items, encode_cursor(before, of))


def _invalid(cursor: str) -> BadRequest:
    return BadRequest(
        "invalid_cursor",
        f"{cursor[:80]!r} is not a cursor of this list with these filters; send `next_cursor` unchanged, "
        "with the same query",
    )


def _mark(of: str) -> str:
    return hashlib.blake2b(of.encode(errors="replace"), digest_size=6).hexdigest()


def _fits(place: float | int | str) -> bool:
    """Whether every catalog and store accepts it: 64 bits, or Unicode without NUL."""
    if isinstance(place, float):
        return math.isfinite(place)
    if isinstance(place, int):
        return 0 <= place <= _MAX_INT
    return "\0" not in place and bool(place.encode())
