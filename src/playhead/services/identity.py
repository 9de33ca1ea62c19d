"""Who sends a request: keys, sessions, and what an open server allows.

A change asks the catalog for the key each time, so a revoked key changes nothing from the commit on, on any
server. Reads use what this process has read. `beat` runs with each heartbeat, and drops it if a key or a
session has ended meanwhile. After five missed beats, reads ask the catalog, too.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from playhead import acting
from playhead.credentials import hash_of, key_id
from playhead.errors import PlayheadError, Unauthorized, Unavailable
from playhead.ids import moment, now
from playhead.model.access import SCOPES, SESSION_IDLE_SECONDS, SOON_SECONDS, AccessMode, Caller, Me
from playhead.ports.catalog import Access
from playhead.ports.catalog.access import Credential

_KEPT: Final = 1024
_MISSED_BEATS: Final = 5
_NOTED_SECONDS: Final = 60.0
_FAILURES: Final = 10
"""Wrong keys that an address may send at once; then one per second."""
_ADDRESSES: Final = 10_000
_READS: Final = frozenset({"metrics", "read"})
ANYONE: Final = Caller("local", "local", "local", frozenset(SCOPES) - {"admin"})
"""The caller of an open server: everyone who can reach it."""

_NO_KEY: Final = (
    "this server needs a key: send it as `Authorization: Bearer phk_…`. Commands take it from "
    "PLAYHEAD_KEY_FILE or `playhead login`; `playhead keys create` makes one"
)
_WRONG_KEY: Final = "the key is unknown, expired or revoked. `playhead keys list` shows the keys"
_ENDED: Final = "the session has ended: log in again"


@dataclass(slots=True)
class _Kept:
    """A key or a session that this process has read.

    Attributes:
        caller: who it stands for.
        ends: when it ends, by the clock of this process; None: never.
    """

    caller: Caller
    ends: float | None


class _Failures:
    """How many wrong keys each address may still send."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def is_over(self, address: str) -> bool:
        return self._now(address) < 1

    def add(self, address: str) -> None:
        self._left[address] = (self._now(address) - 1, self._clock())
        self._left.move_to_end(address)
        if len(self._left) > _ADDRESSES:
            self._left.popitem(last=False)

    def _now(self, address: str) -> float:
        left, at = self._left.get(address, (float(_FAILURES), 0.0))
        return min(float(_FAILURES), left + self._clock() - at)


