"""The inputs that a run is given: files, folders, standard input, or the lines of these."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from playhead.cli import inputs, lines, output, stdin
from playhead.cli.session import Session, Usage
from playhead.ports.inputs import Content


@dataclass(frozen=True, slots=True)
class Given:
    """The inputs of a run: how many, and how to read them; see `inputs.read`."""

    count: int
    read: Callable[[Callable[[int], None]], AsyncIterator[tuple[str, Content]]]


def name_of_stdin(paths: Sequence[str], name: str | None, path_field: str | None) -> str | None:
    """Return the path of standard input; None if it is not an input."""
    if paths.count(stdin.NAME) > 1:
        raise Usage("standard input (-) can be an INPUT only once")
    if stdin.NAME not in paths:
        if name is not None:
            raise Usage("--name names standard input; add - as INPUT")
        return None
    if name is None and path_field is None:
        raise Usage("standard input needs a path, whose suffix tells its content type: --name page.html")
    return name or "stdin.jsonl"


def find(
    s: Session,
    paths: Sequence[str],
    standard_input: tuple[str, Path] | None,
    split: bool,
    path_field: str | None,
    *,
    trust_mtime: bool,
) -> Given:
    """Find the inputs and check them. Nothing is stored before that."""
    limit = s.settings.max_object_bytes
    found = inputs.find(paths, None if split else limit, standard_input)
    if found.left_out:
        output.note(f"left out: {found.left_out}")
    if split:
        checked = lines.check([(path, Path(one.name)) for path, one in found.files], path_field, limit)
        given = Given(checked.count, checked.read)
    else:
        given = Given(len(found.files), partial(inputs.read, found, trust_mtime=trust_mtime))
    if s.server is not None:
        _check_number(given.count)
    return given


def _check_number(inputs: int) -> None:
    from playhead.services.submit import MAX_UPLOAD_FILES

    if inputs > MAX_UPLOAD_FILES:
        raise Usage(
            f"{inputs:,} inputs; a server accepts at most {MAX_UPLOAD_FILES:,} in one run: split them "
            "into several runs with the same --tag"
        )
