"""The store itself: calls that run in threads, and the translation of system errors."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from playhead.backends.store_fs.folders import (
    NOT_A_NAME,
    TEMP,
    Folders,
    conflict,
    exists,
    flush,
    invalid,
    remove,
)
from playhead.backends.store_fs.listing import Listing, NameCache
from playhead.errors import CannotStart, MessageError, NotFound, StoreFull, Unavailable, store_unavailable
from playhead.ids import uuid7
from playhead.keys import is_sidecar
from playhead.ports.diagnosis import Finding
from playhead.ports.store import Blob, Entry, ReadResult, WriteResult, any_of

LEFTOVER_SECONDS: Final = 86_400
"""A temporary file of this age was left by a process that died before it renamed the file."""

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
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

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

    Calls run in a separate thread pool, each batch in one thread, so that hanging adapters cannot use up the
    threads. `written` is called in such a thread. A call that is cancelled may still complete its writes.

    In addition to the port, `write` refuses a key that no file can have (`invalid_key`) and a blob that is
    too large (`object_too_large`). `read` returns the first `max_object_bytes + 1` bytes of a larger object
    that another program wrote: enough to reject it.
    """

    name: str = "files"
    ordered: bool = True

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
        self._token = uuid7().hex
        self._count = itertools.count()
        self._names = NameCache()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="playhead-store")
        try:
            os.makedirs(os.path.join(self._root, TEMP), exist_ok=True)
        except OSError as exc:
            raise self._failure("open", "", exc) from exc
        with self._reach("open") as folders:
            self._folds = self._probe(folders.temp())
            self._sweep(folders.temp())
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
        await asyncio.gather(*(self._hop(partial(self._delete, part)) for part in parts))

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        listing = Listing(prefix, after, sizes, self._names)

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
            if None in found:
                folders.temp()  # raises if the store is not mounted, so that no object counts as missing
        return any_of(found)

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
        return found

    def _open(self, key: str) -> int:
        with self._reach("read in") as folders:
            opened = folders.open(key)
            if opened is None:
                folders.temp()
                raise NotFound("object_not_found", f"there is no object {key!r}")
        return opened[0]

    def _write(self, groups: Sequence[Sequence[Blob]], written: Callable[[str], None] | None) -> WriteResult:
        outcome: WriteResult = []
        with self._reach("write in") as folders:
            for group in groups:
                try:
                    for blob in group:
                        self._put(folders, blob)
                        if written:
                            written(blob.key)
                    outcome.append(None)
                except MessageError as exc:
                    outcome.append(exc)
                except OSError as exc:
                    if exc.errno in _FULL:
                        raise
                    outcome.append(self._failure("write in", folders.where, exc))
        return any_of(outcome)

    def _put(self, folders: Folders, blob: Blob) -> None:
        key, data, _ = blob
        if len(data) > (most := self._most(key)):
            raise MessageError(
                "object_too_large", f"{key!r} has {len(data)} bytes; at most {most} are stored"
            )
        temp = folders.temp()
        folders.place(key)  # refuses a key that no file can have, before anything is written
        passing = f"{self._token}-{next(self._count)}"
        placed = False
        try:
            self._fill(temp, passing, data)
            folder = folders.move(passing, key)
            placed = True
        except IsADirectoryError as exc:
            raise conflict(key, "there is a folder of that name") from exc
        except OSError as exc:
            if exc.errno in NOT_A_NAME:
                raise invalid(key, str(exc.strerror)) from exc
            raise
        finally:
            if not placed:
                remove(passing, temp)
        if self._durable:
            flush(folder)

    def _delete(self, keys: Sequence[str]) -> None:
        with self._reach("delete in") as folders:
            folders.temp()  # raises if the store is not mounted, so that no object counts as removed
            folders.delete_all(keys)

    def _fill(self, temp: int, passing: str, data: bytes) -> None:
        """Write a temporary file. When this fails, the caller removes the file."""
        fd = os.open(passing, _WRITE, 0o666, dir_fd=temp)
        try:
            done = os.write(fd, data)
            while done < len(data):
                done += os.write(fd, memoryview(data)[done:])
            if self._durable:
                flush(fd)
        finally:
            os.close(fd)

    def _check(self) -> str:
        with self._reach("write in") as folders:
            temp = folders.temp()
            passing = f"{self._token}-{next(self._count)}"
            try:
                self._fill(temp, passing, _PROBE)
            finally:
                remove(passing, temp)
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

    def _probe(self, temp: int) -> bool:
        """Whether this file system treats names that differ in case or in Unicode form as one."""
        name = unicodedata.normalize("NFC", f"{self._token}-Aé")
        os.close(os.open(name, _WRITE, 0o666, dir_fd=temp))
        try:
            return any(
                exists(other, temp) for other in (name.replace("A", "a"), unicodedata.normalize("NFD", name))
            )
        finally:
            remove(name, temp)

    def _sweep(self, temp: int) -> None:
        oldest = time.time() - LEFTOVER_SECONDS
        with os.scandir(temp) as entries:
            for entry in entries:
                try:
                    old = entry.stat(follow_symlinks=False).st_mtime < oldest
                except FileNotFoundError:
                    continue  # renamed, or removed by another process
                if old and entry.is_file(follow_symlinks=False):
                    remove(entry.name, temp)


def _close(opening: Future[int]) -> None:
    if not opening.cancelled() and not opening.exception():
        os.close(opening.result())


def _remaining(fd: int, data: bytes, most: int) -> bytes:
    """Return `data` and the bytes that follow it in the file; together at most `most` bytes."""
    pieces = [data]
    size = len(data)
    while size < most and (piece := os.read(fd, min(_PIECE, most - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)
