"""Facts about the machine, and temporary folders in memory or on disk."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MEMORY = Path("/dev/shm")
DISK = Path("/var/tmp")


def facts() -> dict[str, Any]:
    """Return what a reader needs in order to compare two tables."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def in_memory() -> Path | None:
    """Return a folder on tmpfs, or None if this system has no tmpfs."""
    return MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """Create a folder below `parent` (None: the default for temporary files) and delete it on exit."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(line: str) -> None:
    """Write a progress line to stderr. Only the table goes to stdout."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
