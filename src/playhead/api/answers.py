"""How an error is told: one body, one header, one status, wherever it comes from."""

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
from playhead.api.schemas import ConfigErrorResponse, ErrorResponse
from playhead.errors import ConfigInvalid, PlayheadError, ReplayContinues

INTERNAL: Final = "a fault of the server; its log has it under this correlation id"
_MEANINGS: Final = {error.code: error.meaning for error in ERRORS}
_CODES: Final = {
    400: "invalid_body",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
RETRY_SECONDS: Final = "2"
BODY_CODES: Final = ("body_too_slow", "body_too_large", "server_busy")
"""What `limits.BodyLimit` answers to any operation that takes a body."""


class UnsupportedMediaType(PlayheadError):
    """A body in a format that this URL does not read."""

    def __init__(self, given: str, *accepted: str) -> None:
        super().__init__(
            "unsupported_media_type",
            f"Content-Type {given or '(none)'!r} is not read here; send {' or '.join(accepted)}",
        )


def correlation_id(scope: Scope) -> str | None:
    """The request's id, as the middleware set it."""
    found: str | None = scope.get("state", {}).get("correlation_id")
    return found


def answer(scope: Scope, error: PlayheadError, headers: Mapping[str, str] | None = None) -> Response:
    """The response for an error. A code that the table does not know is a fault of ours."""
    code, detail, extra = error.code, error.detail, dict(headers or {})
    status = STATUS.get(code)
    if status is None:
        code, status, detail = "internal", 500, INTERNAL
    if isinstance(error, ReplayContinues):
        extra |= {"Location": f"/api/v1/replays/{error.replay_batch_id}"}
    if code in ("replay_continues", "server_busy"):
        extra["Retry-After"] = RETRY_SECONDS
    known: dict[str, Any] = {"detail": detail, "error_code": code, "correlation_id": correlation_id(scope)}
    body = (
        ConfigErrorResponse.model_validate(known | {"diagnostics": error.diagnostics})
        if isinstance(error, ConfigInvalid)
        else ErrorResponse.model_validate(known)
    )
    return _json(body.model_dump(mode="python"), status, extra)


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses for the error codes that an operation gives, and those that all give."""
    by_status: dict[int | str, list[str]] = {}
    for code in (*codes, "internal", "catalog_unavailable"):
        by_status.setdefault(STATUS[code], []).append(code)
    return {
        status: {
            "model": ConfigErrorResponse if "config_invalid" in those else ErrorResponse,
            "description": "\n".join(f"- `{code}`: {_MEANINGS[code]}" for code in those),
        }
        for status, those in by_status.items()
    }


def install(app: FastAPI, allowed: Callable[[str], set[str]]) -> None:
    """Give every error of the app the one shape.

    Args:
        app: the app.
        allowed: which methods a path has; one route alone does not know those of its neighbours.
    """

    async def playhead_error(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, PlayheadError)
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
            detail = f"there is nothing at {request.url.path}; /docs lists what there is"
        elif exc.status_code == 405:
            there = allowed(request.url.path) or set(headers.get("Allow", "").replace(" ", "").split(","))
            methods = ", ".join(sorted(there | {"HEAD"} if "GET" in there else there))
            headers["Allow"] = methods
            detail = f"{request.method} is not a method of {request.url.path}; it has {methods}"
        return answer(request.scope, PlayheadError(code, detail), headers)

    async def wrong_shape(request: Request, exc: Exception) -> Response:
        assert isinstance(exc, RequestValidationError)
        return _json({"detail": jsonable_encoder(exc.errors())}, 422, {})

    app.add_exception_handler(PlayheadError, playhead_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, wrong_shape)


def _json(body: dict[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    """JSON whatever is in it: an error may have to name what can't be said in JSON or UTF-8."""
    raw = json.dumps(body, ensure_ascii=False, default=str).encode(errors="replace")
    return Response(raw, status, headers, "application/json")
