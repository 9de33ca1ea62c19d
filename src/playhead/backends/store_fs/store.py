"""The store itself: calls that run in threads, and the translation of system errors."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, TypeVar

from playhead.backends.store_fs.folders import TEMP, Folders, flush, remove
from playhead.backends.store_fs.listing import Listing, NameCache
from playhead.backends.store_fs.small import SmallObjects
from playhead.backends.store_fs.temporary import TemporaryFiles
from playhead.backends.store_fs.writing import Writing
from playhead.errors import CannotStart, MessageError, NotFound, StoreFull, Unavailable, store_unavailable
from playhead.keys import is_sidecar
from playhead.ports.diagnosis import Finding
from playhead.ports.store import Blob, Entry, ReadResult, WriteResult, any_of

_PIECE = 262_144
_MOST_SIDECAR_BYTES = 1 << 20
"""Enough for all attributes that an output may have, however small the limit for objects is."""
_LITTLE_ROOM = 1_000_000_000
_PROBE: Final = bytes(65_536)
"""The content that `check` writes. An empty file can be created even on a full disk."""
_THREADS = 8
_DELETERS = 4
_FEWEST_DELETED = 100
"""Keys that one thread deletes at once."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    errno.EACCES: "the user that runs Playhead must be able to read and write there",
    errno.EPERM: "the user that runs Playhead must be able to read and write there",
    errno.EROFS: "mount the file system read-write",
    errno.ENOENT: "was it removed, or is its volume not mounted?",
    errno.EXDEV: "everything below the root must be on one file system",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}

T = TypeVar("T")
Findings = list[Finding]
"""An alias, because `list` is a method of the store."""


