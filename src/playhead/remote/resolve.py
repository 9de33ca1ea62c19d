"""Names over HTTP: the catalog of a `ResolveService`, and `FindService`. The server looks them up."""

from __future__ import annotations

from uuid import UUID

from playhead.errors import NotFound
from playhead.model import Dataset, Execution, Lineage, Page, Publication, Replay
from playhead.ports.catalog.browse import ExecutionFilter, IdKind
from playhead.remote.client import segment
from playhead.remote.derived import Remote, derived
from playhead.services.find import FindService


class RemoteIds(Remote):
    """Remote `ResolveCatalog`."""

    async def execution(self, execution: UUID) -> Execution | None:
        try:
            return await self._client.get(f"executions/{execution}", Execution)
        except NotFound:
            return None

    async def executions(
        self, where: ExecutionFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Execution], int | None]:
        found = await self._client.get("executions", Page[Execution], **where._asdict(), limit=limit)
        return found.items, None

    async def datasets(self, name: str | None = None, *, config: str | None = None) -> list[Dataset]:
        return (await self._client.get("datasets", Page[Dataset], name=name, config=config)).items

    async def publication_of_dataset(self, config: str, name: str, n: int) -> Publication | None:
        try:
            path = f"datasets/{segment(name)}/publications/{n}"
            return await self._client.get(path, Publication, config=config)
        except NotFound:
            return None

    async def ids_ending(self, kind: IdKind, digits: str, *, execution: UUID | None = None) -> list[UUID]:
        """Return the id with this end. If no id or several ids have it, raise the error of the server."""
        if kind == "execution":
            return [(await self._client.get(f"executions/{digits}", Execution)).execution_id]
        if kind == "batch":
            return [(await self._client.get(f"replays/{digits}", Replay)).replay_batch_id]
        found = await self._client.get(f"lineage/{digits}", Lineage, execution_id=execution)
        return [found.correlation_id]


class RemoteFind(Remote):
    """Remote `FindService`."""

    everything = derived(FindService.everything, "find")
