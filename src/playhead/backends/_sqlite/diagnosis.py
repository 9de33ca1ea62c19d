"""The checks of `doctor` for a SQLite file, as the catalog and as the broker."""

from __future__ import annotations

import sqlite3
import time

from playhead.backends._sqlite.database import Database
from playhead.ports.diagnosis import Finding

_SAFE_CHECKPOINTS = (3, 51, 3)
_LARGE_LOG = 1 << 30


async def examine(db: Database) -> list[Finding]:
    """Check the file as the catalog and the broker use it. They have the same requirements."""
    try:
        began = time.monotonic()
        await db.write(lambda con: con.execute("SELECT 1").fetchone())
        took = (time.monotonic() - began) * 1000
    except sqlite3.Error as exc:
        fix = "free disk space, or give this user write permission for the file and its folder"
        return [Finding("round trip", "failed", f"cannot write {db.path}: {db.trouble(exc)}", fix)]
    found = [Finding("round trip", "ok", f"a commit to {db.path} takes {took:.1f} ms")]
    if sqlite3.sqlite_version_info < _SAFE_CHECKPOINTS:
        found.append(
            Finding(
                "version",
                "warning",
                f"in SQLite {sqlite3.sqlite_version} a rare race of checkpoints can corrupt a file. "
                "Playhead avoids this race, but other programs may not",
                "do not open the file with other programs, or use a Python with SQLite 3.51.3 or newer",
            )
        )
    else:
        found.append(Finding("version", "ok", f"SQLite {sqlite3.sqlite_version}"))
    log = db.path.with_name(db.path.name + "-wal")
    size = log.stat().st_size if log.exists() else 0
    if size > _LARGE_LOG:
        fix = "keep a `playhead serve` or `playhead worker` running; find the process with an old snapshot"
        found.append(Finding("log", "warning", f"the write-ahead log has {size >> 20} MB", fix))
    return found
