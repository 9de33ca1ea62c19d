"""Files and folders of `parquet_sink`: whole also after a power loss, and locked among processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def write_table(table: pa.Table, file: Path) -> None:
    """Write a file that no reader sees yet. After a rename and a power loss, it is not empty."""
    from pyarrow import parquet

    parquet.write_table(table, file)
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())


def rows_in(file: Path) -> int | None:
    """Return how many rows a file has; None if it is missing or damaged."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(file).num_rows)
    except (OSError, pa.ArrowException):
        return None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock among all threads and processes."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def remove_unlocked(file: Path) -> None:
    """Delete a file unless a process holds its lock."""
    with suppress(FileNotFoundError):
        handle = os.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.unlink()
        finally:
            os.close(handle)
