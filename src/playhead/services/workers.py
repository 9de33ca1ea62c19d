"""Read the live processes, and the code that they have loaded."""

from __future__ import annotations

from collections.abc import Sequence

from playhead.model import Page, Warning, Worker
from playhead.reading.codecheck import CodeCheck
from playhead.reading.paging import list_of, page_of


class WorkersService:
    """Reads the live processes. Raises `Unavailable` if the catalog is unavailable."""

    def __init__(self, code: CodeCheck) -> None:
        self._code = code

    async def unversioned(self) -> Sequence[Warning]:
        """Return a warning for each adapter of this process whose code has changed, but not its version."""
        return await self._code.unversioned_here()

    async def list(self, cursor: str | None, limit: int) -> Page[Worker]:
        """Return the live processes with the adapters that they have loaded, ordered by id."""
        found = sorted(await self._code.workers(), key=lambda worker: worker.worker_id)
        return page_of(found, lambda worker: worker.worker_id, cursor, limit, list_of("workers"))
