"""Log lines of one-shot commands, on stderr.

A command prints its own outcome, so only warnings and errors are logged, unless the level is debug.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from playhead import logformat
from playhead.terminal import visible

if TYPE_CHECKING:
    from playhead.settings import Settings


class Text(logformat.TextFormatter):
    """One line of a command's log: level, event and fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname.lower()}: {logformat.one_line(record)}"
        if not record.exc_info or record.exc_info[1] is None:
            return line
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            return f"{line}\n{self.formatException(record.exc_info)}"
        # A traceback is printed only at the level debug.
        return line + visible(f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}")


def set_up(settings: Settings) -> None:
    """Send log lines to stderr, in the format and from the level that the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logformat.JsonFormatter() if settings.log_format == "json" else Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    level = logging.getLevelName(str(settings.log_level).upper())
    root.setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))


@contextmanager
def above_a_bar() -> Iterator[None]:
    """While a progress bar is drawn, write log lines above it."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, logging.StreamHandler)]
    before = [handler.setStream(sys.stderr) for handler in handlers]
    try:
        yield
    finally:
        for handler, stream in zip(handlers, before, strict=True):
            if stream is not None:
                handler.setStream(stream)
