"""Find: one text leads to what it names."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from playhead.api.answers import responses
from playhead.api.asking import Asked, operations
from playhead.api.schemas import Word
from playhead.model import Found, Page

router = operations(prefix="/api/v1/find", tags=["executions"])


@router.get("", responses=responses())
async def find(
    asked: Asked,
    text: Annotated[
        Word,
        Query(
            min_length=1,
            description="An id or its last 4 or more digits, `latest`, `tag:NAME` or a tag, the key of an "
            "object, or the name of a config, route, queue or stage. It may be a URL, or contain ids.",
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=100, description="Number of items.")] = 20,
) -> Page[Found]:
    """Find what a text names, exact matches first.

    Names that begin with the text follow. For an id that does not exist, ids with a similar beginning or end
    are returned. There is only one page.
    """
    return Page(await asked.find.find(text, limit))
