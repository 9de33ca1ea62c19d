"""The store in a folder: an object is a file, its key is the path below the root.

Files that other programs wrote are objects too, so a folder that another program filled can be listed and
replayed. The store keeps three rules:

- It never follows a symbolic link below the root. It opens every folder from the root with `openat` and
  `O_NOFOLLOW`, one segment after another, so neither a key nor a link leads out of the root.
- It keeps no folder open between two calls. Within a call it keeps the last few open, as the keys of a batch
  mostly share their folders.
- It never shows half a file under a key. Bytes are written to `{root}/.tmp` first, then renamed.
"""

from __future__ import annotations

from playhead.backends.store_fs.folders import TEMP
from playhead.backends.store_fs.store import LEFTOVER_SECONDS, FileStore

__all__ = ["LEFTOVER_SECONDS", "TEMP", "FileStore"]
