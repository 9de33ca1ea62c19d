"""The error tree.

    PlayheadError                    code, detail; the reader can act on it
    ├── BadRequest                   invalid_path route_ambiguous invalid_cursor invalid_body selection_empty
    │   └── ConfigInvalid            config_invalid, with diagnostics
    ├── NotFound                     execution_not_found stage_not_found route_not_found no_objects …
    ├── Conflict                     config_inactive execution_ended stage_pruned effects_refused …
    │   └── PlanChanged              plan_changed, with the difference
    ├── Forbidden                    scope_missing outside_limit read_only login_needs_https
    ├── Unauthorized                 key_missing key_invalid session_ended
    ├── TooLarge                     body_too_large
    ├── Unavailable                  store_unavailable broker_unavailable catalog_unavailable
    │   │                            replay_continues
    │   ├── StoreFull                store_full
    │   └── CatalogDamaged           catalog_damaged
    ├── CannotStart                  setup_invalid home_unwritable port_in_use catalog_newer …
    └── MessageError                 one message cannot be processed: the codes of dead letters

Each code is stable and has one meaning. `api/errors.py` maps codes to HTTP statuses, and the CLI maps them to
exit codes. Backends translate the errors of their libraries where they occur, with `raise … from exc`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uuid import UUID


class PlayheadError(Exception):
    """An error that the reader can act on.

    Attributes:
        code: stable, lower case, listed by `playhead errors`.
        detail: what happened, where, and what to do.
        correlation_id: the id of the failed request, if a server reported it.
    """

    correlation_id: str | None = None

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class BadRequest(PlayheadError):
    """The request is invalid, whatever the state of the system."""


class ConfigInvalid(BadRequest):
    """A config with at least one error.

    Attributes:
        diagnostics: all errors and warnings, each a `playhead.model.Diagnostic`, ordered by line.
    """

    def __init__(self, detail: str, diagnostics: Sequence[object]) -> None:
        super().__init__("config_invalid", detail)
        self.diagnostics = tuple(diagnostics)


class NotFound(PlayheadError):
    """The named object does not exist."""


class Conflict(PlayheadError):
    """The request conflicts with the current state of its object."""


class PlanChanged(Conflict):
    """Objects of a plan are gone or have changed, so its replay has published nothing.

    Attributes:
        difference: a `playhead.model.PlanDifference`.
    """

    def __init__(self, detail: str, difference: object) -> None:
        super().__init__("plan_changed", detail)
        self.difference = difference


class Forbidden(PlayheadError):
    """The caller is known, and may not do this."""


class Unauthorized(PlayheadError):
    """The caller is not known, or not any more."""


class TooLarge(PlayheadError):
    """The request exceeds a size limit of the settings."""

    def __init__(self, detail: str) -> None:
        super().__init__("body_too_large", detail)


class Unavailable(PlayheadError):
    """A backend is unavailable. The caller may retry later."""


class StoreFull(Unavailable):
    """The store has no space left."""

    def __init__(self, detail: str) -> None:
        super().__init__("store_full", detail)


class CatalogDamaged(Unavailable):
    """A page of the catalog's file is damaged. Retrying does not help."""

    def __init__(self, detail: str) -> None:
        super().__init__("catalog_damaged", detail)


def store_unavailable(detail: str) -> Unavailable:
    return Unavailable("store_unavailable", detail)


def broker_unavailable(detail: str) -> Unavailable:
    return Unavailable("broker_unavailable", detail)


def catalog_unavailable(detail: str) -> Unavailable:
    return Unavailable("catalog_unavailable", detail)


class ReplayContinues(Unavailable):
    """The request ends, but the replay continues.

    Attributes:
        replay_batch_id: the replay; `GET /api/v1/replays/{replay_batch_id}` returns its progress.
    """

    def __init__(self, replay_batch_id: UUID, why: str) -> None:
        look = f"see its progress at GET /api/v1/replays/{replay_batch_id}"
        super().__init__("replay_continues", f"{why}; {look}")
        self.replay_batch_id = replay_batch_id


class CannotStart(PlayheadError):
    """The process cannot start: its settings or its home directory must be corrected."""


class MessageError(PlayheadError):
    """A message cannot be processed, now or later. It is dead-lettered with this code."""


MESSAGE_CODES: Final = {
    "adapter_error": "The adapter raised an exception, and no attempts are left.",
    "retries_exhausted": "The adapter raised `Retry`, and no attempts are left.",
    "adapter_timeout": "An attempt exceeded `timeout_seconds` of the route, and no attempts are left.",
    "worker_lost": "The worker died during an attempt, and no attempts are left.",
    "rejected": "The adapter raised `Reject`.",
    "bad_output": "An output cannot be stored: wrong type or attributes, or the route has no `outbound`.",
    "output_conflict": "Two outputs have the same path, in this message or in two messages of the execution.",
    "key_conflict": "The store cannot hold the output next to an existing object, such as `a/b` next to `a`.",
    "invalid_key": "A key or the path of an output is invalid, or not supported by the store.",
    "object_gone": "The input is no longer in the store.",
    "object_pruned": "The input was pruned: deleted by `playhead prune` or by the retention of its config.",
    "object_lost": "The size or the hash of the input differs from the recorded one.",
    "object_too_large": "The input or an output is larger than `PLAYHEAD_MAX_OBJECT_BYTES`.",
    "publish_refused": "The broker rejects the message permanently.",
}
"""The meaning of each code of a dead letter."""

EXECUTION_CODES: Final = {
    "upload_incomplete": "The process died before it had stored all inputs. Run the config again.",
    "listing_failed": "Listing the stage failed; the message contains the reason.",
    "plan_changed": "Objects of the plan were gone or had changed, so the replay published nothing.",
    "too_many_objects": "The replay has more objects than `PLAYHEAD_MAX_REPLAY_OBJECTS`.",
}
"""The meaning of each code in the `error` of an execution."""
