"""Error responses: one shape of body, one header and one table of statuses for all errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from playhead import events
from playhead.api.errors import ERRORS, STATUS
from playhead.api.schemas import ConfigErrorResponse, ErrorResponse, PlanErrorResponse
from playhead.errors import ConfigInvalid, PlanChanged, PlayheadError, ReplayContinues

INTERNAL: Final = "a bug in the server; its log has the traceback under this correlation id"
_MEANINGS: Final = {error.code: error.meaning for error in ERRORS}
_CODES: Final = {
    400: "invalid_body",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
_MODELS: Final = {"config_invalid": ConfigErrorResponse, "plan_changed": PlanErrorResponse}
"""The body of errors that have more than the fields of all errors."""
_WHOLE_ID: Final = (
    ". This field needs a whole id: not its end, `latest` or `tag:NAME`. "
    "`GET /api/v1/executions?tag=NAME` lists the executions with a tag"
)
_MOST_FAULTS: Final = 20
_MOST_SHOWN: Final = 200
"""Listed errors of one request, and characters of each text: a response must not outgrow its request."""
RETRY_SECONDS: Final = "2"
ERROR_CODE: Final = "error_code"
"""Key in the state of a request: why it was refused."""
BODY_CODES: Final = ("body_too_slow", "body_too_large", "server_busy")
"""What `limits.BodyLimit` answers to any operation that takes a body."""


class UnsupportedMediaType(PlayheadError):
    """A body in a format that the URL does not accept."""

    def __init__(self, given: str, *accepted: str) -> None:
        super().__init__(
            "unsupported_media_type",
            f"the Content-Type {given or '(none)'!r} is not accepted here; send {' or '.join(accepted)}",
        )


def correlation_id(scope: Scope) -> str | None:
    """Return the correlation id that the middleware set."""
    found: str | None = scope.get("state", {}).get("correlation_id")
    return found


def answer(scope: Scope, error: PlayheadError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response for an error. A code that is missing in the table is a bug, and becomes a 500."""
    code, detail, extra = error.code, error.detail, dict(headers or {})
    status = STATUS.get(code)
    if status is None:
        code, status, detail = "internal", 500, INTERNAL
    if isinstance(error, ReplayContinues):
        extra |= {"Location": f"/api/v1/replays/{error.replay_batch_id}"}
    if code in ("replay_continues", "server_busy"):
        extra["Retry-After"] = RETRY_SECONDS
    known: dict[str, Any] = {"detail": detail, "error_code": code, "correlation_id": correlation_id(scope)}
    body: ErrorResponse
    if isinstance(error, ConfigInvalid):
        body = ConfigErrorResponse.model_validate(known | {"diagnostics": error.diagnostics})
    elif isinstance(error, PlanChanged):
        body = PlanErrorResponse.model_validate(known | {"difference": error.difference})
    else:
        body = ErrorResponse.model_validate(known)
    return _json(body.model_dump(mode="python"), status, extra)


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for the error codes of an operation, and for those of all operations."""
    by_status: dict[int | str, list[str]] = {}
    for code in (*codes, "internal", "catalog_unavailable"):
        by_status.setdefault(STATUS[code], []).append(code)
    return {
        status: {
            "model": next((_MODELS[code] for code in those if code in _MODELS), ErrorResponse),
            "description": "\n".join(f"- `{code}`: {_MEANINGS[code]}" for code in those),
        }
        for status, those in by_status.items()
    }


def install(app: FastAPI, allowed: Callable[[str], set[str]]) -> None:
    """Install the exception handlers, so that all errors have the same shape.

    Args:
        app: app that gets the handlers.
        allowed: returns the methods of a path. One route does not know the other routes of its path.
    """

    async def playhead_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, PlayheadError)
        request.scope["state"][ERROR_CODE] = exc.code
        if STATUS.get(exc.code, 500) >= 500:
            known = exc.code in STATUS
            events.emit(
                events.REQUEST_FAILED,
                logging.WARNING if known else logging.ERROR,
                exc_info=not known,
                correlation_id=correlation_id(request.scope),
                method=request.method,
                path=request.url.path,
                error_code=exc.code,
                detail=exc.detail,
            )
        return answer(request.scope, exc)

    async def http_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)
        code, detail, headers = _CODES.get(exc.status_code, "internal"), exc.detail, dict(exc.headers or {})
        if exc.status_code == 404:
            detail = f"{request.url.path} does not exist; /docs lists the URLs"
        elif exc.status_code == 405:
            there = allowed(request.url.path) or set(headers.get("Allow", "").replace(" ", "").split(","))
            methods = ", ".join(sorted(there | {"HEAD"} if "GET" in there else there))
            headers["Allow"] = methods
            detail = f"{request.url.path} does not support {request.method}; use {methods}"
        return answer(request.scope, PlayheadError(code, detail), headers)

    async def wrong_shape(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        found = exc.errors()
        faults = [_shortened(fault) for fault in found[:_MOST_FAULTS]]
        if more := len(found) - len(faults):
            at = {"type": "too_many_errors", "loc": [], "msg": f"{more:,} more errors are not listed"}
            faults.append(at)
        return _json({"detail": faults}, 422, {})

    app.add_exception_handler(PlayheadError, playhead_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, wrong_shape)


def _shortened(fault: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error of a request without long texts of the request."""
    found = {name: jsonable_encoder(value) for name, value in fault.items() if name != "input"}
    found["loc"] = [part[:_MOST_SHOWN] if isinstance(part, str) else part for part in fault["loc"]]
    if fault["type"] == "uuid_parsing":
        found["msg"] += _WHOLE_ID
    if "input" in fault:
        given = jsonable_encoder(fault["input"])
        text = json.dumps(given, ensure_ascii=False, default=str)
        found["input"] = given if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
    return found


def _json(body: dict[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    """Return a JSON response. An error may name values that JSON or UTF-8 cannot represent."""
    raw = json.dumps(body, ensure_ascii=False, default=str).encode(errors="replace")
    return Response(raw, status, headers, "application/json")
