"""Parameters that several operations share, and the routers of all operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, cast
from urllib.parse import quote

from fastapi import Depends, Path, Query
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from playhead.api.description import operation_id
from playhead.api.schemas import Word
from playhead.api.scopes import Operations
from playhead.model import MAX_VERSION, Warning
from playhead.services import Services
from playhead.warningtext import warning_text

# The dependencies are coroutines, because FastAPI runs a plain function in a thread. That would cost two
# thread switches per dependency and request.


async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


async def known_words_only(request: Request) -> None:
    """Refuse unknown query parameters: a misspelt filter must not return all items.

    Raises:
        RequestValidationError: names each unknown parameter, and the known ones.
    """
    if not request.query_params:
        return
    route: APIRoute = request.scope["route"]
    parts = list(_parts(route.dependant))
    if 422 not in route.responses and not any(_has_parameters(one) for one in parts):
        return  # a probe: it has no parameters, and some programs add their own
    # Not read from the API's description: it takes half a second to build, and delays all other requests.
    known = [field.alias for one in parts for field in one.query_params]
    there = f"known parameters: {', '.join(known)}" if known else "the operation has no parameters"
    faults = [
        {
            "type": "extra_forbidden",
            "loc": ("query", name),
            "msg": f"Unknown query parameter; {there}",
            "input": value,
        }
        for name, value in request.query_params.items()
        if name not in known
    ]
    if faults:
        raise RequestValidationError(faults)


def _parts(dependant: Dependant) -> Iterator[Dependant]:
    """Yield what an operation takes from a request, and what each of its dependencies takes."""
    yield dependant
    for one in dependant.dependencies:
        yield from _parts(one)


def _has_parameters(part: Dependant) -> bool:
    return bool(part.path_params or part.query_params or part.header_params or part.body_params)


def operations(prefix: str = "", **options: Any) -> Operations:
    """Return a router for operations.

    The app takes over its routes as they are. `include_router` would build each of them a second time, during
    the first request to a server, which would wait for a quarter of a second.
    """
    return Operations(
        prefix=prefix,
        dependencies=[Depends(known_words_only)],
        generate_unique_id_function=operation_id,
        **options,
    )


Asked = Annotated[Services, Depends(_services)]
RequireCode = Annotated[
    bool,
    Query(
        description="Refuse with 409 `code_differs` if workers have outdated or different code, or a route "
        "has no worker. Otherwise the headers of the response have warnings."
    ),
]
AllowOldCode = Annotated[
    bool,
    Query(
        description="False: refuse with 409 `code_differs` if workers have outdated or different code. "
        "Routes without a worker are allowed."
    ),
]
WARNING_HEADER: Final = "X-Playhead-Warning"
_READABLE: Final = " !#$&'()*+,/:;=?@[]\""
WARNINGS: Final[dict[str, Any]] = {
    WARNING_HEADER: {
        "schema": {"type": "string"},
        "description": "A warning about the code of adapters, or why a route processes items although "
        "nothing before it has changed. Percent-encoded. There may be several.",
    }
}


def warner(response: Response) -> Callable[[Warning], None]:
    """Return what adds a warning to the headers of a response."""
    return lambda warning: response.headers.append(
        WARNING_HEADER, quote(warning_text(warning), safe=_READABLE)
    )


Limit = Annotated[int, Query(ge=1, le=1000, description="Number of items on a page.")]
Cursor = Annotated[
    str | None, Query(description="`next_cursor` of the previous page; without it, the first page.")
]
Filter = Annotated[Word | None, Query()]
ConfigName = Annotated[Word, Path(description="Name of a config.")]
VersionNumber = Annotated[int, Path(ge=1, le=MAX_VERSION)]

Focus = Annotated[
    Word | None, Query(description="Show only routes near this one. Without it, all routes are shown.")
]
Depth = Annotated[
    int | None,
    Query(
        ge=0,
        le=10_000,
        description="Edges from `focus`, in both directions, up to which routes are shown; 1 if it is not "
        "given. Without `focus`: edges from the entry.",
    ),
]
