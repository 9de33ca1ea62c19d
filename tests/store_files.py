"""The store in a folder, without rows: for tests of what it does with files."""

from __future__ import annotations

from typing import ClassVar

from playhead.backends.store_fs import FileStore


class OnlyFiles(FileStore):
    """Each object is a file, as if it was large."""

    most_small_bytes: ClassVar[int] = -1
