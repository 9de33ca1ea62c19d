"""The store in a folder: an object is a file, its key is the path below the root.

Files of others are objects too, so a folder that another program filled can be listed and replayed.
Three things are never done:

- A symbolic link below the root is never followed. Every folder is reached from the root with
  `openat` and `O_NOFOLLOW`, one segment after another, so neither a key nor a link leads out.
- No folder stays open between two calls. Within a call the last few are kept, as the keys of a batch
  mostly share theirs.
- Nothing half-written stands under a key. Bytes go to `{root}/.tmp` first and are renamed.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import shutil
import stat
import sys
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeVar

from playhead import events
from playhead.errors import CannotStart, MessageError, NotFound, StoreFull, Unavailable, store_unavailable
from playhead.ids import uuid7
from playhead.keys import is_sidecar
from playhead.ports.diagnosis import Finding
from playhead.ports.store import Blob, Entry, ReadResult, WriteResult, any_of

TEMP: Final = ".tmp"
"""The folder for files that are being written; no object, and in no listing. Also the sign by which an
empty store is told from a mount point whose volume is not there."""
LEFTOVER_SECONDS: Final = 86_400
"""A temporary file of that age is one that its writer did not live to rename."""

_KEPT_OPEN = 64
_PIECE = 262_144
_LONGEST_KEY = 4_096
"""In characters; what is longer is nobody's key, and would only cost time to reach."""
_MOST_SIDECAR_BYTES = 1 << 20
"""Room for all attributes that an output may have, however small the limit for objects is."""
_LITTLE_ROOM = 1_000_000_000
_PROBE: Final = bytes(65_536)
"""What `check` writes and removes. An empty file can be made on a full disk, too."""
_THREADS = 8

Findings = list[Finding]
"""Named, as `list` is something else within the class."""

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = _ROOT | os.O_NOFOLLOW
# Without O_NONBLOCK, opening a FIFO that someone left there would wait for its writer; without O_NOCTTY, a
# terminal would become this process's own.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NO_SUCH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
"""What opening says when there is no such object: nothing, a file or a link on the way, a link or a
socket in its place."""
_NOT_A_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})
_NOT_A_NAME = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HINTS = {
    errno.EACCES: "the user that runs Playhead must be able to read and write there",
    errno.EPERM: "the user that runs Playhead must be able to read and write there",
    errno.EROFS: "mount it writable",
    errno.ENOENT: "was it removed, or is its volume not mounted?",
    errno.EXDEV: "everything below the root must be on one file system",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}

T = TypeVar("T")
# Named here, as `list` is a method in the store.

if sys.platform == "darwin":
    import fcntl

    def _flush(fd: int) -> None:
        # There fsync leaves the bytes in the drive's own cache.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
else:
    _flush = os.fsync


