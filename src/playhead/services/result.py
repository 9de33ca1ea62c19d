"""Compare the objects of a replay before and after it: what it has repaired, changed and broken."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from playhead.environment import Environment
from playhead.errors import BadRequest, NotFound
from playhead.failures import group_number, group_text
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
    ResultFailure,
    ResultFilter,
    ResultGroup,
    ResultStep,
    is_skipped,
)
from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.outcomes import Failure, ListedObject, Outcomes, OutcomesBelow
from playhead.ports.catalog.publications import Publications
from playhead.ports.store import Store
from playhead.reading.background import Background, Steps
from playhead.reading.datasets import check_seen
from playhead.reading.joining import Records, rest_of, side
from playhead.reading.listing import Listing
from playhead.reading.lookup import check_records, find_execution
from playhead.reading.outcomes import Compared, Matrix, Name, compare
from playhead.reading.paging import decode_cursor, encode_cursor, list_of
from playhead.reading.pairing import paired
from playhead.replay import effects

_PAGE: Final = 500
_MOST_OUTPUTS: Final = 2000
_LONGEST_NAME: Final = 200
_MOST_KEPT: Final = 16
"""A result of 1,000,000 objects takes 7 MB."""


class ResultCatalog(Browse, Configs, Outcomes, Publications, Protocol):
    """The part of the catalog that `ResultService` needs."""

    async def replay(self, batch: UUID) -> Replay | None: ...


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two executions.

    Attributes:
        route: entry of the second one, CONFIG/ROUTE.
        reached: names of the routes that it reaches, in the order of the pipeline.
        is_complete: whether both have ended.
        state: changes when an outcome may have changed.
    """

    a: UUID
    b: UUID
    route: str
    reached: Sequence[str]
    is_complete: bool
    state: Hashable


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
        pair = await self._pair(a, b)
        return await self._result(pair, await self._matrix(pair))

    async def counting(self, a: UUID, b: UUID, *, patience: float) -> ReplayResult | int:
        """Return the counts, or after `patience` seconds how many objects are counted so far.

        Counting continues in this process.
        """
        pair = await self._pair(a, b)
        found = await self._get(pair, patience)
        return found.done if isinstance(found, Steps) else await self._result(pair, found)

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
        of = list_of("result_groups", a, b, by, before, after)
        begin = decode_cursor(cursor, int, of) or 0
        matrix = await self._matrix(await self._pair(a, b))
        every = matrix.groups(by, before, after)
        chosen = every[begin : begin + limit]
        listed = await self._catalog.listed_at(b, [group.first for _, group in chosen])
        paths = {one.ordinal: _path(one) for one in listed}
        failures = await self._failures([group.message for _, group in chosen] if by == "error" else [])
        items = [
            ResultGroup(
                group_text(name) if isinstance(name, int) else name,
                group.objects,
                paths.get(group.first, ""),
                matrix.folders(group),
                _failure(failures, group.message, name),
            )
            for name, group in chosen
        ]
        is_last = len(every) <= begin + limit
        return Page(items, None if is_last else encode_cursor(begin + limit, of))

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
        of = list_of("result_objects", a, b, before, after, error, folder, stage)
        beyond = decode_cursor(cursor, int, of) or 0
        pair = await self._pair(a, b)
        matrix = await self._matrix(pair)
        names = _names(error, folder, stage)
        found: list[int] = []
        for ordinal in matrix.ordinals(before, after, names, beyond):
            if len(found) == limit:
                return Page(await self._objects(pair, found), encode_cursor(found[-1], of))
            found.append(ordinal)
        return Page(await self._objects(pair, found))

    async def listed(self, a: UUID, b: UUID, after: int, upto: int) -> list[ReplayedObject]:
        """Return the objects behind one place of the listing, up to another; those that failed come first.

        At most 500. Their messages are read now, without the counts of all objects.
        """
        pair = await self._pair(a, b)
        places = range(after + 1, min(upto, after + _PAGE) + 1)
        return sorted(await self._objects(pair, places), key=lambda one: one.new_failure is None)

    async def step(self, a: UUID, b: UUID, ordinal: int, where: ResultFilter) -> ResultStep | None:
        """Return an object of a list with its neighbours; None if there is no object at this place."""
        pair = await self._pair(a, b)
        matrix = await self._matrix(pair)
        found = await self._objects(pair, [ordinal])
        if not found:
            return None
        listed = [
            *matrix.ordinals(where.before, where.after, _names(where.error, where.folder, where.stage), 0)
        ]
        at = bisect_left(listed, ordinal)
        is_listed = at < len(listed) and listed[at] == ordinal
        following = at + is_listed
        return ResultStep(
            found[0],
            at + 1 if is_listed else None,
            len(listed),
            listed[at - 1] if at else None,
            listed[following] if following < len(listed) else None,
        )

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

    async def _outputs(self, pair: _Pair, key: str, execution: UUID) -> dict[str, Records]:
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
        name = reviewed_by.strip()
        if not name or len(name) > _LONGEST_NAME:
            raise BadRequest("invalid_body", f"write your name, in up to {_LONGEST_NAME} characters")
        pair = await self._pair(a, b)
        if not await self._catalog.listed_at(b, [ordinal]):
            raise NotFound("object_not_found", f"execution {b} has listed no object at place {ordinal}")
        await self._catalog.record_review(pair.b, pair.a, ordinal, is_right=is_right, reviewed_by=name)

    # -- count -------------------------------------------------------------------------------------

    async def _matrix(self, pair: _Pair) -> Matrix:
        found = await self._get(pair, None)
        assert isinstance(found, Matrix), "without a limit, the caller waits for it"
        return found

    async def _result(self, pair: _Pair, matrix: Matrix) -> ReplayResult:
        cells = matrix.cells(await self._catalog.reviews(pair.b, pair.a))
        return ReplayResult(pair.a, pair.b, pair.is_complete, sum(one.objects for one in cells), cells)

    async def _get(self, pair: _Pair, patience: float | None) -> Matrix | Steps:
        return await self._counted.get(
            (pair.a, pair.b),
            pair.state,
            lambda steps: self._count(pair, steps),
            patience=patience,
            lasts=not pair.is_complete,
        )

    async def _count(self, pair: _Pair, steps: Steps) -> Matrix:
        matrix = Matrix()
        after = 0
        while page := await self._catalog.listed_after(pair.b, after, limit=_PAGE):
            compared = await self._compare(pair, page)
            for one in page:
                matrix.add(one.ordinal, _path(one), compared[one.key])
            steps.done += len(page)
            after = page[-1].ordinal
        await self._pair(pair.a, pair.b)  # records may have been deleted meanwhile
        return matrix

    async def _compare(self, pair: _Pair, page: Sequence[ListedObject]) -> Mapping[str, Compared]:
        """Return what has changed for each object, by its key."""
        # The first execution received the same object, or one with the same stage and path.
        others = {one.key: f"{pair.a}/{rest_of(one.key)}" for one in page}
        asked = list(dict.fromkeys((*others, *others.values())))
        before = await self._catalog.outcomes_below(asked, pair.a, pair.route)
        after = await self._catalog.outcomes_below(list(others), pair.b, pair.route)
        return {
            key: compare(before.get(key) or before.get(other) or (), after.get(key) or (), pair.reached)
            for key, other in others.items()
        }

    async def _objects(self, pair: _Pair, ordinals: Sequence[int]) -> list[ReplayedObject]:
        listed = await self._catalog.listed_at(pair.b, ordinals)
        compared = await self._compare(pair, listed)
        dead = [one for each in compared.values() for one in (each.failed_before, each.failed_after)]
        failures = await self._failures([one.first for one in dead if one])
        reviews = await self._catalog.reviews(pair.b, pair.a)

        def why(one: OutcomesBelow | None) -> ResultFailure | None:
            return _failure(failures, one.first, one.failure_group) if one else None

        return [
            ReplayedObject(
                one.ordinal,
                one.key,
                one.stage,
                _path(one),
                one.correlation_id,
                what.before,
                what.after,
                list(what.stages),
                why(what.failed_before),
                why(what.failed_after),
                reviews.get(one.ordinal),
            )
            for one in listed
            for what in [compared[one.key]]
        ]

    async def _failures(self, messages: Sequence[int | None]) -> Mapping[int, Failure]:
        wanted = [one for one in messages if one is not None]
        return await self._catalog.failures(wanted) if wanted else {}

    # -- the executions ----------------------------------------------------------------------------

    async def _pair(self, a: UUID, b: UUID) -> _Pair:
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
        return _Pair(a, b, route, reached, is_complete, state)

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


def _names(error: str | None, folder: str | None, stage: str | None) -> list[tuple[GroupedBy, Name]]:
    number = None if error is None else group_number(error)
    asked: Mapping[GroupedBy, Name | None] = {"error": number, "folder": folder, "stage": stage}
    return [(by, name) for by, name in asked.items() if name is not None]


def _path(one: ListedObject) -> str:
    return rest_of(one.key)[len(one.stage) + 1 :]


def _failure(
    failures: Mapping[int, Failure], message: int | None, group: Name | None
) -> ResultFailure | None:
    """Return a failure as people see it; None if the message is not dead any more."""
    found = failures.get(message or 0)
    return ResultFailure(*found, group_text(group) if isinstance(group, int) else "") if found else None
