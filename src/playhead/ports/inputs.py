"""The inputs of a run as they come from outside: bytes, or files that are read when they are needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple


class File(NamedTuple):
    """A file.

    Attributes:
        size: in bytes.
        stamp: changes with the file: its modification time and its inode. None if the file may change again
            within the resolution of its modification time.
        is_trusted: with the size and the stamp of the earlier run, it has the bytes of the earlier run.
        read: returns the bytes; blocks. May raise any error.
    """

    size: int
    stamp: str | None
    is_trusted: bool
    read: Callable[[], bytes]


Content = bytes | File


async def read(contents: Sequence[Content]) -> list[bytes]:
    """Return the bytes of inputs. Files are read in a thread, so that heartbeats continue on a slow disk."""
    if any(isinstance(one, File) for one in contents):
        return await asyncio.to_thread(lambda: [bytes_of(one) for one in contents])
    return [bytes_of(one) for one in contents]


def bytes_of(content: Content) -> bytes:
    """Return the bytes of an input. May block."""
    return content if isinstance(content, bytes) else content.read()