class IdentityService:
    """Tells who sends a request.

    Args:
        beat_seconds: period of `beat`.
        read_only: no caller gets more than `read` and `metrics` (PLAYHEAD_READ_ONLY).
        closed: an open catalog counts as closed, because people log in at a provider or a proxy; see `close`.
        clock: seconds of a clock that does not go back.
    """

    def __init__(
        self,
        catalog: Access,
        *,
        beat_seconds: float,
        read_only: bool = False,
        closed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._fresh_seconds = _MISSED_BEATS * beat_seconds
        self.read_only = read_only
        self._closed = closed
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()  # by hash, as all of these
        self._epoch = -1
        self._mode: AccessMode = "open"
        self._fresh_until = float("-inf")
        self._used: dict[str, str | None] = {}
        self._seen: set[bytes] = set()
        self._noted: dict[bytes, float] = {}
        self._failures = _Failures(clock)
        # Hashes of accepted keys, only for the limit on wrong keys. `_kept` is emptied when any key ends, and
        # clients of a proxy share an address: the wrong key of one must not refuse the right key of another.
        self._right: OrderedDict[bytes, None] = OrderedDict()

    async def beat(self) -> None:
        """Read whether keys are needed and whether one has ended, and write which ones were used."""
        state = await self._catalog.access()
        if state.epoch != self._epoch:
            self._kept.clear()
        self._epoch, self._mode = state.epoch, state.mode
        self._fresh_until = self._clock() + self._fresh_seconds
        used, self._used = self._used, {}
        seen, self._seen = self._seen, set()
        if used:
            await self._catalog.note_uses(used)
        if seen:
            await self._catalog.note_sessions(sorted(seen))

    async def mode(self) -> AccessMode:
        """Return whether this server needs a key. While the catalog is unavailable, as it was before."""
        if self._clock() > self._fresh_until:
            try:
                await self.beat()
            except Unavailable:
                if self._epoch < 0:
                    raise
        return "required" if self._closed else self._mode

    def close(self) -> None:
        """Require a key until this process ends, also after `playhead access open`."""
        self._closed = True

    async def anyone(self) -> Caller:
        """Return the caller of a request without key and session.

        Raises:
            Unauthorized: `key_missing`; the server needs a key.
        """
        if await self.mode() == "required":
            raise Unauthorized("key_missing", _NO_KEY)
        return self.limited(ANYONE)

    async def of_key(
        self, text: str, *, changes: bool, address: str | None = None, is_use: bool = True
    ) -> Caller:
        """Return who a key stands for.

        Args:
            changes: whether the request may change something.
            address: of the client, for the last use and the number of failures.
            is_use: False: the key of an open event stream is checked again.

        Raises:
            Unauthorized: `key_invalid`.
            PlayheadError: `too_many_attempts`, from this address.
        """
        hashed = hash_of(text)
        kept = None if changes else self._remembered(hashed)
        if kept is None:
            kept = await self._read_key(text, hashed, address)
        if is_use and self._is_due(hashed):
            self._used[kept.caller.id] = address
        caller = kept.caller
        left = self._left(kept)
        if left is not None and left < SOON_SECONDS:
            caller = replace(caller, ends_soon=moment(now() + left))
        return self.limited(caller)

    async def _read_key(self, text: str, hashed: bytes, address: str | None) -> _Kept:
        """Read a key, and count it for its address if it is a wrong one."""
        if key_id(text) is None:
            raise Unauthorized("key_invalid", _WRONG_KEY)
        if hashed not in self._right and address is not None and self._failures.is_over(address):
            raise PlayheadError(
                "too_many_attempts", "too many wrong keys from this address; try again in a second"
            )
        found = await self._catalog.key(hashed)
        kept = self._keep(hashed, found)
        if kept is None:
            self._right.pop(hashed, None)
            if found is None and address is not None:  # a key that has ended is no guess
                self._failures.add(address)
            raise Unauthorized("key_invalid", _WRONG_KEY)
        self._right[hashed] = None
        if len(self._right) > _KEPT:
            self._right.popitem(last=False)
        return kept

    async def of_session(self, token: str, *, changes: bool, is_use: bool = True) -> Caller:
        """Return whose session a cookie is.

        Args:
            is_use: False: the session of an open event stream is checked again. An open page alone does not
                keep its session from ending.

        Raises:
            Unauthorized: `session_ended`.
        """
        hashed = hash_of(token)
        kept = None if changes else self._remembered(hashed)
        if kept is None:
            kept = self._keep(hashed, await self._catalog.session(hashed, idle=SESSION_IDLE_SECONDS))
        if kept is None:
            raise Unauthorized("session_ended", _ENDED)
        if is_use and self._is_due(hashed):
            self._seen.add(hashed)
        return self.limited(kept.caller)

    async def me(self) -> Me:
        """Return the name and the rights of the caller who asks."""
        caller = acting.current().caller
        mine = (one for one in self._kept.values() if (one.caller.kind, one.caller.id) == ("key", caller.id))
        left = next(map(self._left, mine), None) if caller.kind == "key" else None
        return Me(
            kind=caller.kind,
            id=caller.id,
            name=caller.name,
            scopes=sorted(caller.scopes),
            configs=None if caller.configs is None else sorted(caller.configs),
            expires_at=None if left is None else moment(now() + left),
            access=await self.mode(),
            read_only=self.read_only,
        )

    def forget_session(self, token: str) -> None:
        """Drop what this process has read of a session that it has ended."""
        self._kept.pop(hash_of(token), None)

    def _remembered(self, hashed: bytes) -> _Kept | None:
        kept = self._kept.get(hashed)
        if kept is None or self._clock() > self._fresh_until:
            return None
        left = self._left(kept)
        if left is not None and left <= 0:
            del self._kept[hashed]
            return None
        return kept

    def _left(self, kept: _Kept) -> float | None:
        """Return the seconds until a key or a session ends; None: it does not."""
        return None if kept.ends is None else kept.ends - self._clock()

    def _keep(self, hashed: bytes, found: Credential | None) -> _Kept | None:
        """Remember a key or a session that was read. None: it does not exist, or it has ended."""
        if found is None or (found.seconds is not None and found.seconds <= 0):
            self._kept.pop(hashed, None)
            return None
        ends = None if found.seconds is None else self._clock() + found.seconds
        self._kept[hashed] = kept = _Kept(found.caller, ends)
        self._kept.move_to_end(hashed)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return kept

    def _is_due(self, hashed: bytes) -> bool:
        """Whether the last use must be written with the next beat: at most once a minute."""
        now = self._clock()
        if now < self._noted.get(hashed, float("-inf")) + _NOTED_SECONDS:
            return False
        if len(self._noted) > _KEPT:
            self._noted.clear()
        self._noted[hashed] = now
        return True

    def limited(self, caller: Caller) -> Caller:
        """Return a caller with what this server allows."""
        if not self.read_only:
            return caller
        return replace(caller, scopes=caller.scopes & _READS, is_read_only=True)
