"""The project: the nearest folder with a home or a settings file, from the working directory upward.

Commands work in any folder of a project, as git does in a repository. Shell completion uses this module too,
so it imports nothing that loads slowly.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

FILE: Final = "playhead.toml"
HOME: Final = ".playhead"


def find() -> Path:
    """Return the project: an empty path for the working directory, otherwise the absolute path of a parent.

    Without a home and a settings file, the working directory is the project. Files of another user count only
    in the working directory, because any user may create them in a shared parent such as `/tmp`.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was deleted
        return Path()
    for folder in (Path(), *here.parents):
        if any(_is_there(folder / name, anyone=folder == Path()) for name in (FILE, HOME)):
            return folder
    return Path()


def is_foreign(path: Path) -> bool:
    """Whether a file or folder belongs to another user, who could name code to import; root may.

    Raises:
        OSError: it does not exist.
    """
    return path.stat().st_uid not in (os.geteuid(), 0)


def absolute(folder: Path, name: str, value: Any) -> Any:
    """Return a setting from the file in `folder`, with absolute paths: in the file they start at `folder`."""
    if name == "adapters":
        entries = value.split(",") if isinstance(value, str) else value
        # An entry without `.py` is a module.
        return [_join(folder, one) if str(one).strip().endswith(".py") else one for one in entries or ()]
    return _join(folder, value) if name == "home" else value


def _join(folder: Path, value: Any) -> Any:
    is_relative = isinstance(value, str) and value.strip() and not value.startswith("~")
    return str(folder / value.strip()) if is_relative else value


def _is_there(path: Path, *, anyone: bool) -> bool:
    try:
        return path.exists() and (anyone or not is_foreign(path))
    except OSError:
        return False
