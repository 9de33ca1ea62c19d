"""Opening folders and files below a root, one segment of a key after another (`openat`)."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, TypeVar

from playhead.backends.store_fs.small import FILES as SMALL_FILES
from playhead.errors import MessageError
from playhead.ids import uuid7
from playhead.keys import is_utf8
from playhead.ports.store import Entry

T = TypeVar("T")

TEMP: Final = ".tmp"
"""The folder for files that are being written. It holds no objects and appears in no listing. Its presence
also distinguishes an empty store from a mount point whose volume is not mounted."""

RESERVED: Final = frozenset({TEMP, *SMALL_FILES})
_LONGEST_NAME = 255
"""In bytes; what file systems allow."""
_KEPT_OPEN = 64
_TRIES = 100
"""How often a folder is created again while it is being removed. Once is enough in practice."""
_TICK_SECONDS = 0.02
"""Two changes of a file within one tick of the kernel's clock leave the same time in it."""
_LONGEST_KEY = 4_096
"""In characters. A longer key cannot be one of Playhead's, and would only take time to open."""

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = _ROOT | os.O_NOFOLLOW
# Without O_NONBLOCK, opening a FIFO would wait for its writer. Without O_NOCTTY, a terminal would become the
# controlling terminal of this process.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

NO_SUCH: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO})
"""Errors of opening that mean that there is no such object: the name does not exist, a file or a link is on
the way to it, or it is a link or a socket."""
NOT_A_NAME: Final = frozenset({errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL})
_NOT_A_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})
_NOT_EMPTY = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY})

if sys.platform == "darwin":
    import fcntl

    def flush(fd: int) -> None:
        # On macOS fsync leaves the bytes in the cache of the drive.
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
else:
    flush = os.fsync


