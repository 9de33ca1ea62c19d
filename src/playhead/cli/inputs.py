"""The inputs of a run: files and folders, named by their paths under `input`, and read when needed."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from playhead import keys
from playhead.cli import stdin
from playhead.cli.output import counted
from playhead.cli.session import Usage
from playhead.errors import BadRequest

ROOM: Final = 36 + len(f"/{keys.INPUT_STAGE}/")
"""Bytes before a path in the whole key of an input."""
_BATCH_FILES: Final = 64
_BATCH_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Inputs:
    """Input files.

    Attributes:
        files: (path under `input`, file), in order of the path; no path twice.
        left_out: a description of ignored entries; "" without any.
    """

    files: Sequence[tuple[str, Path]]
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
    found: dict[str, Path] = {}
    hidden: list[str] = []
    odd: list[str] = []
    for argument in arguments:
        if standard_input and argument == stdin.NAME:
            entries = iter([standard_input])
        else:
            entries = _entries(Path(argument), hidden, odd)
        for path, file in entries:
            shown = "standard input" if standard_input and file == standard_input[1] else str(file)
            name = unicodedata.normalize("NFC", path)
            if why := keys.problem(name, room=ROOM):
                raise BadRequest("invalid_path", f"the path of {shown} {why}; rename it")
            if other := found.get(name):
                raise Usage(f"{other} and {shown} would both be {keys.INPUT_STAGE}/{name}; run them apart")
            if max_bytes is not None and (size := _look(file).st_size) > max_bytes:
                raise Usage(
                    f"{shown} has {size} bytes; at most {max_bytes} are allowed (PLAYHEAD_MAX_OBJECT_BYTES)"
                )
            found[name] = file
    parts = []
    if hidden:
        parts.append(counted(len(hidden), "hidden entry", "hidden entries"))
    if odd:
        parts.append(counted(len(odd), "symbolic link or special file", "symbolic links or special files"))
    left_out = " and ".join(parts)
    if not found:
        raise Usage(f"no input files in {', '.join(arguments)}" + (f" but {left_out}" if left_out else ""))
    return Inputs(sorted(found.items(), key=lambda item: item[0].encode()), left_out)


def _entries(argument: Path, hidden: list[str], odd: list[str]) -> Iterator[tuple[str, Path]]:
    mode = _look(argument).st_mode
    if stat.S_ISDIR(mode):
        return _walk(argument, "", hidden, odd)
    if stat.S_ISREG(mode):
        return iter([(argument.resolve().name if argument.name == ".." else argument.name, argument)])
    raise Usage(f"{argument} is neither a file nor a folder")


def _look(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except FileNotFoundError:
        raise Usage(f"{file} does not exist") from None
    except OSError as exc:
        raise Usage(f"cannot read {file}: {exc.strerror or exc}") from exc


def _walk(folder: Path, prefix: str, hidden: list[str], odd: list[str]) -> Iterator[tuple[str, Path]]:
    try:
        entries = list(os.scandir(folder))
    except OSError as exc:
        raise Usage(f"cannot read {folder}: {exc.strerror or exc}") from exc
    for entry in entries:
        path = prefix + entry.name
        if entry.name.startswith("."):
            hidden.append(path)
        elif entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), path + "/", hidden, odd)
        elif entry.is_file(follow_symlinks=False):
            yield path, Path(entry.path)
        else:
            odd.append(path)


async def read(inputs: Inputs, done: Callable[[int], None]) -> AsyncIterator[tuple[str, bytes]]:
    """Yield path and bytes of each file, with a few in memory; `done` gets the number yielded so far.

    Raises:
        Usage: a file cannot be read.
    """
    import asyncio

    at = 0
    while at < len(inputs.files):
        # In a thread, so that heartbeats continue while a slow disk is read.
        some = await asyncio.to_thread(_read_some, inputs.files, at)
        for item in some:
            yield item
        at += len(some)
        done(at)


def _read_some(files: Sequence[tuple[str, Path]], at: int) -> list[tuple[str, bytes]]:
    some: list[tuple[str, bytes]] = []
    held = 0
    for path, file in files[at : at + _BATCH_FILES]:
        try:
            data = file.read_bytes()
        except OSError as exc:
            raise Usage(f"cannot read {file}: {exc.strerror or exc}") from exc
        some.append((path, data))
        held += len(data)
        if held >= _BATCH_BYTES:
            break
    return some
