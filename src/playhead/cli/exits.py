"""Exit codes: the result of a command for scripts that do not read its output."""

from __future__ import annotations

from typing import Final

from playhead.errors import (
    BadRequest,
    CannotStart,
    Forbidden,
    NotFound,
    PlayheadError,
    TooLarge,
    Unauthorized,
    Unavailable,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
PARTIAL: Final = 3
NOT_FOUND: Final = 4
UNREACHABLE: Final = 5
NOT_ALLOWED: Final = 6
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

MEANINGS: Final = {
    OK: "done",
    FAILED: "an execution or a check failed, a config is invalid, or a port is in use",
    USAGE: "the command line or a path is wrong",
    PARTIAL: "a replay published only some of its objects, or was paused, cancelled or refused",
    NOT_FOUND: "the named object, config or execution does not exist or was pruned, or there is no home yet",
    UNREACHABLE: (
        "a backend or the server cannot be reached, the home cannot be written, "
        "or the catalog is newer than Playhead"
    ),
    NOT_ALLOWED: "the server needs a key, or the key does not allow this",
    INTERRUPTED: "stopped by Ctrl-C",
}

_BY_CODE: Final = {
    "config_invalid": FAILED,
    "port_in_use": FAILED,
    "setup_invalid": USAGE,
    "adapters_invalid": USAGE,
    "home_missing": NOT_FOUND,
    "not_playhead": UNREACHABLE,
    "host_not_allowed": UNREACHABLE,
}
# The first class that fits: a subclass stands before its parent.
_BY_CLASS: Final[tuple[tuple[type[PlayheadError], int], ...]] = (
    (BadRequest, USAGE),
    (TooLarge, USAGE),
    (Forbidden, NOT_ALLOWED),
    (Unauthorized, NOT_ALLOWED),
    (NotFound, NOT_FOUND),
    (Unavailable, UNREACHABLE),
    (CannotStart, UNREACHABLE),
)
_BY_STATUS: Final = {
    400: USAGE,
    413: USAGE,
    401: NOT_ALLOWED,
    403: NOT_ALLOWED,
    404: NOT_FOUND,
    410: NOT_FOUND,
    408: UNREACHABLE,
    503: UNREACHABLE,
}

OWN_CODES: Final = {
    "usage": (USAGE, "The command line is wrong; the detail says what is wrong."),
    "setup_invalid": (USAGE, "A setting has an invalid value; the detail names it."),
    "adapters_invalid": (USAGE, "An adapter cannot be loaded, or two adapters have the same name."),
    "adapter_not_found": (NOT_FOUND, "No adapter of that type is loaded."),
    "queue_not_found": (NOT_FOUND, "No route of an active config has this queue, and the queue is empty."),
    "port_in_use": (
        FAILED,
        "Another program listens on this port; choose another port, or 0 for a free one.",
    ),
    "server_unavailable": (
        UNREACHABLE,
        "The server cannot be reached; the detail says why.",
    ),
    "answer_lost": (
        UNREACHABLE,
        "The server did not respond to a request that changes something; it may have made the change.",
    ),
    "not_playhead": (
        UNREACHABLE,
        "The response is from a proxy, another program, or another version of Playhead.",
    ),
    "home_missing": (
        NOT_FOUND,
        "There is no home yet; `playhead run` creates it, and `playhead init` writes a pipeline to run.",
    ),
    "home_unusable": (UNREACHABLE, "The home or the store is on a network file system; choose a local disk."),
    "home_unwritable": (UNREACHABLE, "The home cannot be written; choose another with --home."),
    "catalog_newer": (UNREACHABLE, "A newer Playhead created the catalog; install that version."),
    "catalog_older": (
        UNREACHABLE,
        "The schema is too old for this Playhead; run playhead migrate.",
    ),
    "catalog_other_build": (
        UNREACHABLE,
        "Another build created the catalog, with other tables; use that build, or a new catalog.",
    ),
    "catalog_unusable": (UNREACHABLE, "The schema cannot be created in the database; the detail says why."),
    "step_exited": (FAILED, "A step ended the process of `run`; the detail says where, and what continues."),
    "interrupted": (INTERRUPTED, "Stopped by Ctrl-C; the detail says what continues."),
}
"""Error codes that only the command line has: exit code and meaning."""


def exit_code(error: PlayheadError) -> int:
    """Return the exit code of an error."""
    by_class = (code for kind, code in _BY_CLASS if isinstance(error, kind))
    return _BY_CODE.get(error.code) or next(by_class, FAILED)


def exit_code_of(code: str, status: int) -> int:
    """Return the exit code of an error of the API, by its HTTP status."""
    return _BY_CODE.get(code) or _BY_STATUS.get(status, FAILED)
