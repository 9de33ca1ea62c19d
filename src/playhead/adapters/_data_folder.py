"""Files and folders of adapters, directly in the data folder.

Libraries open files by path, so a subfolder that is replaced by a link could lead them elsewhere. A link with
the name of such a file or folder is refused.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import Literal

from playhead.errors import BadRequest


def path_problem(path: str, example: str) -> str | None:
    """Return why a path cannot name something in the data folder, as a predicate; None if it can."""
    parts = PurePosixPath(path)
    if parts.is_absolute():
        return "must be relative to the data folder"
    if ".." in parts.parts or "\\" in path:
        return "must stay in the data folder: no `..`, no backslash"
    if not parts.name or path.endswith("/") or not path.isprintable():
        return f"must name {example}"
    return None


def data_place(data_dir: str | Path, path: str, what: str, kind: Literal["file", "folder"] = "file") -> Path:
    """Return the place of a path without a `path_problem`. `/` in `path` is `%2F` in its name.

    The file or folder may not exist yet.

    Raises:
        BadRequest: `invalid_path`: there is a link, or something else than a file or folder.
    """
    name = str(PurePosixPath(path)).replace("%", "%25").replace("/", "%2F")
    root = Path(data_dir).resolve()
    place = root / name
    # The operator may have created the link on purpose, so the error must say that links are refused.
    folders = [root / folder for folder in PurePosixPath(path).parents if folder.name]
    try:
        if link := next((folder for folder in folders if folder.is_symlink()), None):
            raise refusal(link, stat.S_IFLNK, what)
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return place
    except OSError as exc:
        raise BadRequest("invalid_path", f"{what} path {path!r} cannot be a {kind}: {exc}") from exc
    if not (stat.S_ISREG(mode) if kind == "file" else stat.S_ISDIR(mode)):
        raise refusal(place, mode, what)
    return place


def refusal(place: Path, mode: int, what: str) -> BadRequest:
    """Return the error for an existing place that cannot be used."""
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file"}
    kind = kinds.get(stat.S_IFMT(mode), "not a regular file")
    return BadRequest("invalid_path", f"{place} is {kind}: remove it, or name another {what}")
