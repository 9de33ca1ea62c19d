"""The exceptions that the errors of a server stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from playhead.errors import (
    BadRequest,
    ConfigInvalid,
    Conflict,
    Forbidden,
    NotFound,
    PlanChanged,
    PlayheadError,
    ReplayContinues,
    StoreFull,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from playhead.form import WrongForm, read
from playhead.ids import parse_uuid
from playhead.model import Diagnostic, PlanDifference

_OTHER_KEY: Final = frozenset({"key_invalid", "scope_missing", "outside_limit"})
"""Codes of refusals after which another key may help."""
_BY_STATUS: Final[Mapping[int, type[PlayheadError]]] = {
    400: BadRequest,
    404: NotFound,
    401: Unauthorized,
    403: Forbidden,
    409: Conflict,
    410: NotFound,
    503: Unavailable,
}


def refusal(
    status: int, code: str, detail: str, body: Mapping[str, Any], *, location: str, server: str
) -> PlayheadError:
    """Return the exception that a service raises for this error.

    Args:
        location: the header `Location` of the answer; empty: it has none.
        server: address of the server, to be displayed.
    """
    if code in _OTHER_KEY:
        detail += f". To use another key, run: playhead login {server}"
    if code == "config_invalid":
        try:
            return ConfigInvalid(detail, read(list[Diagnostic], body.get("diagnostics") or []))
        except WrongForm:
            return ConfigInvalid(detail, ())
    if code == "plan_changed":
        try:
            return PlanChanged(detail, read(PlanDifference, body.get("difference")))
        except WrongForm:
            return PlanChanged(detail, PlanDifference())
    if code == "replay_continues" and (batch := _batch(location)):
        error = ReplayContinues(batch, "")
        error.detail = detail
        return error
    if code == "store_full":
        return StoreFull(detail)
    if code == "body_too_large":
        return TooLarge(detail)
    if code == "internal":
        identity = body.get("correlation_id")
        return PlayheadError(code, f"{detail} (X-Correlation-ID: {identity})")
    return _BY_STATUS.get(status, PlayheadError)(code, detail)


def _batch(location: str) -> UUID | None:
    """Return the id of the replay batch in the header `Location`."""
    return parse_uuid(location.rpartition("/")[2])


def fault_text(fault: Any) -> str:
    """Format one validation error of a request: `query limit: Input should be less than …`."""
    if not isinstance(fault, dict):
        return str(fault)
    return f"{' '.join(map(str, fault.get('loc', ())))}: {fault.get('msg', 'is invalid')}"
