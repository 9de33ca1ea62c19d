"""The machine: what a figure depends on, and folders on memory and on disk to measure in."""

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
    """What a reader has to know to compare two tables."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def in_memory() -> Path | None:
    """A folder on tmpfs, None where this system has none."""
    return MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None


@contextmanager
def scratch(parent: Path | None) -> Iterator[Path]:
    """A folder of our own below `parent` (None: wherever temporary files go), gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    """Progress, for whoever waits; the table alone goes to stdout."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
