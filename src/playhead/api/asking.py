"""What the operations have in common in their questions."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Query
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request

from playhead.api.schemas import MAX_VERSION, Word
from playhead.services import Services


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


def known_words_only(request: Request) -> None:
    """Refuse query parameters that the operation has not got: a filter with a slip in its name must not
    be answered with everything.

    Raises:
        RequestValidationError: names each, and those that there are.
    """
    if not request.query_params:
        return
    path = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    operation = path.get("get" if request.method == "HEAD" else request.method.lower())
    if operation is None or "422" not in operation["responses"]:
        return  # a probe, which takes nothing, and is asked by all sorts of programs
    known = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
    there = f"there are: {', '.join(known)}" if known else "there are none"
    faults = [
        {
            "type": "extra_forbidden",
            "loc": ("query", name),
            "msg": f"There is no such query parameter; {there}",
            "input": value,
        }
        for name, value in request.query_params.items()
        if name not in known
    ]
    if faults:
        raise RequestValidationError(faults)


Asked = Annotated[Services, Depends(_services)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items a page.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before; none: the first.")]
Filter = Annotated[Word | None, Query()]
ConfigName = Annotated[Word, Path(description="The name of a config.")]
VersionNumber = Annotated[int, Path(ge=1, le=MAX_VERSION)]
