"""The store: objects by key, listed in byte order.

Keys are checked by `playhead.keys` before they come here; a store still never lets one lead out of
its root. All methods may be called from several tasks at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from playhead.errors import MessageError, Unavailable


class Blob(NamedTuple):
    """Bytes to be stored under a key."""

    key: str
    data: bytes
    content_type: str = "application/octet-stream"


class Entry(NamedTuple):
    """A listed object. `size` in bytes, `modified` in seconds since the epoch (0 where not asked for)."""

    key: str
    size: int
    modified: float


ReadResult = list[bytes | Unavailable | None]
"""What `Store.read` gives."""
WriteResult = list[MessageError | Unavailable | None]
"""What `Store.write` gives."""

T = TypeVar("T")


def any_of(outcome: list[T]) -> list[T]:
    """Return what became of several reads or writes; raises the first reason when nothing could be done."""
    reasons = [one for one in outcome if isinstance(one, Unavailable)]
    if reasons and len(reasons) == len(outcome):
        raise reasons[0]
    return outcome


class Store(Protocol):
    name: str
    """What health calls this backend."""
    ordered: bool
    """Whether `list` gives keys in byte order of their UTF-8, so that a listing may go on after a key."""

    async def read(self, keys: Sequence[str]) -> ReadResult:
        """Return the bytes of each key, None where there is no object. Blocks until all are read.

        In place of what can't be read, though others can (an archived object, a right that is missing for
        one folder), stands why: the others must not wait for it.

        Raises `Unavailable` when nothing can be read; then nothing is known of any key.
        """
        ...

    async def write(
        self, groups: Sequence[Sequence[Blob]], *, written: Callable[[str], None] | None = None
    ) -> WriteResult:
        """Store groups of blobs: those of one group one after another in the given order, each whole.

        A reader never sees half a blob, and after a crash each is there whole or not at all; a blob of
        a group is there only if those before it are. Overwrites. `written(key)` is called after each
        blob. Returns per group None, or a `key_conflict` when this store can't hold the key beside
        what it holds (then the rest of that group is left out), or why it can't be written now, though
        others can.

        Raises `Unavailable` (`store_unavailable`) when nothing can be written, `StoreFull` as soon as
        there is no room. Some blobs may be stored then; writing the same again is right.
        """
        ...

    def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        """List what is at `prefix`: the object of exactly that key, and all keys below `prefix/`.

        Whole segments only (`stage1` never finds `stage10`), keys greater than `after`, in byte order
        where `ordered`. Sidecars and folder markers are among them. Pages hold at most `page` entries;
        memory does not grow with their number. Sizes and times are filled in when `sizes` is set. An
        empty listing yields no page. Objects that come or go meanwhile may or may not be listed. Names
        that can't be keys (not UTF-8) are left out and logged.

        Raises `Unavailable` when the store can't be reached.
        """
        ...

    async def stat(self, key: str) -> Entry | None:
        """Return size and time of one object, None where there is none."""
        ...

    def stream(self, key: str) -> AsyncIterator[bytes]:
        """Yield the bytes of one object in pieces; `NotFound` (`object_not_found`) where there is none."""
        ...

    async def check(self) -> str:
        """Say in a few words what this store is and that it can be written; raises `Unavailable` if not."""
        ...

    async def close(self) -> None:
        """Let go of what is held. May be called twice."""
        ...


async def read_one(store: Store, key: str) -> bytes | None:
    """Return the bytes of one object, None where there is none. Raises `Unavailable`."""
    [found] = await store.read([key])
    if isinstance(found, Unavailable):
        raise found
    return found
