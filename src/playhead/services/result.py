"""Compare the objects of a replay before and after it: what it has repaired, changed and broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

from playhead import acting
from playhead.environment import Environment
from playhead.errors import BadRequest, NotFound
from playhead.model import (
    After,
    Before,
    DiffObject,
    Execution,
    GroupedBy,
    Page,
    Replay,
    ReplayedObject,
    ReplayResult,
    ResultFilter,
    ResultGroup,
    is_skipped,
)
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.publications import Publications
from playhead.ports.store import Store
from playhead.reading.background import Background, Counted, Steps
from playhead.reading.datasets import check_seen
from playhead.reading.joining import Records, rest_of, side
from playhead.reading.listing import Listing
from playhead.reading.lookup import check_records, find_execution
from playhead.reading.outcomes import Matrix
from playhead.reading.pairing import paired
from playhead.reading.result import Pair, PairCatalog, PairReader, Result
from playhead.replay import effects

_MOST_LISTED: Final = 500
_MOST_OUTPUTS: Final = 2000
_LONGEST_NAME: Final = 200
_MOST_KEPT: Final = 16
"""A result of 1,000,000 objects takes 7 MB."""


class ResultCatalog(PairCatalog, Configs, Publications, Protocol):
    """The part of the catalog that `ResultService` needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...


