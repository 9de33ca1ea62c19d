"""One call of `write`: small blobs become rows, large ones files."""

from __future__ import annotations

from collections.abc import Callable

from playhead.backends.store_fs.folders import NOT_A_NAME, Folders, conflict, flush, invalid, remove
from playhead.backends.store_fs.small import SmallObjects
from playhead.backends.store_fs.temporary import TemporaryFiles
from playhead.ports.store import Blob


class Writing:
    """Stores blobs in the order in which they are added; a blob is stored only after those before it.

    Consecutive small blobs share a transaction. So they are stored when a large blob follows, or by `finish`.

    If an object was large and is small now, or the reverse, both its row and its file exist for a moment, and
    readers see the file. So the new file is placed before the old row is deleted, and the new row is written
    before the old file is removed.
    """

    def __init__(
        self,
        folders: Folders,
        temporary: TemporaryFiles,
        small: SmallObjects,
        written: Callable[[str], None] | None,
        *,
        most_small: int,
        durable: bool,
    ) -> None:
        """
        Args:
            most_small: the size of the largest row, in bytes.
            durable: flush files and the entries of folders to the disk.
        """
        self._folders = folders
        self._temporary = temporary
        self._small = small
        self._written = written
        self._most_small = most_small
        self._durable = durable
        self._waiting: list[Blob] = []

    def add(self, blob: Blob) -> None:
        """Store a blob, or let it wait for `finish`.

        Raises:
            MessageError: `invalid_key`, `key_conflict`.
        """
        self._folders.check(blob.key)
        if len(blob.data) <= self._most_small:
            self._waiting.append(blob)
            return
        self.finish()
        self._place(blob)
        if self._small.stat(blob.key):
            self._small.delete([blob.key])
        if self._written:
            self._written(blob.key)

    def finish(self) -> None:
        """Store the blobs that wait, all or none."""
        if not self._waiting:
            return
        blobs, self._waiting = self._waiting, []
        self._small.write(blobs)
        self._folders.look_again()
        self._folders.delete_all(blob.key for blob in blobs)
        if self._written:
            for blob in blobs:
                self._written(blob.key)

    def _place(self, blob: Blob) -> None:
        temp = self._folders.temp()
        self._folders.place(blob.key)  # refuses a key that no file can have, before anything is written
        passing = self._temporary.write(blob.data, temp)
        placed = False
        try:
            folder = self._folders.move(passing, blob.key)
            placed = True
        except IsADirectoryError as exc:
            raise conflict(blob.key, "there is a folder of that name") from exc
        except OSError as exc:
            if exc.errno in NOT_A_NAME:
                raise invalid(blob.key, str(exc.strerror)) from exc
            raise
        finally:
            if not placed:
                remove(passing, temp)
        if self._durable:
            flush(folder)
