"""The scope that each operation needs.

Its description has it as `x-scope`. A POST or a PUT without a scope is an error when its module is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from fastapi import APIRouter
from fastapi.routing import APIRoute
from fastapi.types import DecoratedCallable
from starlette.requests import Request
from starlette.responses import Response

from playhead.acting import check_scope
from playhead.api.answers import responses
from playhead.model.access import Need

KEY: Final = "x-scope"
_UNKNOWN: Final = ("key_missing", "key_invalid", "session_ended", "too_many_attempts")
_STATUSES: Final = (401, 403, 429)
_Decorator: TypeAlias = Callable[[DecoratedCallable], DecoratedCallable]


class Operation(APIRoute):
    """A route that checks the scope of the caller before anything else: before the body is read, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = self.handler()
        scope: Need = (self.openapi_extra or {})[KEY]

        async def guarded(request: Request) -> Response:
            check_scope(scope)
            return await handle(request)

        return guarded

    def handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request of a caller that has the scope. Subclasses extend it."""
        return super().get_route_handler()


class Operations(APIRouter):
    """A router whose operations have scopes: a POST or PUT names its own, a GET needs `read` otherwise."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("route_class", Operation)
        super().__init__(**options)

    def get(self, path: str, *, scope: Need = "read", **options: Any) -> _Decorator[Any]:
        return super().get(path, openapi_extra=_with(scope, options), **options)

    def post(self, path: str, *, scope: Need, **options: Any) -> _Decorator[Any]:  # type: ignore[override]
        return super().post(path, openapi_extra=_with(scope, options), **options)

    def put(self, path: str, *, scope: Need, **options: Any) -> _Decorator[Any]:  # type: ignore[override]
        return super().put(path, openapi_extra=_with(scope, options), **options)


def _with(scope: Need, options: dict[str, Any]) -> dict[str, Any]:
    """Return the description of an operation with its scope, and add what it answers without it."""
    if scope != "public":
        codes = _UNKNOWN if scope == "any" else (*_UNKNOWN, "scope_missing", "outside_limit", "read_only")
        refused = {status: told for status, told in responses(*codes).items() if status in _STATUSES}
        options["responses"] = refused | (options.get("responses") or {})
    return {**(options.pop("openapi_extra", None) or {}), KEY: scope}
