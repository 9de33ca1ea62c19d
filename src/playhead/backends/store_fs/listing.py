"""Listing the objects below a prefix in the byte order of their keys: files, merged with rows."""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from playhead import events
from playhead.backends.store_fs.folders import NO_SUCH, RESERVED, Folders, is_name, is_reachable
from playhead.backends.store_fs.small import SmallObjects
from playhead.ports.store import Entry

_FEWEST_CACHED: Final = 1_000
_MOST_CACHED: Final = 500_000
"""Names; about 100 bytes each."""
_UNCHANGED_SECONDS: Final = 2.0
"""How old the last change of a folder must be for its names to be cached. Two changes within one tick of the
file system's clock leave the same time of modification."""


class NameCache:
    """The sorted names of the large folder that was read last.

    A client that lists page by page begins a listing for each page, and each would read and sort the whole
    folder again. The names are used for as long as the folder's time of modification stays the same.
    """

    def __init__(self) -> None:
        self._cached: tuple[tuple[int, int, int], list[str]] | None = None

    def names(self, folder: int, read: Callable[[], list[str]]) -> list[str]:
        """Return the names in an open folder; calls `read` if they are not cached."""
        status = os.fstat(folder)
        version = (status.st_dev, status.st_ino, status.st_mtime_ns)
        cached = self._cached
        if cached and cached[0] == version:
            return cached[1]
        names = read()
        is_settled = time.time() - status.st_mtime > _UNCHANGED_SECONDS
        if is_settled and _FEWEST_CACHED <= len(names) <= _MOST_CACHED:
            self._cached = (version, names)
        return names


class Listing:
    """The state of one listing. It holds no transaction, so what other processes write is not delayed."""

    def __init__(self, prefix: str, after: str, sizes: bool, cache: NameCache, small: SmallObjects) -> None:
        self._files = Files(prefix, after, sizes, cache)
        self._prefix = prefix
        self._after = after
        self._sizes = sizes
        self._small = small
        self._ahead: tuple[deque[Entry], deque[Entry]] = (deque(), deque())
        """Files and rows that follow. Both are filled again when they are empty."""
        self._has_more_files = True
        self._has_more_rows = True
        self._has_begun = False

    def fill(self, folders: Folders, page: int) -> Sequence[Entry]:
        """Return the next `page` entries; fewer only at the end."""
        entries: list[Entry] = []
        files, rows = self._ahead
        while len(entries) < page:
            if not files and self._has_more_files:
                files.extend(self._files.fill(folders, page))
                self._has_more_files = len(files) == page
            if not rows and self._has_more_rows:
                rows.extend(self._rows(page))
            if not files and not rows:
                break
            if files and rows and files[0].key == rows[0].key:
                rows.popleft()  # a file replaces a row
            elif files and (not rows or files[0].key < rows[0].key):
                entries.append(files.popleft())
            else:
                entries.append(rows.popleft())
        return entries

    def _rows(self, page: int) -> Sequence[Entry]:
        found: list[Entry] = []
        if not self._has_begun:
            self._has_begun = True
            itself = self._small.stat(self._prefix) if self._prefix > self._after else None
            found = [itself] if itself else []
        more = self._small.list(self._prefix, self._after, page)
        self._has_more_rows = len(more) == page
        found += more
        if more:
            self._after = more[-1].key
        return found if self._sizes else [Entry(one.key, 0, 0.0) for one in found]


class Files:
    """The listing of files: the names that remain in each folder on the way down.

    It holds no descriptor, so a listing that is abandoned leaves no file open.
    """

    def __init__(self, prefix: str, after: str, sizes: bool, cache: NameCache) -> None:
        self._prefix = prefix
        self._after = after
        self._sizes = sizes
        self._cache = cache
        self._levels: list[tuple[str, Iterator[str]]] = []
        self._has_begun = False

    def fill(self, folders: Folders, page: int) -> Sequence[Entry]:
        """Return the next `page` entries; fewer only at the end."""
        entries: list[Entry] = []
        if not self._has_begun:
            self._has_begun = True
            self._begin(folders, entries)
        while self._levels and len(entries) < page:
            base, names = self._levels[-1]
            for name in names:
                if name[-1] == "/":
                    self._descend(folders, base + name)
                    break
                if self._sizes:
                    if entry := folders.stat(base + name, tagged=True):
                        entries.append(entry)
                else:
                    entries.append(Entry(base + name, 0, 0.0))
                if len(entries) == page:
                    break
            else:
                self._levels.pop()
        folders.temp()  # raises if the store became unavailable, which must not look like the end
        return entries

    def _begin(self, folders: Folders, entries: list[Entry]) -> None:
        if not self._prefix:
            self._descend(folders, "")
            return
        itself = folders.stat(self._prefix, exact=True, tagged=self._sizes)
        if itself and itself.key > self._after:
            entries.append(itself if self._sizes else Entry(itself.key, 0, 0.0))
        base = self._prefix + "/"
        if not itself and is_reachable(base) and (self._after < base or self._after.startswith(base)):
            self._descend(folders, base)

    def _descend(self, folders: Folders, base: str) -> None:
        """Add a level: the names in a folder that can lead to a key after `after`."""
        names: list[str] = []
        try:
            folder = folders.at(base[:-1])
            names = self._cache.names(folder, lambda: _names(folder, base))
        except OSError as exc:
            if exc.errno not in NO_SUCH:
                raise
        start = 0
        if self._after.startswith(base):
            after = self._after[len(base) :]
            start = bisect_right(names, after)
            # The folder that `after` is in comes before it.
            if start and names[start - 1][-1] == "/" and after.startswith(names[start - 1]):
                start -= 1
        self._levels.append((base, islice(names, start, None)))


def _names(folder: int, base: str) -> list[str]:
    """Read and sort the names in a folder.

    Names of folders end with a slash, as they do in a key: `a-b` comes before `a/x`, and `a/x` before `a0`.
    """
    names: list[str] = []
    left_out = 0
    with os.scandir(folder) as found:
        for entry in found:
            name = entry.name
            if not name.isascii() and not is_name(name):
                left_out += 1
            elif entry.is_dir(follow_symlinks=False):
                if base or name not in RESERVED:
                    names.append(name + "/")
            elif entry.is_file(follow_symlinks=False) and (base or name not in RESERVED):
                names.append(name)
    if left_out:
        events.emit(events.NAMES_LEFT_OUT, folder=base, names=left_out, why="not UTF-8")
    # Code points sort as their UTF-8 does.
    names.sort()
    return names
