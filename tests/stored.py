"""What is in the folder of the embedded store, read without Playhead."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def stored(root: Path, prefix: str = "") -> dict[str, bytes]:
    """Return the objects below a prefix by key, sidecars among them."""
    base = prefix + "/" if prefix else ""
    found: dict[str, bytes] = {}
    if (root / ".objects.db").exists():
        with closing(_open(root, "ro")) as con:
            found |= con.execute(
                "SELECT key, data FROM names JOIN bodies USING (n) WHERE substr(key, 1, ?) = ?",
                (len(base), base),
            ).fetchall()
    for path in (root / prefix).rglob("*"):
        key = str(path.relative_to(root))
        if path.is_file() and not key.startswith((".tmp/", ".objects.db")):
            found[key] = path.read_bytes()
    return dict(sorted(found.items()))


def is_stored(root: Path, key: str) -> bool:
    """Whether there is an object of this key."""
    return key in stored(root, key.rpartition("/")[0])


def put(root: Path, key: str, data: bytes) -> None:
    """Store an object as another program does: as a file."""
    file = root / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def remove(root: Path, key: str) -> None:
    """Remove an object of Playhead."""
    (root / key).unlink(missing_ok=True)
    with closing(_open(root, "rw")) as con, con:
        con.execute("DELETE FROM bodies WHERE n = (SELECT n FROM names WHERE key = ?)", (key,))
        con.execute("DELETE FROM names WHERE key = ?", (key,))


def _open(root: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{(root / '.objects.db').absolute().as_uri()}?mode={mode}", uri=True, timeout=30)
