"""Which process holds the write lock of a SQLite file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NamedTuple

_WRITE_LOCK: Final = 120
"""The byte of the `-shm` file that SQLite locks for a write. It is part of the format of write-ahead logs."""
_MOST_SHOWN: Final = 100


class Holder(NamedTuple):
    """Another process of this machine. `suspended`: by a signal or a debugger, so it keeps the lock."""

    pid: int
    command: str
    suspended: bool

    def __str__(self) -> str:
        state = "suspended process" if self.suspended else "process"
        return f"the write lock is held by {state} {self.pid} ({self.command})"

    @property
    def fix(self) -> str:
        """What an operator may do."""
        return f"resume it (kill -CONT {self.pid}) or end it (kill -9 {self.pid}): neither loses data"


def holder_of(path: Path) -> Holder | None:
    """Return the process that holds the write lock of a file; None if it is free, this one's, or unknown.

    The list of the kernel is read, because a process that opens and closes the `-shm` file itself loses its
    own locks on it. Only Linux has this list.
    """
    try:
        inode = path.with_name(path.name + "-shm").stat().st_ino
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            _, kind, _, access, pid, file, first, *_ = line.split()
            if (kind, access, first) != ("POSIX", "WRITE", str(_WRITE_LOCK)) or not file.endswith(
                f":{inode}"
            ):
                continue
            if int(pid) in (0, os.getpid()):  # 0: a process of another container
                return None
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            # An address may contain a password.
            command = " ".join("…" if "://" in word else word for word in words).strip()[:_MOST_SHOWN]
            state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(") ")[2][:1]
            return Holder(int(pid), command, state in ("T", "t"))
    except (OSError, ValueError):
        pass  # no Linux, no file, or the process has ended
    return None
