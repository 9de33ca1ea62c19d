"""Read executions and replay batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

from playhead.ids import moment, now
from playhead.model import (
    Execution,
    Page,
    Replay,
    RouteCode,
    RouteCounts,
    StageSummary,
    StageTotal,
    StageTotals,
)
from playhead.ports.catalog.browse import Browse, ExecutionFilter
from playhead.ports.catalog.code import Code
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.limits import Limits
from playhead.ports.catalog.totals import Totals
from playhead.ports.store import Store
from playhead.reading.listing import Listing
from playhead.reading.lookup import check_records, find_execution, find_replay
from playhead.reading.paging import decode_cursor, list_of, page_before
from playhead.replay.meter import Meter
from playhead.times import fixed_times
from playhead.work.routelimits import wait_of_route


class ExecutionCatalog(Browse, Code, Configs, Limits, Totals, Protocol):
    """The part of the catalog that `ExecutionService` needs."""

    async def is_listed(self, job: UUID) -> bool: ...

    async def replay(self, batch: UUID) -> Replay | None: ...

    async def replays(
        self,
        *,
        source: UUID | None = None,
        is_open: bool = False,
        before: int | None = None,
        limit: int = 100,
    ) -> tuple[list[Replay], int | None]: ...

    async def replays_named(self, batches: Sequence[UUID]) -> list[Replay]: ...


_NO_END: Final = ("depth", "canary", "guard", "broker", "store")
"""What publishing may wait for without end: the remaining time is not known."""


class ExecutionService:
    """Reads executions. Every method raises `Unavailable` if a backend that it needs is unavailable."""

    def __init__(self, catalog: ExecutionCatalog, store: Store) -> None:
        self._catalog = catalog
        self._listing = Listing(catalog, store)
        self._meter = Meter()

    async def get(self, execution: UUID) -> Execution:
        """Return an execution. If it exists only in the store, return it as adopted, and store nothing.

        Raises:
            NotFound: `execution_not_found`.
        """
        return await find_execution(self._catalog, self._listing, execution)

    async def named(self, executions: Sequence[UUID]) -> dict[UUID, Execution]:
        """Return those of these executions that the catalog has, by id, with one query."""
        if not executions:
            return {}
        found = await self._catalog.executions_named(executions)
        return {one.execution_id: one for one in found}

    async def replays_named(self, batches: Sequence[UUID]) -> list[Replay]:
        """Return those of these replays that exist, without their rates, with one query."""
        return list(await self._catalog.replays_named(batches)) if batches else []

    async def route_counts(self, execution: UUID) -> list[RouteCounts]:
        """Return message counts by route, in the order of the config; empty for an adopted execution.

        Raises:
            NotFound: `execution_not_found`.
        """
        return await self.routes_of(await self.get(execution))

    async def routes_of(self, found: Execution) -> list[RouteCounts]:
        """Return message counts by route of an execution that was read a moment ago."""
        counts = await self._catalog.route_counts(found.execution_id)
        if found.status != "running" or not (cooldowns := await self._catalog.cooldowns()):
            return counts
        loaded = await self._catalog.config(str(found.config), found.config_version)
        routes = loaded.config.routes if loaded else {}
        return [
            replace(one, wait=wait_of_route(cooldowns, str(found.config), routes[one.route]))
            if one.route in routes
            else one
            for one in counts
        ]

    async def code(self, execution: UUID) -> list[RouteCode]:
        """Return the code that ran, by route, in the order of the config. Reads all messages.

        Raises:
            NotFound: `execution_not_found`, `records_deleted`.
        """
        found = await self._catalog.code_of(execution)
        check_records(await self.get(execution))
        return found

    async def stages(self, execution: UUID) -> list[StageSummary]:
        """Return the stages: `input`, then those of the config, then those that other programs created.

        Only objects that a replay would list are counted. Sidecars, folder markers and outputs that are not
        marked as stored are excluded. Reads the whole listing of the execution.

        Raises:
            NotFound: `execution_not_found`.
        """
        return await self._listing.stages(await self.get(execution))

    async def stage_totals(self, execution: UUID) -> StageTotals:
        """Return objects and bytes of each stage, from the catalog: the numbers of `stages`, at less cost.

        After the end of an execution they cost two look-ups; see `Totals.stage_totals`. Only of an adopted
        execution, the store is listed. Elsewhere, objects of other programs are not counted.

        Raises:
            NotFound: `execution_not_found`.
        """
        found = await self._catalog.stage_totals(execution)
        if found is not None:
            return found
        stages = await self.stages(execution)
        totals = [StageTotal(one.stage, one.objects, one.bytes) for one in stages]
        return StageTotals(moment(now()), False, totals)

    async def replays(
        self, source: UUID | None, cursor: str | None, limit: int, *, is_open: bool = False
    ) -> Page[Replay]:
        """Return replay batches, newest first.

        Args:
            source: only those that replay this execution.
            cursor: the page.
            limit: size of the page.
            is_open: only those whose publishing has not ended.

        Raises:
            NotFound: `execution_not_found`.
        """
        of = list_of("replays", source, is_open)
        before = decode_cursor(cursor, int, of)
        if source is not None:
            await self.get(source)
        found = await self._catalog.replays(source=source, is_open=is_open, before=before, limit=limit)
        return page_before(found, of)

    async def replay(self, batch: UUID) -> Replay:
        """Return a replay batch with its current progress, its rate, and the time that remains.

        Raises:
            NotFound: `replay_not_found`.
        """
        found = await find_replay(self._catalog, batch)
        rate = self._meter.rate(found)
        eta = None
        if found.status is not None:
            eta = 0.0
        # While objects are still being listed, the number that remains is unknown.
        elif rate and found.waits_for not in _NO_END and await self._catalog.is_listed(found.execution_id):
            left = found.objects_found - found.objects_published - found.objects_failed
            eta = round(left / rate, 1)
        return replace(found, rate=rate, eta_seconds=eta)

    async def list(self, where: ExecutionFilter, cursor: str | None, limit: int) -> Page[Execution]:
        """Return executions, newest first.

        Raises:
            ValueError: `since` or `until` is not a time.
            BadRequest: `invalid_cursor`.
        """
        # With the times as given: those before now differ in each request for a page.
        of = list_of("executions", *where)
        before = decode_cursor(cursor, int, of)
        where = where._replace(**fixed_times(now(), since=where.since, until=where.until))
        return page_before(await self._catalog.executions(where, before=before, limit=limit), of)
