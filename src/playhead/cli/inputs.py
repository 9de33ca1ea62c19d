"""The inputs of a run: files and folders, named by their paths under `input`, and read when needed."""

from __future__ import annotations

import os
import stat
import time
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from playhead import keys
from playhead.cli import stdin
from playhead.cli.output import counted
from playhead.cli.session import Usage
from playhead.errors import BadRequest
from playhead.ports.inputs import File

ROOM: Final = 36 + len(f"/{keys.INPUT_STAGE}/")
"""Bytes before a path in the whole key of an input."""
_SETTLED_NS: Final = 2_000_000_000
"""The coarsest resolution of modification times. A file that has changed more recently may change again and
keep its time, so its time is not recorded. Git does the same."""
_PROGRESS_FILES: Final = 64


class Found(NamedTuple):
    """A file: its name in the file system, its size, and its stamp (`ports.inputs.File`)."""

    name: str
    size: int
    stamp: str | None


@dataclass(frozen=True, slots=True)
class Inputs:
    """Input files.

    Attributes:
        files: (path under `input`, file), in order of the path; no path twice.
        left_out: a description of ignored entries; "" without any.
    """

    files: Sequence[tuple[str, Found]]
    left_out: str


def find(
    arguments: Sequence[str], max_bytes: int | None, standard_input: tuple[str, Path] | None = None
) -> Inputs:
    """Return the files that the arguments name. Files of a folder are named relative to the folder.

    Hidden entries, symbolic links and special files within folders are left out, unless an argument names
    one. Paths are converted to Unicode normal form C, because some file systems store another form.

    Args:
        arguments: files and folders.
        max_bytes: the largest file that is allowed; checked before anything is stored. None for any size.
        standard_input: the path for the argument `-`, and the file with its content.

    Raises:
        Usage: an argument does not exist or cannot be read, no file is left, a file is too large, or a
            path comes up twice.
        BadRequest: `invalid_path`.
    """
    settled = time.time_ns() - _SETTLED_NS
    found: dict[str, Found] = {}
    hidden: list[str] = []
    odd: list[str] = []

    def shown(file: str) -> str:
        return "standard input" if standard_input and file == str(standard_input[1]) else file

    for argument in arguments:
        if standard_input and argument == stdin.NAME:
            entries = iter([(standard_input[0], str(standard_input[1]))])
        else:
            entries = _entries(Path(argument), hidden, odd)
        for path, file in entries:
            name = unicodedata.normalize("NFC", path)
            if why := keys.problem(name, room=ROOM):
                raise BadRequest("invalid_path", f"the path of {shown(file)} {why}; rename it")
            if other := found.get(name):
                both = f"{shown(other.name)} and {shown(file)}"
                raise Usage(f"{both} would both be {keys.INPUT_STAGE}/{name}; run them apart")
            status = _look(file)
            size, changed = status.st_size, status.st_mtime_ns
            if max_bytes is not None and size > max_bytes:
                raise Usage(
                    f"{shown(file)} has {size} bytes; at most {max_bytes} are allowed "
                    "(PLAYHEAD_MAX_OBJECT_BYTES)"
                )
            found[name] = Found(file, size, f"{changed} {status.st_ino}" if changed < settled else None)
    parts = []
    if hidden:
        parts.append(counted(len(hidden), "hidden entry", "hidden entries"))
    if odd:
        parts.append(counted(len(odd), "symbolic link or special file", "symbolic links or special files"))
    left_out = " and ".join(parts)
    if not found:
        raise Usage(f"no input files in {', '.join(arguments)}" + (f" but {left_out}" if left_out else ""))
    return Inputs(sorted(found.items(), key=lambda item: item[0].encode()), left_out)


def _entries(argument: Path, hidden: list[str], odd: list[str]) -> Iterator[tuple[str, str]]:
    mode = _look(str(argument)).st_mode
    if stat.S_ISDIR(mode):
        return _walk(str(argument), "", hidden, odd)
    if stat.S_ISREG(mode):
        return iter([(argument.resolve().name if argument.name == ".." else argument.name, str(argument))])
    raise Usage(f"{argument} is neither a file nor a folder")


def _look(file: str) -> os.stat_result:
    try:
        return os.stat(file)
    except FileNotFoundError:
        raise Usage(f"{file} does not exist") from None
    except OSError as exc:
        raise Usage(f"cannot read {file}: {exc.strerror or exc}") from exc


def _walk(folder: str, prefix: str, hidden: list[str], odd: list[str]) -> Iterator[tuple[str, str]]:
    try:
        entries = list(os.scandir(folder))
    except OSError as exc:
        raise Usage(f"cannot read {folder}: {exc.strerror or exc}") from exc
    for entry in entries:
        path = prefix + entry.name
        if entry.name.startswith("."):
            hidden.append(path)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, path + "/", hidden, odd)
        elif entry.is_file(follow_symlinks=False):
            yield path, entry.path
        else:
            odd.append(path)


async def read(
    inputs: Inputs, done: Callable[[int], None], *, trust_mtime: bool = False
) -> AsyncIterator[tuple[str, File]]:
    """Yield path and content of each file; `done` gets the number yielded so far.

    Args:
        trust_mtime: files with the size, modification time and inode of the earlier run need not be read.

    The contents raise `Usage` if a file cannot be read.
    """
    for n, (path, (name, size, stamp)) in enumerate(inputs.files, 1):
        yield path, File(size, stamp, trust_mtime, partial(_content, name))
        if n % _PROGRESS_FILES == 0 or n == len(inputs.files):
            done(n)


def _content(name: str) -> bytes:
    try:
        with open(name, "rb", buffering=0) as file:
            return file.readall()
    except OSError as exc:
        raise Usage(f"cannot read {name}: {exc.strerror or exc}") from exc
