"""The texts of an adapter's errors.

Formatting an error runs the adapter's own code, which may fail in any way. A process must survive that, so
what is caught here includes `SystemExit`.
"""

from __future__ import annotations

import traceback


class ChildTraceback(Exception):
    """The traceback of an error in a child process, as text."""


def text_of(error: BaseException) -> str:
    """Return what the error says."""
    try:
        return str(error)
    except BaseException as exc:
        return f"(the error's text cannot be read: {type(exc).__name__})"


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error, wherever it was raised."""
    if isinstance(error.__cause__, ChildTraceback):
        return str(error.__cause__)
    try:
        return "".join(traceback.format_exception(error))
    except BaseException as exc:
        where = "".join(traceback.format_tb(error.__traceback__))
        return f"{where}{type(error).__name__} (the error cannot be formatted: {type(exc).__name__})\n"
