"""The one error tree.

    PlayheadError                    code, detail; what a reader can act on
    ├── BadRequest                   invalid_path route_ambiguous invalid_cursor invalid_body selection_empty
    │   └── ConfigInvalid            config_invalid, with diagnostics
    ├── NotFound                     execution_not_found stage_not_found route_not_found no_objects …
    ├── Conflict                     config_inactive execution_ended
    ├── TooLarge                     body_too_large
    ├── Unavailable                  store_unavailable broker_unavailable catalog_unavailable
    │   │                            replay_continues
    │   └── StoreFull                store_full
    ├── CannotStart                  setup_invalid home_unwritable port_in_use catalog_newer …
    └── MessageError                 one message can't be worked: the codes of dead letters

Each code is stable and means one thing. HTTP statuses live in `api/errors.py`, exit codes in the CLI.
Backends translate their library's errors where they happen, with `raise … from exc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID


class PlayheadError(Exception):
    """Something a reader can act on.

    Attributes:
        code: stable, lower case, in the tables of `playhead errors`.
        detail: what is wrong, where, and what to do.
        correlation_id: of the request, where it failed at a server and that said so.
    """

    correlation_id: str | None = None

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class BadRequest(PlayheadError):
    """What was asked can't be right, whatever the state of the system."""


class ConfigInvalid(BadRequest):
    """A config with at least one fault.

    Attributes:
        diagnostics: every fault found, in order of line; `playhead.model.Diagnostic` each.
    """

    def __init__(self, detail: str, diagnostics: Sequence[object]) -> None:
        super().__init__("config_invalid", detail)
        self.diagnostics = tuple(diagnostics)


class NotFound(PlayheadError):
    """What was named does not exist."""


class Conflict(PlayheadError):
    """What was asked does not fit the state that the thing is in."""


class TooLarge(PlayheadError):
    """What was sent is over a limit of the settings."""

    def __init__(self, detail: str) -> None:
        super().__init__("body_too_large", detail)


class Unavailable(PlayheadError):
    """A backend can't be reached, or not now. Trying again later is right."""


class StoreFull(Unavailable):
    """The store has no room left."""

    def __init__(self, detail: str) -> None:
        super().__init__("store_full", detail)


def store_unavailable(detail: str) -> Unavailable:
    return Unavailable("store_unavailable", detail)


def broker_unavailable(detail: str) -> Unavailable:
    return Unavailable("broker_unavailable", detail)


def catalog_unavailable(detail: str) -> Unavailable:
    return Unavailable("catalog_unavailable", detail)


class ReplayContinues(Unavailable):
    """The caller's wait is over, the replay is not.

    Attributes:
        replay_batch_id: where to look: `GET /api/v1/replays/{replay_batch_id}`.
    """

    def __init__(self, replay_batch_id: UUID, why: str) -> None:
        look = f"GET /api/v1/replays/{replay_batch_id} tells how far it is"
        super().__init__("replay_continues", f"{why}; {look}")
        self.replay_batch_id = replay_batch_id


class CannotStart(PlayheadError):
    """This process can't start as it was told to; its settings or its home need a hand."""


class MessageError(PlayheadError):
    """One message can't be worked, now or later: it becomes a dead letter with this code."""


MESSAGE_CODES: Final = {
    "adapter_error": "The adapter raised something, or asked to `Retry`, at each of its attempts.",
    "adapter_timeout": "No result within `timeout_seconds` of the route, at each attempt.",
    "worker_lost": "The processes that worked it died, at each attempt.",
    "rejected": "The adapter raised `Reject`.",
    "bad_output": "What the adapter gave can't be stored: its type, its attributes, or no `outbound`.",
    "output_conflict": "One path was given twice, or another message of the execution has made it.",
    "key_conflict": "The store can't hold the output's key beside what it holds.",
    "invalid_key": "A key or an output's path is outside the grammar of keys, or of this store.",
    "object_gone": "The input is not in the store any more.",
    "object_lost": "The input has not the size and hash that were written down.",
    "object_too_large": "The input or an output is over `PLAYHEAD_MAX_OBJECT_BYTES`.",
    "publish_refused": "The broker refuses the message for good.",
}
"""What each code of a dead letter means."""

EXECUTION_CODES: Final = {
    "upload_incomplete": "The process that stored the inputs died before all were there; run it again.",
    "listing_failed": "The stage can't be listed to its end; the message says why.",
}
"""What each code of an execution's own `error` means."""
