"""Temporary files: what is written before it is renamed to an object."""

from __future__ import annotations

import itertools
import os
import time
import unicodedata
from typing import Final

from playhead.backends.store_fs.folders import exists, flush, remove
from playhead.ids import uuid7

LEFTOVER_SECONDS: Final = 86_400
"""A temporary file of this age was left by a process that died before it renamed the file."""

_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TemporaryFiles:
    """The files that one store writes. Their folder is open, and each method gets its descriptor."""

    def __init__(self, *, durable: bool) -> None:
        self._durable = durable
        self._token = uuid7().hex
        self._count = itertools.count()

    def write(self, data: bytes, temp: int) -> str:
        """Write a file, and return its name. When this fails, no file is left."""
        name = f"{self._token}-{next(self._count)}"
        written = False
        try:
            fd = os.open(name, _WRITE, 0o666, dir_fd=temp)
            try:
                done = os.write(fd, data)
                while done < len(data):
                    done += os.write(fd, memoryview(data)[done:])
                if self._durable:
                    flush(fd)
            finally:
                os.close(fd)
            written = True
        finally:
            if not written:
                remove(name, temp)
        return name

    def probe(self, temp: int) -> bool:
        """Whether this file system treats names that differ in case or in Unicode form as one."""
        name = unicodedata.normalize("NFC", f"{self._token}-Aé")
        os.close(os.open(name, _WRITE, 0o666, dir_fd=temp))
        try:
            return any(
                exists(other, temp) for other in (name.replace("A", "a"), unicodedata.normalize("NFD", name))
            )
        finally:
            remove(name, temp)

    def sweep(self, temp: int) -> None:
        """Remove files that crashes left."""
        oldest = time.time() - LEFTOVER_SECONDS
        with os.scandir(temp) as entries:
            for entry in entries:
                try:
                    old = entry.stat(follow_symlinks=False).st_mtime < oldest
                except FileNotFoundError:
                    continue  # renamed, or removed by another process
                if old and entry.is_file(follow_symlinks=False):
                    remove(entry.name, temp)
