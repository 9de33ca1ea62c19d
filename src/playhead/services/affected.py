"""List what a version of an adapter, or a worker, has made, over executions."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from playhead import ids
from playhead.environment import Environment
from playhead.model import AffectedRoute, Page
from playhead.ports.catalog.code import Code
from playhead.reading.affecting import maker
from playhead.reading.background import Background, Counted, Steps
from playhead.reading.paging import decode_parts, encode_parts, list_of
from playhead.times import fixed_times

_EXECUTIONS: Final = 100
"""Executions whose messages are read at once."""


class AffectedService:
    """Lists results by what has made them. No index has them: a request reads the messages of a period."""

    def __init__(self, catalog: Code, env: Environment) -> None:
        self._catalog = catalog
        self._lists: Background[Page[AffectedRoute]] = Background(env.spawn)

    async def reading(
        self,
        *,
        adapter: str | None,
        worker: str | None,
        since: str | None,
        cursor: str | None,
        limit: int,
        patience: float | None,
    ) -> Counted[Page[AffectedRoute]]:
        """Return what `list` returns, at most ten times as old as the time that it takes.

        After `patience` seconds (None: never), it returns the list before it, and how many executions it has
        read. Reading continues in this process.

        Raises: as `list`.
        """
        return await self._lists.get(
            (adapter, worker, since, cursor, limit),
            ids.now(),
            lambda steps: self._list(adapter, worker, since, None, cursor, limit, steps),
            patience=patience,
            lasts=True,
        )

    async def list(
        self,
        *,
        adapter: str | None = None,
        worker: str | None = None,
        since: str | None = "-24h",
        execution: UUID | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[AffectedRoute]:
        """Return routes with results of an adapter or a worker, the newest execution first.

        Args:
            adapter: `TYPE@VERSION`, or `TYPE@` and the fingerprint of its code, or the beginning of that.
            worker: id of a process.
            since: only executions that were created at this time or later: RFC 3339 with an offset, or the
                time before now, as in `-24h`; None: all. It does not count with `execution`.
            execution: only this one.

        Raises:
            BadRequest: `invalid_cursor`.
            ValueError: `since` or `adapter` has another form, or not one of `adapter` and `worker` is given.
        """
        return await self._list(adapter, worker, since, execution, cursor, limit, Steps())

    async def _list(
        self,
        adapter: str | None,
        worker: str | None,
        since: str | None,
        execution: UUID | None,
        cursor: str | None,
        limit: int,
        steps: Steps,
    ) -> Page[AffectedRoute]:
        by = maker(adapter, worker)
        of = list_of("affected", str(by), since, execution)
        before, skipped = decode_parts(cursor, (int, int), of) or (None, 0)
        fixed = fixed_times(ids.now(), since=None if execution else since)["since"]
        seconds = None if fixed is None else ids.seconds(fixed)
        found: list[tuple[int, AffectedRoute]] = []
        then = before
        while len(found) <= skipped + limit:
            some, then = await self._catalog.made_in(
                by, since=seconds, execution=execution, before=then, limit=_EXECUTIONS
            )
            found += some
            steps.done += _EXECUTIONS
            if then is None:
                break
        end = skipped + limit
        items = [route for _, route in found[skipped:end]]
        if len(found) <= end:
            return Page(items)
        number = found[end][0]
        of_execution = sum(n == number for n, _ in found[:end])
        return Page(items, encode_parts((number + 1, of_execution), of))
