"""The checks of `doctor` for a SQLite file, as the catalog and as the broker."""

from __future__ import annotations

import sqlite3
import time

from playhead.backends._sqlite.database import Database
from playhead.backends._sqlite.file import RESTORE
from playhead.backends._sqlite.holder import holder_of
from playhead.ports.diagnosis import Finding

_SAFE_CHECKPOINTS = (3, 51, 3)
_LARGE_LOG = 1 << 30
_MOST_CHECKED = 256 << 20


async def examine(db: Database) -> list[Finding]:
    """Check the file as the catalog and the broker use it. They have the same requirements."""
    if (holder := holder_of(db.path)) and holder.suspended:  # a write would wait for it
        return [Finding("round trip", "failed", f"cannot write {db.path}: {holder}", holder.fix)]
    try:
        began = time.monotonic()
        await db.write(lambda con: con.execute("SELECT 1").fetchone())
        took = (time.monotonic() - began) * 1000
    except sqlite3.Error as exc:
        fix = "free disk space, or give this user write permission for the file and its folder"
        return [Finding("round trip", "failed", f"cannot write {db.path}: {db.trouble(exc)}", fix)]
    found = [Finding("round trip", "ok", f"a commit to {db.path} takes {took:.1f} ms"), await _pages(db)]
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


async def _pages(db: Database) -> Finding:
    """Look for a damaged page. A large file is not read: that may take minutes."""
    if (size := db.path.stat().st_size) > _MOST_CHECKED:
        how = f"`sqlite3 {db.path} 'PRAGMA quick_check'` looks for damaged pages"
        return Finding("pages", "ok", f"not checked, as the file has {size >> 20} MB: {how}")
    try:
        (found,) = await db.read(lambda con: con.execute("PRAGMA quick_check(1)").fetchone())
    except sqlite3.DatabaseError as exc:
        found = str(exc)
    if found == "ok":
        return Finding("pages", "ok", "no page is damaged")
    return Finding("pages", "failed", f"{db.path} is damaged: {' '.join(found.split())}", RESTORE)
