"""Search: ask an index that a `sqlite_search` step has filled."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query

from playhead.api.answers import responses
from playhead.api.asking import Asked, Limit, operations
from playhead.api.ids import NO_EXECUTION, execution_query
from playhead.api.schemas import Word
from playhead.model import Page, SearchHit

router = operations(prefix="/api/v1/search", tags=["lineage"])


@router.get("", responses=responses("invalid_path", *NO_EXECUTION, "index_not_found", "index_unavailable"))
async def search_index(
    asked: Asked,
    index: Annotated[Word, Query(min_length=1, description="The `path` of the step that filled it.")],
    words: Annotated[Word, Query(description="Words, separated by spaces; a hit has at least one of them.")],
    execution: Annotated[
        UUID | None,
        execution_query(
            "execution",
            "Execution or publication to search; without it, what is published, or else the newest entries",
        ),
    ],
    limit: Limit = 10,
) -> Page[SearchHit]:
    """Search an index in the data folder of the server. The best hits come first.

    Indexes in other folders cannot be searched.
    """
    return Page(await asked.search.search(index, words, execution, limit))
