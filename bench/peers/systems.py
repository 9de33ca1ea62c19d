"""What the user of each system runs in each step of the job."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

_HERE: Final = Path(__file__).parent
_INCREMENTAL: Final = ("--changed-since", "previous")
"""The options of each run of Playhead except the first."""

_SKIP: Final = '        if block.startswith("|"):\n            continue\n'
"""The lines that the fix removes. They are the same in both jobs."""


class System(Protocol):
    """A system, and the folder in which its job is.

    Attributes:
        name: the name in the table.
        index: the file of SQLite that it fills.
        state: files and folders that it writes, with the index.
        environment: of its processes.
    """

    @property
    def name(self) -> str: ...
    @property
    def index(self) -> Path: ...
    @property
    def state(self) -> Sequence[Path]: ...
    @property
    def environment(self) -> dict[str, str]: ...

    def first(self) -> list[list[str]]:
        """Return the commands that process all documents."""
        ...

    def update(self) -> list[list[str]]:
        """Return the commands that process what has changed."""
        ...

    def fix(self, paths: Sequence[str]) -> list[list[str]]:
        """Fix the code. Return the commands that apply the fix to some documents, or to all."""
        ...


class Playhead:
    name: Final = "playhead"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.index: Final = folder / ".playhead/data/index.db"
        self.state: Final = [folder / ".playhead"]
        self.environment: Final = _environment()
        _lay_out("playhead_job", folder)

    def first(self) -> list[list[str]]:
        return [self._command("run", "job.yaml", "documents")]

    def update(self) -> list[list[str]]:
        return [self._command("run", "job.yaml", "documents", *_INCREMENTAL)]

    def fix(self, paths: Sequence[str]) -> list[list[str]]:
        _edit(self._folder / "chunks.py", _SKIP, "")
        _edit(self._folder / "chunks.py", 'version="1"', 'version="2"')
        (self._folder / "fixed.txt").write_text("\n".join(paths), encoding="utf-8")
        selected = ("current:documents", "input", "split", "--paths-from", "fixed.txt", "--reuse")
        rest = ("--others-valid", "--reason", "only documents with tables were wrong")
        return [
            self._command("replay", *selected, *rest, "--publish"),
            self._command("worker", "--until-idle"),
        ]

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "playhead", *arguments]


class Cocoindex:
    name: Final = "cocoindex"

    def __init__(self, folder: Path, program: Path) -> None:
        self._folder, self._program = folder, program
        self.index: Final = folder / "index.db"
        self.state: Final = [folder / "state", *(folder / f"index.db{end}" for end in ("", "-wal", "-shm"))]
        self.environment: Final = {**_environment(), "COCOINDEX_DISABLE_USAGE_TRACKING": "1"}
        _lay_out("cocoindex_job", folder)

    def first(self) -> list[list[str]]:
        return self.update()

    def update(self) -> list[list[str]]:
        return [[str(self._program), "update", "--quiet", "job.py"]]

    def fix(self, paths: Sequence[str]) -> list[list[str]]:
        _edit(self._folder / "job.py", _SKIP, "")
        return self.update()


def _lay_out(job: str, folder: Path) -> None:
    shutil.copytree(_HERE / job, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_HERE / "embedding_api.py", folder)


def _environment() -> dict[str, str]:
    """Return the environment of this process without settings of the systems."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PLAYHEAD_", "COCOINDEX_"))}


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"{file} must contain {old!r} once")
    file.write_text(text.replace(old, new), encoding="utf-8")
