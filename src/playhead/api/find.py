"""Find: one text leads to what it names, and to what contains it."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from playhead.api.answers import responses
from playhead.api.asking import Asked, operations
from playhead.api.schemas import Word
from playhead.model import FindAnswer, FoundKind

router = operations(prefix="/api/v1/find", tags=["executions"])


@router.get("", responses=responses())
async def find(
    asked: Asked,
    text: Annotated[
        Word,
        Query(
            min_length=1,
            description="An id or its last 4 or more digits, `latest`, `tag:NAME` or a tag, the key of an "
            "object, or the name of a config, route, queue or stage. It may be a URL, or contain ids. Or a "
            "part of a path, an attribute, a reason, an error or the type of an adapter.",
        ),
    ],
    kind: Annotated[FoundKind | None, Query(description="Only this kind.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Number of items of each kind.")] = 20,
) -> FindAnswer:
    """Find what a text names, and what contains it in all executions, by kind.

    In each group, exact matches come first, then the newest. Of several objects with the same path, the
    newest one is returned; if the text is `STAGE/PATH` of an object, all of them are returned. For an id that
    does not exist, ids with a similar beginning or end are returned.
    """
    return await asked.find.everything(text, kind, limit)
