"""Full-text search in an index that a `sqlite_search` step has filled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from playhead.model import SearchHit

Ask = Callable[[str, str, UUID | None, int], list[SearchHit]]
"""A blocking search function: (index, words, execution, limit) to hits."""


class SearchService:
    """Runs the blocking search function in a thread."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def search(
        self, index: str, words: str, execution: UUID | None = None, limit: int = 10
    ) -> list[SearchHit]:
        """Return the texts that contain any of the words, best match first.

        Args:
            index: the `path` in the config of the step that filled the index. It must be inside the data
                folder.
            words: plain words; no character has a special meaning.
            execution: the execution to search; None: the newest entries of each document.
            limit: maximum number of hits.

        Raises:
            BadRequest: `invalid_path`; the index is outside the data folder.
            NotFound: `index_not_found`.
            Unavailable: `index_unavailable`; the index cannot be read now.
        """
        return await asyncio.to_thread(self._ask, index, words, execution, limit)