class FileStore:
    """A store in a folder of this machine, which several processes may share.

    Calls run in threads of the store's own, a whole batch in one, so that hanging adapters can't take
    them. `written` is called in such a thread. A call that is cancelled may still finish its writing.

    Besides what the port says, `write` refuses a key that no file can have (`invalid_key`) and a blob
    that is too large (`object_too_large`). Of an object of others that is too large, `read` gives the
    first `max_object_bytes + 1` bytes: enough to see that it is, and no more memory than that.
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
        """Open the store, make its folders where they are missing, and sweep what crashes left.

        Args:
            root: the folder; may itself be a link.
            durability: `process`: what is written survives `kill -9`; `power`: also a power cut.
            max_object_bytes: of one object, in `read` and `write`; a small one does not hold for sidecars.

        Raises:
            Unavailable: the folder can't be made, read or written.
            CannotStart: file names of this process are not UTF-8.
        """
        if sys.getfilesystemencoding() != "utf-8":
            raise CannotStart(
                "setup_invalid",
                f"file names would be {sys.getfilesystemencoding()}, and keys are UTF-8: set PYTHONUTF8=1",
            )
        self._root = os.path.abspath(root)
        self._durable = durability == "power"
        self._limit = max_object_bytes
        self._folds = False
        self._token = uuid7().hex
        self._count = itertools.count()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="playhead-store")
        try:
            os.makedirs(os.path.join(self._root, TEMP), exist_ok=True)
        except OSError as exc:
            raise self._failure("open", "", exc) from exc
        with self._reach("open") as folders:
            self._folds = self._probe(folders.temp())
            self._sweep(folders.temp())
            if self._durable:
                _flush(folders.root)

    # -- the port ----------------------------------------------------------------------------------

    async def read(self, keys: Sequence[str]) -> ReadResult:
        return await self._hop(lambda: self._read(keys)) if keys else []

    async def write(
        self, groups: Sequence[Sequence[Blob]], *, written: Callable[[str], None] | None = None
    ) -> WriteResult:
        return await self._hop(lambda: self._write(groups, written)) if groups else []

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        listing = _Listing(prefix, after, sizes)

        def fill() -> Sequence[Entry]:
            with self._reach("list") as folders:
                return listing.fill(folders, page)

        ahead = self._hop(fill)
        try:
            while True:
                entries = await ahead
                if whole := len(entries) == page:
                    ahead = self._hop(fill)  # is read while the caller works on this one
                if entries:
                    yield entries
                if not whole:
                    return
        finally:
            ahead.cancel()

    async def stat(self, key: str) -> Entry | None:
        return await self._hop(lambda: self._stat(key))

    async def stream(self, key: str) -> AsyncIterator[bytes]:
        reader = _Reader(lambda: self._open(key))
        try:
            while piece := await self._hop(reader.piece):
                yield piece
        finally:
            reader.close()

    async def check(self) -> str:
        return await self._hop(self._check)

    async def diagnose(self) -> Findings:
        return await self._hop(self._diagnose)

    async def close(self) -> None:
        # In a thread of the loop's, as it waits for writes that are under way.
        await asyncio.to_thread(self._threads.shutdown)

    # -- in a thread -------------------------------------------------------------------------------

    def _hop(self, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    @contextmanager
    def _reach(self, verb: str) -> Iterator[_Folders]:
        """The folders for one call; what the system refuses becomes `Unavailable`."""
        folders = _Folders(durable=self._durable, folds=self._folds)
        try:
            with folders:
                folders.enter(self._root)
                yield folders
        except OSError as exc:
            raise self._failure(verb, folders.where, exc) from exc

    def _failure(self, verb: str, where: str, exc: OSError) -> Unavailable:
        place = os.path.join(self._root, where) if where else self._root
        if exc.errno in _FULL:
            return StoreFull(f"can't {verb} {place}: {exc.strerror}; make room, and it goes on")
        hint = _HINTS.get(exc.errno or 0)
        return store_unavailable(f"can't {verb} {place}: {exc.strerror}" + (f"; {hint}" if hint else ""))

    def _read(self, keys: Sequence[str]) -> ReadResult:
        with self._reach("read in") as folders:
            found = [self._try_read(folders, key) for key in keys]
            if None in found:
                folders.temp()  # a store that is not there has lost nothing
        return any_of(found)

    def _try_read(self, folders: _Folders, key: str) -> bytes | Unavailable | None:
        try:
            return self._read_one(folders, key)
        except OSError as exc:
            return self._failure("read in", folders.where, exc)

    def _read_one(self, folders: _Folders, key: str) -> bytes | None:
        if (opened := folders.open(key)) is None:
            return None
        fd, size = opened
        most = self._most(key)
        try:
            data = os.read(fd, min(size, most) + 1)
            if len(data) != size:  # too large, or of others and being written just now
                data = _sleep(fd, data, most + 1)
        finally:
            os.close(fd)
        return data

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

    def _put(self, folders: _Folders, blob: Blob) -> None:
        key, data, _ = blob
        if len(data) > (most := self._most(key)):
            raise MessageError(
                "object_too_large", f"{key!r} has {len(data)} bytes; at most {most} are stored"
            )
        temp, folder, name = folders.temp(), *folders.place(key)
        passing = f"{self._token}-{next(self._count)}"
        placed = False
        try:
            self._fill(temp, passing, data)
            os.rename(passing, name, src_dir_fd=temp, dst_dir_fd=folder)
            placed = True
        except IsADirectoryError as exc:
            raise _conflict(key, "there is a folder of that name") from exc
        except OSError as exc:
            if exc.errno in _NOT_A_NAME:
                raise _invalid(key, str(exc.strerror)) from exc
            raise
        finally:
            if not placed:
                _remove(passing, temp)
        if self._durable:
            _flush(folder)

    def _fill(self, temp: int, passing: str, data: bytes) -> None:
        """Write a temporary file, which is not removed when this fails."""
        fd = os.open(passing, _WRITE, 0o666, dir_fd=temp)
        try:
            done = os.write(fd, data)
            while done < len(data):
                done += os.write(fd, memoryview(data)[done:])
            if self._durable:
                _flush(fd)
        finally:
            os.close(fd)

    def _check(self) -> str:
        with self._reach("write in") as folders:
            temp = folders.temp()
            passing = f"{self._token}-{next(self._count)}"
            try:
                self._fill(temp, passing, _PROBE)
            finally:
                _remove(passing, temp)
        return f"files in {self._root}"

    def _diagnose(self) -> Findings:
        try:
            began = time.monotonic()
            what = self._check()
            took = (time.monotonic() - began) * 1000
            free = shutil.disk_usage(self._root).free
        except (Unavailable, OSError) as exc:
            fix = f"{self._root} must be a folder that this user can write"
            return [Finding("round trip", "failed", str(exc), fix)]
        found = [Finding("round trip", "ok", f"{what}; a file is made and removed in {took:.1f} ms")]
        room = f"{free / 1e9:.1f} GB are free"
        if free < _LITTLE_ROOM:
            found.append(Finding("room", "warning", room, "make room, or move the store (PLAYHEAD_STORE)"))
        else:
            found.append(Finding("room", "ok", room))
        if not self._durable:
            kept = "what is stored survives kill -9; a power cut may take the last of it"
            found.append(Finding("durability", "ok", kept + " (PLAYHEAD_DURABILITY=power: slower)"))
        return found

    def _probe(self, temp: int) -> bool:
        """Whether this file system takes names for one that differ in case or in Unicode form."""
        name = unicodedata.normalize("NFC", f"{self._token}-Aé")
        os.close(os.open(name, _WRITE, 0o666, dir_fd=temp))
        try:
            return any(
                _exists(other, temp) for other in (name.replace("A", "a"), unicodedata.normalize("NFD", name))
            )
        finally:
            _remove(name, temp)

    def _sweep(self, temp: int) -> None:
        oldest = time.time() - LEFTOVER_SECONDS
        with os.scandir(temp) as entries:
            for entry in entries:
                try:
                    old = entry.stat(follow_symlinks=False).st_mtime < oldest
                except FileNotFoundError:
                    continue  # renamed, or swept by another process
                if old and entry.is_file(follow_symlinks=False):
                    _remove(entry.name, temp)


class _Folders:
    """Folders opened on the way from the root, for the length of one call.

    A descriptor that `at` or `place` gives is good until the next of these calls.

    Attributes:
        where: the folder or file that was last on the way to, for the words of an error.
    """

    def __init__(self, *, durable: bool, folds: bool) -> None:
        self.where = ""
        self.root = -1
        self._temp = -1
        self._durable = durable
        self._folds = folds
        self._open: dict[str, int] = {}

    def __enter__(self) -> _Folders:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (*self._open.values(), self._temp, self.root):
            if fd >= 0:
                os.close(fd)
        self._open.clear()
        self._temp = self.root = -1

    def enter(self, root: str) -> None:
        self.root = os.open(root, _ROOT)

    def temp(self) -> int:
        """The folder of temporary files. That it is there says that the store is."""
        if self._temp < 0:
            self.where = TEMP
            self._temp = os.open(TEMP, _FOLDER, dir_fd=self.root)
        return self._temp

    def at(self, path: str, *, create: bool = False) -> int:
        """Open the folder of that path; it must be checked by `_reachable`.

        Raises:
            OSError: `ENOTDIR` or `ELOOP` when there is a file or a link on the way.
        """
        self.where = path
        if not path:
            return self.root
        if (fd := self._open.get(path)) is not None:
            return fd
        here, end = self.root, path.rfind("/")
        while end > 0:
            if (fd := self._open.get(path[:end])) is not None:
                here = fd
                break
            end = path.rfind("/", 0, end)
        start = max(end, -1) + 1
        while start <= len(path):
            end = path.find("/", start)
            end = len(path) if end < 0 else end
            here = self._step(here, path[:end], path[start:end], create)
            # After the step, as the folder that it started from may be the oldest.
            if len(self._open) >= _KEPT_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[path[:end]] = here
            start = end + 1
        return here

    def _step(self, here: int, path: str, name: str, create: bool) -> int:
        self.where = path
        try:
            fd = os.open(name, _FOLDER, dir_fd=here)
        except FileNotFoundError:
            if not create:
                raise
            self.where = path[: -len(name) - 1]  # it is the parent that may refuse
            try:
                os.mkdir(name, dir_fd=here)
            except FileExistsError:
                pass  # another writer was first
            self.where = path
            if self._durable:
                _flush(here)
            return os.open(name, _FOLDER, dir_fd=here)
        if self._folds and not _listed(name, here):
            os.close(fd)
            raise NotADirectoryError(errno.ENOTDIR, "a folder of nearly that name is there")
        return fd

    def place(self, key: str) -> tuple[int, str]:
        """Where to put an object: its folder, made where it is missing, and its name there.

        Raises:
            MessageError: `key_conflict`, `invalid_key`.
        """
        path, _, name = key.rpartition("/")
        if (path not in self._open and not _reachable(key)) or not _nameable(name):
            raise _invalid(key, "it leads nowhere below the root")
        try:
            folder = self.at(path, create=True)
        except OSError as exc:
            if exc.errno in _NOT_A_FOLDER:
                raise _conflict(key, f"{self.where!r} is no folder of exactly that name") from exc
            if exc.errno in _NOT_A_NAME:
                raise _invalid(key, str(exc.strerror)) from exc
            raise
        if self._folds and _exists(name, folder) and not _listed(name, folder):
            raise _conflict(key, "this file system takes its name for that of another object")
        return folder, name

    def find(self, key: str) -> tuple[int, str] | None:
        """Where an object would be, None where there is no such folder."""
        path, _, name = key.rpartition("/")
        if (path not in self._open and not _reachable(key)) or not _nameable(name):
            return None
        try:
            return self.at(path), name
        except OSError as exc:
            if exc.errno in _NO_SUCH:
                return None
            raise

    def open(self, key: str) -> tuple[int, int] | None:
        """Open an object for reading: its descriptor and its size; None where there is none."""
        if (found := self.find(key)) is None:
            return None
        folder, name = found
        self.where = key
        try:
            fd = os.open(name, _READ, dir_fd=folder)
        except OSError as exc:
            if exc.errno in _NO_SUCH:
                return None
            raise
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            return fd, status.st_size
        os.close(fd)
        return None

    def stat(self, key: str, *, exact: bool = False) -> Entry | None:
        """Size and time of an object. `exact`: look at its name too, where the file system does not."""
        if (found := self.find(key)) is None:
            return None
        folder, name = found
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as exc:
            if exc.errno in _NO_SUCH:
                return None
            raise
        if not stat.S_ISREG(status.st_mode) or (exact and self._folds and not _listed(name, folder)):
            return None
        return Entry(key, status.st_size, status.st_mtime)


class _Listing:
    """Where a listing stands: the names still to come of each folder on the way down, last first.

    It holds no descriptor, so one that is left in the middle leaves nothing open.
    """

    def __init__(self, prefix: str, after: str, sizes: bool) -> None:
        self._prefix = prefix
        self._after = after
        self._sizes = sizes
        self._levels: list[tuple[str, list[str]]] = []
        self._begun = False

    def fill(self, folders: _Folders, page: int) -> Sequence[Entry]:
        """Return the next `page` entries; fewer only at the end."""
        entries: list[Entry] = []
        if not self._begun:
            self._begun = True
            self._begin(folders, entries)
        while self._levels and len(entries) < page:
            base, names = self._levels[-1]
            if not names:
                self._levels.pop()
            while names and len(entries) < page:
                name = names.pop()
                if name[-1] == "/":
                    self._descend(folders, base + name)
                    break
                if self._sizes:
                    if entry := folders.stat(base + name):
                        entries.append(entry)
                else:
                    entries.append(Entry(base + name, 0, 0.0))
        folders.temp()  # a store that went away has not come to its end
        return entries

    def _begin(self, folders: _Folders, entries: list[Entry]) -> None:
        if not self._prefix:
            self._descend(folders, "")
            return
        itself = folders.stat(self._prefix, exact=True)
        if itself and itself.key > self._after:
            entries.append(itself if self._sizes else Entry(itself.key, 0, 0.0))
        base = self._prefix + "/"
        if not itself and _reachable(base) and (self._after < base or self._after.startswith(base)):
            self._descend(folders, base)

    def _descend(self, folders: _Folders, base: str) -> None:
        """Take up the names in a folder that can lead to a key after `after`, in order of the keys."""
        after = self._after[len(base) :] if self._after.startswith(base) else ""
        names: list[str] = []
        left_out = 0
        try:
            with os.scandir(folders.at(base[:-1])) as found:
                for entry in found:
                    name = entry.name
                    if not name.isascii() and not _nameable(name):
                        left_out += 1
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        # As it stands in a key: `a-b` comes before `a/x`, and that before `a0`.
                        name += "/"
                        if name <= after and not after.startswith(name):
                            continue
                    elif name <= after or not entry.is_file(follow_symlinks=False):
                        continue
                    names.append(name)
        except OSError as exc:
            if exc.errno not in _NO_SUCH:
                raise
        if not base and TEMP + "/" in names:
            names.remove(TEMP + "/")
        if left_out:
            events.emit(events.NAMES_LEFT_OUT, logging.WARNING, folder=base, names=left_out, why="not UTF-8")
        # Code points sort as their UTF-8 does.
        names.sort(reverse=True)
        self._levels.append((base, names))


class _Reader:
    """An object that is read piece by piece, opened with the first.

    A piece may still be under way in its thread when the caller has gone: closing waits for it, and
    nothing opens after that.
    """

    def __init__(self, opener: Callable[[], int]) -> None:
        self._opener = opener
        self._fd: int | None = None
        self._closed = False
        self._lock = threading.Lock()

    def piece(self) -> bytes:
        with self._lock:
            if self._closed:
                return b""
            if self._fd is None:
                self._fd = self._opener()
            return os.read(self._fd, _PIECE)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None


def _nameable(segment: str) -> bool:
    """Whether a segment can be a name in a folder, and is no way out of it."""
    if segment in ("", ".", "..") or "\0" in segment:
        return False
    if segment.isascii():
        return True
    try:
        segment.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reachable(key: str) -> bool:
    """Whether every folder that a key names may be entered."""
    if len(key) > _LONGEST_KEY:
        return False
    first, *rest = key.split("/")
    return first != TEMP and all(map(_nameable, [first, *rest][:-1]))


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _listed(name: str, folder: int) -> bool:
    """Whether a folder has an entry of exactly that name."""
    with os.scandir(folder) as entries:
        return any(entry.name == name for entry in entries)


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass


def _sleep(fd: int, data: bytes, most: int) -> bytes:
    """What is still to be read after `data`, and `data` before it; together at most `most` bytes."""
    pieces = [data]
    size = len(data)
    while size < most and (piece := os.read(fd, min(_PIECE, most - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _invalid(key: str, why: str) -> MessageError:
    return MessageError("invalid_key", f"a folder can't hold {key!r}: {why}")


def _conflict(key: str, why: str) -> MessageError:
    return MessageError("key_conflict", f"a folder can't hold {key!r} beside what it holds: {why}")
