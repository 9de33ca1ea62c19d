"""Full-text search in an index that a `sqlite_search` step has filled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

from playhead.model import Publication, SearchHit

Ask = Callable[[str, str, UUID | None, int, int | None], list[SearchHit]]
"""A blocking search function: (index, words, execution, limit, publication) to hits."""
FindPublication = Callable[[UUID], Awaitable[Publication | None]]


class SearchService:
    """Runs the blocking search function in a thread.

    Args:
        publication_of: returns the publication with an execution id; None: no catalog is open.
    """

    def __init__(self, ask: Ask, publication_of: FindPublication | None = None) -> None:
        self._ask = ask
        self._publication_of = publication_of

    async def search(
        self, index: str, words: str, execution: UUID | None = None, limit: int = 10
    ) -> list[SearchHit]:
        """Return the texts that contain any of the words, best match first.

        Args:
            index: the `path` in the config of the step that filled the index. It must be inside the data
                folder.
            words: plain words; no character has a special meaning.
            execution: the execution or the publication to search; None: what readers see.
            limit: maximum number of hits.

        Raises:
            BadRequest: `invalid_path`; the index is outside the data folder.
            NotFound: `index_not_found`.
            Unavailable: `index_unavailable`; the index cannot be read now.
        """
        found = await self._publication_of(execution) if execution and self._publication_of else None
        of, n = (None, found.n) if found else (execution, None)
        return await asyncio.to_thread(self._ask, index, words, of, limit, n)
