"""The store in memory: the plainest implementation of the port.

Like an object store it accepts any string as a key, including folder markers and keys outside the grammar. It
can hold both `b` and `b/c`.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

from playhead.errors import NotFound
from playhead.ports.store import Blob, Entry, ReadResult, WriteResult


class MemoryStore:
    """Objects in the memory of one process.

    The store starts no thread and needs no event loop. Each step between two calls of `pause` is atomic, so a
    test that passes `pause` decides the order of all steps.
    """

    name: str = "memory"
    ordered: bool = True

    def __init__(self, pause: Callable[[], Awaitable[None]] | None = None) -> None:
        """
        Args:
            pause: awaited at the start of every call, before each written blob, each removed key and each
                listed page. The call raises what it raises, which simulates an unavailable store.
        """
        self._pause = pause
        self._objects: dict[str, tuple[bytes, float]] = {}
        self._tags: dict[str, str] = {}
        self._writes = itertools.count(1)
        self._keys: list[str] = []  # sorted; code points sort as their UTF-8 does

    async def _turn(self) -> None:
        if self._pause:
            await self._pause()

    async def read(self, keys: Sequence[str]) -> ReadResult:
        await self._turn()
        return [held[0] if (held := self._objects.get(key)) else None for key in keys]

    async def write(
        self, groups: Sequence[Sequence[Blob]], *, written: Callable[[str], None] | None = None
    ) -> WriteResult:
        await self._turn()
        for group in groups:
            for blob in group:
                await self._turn()
                if blob.key not in self._objects:
                    insort(self._keys, blob.key)
                self._objects[blob.key] = (bytes(blob.data), time.time())
                self._tags[blob.key] = str(next(self._writes))
                if written:
                    written(blob.key)
        return [None] * len(groups)

    async def delete(self, keys: Sequence[str]) -> None:
        await self._turn()
        for key in keys:
            await self._turn()
            if self._objects.pop(key, None):
                self._keys.remove(key)

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        base = prefix + "/" if prefix else ""
        while True:
            await self._turn()
            keys = []
            if after < prefix and prefix in self._objects:
                keys.append(prefix)
            start = max(bisect_left(self._keys, base), bisect_right(self._keys, after))
            while len(keys) < page and start < len(self._keys) and self._keys[start].startswith(base):
                keys.append(self._keys[start])
                start += 1
            if keys:
                yield [self._entry(key, sizes) for key in keys]
            if len(keys) < page:
                return
            after = keys[-1]

    async def stat(self, key: str) -> Entry | None:
        await self._turn()
        return self._entry(key, True) if key in self._objects else None

    async def stream(self, key: str, *, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        await self._turn()
        held = self._objects.get(key)
        if held is None:
            raise NotFound("object_not_found", f"there is no object {key!r}")
        if held[0]:
            yield held[0][:limit]

    async def check(self) -> str:
        await self._turn()
        return "memory of this process"

    async def close(self) -> None:
        await self._turn()

    def _entry(self, key: str, sizes: bool) -> Entry:
        data, modified = self._objects[key]
        return Entry(key, len(data), modified, self._tags[key]) if sizes else Entry(key, 0, 0.0)
