"""Search: ask an index that a step has filled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from playhead.model import SearchHit

Ask = Callable[[str, str, UUID | None, int], list[SearchHit]]
"""Index, words, execution, limit; blocks while it reads."""


class SearchService:
    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def search(
        self, index: str, words: str, execution: UUID | None = None, limit: int = 10
    ) -> list[SearchHit]:
        """Return the best answers of an index, best first; those that hold any of the words.

        Args:
            index: the `path` of the step that filled it; it can't lead out of the data folder.
            words: plain words; no character has a special meaning.
            execution: whose rows to search; None: the newest that is in the index.
            limit: at most so many.

        Raises:
            BadRequest: `invalid_path`; the index lies elsewhere.
            NotFound: `index_not_found`.
            Unavailable: `index_unavailable`; it can't be read now.
        """
        return await asyncio.to_thread(self._ask, index, words, execution, limit)