class ResultService:
    """Compares the objects of two executions.

    The objects are those that the second execution has listed, for example a replay. The first one is its
    source, or any other execution that has received an object with the same stage and path. All messages that
    were made from an object count, in the routes that the second execution reaches. Of a publication, the
    messages count whose results it has: what readers saw before.

    The first request reads all messages of both. The result is kept in this process: that of ended executions
    until others are asked for, and that of running ones for ten times as long as it took.

    Every method raises these errors:
        Unavailable: the catalog is unavailable.
        BadRequest: `not_comparable`: an execution is adopted, so it has no messages; or the second one is a
            publication, so it has listed no objects.
        NotFound: `execution_not_found`, `records_deleted`; `publication_not_found`, `publication_dropped`:
            the first one is a publication that readers have never seen, or that is not kept.
    """

    def __init__(self, catalog: ResultCatalog, store: Store, env: Environment) -> None:
        self._catalog = catalog
        self._listing = Listing(catalog, store)
        self._counted: Background[Matrix] = Background(env.spawn, most=_MOST_KEPT)

    async def matrix(self, a: UUID, b: UUID) -> ReplayResult:
        """Count the objects by what happened to them before and after."""
        return (await self._whole(a, b)).counts

    async def counting(self, a: UUID, b: UUID, *, patience: float | None) -> Counted[Result]:
        """Return the result; after `patience` seconds, the result before it, and how far the count is.

        Counting continues in this process.

        Args:
            patience: None: wait for the result.
        """
        pair = await self._pair(a, b)
        reader = PairReader(self._catalog, pair)

        async def count(steps: Steps) -> Matrix:
            matrix = await reader.count(steps)
            await self._pair(a, b)  # records may have been deleted meanwhile
            return matrix

        known = await self._counted.get(
            (a, b), pair.state, count, patience=patience, lasts=not pair.is_complete
        )
        if known.result is None:
            return Counted(None, None, known.done)
        is_complete = pair.is_complete and known.as_of is None
        counts = await reader.counts(known.result, is_complete=is_complete)
        return Counted(Result(reader, known.result, counts), known.as_of, known.done)

    async def groups(
        self,
        a: UUID,
        b: UUID,
        by: GroupedBy = "error",
        before: Before | None = None,
        after: After | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[ResultGroup]:
        """Return the objects of a cell by error, folder or stage, the largest groups first.

        Args:
            before: only objects with this outcome before; None: with any.
            after: only objects with this outcome after; None: with any.

        Raises:
            BadRequest: `invalid_cursor`.
        """
        return await (await self._whole(a, b)).groups(by, before, after, cursor, limit)

    async def objects(
        self,
        a: UUID,
        b: UUID,
        before: Before | None = None,
        after: After | None = None,
        error: str | None = None,
        folder: str | None = None,
        stage: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[ReplayedObject]:
        """Return the objects of a cell, in the order in which they were listed.

        Args:
            before: only objects with this outcome before; None: with any.
            after: only objects with this outcome after; None: with any.
            error: only objects of this group, as in `ResultGroup.name`.
            folder: only objects of this group.
            stage: only objects of this group.

        Raises:
            BadRequest: `invalid_cursor`.
        """
        where = ResultFilter(before, after, error, folder, stage)
        return await (await self._whole(a, b)).objects(where, cursor, limit)

    async def listed(self, a: UUID, b: UUID, after: int, upto: int) -> list[ReplayedObject]:
        """Return the objects behind one place of the listing, up to another; those that failed come first.

        At most 500. Their messages are read now, without the counts of all objects.
        """
        pair = await self._pair(a, b)
        places = range(after + 1, min(upto, after + _MOST_LISTED) + 1)
        found = await PairReader(self._catalog, pair).objects(places)
        return sorted(found, key=lambda one: one.new_failure is None)

    async def outputs(self, a: UUID, b: UUID, one: ReplayedObject) -> list[DiffObject]:
        """Return the outputs of an object in both executions, paired by content within each stage.

        At most the first 2,000 outputs of each execution are paired.
        """
        pair = await self._pair(a, b)
        other = f"{a}/{rest_of(one.key)}"
        old = await self._outputs(pair, one.key, a)
        if not old and other != one.key:
            old = await self._outputs(pair, other, a)
        new = await self._outputs(pair, one.key, b)
        stages = dict.fromkeys((*new, *old))
        return [
            DiffObject(stage, each.rest[len(stage) + 1 :], each.state, side(each.left), side(each.right))
            for stage in stages
            for each in paired(old.get(stage, {}), new.get(stage, {}))
        ]

    async def _outputs(self, pair: Pair, key: str, execution: UUID) -> dict[str, Records]:
        """Return the outputs of an object by stage."""
        found = await self._catalog.outputs_below(key, execution, pair.route, limit=_MOST_OUTPUTS)
        order = {route: n for n, route in enumerate(pair.reached)}
        counted = [one for one in found if one.is_top or one.route in order]
        by_stage: dict[str, Records] = {}
        for one in sorted(counted, key=lambda one: order.get(one.route, -1)):
            by_stage.setdefault(one.stage, {})[rest_of(one.output.key)] = one.output
        return by_stage

    async def review(self, a: UUID, b: UUID, ordinal: int, *, is_right: bool, reviewed_by: str) -> None:
        """Record whether the new outputs of an object look right to a person.

        Raises:
            BadRequest: `invalid_body`: the name is empty or too long.
            NotFound: `object_not_found`: the second execution has no object at this place.
        """
        name = acting.current().name_or(reviewed_by.strip())
        if not name or len(name) > _LONGEST_NAME:
            raise BadRequest("invalid_body", f"write your name, in up to {_LONGEST_NAME} characters")
        pair = await self._pair(a, b)
        if not await self._catalog.listed_at(b, [ordinal]):
            raise NotFound("object_not_found", f"execution {b} has listed no object at place {ordinal}")
        await self._catalog.record_review(pair.b, pair.a, ordinal, is_right=is_right, reviewed_by=name)

    async def _whole(self, a: UUID, b: UUID) -> Result:
        found = (await self.counting(a, b, patience=None)).result
        assert found, "without a limit, the caller waits for it"
        return found

    # -- the executions ----------------------------------------------------------------------------

    async def _pair(self, a: UUID, b: UUID) -> Pair:
        first, second = [await find_execution(self._catalog, self._listing, one) for one in (a, b)]
        for one in (first, second):
            check_records(one)
            if one.config is None:
                raise BadRequest(
                    "not_comparable",
                    f"execution {one.execution_id} is adopted: it has no messages. Compare runs and replays",
                )
        if second.kind == "publication":
            raise BadRequest(
                "not_comparable",
                f"execution {b} is a publication: it has listed no objects. Name it first, and a run or a "
                "replay second",
            )
        if seen := await self._catalog.publication_of(a):
            check_seen(seen)
        route, reached = await self._reached(second)
        is_complete = first.ended_at is not None and second.ended_at is not None
        state = tuple((one.revision, one.counts) for one in (first, second))
        return Pair(a, b, route, reached, is_complete, state)

    async def _reached(self, execution: Execution) -> tuple[str, Sequence[str]]:
        """Return the entry of an execution as CONFIG/ROUTE, and the names of the routes that it reaches."""
        batch = execution.replay_batch_id
        replay = await self._catalog.replay(batch) if batch else None
        loaded = await self._catalog.config(execution.config or "", execution.config_version)
        assert loaded, "the config of an execution is never deleted"
        skips = replay.effects if replay else {}
        entry = replay.to_route.rpartition("/")[2] if replay else loaded.config.entry
        routes = effects.reached(loaded.config, entry or "", skips)
        found = [name for name in routes if not is_skipped(skips, name)]
        return f"{execution.config}/{entry}", found
