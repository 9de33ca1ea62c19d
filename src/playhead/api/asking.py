"""What the operations have in common in their questions."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Path, Query
from starlette.requests import Request

from playhead.api.schemas import MAX_VERSION, Word
from playhead.services import Services


def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


Asked = Annotated[Services, Depends(_services)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items a page.")]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before; none: the first.")]
Filter = Annotated[Word | None, Query()]
ConfigName = Annotated[Word, Path(description="The name of a config.")]
VersionNumber = Annotated[int, Path(ge=1, le=MAX_VERSION)]
