"""The store in a folder: a small object is a row of a SQLite file, a large one is a file at its key.

Files that other programs wrote are objects too, so a folder that another program filled can be listed and
replayed. The store keeps three rules:

- It never follows a symbolic link below the root. It opens every folder from the root with `openat` and
  `O_NOFOLLOW`, one segment after another, so neither a key nor a link leads out of the root.
- It keeps no folder open between two calls. Within a call it keeps the last few open, as the keys of a batch
  mostly share their folders.
- It never shows half an object under a key. The bytes of a file are written to `{root}/.tmp` first, then
  renamed. Rows are written in a transaction.
"""

from __future__ import annotations

from playhead.backends.store_fs.folders import TEMP
from playhead.backends.store_fs.store import FileStore
from playhead.backends.store_fs.temporary import LEFTOVER_SECONDS

__all__ = ["LEFTOVER_SECONDS", "TEMP", "FileStore"]
