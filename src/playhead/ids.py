"""Identities and times: UUIDv7 (RFC 9562) minted in order, and the one text form of a moment.

Ids of one process never go backwards, even when the clock does: a 42-bit counter follows the
millisecond, as in the standard library of Python 3.14. That order keeps every index on them
append-only, which is what a replay of a million objects lives on.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from uuid import UUID

_VERSION = 0x7 << 12  # in the upper eight bytes
_VARIANT = 0b10 << 30  # in the four bytes after them
_LOWER = 1 << 30  # how many values those four bytes have left
_COUNTER_BITS = 42
_COUNTER_MAX = (1 << _COUNTER_BITS) - 1

_lock = threading.Lock()
_shift_ns = 0
_last_ms = -1
_counter = 0


def now() -> float:
    """Seconds since the epoch by this process's clock; what all must agree on goes by the catalog's."""
    return time.time() + _shift_ns / 1e9


def shift_clock(seconds: float) -> None:
    """Let this process's clock be wrong by so much: for tests of what may not depend on it."""
    global _shift_ns
    _shift_ns = int(seconds * 1e9)


def mint(count: int) -> list[bytes]:
    """Return `count` new UUIDv7s as 16 bytes each, in ascending order."""
    global _last_ms, _counter
    tail = os.urandom(4 * count + 6)
    with _lock:
        ms = (time.time_ns() + _shift_ns) // 1_000_000
        if ms > _last_ms:
            _last_ms = ms
            # The top bit is left clear, so that there is room to count up within the millisecond.
            _counter = int.from_bytes(tail[-6:], "big") & (_COUNTER_MAX >> 1)
        first = _counter + 1
        _counter += count
        if _counter > _COUNTER_MAX:
            _last_ms += 1
            first = 1
            _counter = count
        stamp = (_last_ms << 16) | _VERSION
    # 42 bits of counter before and after the variant, then 32 random bits. The upper 12 of the 42 change
    # once in 2**30 ids: what stands before the variant is made once for as many as share it.
    ids: list[bytes] = []
    while (made := len(ids)) < count:
        upper, low = divmod(first + made, _LOWER)
        head = (stamp | upper).to_bytes(8, "big")
        alike = min(count - made, _LOWER - low)
        ids += [
            head + (_VARIANT | n).to_bytes(4, "big") + tail[4 * i : 4 * i + 4]
            for i, n in enumerate(range(low, low + alike), made)
        ]
    return ids


def uuid7() -> UUID:
    """Return one new UUIDv7."""
    return UUID(bytes=mint(1)[0])


def text(raw: bytes) -> str:
    """The hyphenated lower-case form of 16 bytes, without building a `UUID`."""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def created_at(identity: UUID) -> float:
    """Seconds since the epoch at which a UUIDv7 was minted (millisecond precision)."""
    return (identity.int >> 80) / 1000


def moment(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds and `Z`: the only form of a time that leaves Playhead."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_uuid(value: str) -> UUID | None:
    """A UUID from any of its usual spellings (URN, upper case, without hyphens), else None."""
    try:
        return UUID(value)
    except ValueError:
        return None
