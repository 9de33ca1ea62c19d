"""Exit codes: what a script can tell from a command without reading its output."""

from __future__ import annotations

from typing import Final

from playhead.errors import (
    BadRequest,
    CannotStart,
    NotFound,
    PlayheadError,
    TooLarge,
    Unavailable,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 5
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

MEANINGS: Final = {
    OK: "done",
    FAILED: "the work failed, a config is invalid, a port is in use",
    USAGE: "the command line or a path is wrong",
    PARTIAL: "a replay published only a part",
    NOT_FOUND: "what was named does not exist",
    UNREACHABLE: (
        "a backend or the server can't be reached, the home can't be written, "
        "the catalog is newer than Playhead"
    ),
    INTERRUPTED: "stopped by Ctrl-C",
}

_BY_CODE: Final = {
    "config_invalid": FAILED,
    "port_in_use": FAILED,
    "setup_invalid": USAGE,
    "adapters_invalid": USAGE,
    "not_playhead": UNREACHABLE,
    "host_not_allowed": UNREACHABLE,
}
# The first class that fits: a subclass stands before its parent.
_BY_CLASS: Final[tuple[tuple[type[PlayheadError], int], ...]] = (
    (BadRequest, USAGE),
    (TooLarge, USAGE),
    (NotFound, NOT_FOUND),
    (Unavailable, UNREACHABLE),
    (CannotStart, UNREACHABLE),
)
_BY_STATUS: Final = {400: USAGE, 404: NOT_FOUND, 408: UNREACHABLE, 413: USAGE, 503: UNREACHABLE}

OWN_CODES: Final = {
    "usage": (USAGE, "The command line can't be right; the detail says how."),
    "setup_invalid": (USAGE, "A setting has a bad value; the detail names it."),
    "adapters_invalid": (USAGE, "An adapter can't be loaded, or two have one name."),
    "adapter_not_found": (NOT_FOUND, "No adapter of that type is loaded."),
    "port_in_use": (FAILED, "Another program listens there; choose another port, or 0 for a free one."),
    "server_unavailable": (
        UNREACHABLE,
        "The server can't be reached; the detail says how it failed.",
    ),
    "answer_lost": (
        UNREACHABLE,
        "A server was told to do something, and its answer never came.",
    ),
    "not_playhead": (UNREACHABLE, "What answered is no Playhead server, or one of another version."),
    "home_unusable": (UNREACHABLE, "The home lies on a network's file system; choose one on a local disk."),
    "home_unwritable": (UNREACHABLE, "The home can't be written; choose another with --home."),
    "catalog_newer": (UNREACHABLE, "The catalog was made by a newer Playhead; install that one."),
    "catalog_older": (
        UNREACHABLE,
        "The schema is too old for this Playhead; run playhead migrate.",
    ),
    "catalog_unusable": (UNREACHABLE, "The schema can't be made in that database; the detail says why."),
    "interrupted": (INTERRUPTED, "Stopped by Ctrl-C; the detail says what goes on."),
}
"""Codes that only the command line has: exit code and meaning."""


def exit_code(error: PlayheadError) -> int:
    """The exit code that tells of an error."""
    by_class = (code for kind, code in _BY_CLASS if isinstance(error, kind))
    return _BY_CODE.get(error.code) or next(by_class, FAILED)


def exit_code_of(code: str, status: int) -> int:
    """The exit code of an error that the API knows too, by its HTTP status."""
    return _BY_CODE.get(code) or _BY_STATUS.get(status, FAILED)
