"""Parsing of request bodies, stricter than the framework.

The framework accepts NaN and lone surrogates, and then fails when it echoes them. It also reads UTF-16, and
answers 422 instead of 415 for a body of another content type.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from playhead.api.answers import UnsupportedMediaType
from playhead.api.schemas import Body, ValidationError
from playhead.api.scopes import Operation
from playhead.errors import BadRequest

M = TypeVar("M", bound=Body)

MAX_DEPTH: Final = 200
JSON: Final = "application/json"


def media_type(request: Request) -> str:
    """Return the content type of a body in lower case, without parameters; "" if the request has none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))


def parse_json(raw: bytes) -> Any:
    """Return the JSON value of a body.

    Raises:
        BadRequest: `invalid_body`; the body is not UTF-8, or is nested deeper than `MAX_DEPTH`.
        RequestValidationError: the body is not JSON, or contains NaN or a lone surrogate.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise BadRequest(
            "invalid_body", f"the body is not UTF-8: byte {exc.start} cannot be decoded"
        ) from exc
    try:
        value = json.loads(text)
    except json.JSONDecodeError as exc:
        _refuse(exc.msg, exc.pos)
    except ValueError as exc:  # a number of thousands of digits
        _refuse(str(exc))
    except RecursionError as exc:
        raise _too_deep() from exc
    _check(value)
    return value


async def read_model(request: Request, model: type[M]) -> M:
    """Read a JSON body as a model, in a route that also accepts other content types.

    Raises the exceptions of `parse_json` and `check_model`.
    """
    return check_model(model, parse_json(await request.body()))


def check_model(model: type[M], value: Any) -> M:
    """Validate a value. Raises `RequestValidationError`, as the framework does."""
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        faults = exc.errors(include_url=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from exc


class JsonRequest(Request):
    """A request that parses its JSON with `parse_json`, once."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = parse_json(await self.body())
        return self._json


class JsonRoute(Operation):
    """A route that accepts only JSON bodies, and parses them before the framework does."""

    def handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().handler()
        if self.body_field is None:
            return handle

        async def strictly(request: Request) -> Response:
            request = JsonRequest(request.scope, request.receive)
            if await request.body():
                if not is_json(media_type(request)):
                    raise UnsupportedMediaType(media_type(request), JSON)
                await request.json()
            return await handle(request)

        return strictly


def _check(value: Any) -> None:
    """Refuse values that JSON does not allow. Works without recursion."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, float) and not math.isfinite(item):
                _refuse("a number that JSON does not allow: NaN, or out of range")
            elif isinstance(item, str) and not item.isascii():
                try:
                    item.encode()
                except UnicodeEncodeError:
                    _refuse("a lone surrogate, which is not Unicode text")
        if not below:
            return
        level = below
    raise _too_deep()


def _too_deep() -> BadRequest:
    return BadRequest("invalid_body", f"the body is nested more than {MAX_DEPTH} levels deep")


def _refuse(why: str, position: int | None = None) -> NoReturn:
    """Raise the exception that the framework raises for a body that is not JSON."""
    place = ("body",) if position is None else ("body", position)
    raise RequestValidationError(
        [
            {
                "type": "json_invalid",
                "loc": place,
                "msg": "JSON decode error",
                "input": {},
                "ctx": {"error": why},
            }
        ]
    )
