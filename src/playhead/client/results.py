"""The methods of a client that compare the objects of a replay before and after it."""

from __future__ import annotations

from uuid import UUID

from playhead.client.connection import Connection, Name, ReplayName
from playhead.model import After, Before, GroupedBy, Replay, ReplayedObject, ReplayResult, ResultGroup


class ResultMethods(Connection):
    """See `AsyncClient`."""

    async def result(
        self, replay: ReplayName = "latest:replay", *, against: Name | None = None
    ) -> ReplayResult:
        """Return how many objects a replay has repaired, changed and broken.

        Args:
            replay: a replay, its batch id, or the name of its execution. With `against`, the name of any
                execution.
            against: the execution to compare with; None: the source of the replay.
        """
        return await self._services.result.matrix(*await self._compared(replay, against))

    async def result_groups(
        self,
        replay: ReplayName = "latest:replay",
        by: GroupedBy = "error",
        *,
        before: Before | None = None,
        after: After | None = None,
        against: Name | None = None,
        limit: int | None = None,
    ) -> list[ResultGroup]:
        """Return the objects of a replay by error, folder or stage, the largest groups first.

        Args:
            replay: as in `result`.
            by: what the objects of a group have in common.
            before: only objects with this outcome before.
            after: only objects with this outcome after.
            against: as in `result`.
            limit: at most this number.
        """
        a, b = await self._compared(replay, against)
        service = self._services.result
        return await self._collect(
            lambda cursor, count: service.groups(a, b, by, before, after, cursor, count), limit
        )

    async def result_objects(
        self,
        replay: ReplayName = "latest:replay",
        *,
        before: Before | None = None,
        after: After | None = None,
        error: str | None = None,
        folder: str | None = None,
        stage: str | None = None,
        against: Name | None = None,
        limit: int | None = None,
    ) -> list[ReplayedObject]:
        """Return the objects of a replay with what happened to them before and after.

        Args:
            replay: as in `result`.
            before: only objects with this outcome before.
            after: only objects with this outcome after.
            error: only objects of this group of errors, by its `name`.
            folder: only objects in this folder; `/`: in the top folder.
            stage: only objects that differ in this stage, or failed in this route.
            against: as in `result`.
            limit: at most this number.
        """
        a, b = await self._compared(replay, against)
        service = self._services.result
        return await self._collect(
            lambda cursor, count: service.objects(a, b, before, after, error, folder, stage, cursor, count),
            limit,
        )

    async def _compared(self, replay: ReplayName, against: Name | None) -> tuple[UUID, UUID]:
        if against is not None:
            made = replay.execution_id if isinstance(replay, Replay) else await self._execution(replay)
            return await self._execution(against), made
        found = await self._services.executions.replay(await self._batch(replay))
        return found.from_execution_id, found.execution_id