class Folders:
    """Folders that are open for the length of one call.

    A descriptor that `at` or `place` returns is valid until the next call of either.

    Args:
        root: the folder of the store.
        durable: flush a new folder's entry to the disk.
        folds: the file system treats names that differ in case or in Unicode form as one.

    Attributes:
        where: the folder or file that was opened last, for error messages.
    """

    def __init__(self, root: str, *, durable: bool, folds: bool) -> None:
        self.where = ""
        self._path = root
        self.root = -1
        self._temp = -1
        self._durable = durable
        self._folds = folds
        self._open: dict[str, int] = {}
        self._missing: set[str] = set()
        self._reachable: set[str] = set()

    def __enter__(self) -> Folders:
        self.root = os.open(self._path, _ROOT)
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (*self._open.values(), self._temp, self.root):
            if fd >= 0:
                os.close(fd)
        self._open.clear()
        self._temp = self.root = -1

    def temp(self) -> int:
        """Open the folder of temporary files. Raises `FileNotFoundError` if the store is not mounted."""
        if self._temp < 0:
            self.where = TEMP
            self._temp = os.open(TEMP, _FOLDER, dir_fd=self.root)
        return self._temp

    def at(self, path: str, *, create: bool = False) -> int:
        """Open the folder of a path that `is_reachable` accepted.

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
            if create:
                self._missing.clear()
            elif path[:end] in self._missing:
                self._missing.add(path)
                raise FileNotFoundError(errno.ENOENT, "there is no such folder")
            here = self._step(here, path[:end], path[start:end], create)
            # After the step, because the folder that it started from may be the oldest.
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
                self._missing.add(path)
                raise
            self.where = path[: -len(name) - 1]  # the parent is what may refuse
            with suppress(FileExistsError):  # another writer was first
                os.mkdir(name, dir_fd=here)
            self.where = path
            if self._durable:
                flush(here)
            return os.open(name, _FOLDER, dir_fd=here)
        if self._folds and not is_listed(name, here):
            os.close(fd)
            raise NotADirectoryError(
                errno.ENOTDIR, "there is a folder whose name differs only in case or form"
            )
        return fd

    def place(self, key: str) -> tuple[int, str]:
        """Return the folder of an object to write, created if missing, and the object's name there.

        Raises:
            MessageError: `key_conflict`, `invalid_key`.
        """
        return self._again(key, lambda: self._place(key))

    def move(self, passing: str, key: str) -> int:
        """Rename a temporary file to the name of an object; return the folder of the object."""

        def rename() -> int:
            folder, name = self._place(key)
            os.rename(passing, name, src_dir_fd=self.temp(), dst_dir_fd=folder)
            return folder

        return self._again(key, rename)

    def _again(self, key: str, work: Callable[[], T]) -> T:
        """Repeat what fails because a folder of the key is gone: `delete_all` removes empty folders."""
        for tries_left in reversed(range(_TRIES)):
            try:
                return work()
            except FileNotFoundError:
                if not tries_left:
                    raise
                self.forget(key.partition("/")[0])
        raise AssertionError("the last try returns or raises")

    def check(self, key: str) -> tuple[str, str]:
        """Return the path of the folder of an object, and its name. Raises `MessageError`: `invalid_key`."""
        path, _, name = key.rpartition("/")
        if not self._is_reachable(path, key) or not is_name(name):
            raise invalid(key, "it names no file below the root")
        return path, name

    def _is_reachable(self, path: str, key: str) -> bool:
        if path not in self._reachable:
            if not is_reachable(key):
                return False
            self._reachable.add(path)
        return True

    def _place(self, key: str) -> tuple[int, str]:
        path, name = self.check(key)
        try:
            folder = self.at(path, create=True)
        except OSError as exc:
            if exc.errno in _NOT_A_FOLDER:
                raise conflict(key, f"{self.where!r} is not a folder of exactly that name") from exc
            if exc.errno in NOT_A_NAME:
                raise invalid(key, str(exc.strerror)) from exc
            raise
        if self._folds and exists(name, folder) and not is_listed(name, folder):
            raise conflict(key, "this file system treats its name as that of another object")
        return folder, name

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, and the folders that are empty then. A key without an object is ignored."""
        emptied = {folder for key in keys if (folder := self._delete(key))}
        for folder in emptied:
            if self._durable:
                flush(self.at(folder))
        for folder in sorted(emptied, key=len, reverse=True):  # the inner ones first
            self._remove_empty(folder)

    def _delete(self, key: str) -> str | None:
        """Remove an object. Return its folder; None if there is no such object."""
        if self._is_missing(key):
            return None
        try:
            folder, name = self.find(key)
            self.where = key
            if self._folds and not is_listed(name, folder):
                return None
            if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                return None
            os.unlink(name, dir_fd=folder)
        except OSError as exc:
            if exc.errno in NO_SUCH:
                return None
            raise
        return key.rpartition("/")[0]

    def _remove_empty(self, path: str) -> None:
        """Remove a folder if it is empty, then the folders above it that are empty; never the root.

        No check precedes: `rmdir` itself refuses a folder that is not empty, so no file can be lost. A writer
        that has opened the folder before finds that it is gone, and creates it again (`_again`).
        """
        while path:
            above, _, name = path.rpartition("/")
            try:
                parent = self.at(above)
                os.rmdir(name, dir_fd=parent)
            except OSError as exc:
                if exc.errno in _NOT_EMPTY:
                    return
                if exc.errno not in NO_SUCH:  # another process may have removed it
                    raise
            else:
                if self._durable:
                    flush(parent)
            self.forget(path)
            path = above

    def _is_missing(self, key: str) -> bool:
        """Whether the folder of an object did not exist in this call."""
        return key.rpartition("/")[0] in self._missing

    def look_again(self) -> None:
        """Forget which folders did not exist."""
        self._missing.clear()

    def forget(self, path: str) -> None:
        """Close a folder that was removed, and those inside it."""
        inside = path + "/"
        for one in [one for one in self._open if one == path or one.startswith(inside)]:
            os.close(self._open.pop(one))

    def find(self, key: str) -> tuple[int, str]:
        """Return the folder and the name of an object. Raises an error in `NO_SUCH` if there is no folder."""
        path, _, name = key.rpartition("/")
        if not self._is_reachable(path, key) or not is_name(name):
            raise FileNotFoundError(errno.ENOENT, "it names no file below the root")
        return self.at(path), name

    def open(self, key: str) -> tuple[int, int] | None:
        """Open an object for reading. Return its descriptor and its size, None if there is no such object."""
        if self._is_missing(key):
            return None
        try:
            folder, name = self.find(key)
            self.where = key
            fd = os.open(name, _READ, dir_fd=folder)
        except OSError as exc:
            if exc.errno in NO_SUCH:
                return None
            raise
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            return fd, status.st_size
        os.close(fd)
        return None

    def stat(self, key: str, *, exact: bool = False, tagged: bool = False) -> Entry | None:
        """Return size and time of an object, None if there is no such object.

        Args:
            exact: compare the name itself, where the file system does not.
            tagged: also return a tag. Waits for a tick of the clock if the object has just been changed.
        """
        if self._is_missing(key):
            return None
        tag = ""
        try:
            folder, name = self.find(key)
            before = time.time() if tagged else 0.0
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if tagged:
                if _is_recent(status, before):
                    time.sleep(_TICK_SECONDS)
                    before = time.time()
                    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                # Not the time of modification: a program can set it back after a change.
                tag = f"{status.st_ino:x}.{status.st_ctime_ns:x}"
                if _is_recent(status, before):  # it is being changed again and again
                    tag += f".{uuid7().hex}"
        except OSError as exc:
            if exc.errno in NO_SUCH:
                return None
            raise
        if not stat.S_ISREG(status.st_mode) or (exact and self._folds and not is_listed(name, folder)):
            return None
        return Entry(key, status.st_size, status.st_mtime, tag)


def _is_recent(status: os.stat_result, before: float) -> bool:
    """Whether a change after `status` was read could leave the same time; `before` is when the read began.

    Times in the future are from before the clock was set back.
    """
    return before - _TICK_SECONDS < status.st_ctime <= time.time()


def is_name(segment: str) -> bool:
    """Whether a segment can be a name in a folder and does not lead out of the folder."""
    return (
        segment not in ("", ".", "..")
        and "\0" not in segment
        and is_utf8(segment)
        and len(segment.encode()) <= _LONGEST_NAME
    )


def is_reachable(key: str) -> bool:
    """Whether every folder that a key names may be opened."""
    if len(key) > _LONGEST_KEY:
        return False
    first, *rest = key.split("/")
    return first not in RESERVED and all(map(is_name, [first, *rest][:-1]))


def exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_listed(name: str, folder: int) -> bool:
    """Whether a folder has an entry of exactly that name."""
    with os.scandir(folder) as entries:
        return any(entry.name == name for entry in entries)


def remove(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def invalid(key: str, why: str) -> MessageError:
    return MessageError("invalid_key", f"a folder cannot hold {key!r}: {why}")


def conflict(key: str, why: str) -> MessageError:
    return MessageError("key_conflict", f"a folder cannot hold {key!r} with its other objects: {why}")
