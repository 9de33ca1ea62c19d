"""Lines of files as the inputs of a run: their paths, and the lines that cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from playhead import keys, records
from playhead.cli.inputs import ROOM
from playhead.cli.output import counted
from playhead.cli.session import Usage

_JSON_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
_SHOWN: Final = 10
"""Unusable lines that an error lists."""
_BATCH_LINES: Final = 1024
_BATCH_BYTES: Final = 4 << 20


class _Line(NamedTuple):
    """A line: its number in its file, its path under `input`, its bytes, and why it cannot be used."""

    number: int
    path: str
    data: bytes
    why: str = ""


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of files that were checked.

    Attributes:
        files: (path, file), in order of the path.
        path_field: the field that names a line.
        max_bytes: the allowed size of a line.
        count: how many lines are inputs.
    """

    files: Sequence[tuple[str, Path]]
    path_field: str | None
    max_bytes: int
    count: int = 0

    async def read(self, done: Callable[[int], None]) -> AsyncIterator[tuple[str, bytes]]:
        """Yield path and bytes of each line, with a few in memory; `done` gets the number yielded so far.

        Raises:
            Usage: a file has changed since it was checked.
        """
        import asyncio

        at = 0
        waiting = _lines(self)
        while some := await asyncio.to_thread(_some, waiting):
            for file, line in some:
                if line.why:
                    raise Usage(f"{file} has changed while it was read: line {line.number}: {line.why}")
                yield line.path, line.data
            at += len(some)
            done(at)


def check(files: Sequence[tuple[str, Path]], path_field: str | None, max_bytes: int) -> Lines:
    """Read all lines once, so that errors are reported before anything is stored.

    The lines of a JSON file must be JSON. The path of a line is `{file}/{number}.json`, or `{value}.json`
    with the value of a field. Empty lines are left out.

    Args:
        files: (path, file), in order of the path.
        path_field: the field that names a line; then every line must be JSON.
        max_bytes: the allowed size of a line.

    Raises:
        Usage: a line cannot be used, or there is no line.
    """
    lines = Lines(files, path_field, max_bytes)
    count = bad_count = 0
    bad: list[str] = []
    # A digest takes a small part of the memory of a long path.
    seen: dict[bytes, tuple[str, int]] = {}
    for file, line in _lines(lines):
        count += 1
        why = line.why
        if not why:
            name = hashlib.blake2b(line.path.encode(), digest_size=16).digest()
            other, number = seen.setdefault(name, (file, line.number))
            if (other, number) != (file, line.number):
                of = f" of {other}" if other != file else ""
                why = f"its path {line.path!r} is the path of line {number}{of}"
        if why:
            bad_count += 1
            if len(bad) < _SHOWN:
                bad.append(f"{file}, line {line.number}: {why}")
    if bad_count:
        more = f"; and {bad_count - len(bad):,} more" if bad_count > len(bad) else ""
        raise Usage(f"{bad_count:,} of {counted(count, 'line')} cannot be used: {'; '.join(bad)}{more}")
    if not count:
        raise Usage(f"no lines in {', '.join(path for path, _ in files)}")
    return Lines(files, path_field, max_bytes, count)


def _some(lines: Iterator[tuple[str, _Line]]) -> list[tuple[str, _Line]]:
    some: list[tuple[str, _Line]] = []
    held = 0
    for found in islice(lines, _BATCH_LINES):
        some.append(found)
        held += len(found[1].data)
        if held >= _BATCH_BYTES:
            break
    return some


def _lines(given: Lines) -> Iterator[tuple[str, _Line]]:
    for path, file in given.files:
        suffix = path[path.rfind(".") :].lower() if "." in path else ""
        is_json = suffix in _JSON_SUFFIXES or given.path_field is not None
        folder = path[: -len(suffix)] if suffix in (*keys.SUFFIX_TYPES, *_JSON_SUFFIXES) else path
        ending = ".json" if is_json else suffix if suffix in keys.SUFFIX_TYPES else ".txt"
        try:
            for number, data in _raw(file, given.max_bytes):
                if not (data := data.strip() if is_json else data.rstrip(b"\r\n")).strip():
                    continue
                yield path, _line(number, data, f"{folder}/{number:06d}{ending}", is_json, given)
        except OSError as exc:
            raise Usage(f"cannot read {path}: {exc.strerror or exc}") from exc


def _line(number: int, data: bytes, path: str, is_json: bool, given: Lines) -> _Line:
    if len(data) > given.max_bytes:
        why = f"more than {given.max_bytes} bytes, the limit (PLAYHEAD_MAX_OBJECT_BYTES)"
        return _Line(number, path, b"", why)
    try:
        fields = records.decoded(data) if is_json else None
        if given.path_field is not None:
            path = records.path_in(fields, given.path_field)
        if problem := keys.problem(path, room=ROOM):
            raise ValueError(f"its path {path!r} {problem}")
    except ValueError as exc:
        return _Line(number, path, b"", str(exc))
    return _Line(number, path, data)


def _raw(file: Path, max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers; of a line that is too long, only as much as shows it."""
    longest = max_bytes + len(records.MARK) + 2  # with a line end
    with file.open("rb") as source:
        number = 0
        while line := source.readline(longest):
            number += 1
            rest = line
            while not rest.endswith(b"\n") and (rest := source.readline(longest)):
                pass
            yield number, line.removeprefix(records.MARK) if number == 1 else line
