"""Standard input as the input of a run."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playhead.cli import output
from playhead.cli.session import Usage

NAME: Final = "-"
"""The INPUT that stands for standard input; `./-` is a file with this name."""
_PIECE_BYTES: Final = 1 << 20


@contextmanager
def spooled(max_bytes: int | None) -> Iterator[Path]:
    """Copy standard input to a temporary file, so that it can be checked before anything is stored.

    Args:
        max_bytes: the allowed size; None for any size.

    Raises:
        Usage: standard input is larger, or the temporary folder is full.
    """
    with tempfile.TemporaryDirectory(prefix="playhead-") as folder:
        file = Path(folder) / "input"
        with _default_interrupt():
            _copy(file, max_bytes)
        yield file


def _copy(file: Path, max_bytes: int | None) -> None:
    if sys.stdin is None:
        raise Usage("standard input is closed")
    if sys.stdin.isatty():
        output.note("reading standard input; end it with Ctrl-D")
    size = 0
    try:
        with file.open("wb") as copy:
            while piece := sys.stdin.buffer.read(_PIECE_BYTES):
                size += len(piece)
                if max_bytes is not None and size > max_bytes:
                    raise Usage(
                        f"standard input has more than {max_bytes} bytes; at most {max_bytes} are allowed "
                        "(PLAYHEAD_MAX_OBJECT_BYTES)"
                    )
                copy.write(piece)
    except OSError as exc:
        raise Usage(
            f"cannot copy standard input to {tempfile.gettempdir()}: {exc.strerror or exc}; set TMPDIR"
        ) from exc


@contextmanager
def _default_interrupt() -> Iterator[None]:
    """Let Ctrl-C end a blocking read. The handler of asyncio would wait until the read returns."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
