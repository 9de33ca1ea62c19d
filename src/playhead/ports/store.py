"""The store port: objects by key, listed in byte order.

`playhead.keys` checks keys before they reach a store. A store must still let no key lead out of its root.
Every method may be called from several tasks at once.

    await store.write([[Blob("e/pages/a.md.meta.json", sidecar), Blob("e/pages/a.md", text)]])
    [text] = await store.read(["e/pages/a.md"])
    async for page in store.list("e/pages"):
        print([entry.key for entry in page])
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from playhead.errors import MessageError, Unavailable


class Blob(NamedTuple):
    """Bytes to be stored under a key."""

    key: str
    data: bytes
    content_type: str = "application/octet-stream"


class Entry(NamedTuple):
    """A listed object.

    Attributes:
        size: in bytes.
        modified: in seconds since the epoch. Size and time are 0 if they were not asked for.
        tag: differs from an earlier tag of the object whenever the bytes may differ. It may also differ
            although the bytes are equal. Set by `list` with `sizes`.
    """

    key: str
    size: int
    modified: float
    tag: str = ""


ReadResult = list[bytes | Unavailable | None]
"""The result of `Read.read`, in the order of the keys: the bytes of an object, None if there is no such
object, or the reason why this object cannot be read."""
WriteResult = list[MessageError | Unavailable | None]
"""The result of `Write.write`, in the order of the groups: None if the group was stored, `key_conflict` if
the store cannot hold one of its keys, or the reason why this group cannot be written."""

T = TypeVar("T")


def any_of(outcome: list[T]) -> list[T]:
    """Return the result of several reads or writes; raises the first reason when none of them was
    possible."""
    reasons = [one for one in outcome if isinstance(one, Unavailable)]
    if reasons and len(reasons) == len(outcome):
        raise reasons[0]
    return outcome


class Read(Protocol):
    async def read(self, keys: Sequence[str]) -> ReadResult:
        """Return the bytes of each key. Blocks until all are read.

        An object that cannot be read although others can (it is archived, or permission to one folder is
        missing) has its reason in the result, so that the others need not wait for it.

        Raises `Unavailable` when no object can be read. Then the state of no key is known.
        """
        ...

    async def stat(self, key: str) -> Entry | None:
        """Return size and time of one object, None if there is no such object. Raises `Unavailable`."""
        ...

    def stream(self, key: str, *, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of one object in pieces; with `limit`, only the first ones.

        `limit` is at least 1. The rest of the object is not read, except what the network has buffered. A
        closed iterator releases its file or connection.

        Raises `NotFound` (`object_not_found`) before the first piece if there is no such object, and
        `Unavailable`.
        """
        ...


class Write(Protocol):
    async def write(
        self, groups: Sequence[Sequence[Blob]], *, written: Callable[[str], None] | None = None
    ) -> WriteResult:
        """Store groups of blobs. The blobs of a group are stored one after another, in the given order.

        Existing objects are overwritten. `written(key)` is called for each blob after it is stored, in the
        order of its group. Later blobs may be stored by then. A group that cannot be stored has its reason in
        the result, and the rest of that group is skipped.

        No reader ever sees part of a blob. After a crash each blob is stored completely or not at all, and a
        blob of a group is stored only if the blobs before it are.

        Raises `Unavailable` (`store_unavailable`) when nothing can be written, and `StoreFull` as soon as the
        store is full. Some blobs may be stored then. Writing the same groups again is safe.
        """
        ...


class Delete(Protocol):
    async def delete(self, keys: Sequence[str]) -> None:
        """Remove objects, in no particular order. Blocks until all are removed.

        A key without an object is ignored, so the call may be repeated. Only these keys are removed: an
        object does not take its sidecar with it. A store of folders also removes the folders that are empty
        then. A write that needs such a folder at the same time creates it again.

        Raises `Unavailable` if an object cannot be removed. Some of the objects may be removed then.
        """
        ...


class List(Protocol):
    ordered: bool
    """Whether `list` yields keys in the byte order of their UTF-8, so that a listing can resume after a
    key."""

    def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        """List the object whose key is `prefix`, and all objects whose keys start with `prefix/`.

        Prefixes match whole segments: `stage1` does not match `stage10`. Only keys greater than `after` are
        listed, in byte order if `ordered`. Sidecars and folder markers are included.

        Pages hold at most `page` entries; an empty listing yields no page. Memory does not grow with the
        number of objects. Sizes, times and tags are set if `sizes` is. Objects that are written or removed
        during the listing may or may not be listed. Names that cannot be keys (not UTF-8) are skipped and
        logged.

        Raises `Unavailable` when the store cannot be reached.
        """
        ...


class Store(Read, Write, Delete, List, Protocol):
    name: str
    """The name of this backend in health reports."""

    async def check(self) -> str:
        """Return a short description of this store, after it has taken a few bytes.

        Called for health reports, and before work that a full store would waste. Raises `Unavailable`, or
        `StoreFull` when there is no room.
        """
        ...

    async def close(self) -> None:
        """Release all that is held. May be called twice; no other method may be called after it."""
        ...


async def read_one(store: Read, key: str) -> bytes | None:
    """Return the bytes of one object, None if there is no such object. Raises `Unavailable`."""
    [found] = await store.read([key])
    if isinstance(found, Unavailable):
        raise found
    return found