class FileStore:
    """A store in a folder of this machine, which several processes may share.

    Small objects and sidecars are rows of one file, and larger objects are files at their keys. A file at the
    key of a row replaces the row, so every file that another program puts into the folder is an object.

    Calls run in a separate thread pool, each batch in one thread, so that hanging adapters cannot use up the
    threads. `written` is called in such a thread. A call that is cancelled may still complete its writes.

    In addition to the port, `write` refuses a key that no file can have (`invalid_key`) and a blob that is
    too large (`object_too_large`). `read` returns the first `max_object_bytes + 1` bytes of a larger object
    that another program wrote: enough to reject it.
    """

    name: str = "files"
    ordered: bool = True
    most_small_bytes: ClassVar[int] = 65_536
    """Objects up to this size are rows."""

    def __init__(
        self,
        root: Path,
        *,
        durability: Literal["process", "power"] = "process",
        max_object_bytes: int,
    ) -> None:
        """Open the store, create missing folders, and remove temporary files that crashes left.

        Args:
            root: the folder; it may be a link.
            durability: `process`: written objects survive `kill -9`; `power`: also a power failure.
            max_object_bytes: of one object, in `read` and `write`. Sidecars may always have 1 MiB.

        Raises:
            Unavailable: the folder cannot be created, read or written.
            CannotStart: this process does not encode file names as UTF-8.
        """
        if sys.getfilesystemencoding() != "utf-8":
            raise CannotStart(
                "setup_invalid",
                f"this process encodes file names as {sys.getfilesystemencoding()}, but keys are UTF-8. "
                "Set PYTHONUTF8=1",
            )
        self._root = os.path.abspath(root)
        self._durable = durability == "power"
        self._limit = max_object_bytes
        self._folds = False
        self._temporary = TemporaryFiles(durable=self._durable)
        self._names = NameCache()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="playhead-store")
        try:
            os.makedirs(os.path.join(self._root, TEMP), exist_ok=True)
        except OSError as exc:
            raise self._failure("open", "", exc) from exc
        with self._reach("open") as folders:
            self._folds = self._temporary.probe(folders.temp())
            self._temporary.sweep(folders.temp())
            self._small = SmallObjects(self._root, durable=self._durable)
            if self._durable:
                flush(folders.root)

    # -- the port ----------------------------------------------------------------------------------

    async def read(self, keys: Sequence[str]) -> ReadResult:
        return await self._hop(lambda: self._read(keys)) if keys else []

    async def write(
        self, groups: Sequence[Sequence[Blob]], *, written: Callable[[str], None] | None = None
    ) -> WriteResult:
        return await self._hop(lambda: self._write(groups, written)) if groups else []

    async def delete(self, keys: Sequence[str]) -> None:
        # Side by side, because a disk takes long for one file. Half of the threads stay free for other calls.
        share = max(-(-len(keys) // _DELETERS), _FEWEST_DELETED)
        parts = [keys[at : at + share] for at in range(0, len(keys), share)]
        await asyncio.gather(*(self._hop(partial(self._delete_files, part)) for part in parts))
        if keys:
            await self._hop(lambda: self._small.delete(keys))

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        listing = Listing(prefix, after, sizes, self._names, self._small)

        def fill() -> Sequence[Entry]:
            with self._reach("list") as folders:
                return listing.fill(folders, page)

        ahead = self._hop(fill)
        try:
            while True:
                entries = await ahead
                if whole := len(entries) == page:
                    ahead = self._hop(fill)  # reads while the caller processes this page
                if entries:
                    yield entries
                if not whole:
                    return
        finally:
            ahead.cancel()

    async def stat(self, key: str) -> Entry | None:
        return await self._hop(lambda: self._stat(key))

    async def stream(self, key: str, *, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        opening = self._threads.submit(self._open, key)
        last: Future[Any] = opening
        try:
            fd = await asyncio.wrap_future(opening)
            if isinstance(fd, bytes):
                if data := fd[:limit]:
                    yield data
                return
            left = sys.maxsize if limit is None else limit
            while left:
                last = reading = self._threads.submit(os.read, fd, min(_PIECE, left))
                piece = await asyncio.wrap_future(reading)
                if not piece:
                    break
                left -= len(piece)
                yield piece
        finally:
            # A thread may still use the file if the caller was cancelled.
            last.add_done_callback(lambda _: _close(opening))

    async def check(self) -> str:
        return await self._hop(self._check)

    async def diagnose(self) -> Findings:
        return await self._hop(self._diagnose)

    async def close(self) -> None:
        # In a thread of the event loop, because it waits for writes that are in progress.
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._small.close)

    # -- in a thread -------------------------------------------------------------------------------

    def _hop(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextmanager
    def _reach(self, verb: str) -> Iterator[Folders]:
        """Open folders for one call. Errors of the system become `Unavailable`."""
        folders = Folders(self._root, durable=self._durable, folds=self._folds)
        try:
            with folders:
                yield folders
        except OSError as exc:
            raise self._failure(verb, folders.where, exc) from exc

    def _failure(self, verb: str, where: str, exc: OSError) -> Unavailable:
        place = os.path.join(self._root, where) if where else self._root
        if exc.errno in _FULL:
            return StoreFull(
                f"cannot {verb} {place}: {exc.strerror}; free some space there, and work resumes"
            )
        hint = _HINTS.get(exc.errno or 0)
        return store_unavailable(f"cannot {verb} {place}: {exc.strerror}" + (f"; {hint}" if hint else ""))

    def _read(self, keys: Sequence[str]) -> ReadResult:
        with self._reach("read in") as folders:
            found = [self._read_one(folders, key) for key in keys]
            if missing := [n for n, one in enumerate(found) if one is None]:
                folders.temp()  # raises if the store is not mounted, so that no object counts as missing
                rows = self._small.read([keys[n] for n in missing])
                folders.look_again()
                for n in missing:
                    data = rows.get(keys[n])
                    # An object without a row may have become a file meanwhile.
                    found[n] = self._read_one(folders, keys[n]) if data is None else self._cut(keys[n], data)
        return any_of(found)

    def _cut(self, key: str, data: bytes) -> bytes:
        return data[: self._most(key) + 1]

    def _read_one(self, folders: Folders, key: str) -> bytes | Unavailable | None:
        try:
            if (opened := folders.open(key)) is None:
                return None
            fd, size = opened
            most = self._most(key)
            try:
                data = os.read(fd, min(size, most) + 1)
                if len(data) != size:  # too large, or another program is writing it
                    data = _remaining(fd, data, most + 1)
            finally:
                os.close(fd)
            return data
        except OSError as exc:
            return self._failure("read in", folders.where, exc)

    def _most(self, key: str) -> int:
        return max(self._limit, _MOST_SIDECAR_BYTES) if is_sidecar(key) else self._limit

    def _stat(self, key: str) -> Entry | None:
        with self._reach("read in") as folders:
            found = folders.stat(key, exact=True)
            if found is None:
                folders.temp()
                folders.look_again()
                found = self._small.stat(key) or folders.stat(key, exact=True)
        return found

    def _open(self, key: str) -> int | bytes:
        """Return the descriptor of a file, or the bytes of a row."""
        with self._reach("read in") as folders:
            opened = folders.open(key)
            if opened is None:
                folders.temp()
                if (data := self._small.read([key]).get(key)) is not None:
                    return data
                folders.look_again()
                opened = folders.open(key)
            if opened is None:
                raise NotFound("object_not_found", f"there is no object {key!r}")
        return opened[0]

    def _write(self, groups: Sequence[Sequence[Blob]], written: Callable[[str], None] | None) -> WriteResult:
        outcome: WriteResult = []
        with self._reach("write in") as folders:
            folders.temp()  # raises if the store is not mounted
            writing = Writing(
                *(folders, self._temporary, self._small, written),
                most_small=self.most_small_bytes,
                durable=self._durable,
            )
            for group in groups:
                try:
                    for blob in group:
                        self._check_size(blob)
                        writing.add(blob)
                    outcome.append(None)
                except MessageError as exc:
                    outcome.append(exc)
                except OSError as exc:
                    if exc.errno in _FULL:
                        raise
                    outcome.append(self._failure("write in", folders.where, exc))
            writing.finish()
        return any_of(outcome)

    def _check_size(self, blob: Blob) -> None:
        if len(blob.data) > (most := self._most(blob.key)):
            raise MessageError(
                "object_too_large", f"{blob.key!r} has {len(blob.data)} bytes; at most {most} are stored"
            )

    def _delete_files(self, keys: Sequence[str]) -> None:
        with self._reach("delete in") as folders:
            folders.temp()  # raises if the store is not mounted, so that no object counts as removed
            folders.delete_all(keys)

    def _check(self) -> str:
        with self._reach("write in") as folders:
            temp = folders.temp()
            remove(self._temporary.write(_PROBE, temp), temp)
            self._small.check()
        return f"files in {self._root}"

    def _diagnose(self) -> Findings:
        try:
            began = time.monotonic()
            what = self._check()
            took = (time.monotonic() - began) * 1000
            free = shutil.disk_usage(self._root).free
        except (Unavailable, OSError) as exc:
            fix = f"{self._root} must be a folder that the user of this process can write"
            return [Finding("round trip", "failed", str(exc), fix)]
        found = [Finding("round trip", "ok", f"{what}; wrote and removed a file in {took:.1f} ms")]
        little = free < _LITTLE_ROOM
        fix = "free some space there, or move the store (PLAYHEAD_STORE)" if little else ""
        found.append(Finding("room", "warning" if little else "ok", f"{free / 1e9:.1f} GB free", fix))
        if not self._durable:
            kept = "stored objects survive kill -9; a power failure may lose the last ones"
            found.append(
                Finding("durability", "ok", kept + " (PLAYHEAD_DURABILITY=power prevents it, slower)")
            )
        return found


def _close(opening: Future[int | bytes]) -> None:
    if not opening.cancelled() and not opening.exception() and isinstance(fd := opening.result(), int):
        os.close(fd)


def _remaining(fd: int, data: bytes, most: int) -> bytes:
    """Return `data` and the bytes that follow it in the file; together at most `most` bytes."""
    pieces = [data]
    size = len(data)
    while size < most and (piece := os.read(fd, min(_PIECE, most - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
