"""Ids and times: ordered UUIDv7s (RFC 9562), and the text form of a time.

The ids of one process are always ascending, even if the clock is set back: a 42-bit counter follows the
millisecond, as in the standard library of Python 3.14. Ascending ids are appended at the end of every index,
which keeps the insertion of a million rows fast.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from uuid import UUID

_VERSION = 0x7 << 12  # in the upper eight bytes
_VARIANT = 0b10 << 30  # in the four bytes after them
_LOWER = 1 << 30  # number of values of the other 30 bits in those four bytes
_COUNTER_BITS = 42
_COUNTER_MAX = (1 << _COUNTER_BITS) - 1
_MOST_AHEAD_MS = 86_400_000

_lock = threading.Lock()
_shift_ns = 0
_last_ms = -1
_counter = 0


def now() -> float:
    """Return seconds since the epoch on this process's clock.

    Decisions on which all processes must agree use the clock of the catalog.
    """
    return time.time() + _shift_ns / 1e9


def shift_clock(seconds: float) -> None:
    """Shift this process's clock, to test that nothing depends on synchronized clocks."""
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
            # Clear the top bit, so that the counter can grow within the millisecond.
            _counter = int.from_bytes(tail[-6:], "big") & (_COUNTER_MAX >> 1)
        first = _counter + 1
        _counter += count
        if _counter > _COUNTER_MAX:
            _last_ms += 1
            first = 1
            _counter = count
        stamp = (_last_ms << 16) | _VERSION
    # Layout: the 42 bits of the counter are split by the variant (12 before, 30 after it); 32 random bits
    # follow. The 8 bytes before the variant change once in 2**30 ids, so they are computed once for a batch.
    ids: list[bytes] = []
    while (minted := len(ids)) < count:
        upper, low = divmod(first + minted, _LOWER)
        head = (stamp | upper).to_bytes(8, "big")
        batch = min(count - minted, _LOWER - low)
        ids += [
            head + (_VARIANT | n).to_bytes(4, "big") + tail[4 * i : 4 * i + 4]
            for i, n in enumerate(range(low, low + batch), minted)
        ]
    return ids


def follow(earlier: UUID | None) -> None:
    """Make all later ids of this process greater than a UUIDv7 of another one, also if its clock was ahead.

    Sinks keep the rows of the execution with the greatest id. An id that is more than a day ahead is ignored:
    ids are also times of creation, so the wrong time of one process would stay in all later ids.
    """
    global _last_ms, _counter
    ms = earlier.int >> 80 if earlier else -1
    with _lock:
        if _last_ms <= ms <= now() * 1000 + _MOST_AHEAD_MS:
            _last_ms = ms + 1
            # Random, because several processes may follow one id.
            _counter = int.from_bytes(os.urandom(6)) & (_COUNTER_MAX >> 1)


def uuid7() -> UUID:
    """Return one new UUIDv7."""
    return UUID(bytes=mint(1)[0])


def text(raw: bytes) -> str:
    """Return the hyphenated lower-case form of 16 bytes. Faster than `str(UUID(bytes=raw))`."""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def created_at(identity: UUID) -> float:
    """Return the creation time of a UUIDv7 in seconds since the epoch (millisecond precision)."""
    return (identity.int >> 80) / 1000


def moment(seconds: float) -> str:
    """Return a time as RFC 3339 in UTC with milliseconds and `Z`. All times in responses have this form.

    It is never later than the time itself, so that a list since this time has what was created then.
    """
    milliseconds = int(seconds * 1000)
    if milliseconds / 1000 > seconds:  # `seconds * 1000` was rounded up
        milliseconds -= 1
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    """Return the seconds since the epoch of an RFC 3339 time with an offset."""
    return datetime.fromisoformat(text).timestamp()


def parse_uuid(value: str) -> UUID | None:
    """Return the UUID for any usual spelling (URN, upper case, without hyphens), else None."""
    try:
        return UUID(value)
    except ValueError:
        return None
