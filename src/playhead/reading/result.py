"""The objects of two executions: what happened to them before and after, and lists of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Final, Protocol
from uuid import UUID

from playhead.failures import group_number, group_text
from playhead.model import (
    After,
    Before,
    GroupedBy,
    Page,
    ReplayedObject,
    ReplayResult,
    ResultFailure,
    ResultFilter,
    ResultGroup,
    ResultStep,
)
from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.outcomes import Failure, ListedObject, Outcomes, OutcomesBelow
from playhead.reading.background import Steps
from playhead.reading.joining import rest_of
from playhead.reading.outcomes import Compared, Matrix, Name, compare
from playhead.reading.paging import decode_cursor, encode_cursor, list_of

_PAGE: Final = 200
"""Objects that are compared at once. A larger page delays the other requests of a server."""


class PairCatalog(Browse, Outcomes, Protocol):
    """The part of the catalog that `PairReader` needs."""


@dataclass(frozen=True, slots=True)
class Pair:
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


class PairReader:
    """Reads objects of two executions, and compares them now."""

    def __init__(self, catalog: PairCatalog, pair: Pair) -> None:
        self._catalog = catalog
        self.pair = pair

    async def count(self, steps: Steps) -> Matrix:
        """Compare all objects that the second execution has listed."""
        matrix = Matrix()
        after = 0
        while page := await self._catalog.listed_after(self.pair.b, after, limit=_PAGE):
            compared = await self._compare(page)
            for one in page:
                matrix.add(one.ordinal, _path(one), compared[one.key])
            steps.done += len(page)
            after = page[-1].ordinal
        return matrix

    async def counts(self, matrix: Matrix, *, is_complete: bool) -> ReplayResult:
        """Return the numbers of objects, with the reviews of people."""
        cells = matrix.cells(await self._catalog.reviews(self.pair.b, self.pair.a))
        return ReplayResult(self.pair.a, self.pair.b, is_complete, sum(one.objects for one in cells), cells)

    async def paths(self, ordinals: Sequence[int]) -> Mapping[int, str]:
        """Return the paths of objects, by their places in the listing."""
        return {one.ordinal: _path(one) for one in await self._catalog.listed_at(self.pair.b, ordinals)}

    async def objects(self, ordinals: Sequence[int]) -> list[ReplayedObject]:
        """Return the objects at these places of the listing."""
        listed = await self._catalog.listed_at(self.pair.b, ordinals)
        compared = await self._compare(listed)
        dead = [one for each in compared.values() for one in (each.failed_before, each.failed_after)]
        failures = await self.failures([one.first for one in dead if one])
        reviews = await self._catalog.reviews(self.pair.b, self.pair.a)

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

    async def failures(self, messages: Sequence[int | None]) -> Mapping[int, Failure]:
        """Return why messages are dead, by their numbers."""
        wanted = [one for one in messages if one is not None]
        return await self._catalog.failures(wanted) if wanted else {}

    async def _compare(self, page: Sequence[ListedObject]) -> Mapping[str, Compared]:
        """Return what has changed for each object, by its key."""
        # The first execution received the same object, or one with the same stage and path.
        a, b, route = self.pair.a, self.pair.b, self.pair.route
        others = {one.key: f"{a}/{rest_of(one.key)}" for one in page}
        asked = list(dict.fromkeys((*others, *others.values())))
        before = await self._catalog.outcomes_below(asked, a, route)
        after = await self._catalog.outcomes_below(list(others), b, route)
        return {
            key: compare(before.get(key) or before.get(other) or (), after.get(key) or (), self.pair.reached)
            for key, other in others.items()
        }


class Result:
    """What happened to the objects of two executions, with lists of them.

    Attributes:
        counts: the numbers of objects.
    """

    def __init__(self, reader: PairReader, matrix: Matrix, counts: ReplayResult) -> None:
        self.counts = counts
        self._reader = reader
        self._pair = reader.pair
        self._matrix = matrix

    async def groups(
        self,
        by: GroupedBy = "error",
        before: Before | None = None,
        after: After | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[ResultGroup]:
        """Return the objects of a cell by error, folder or stage, as `ResultService.groups` does."""
        of = list_of("result_groups", self._pair.a, self._pair.b, by, before, after)
        begin = decode_cursor(cursor, int, of) or 0
        every = self._matrix.groups(by, before, after)
        chosen = every[begin : begin + limit]
        paths = await self._reader.paths([group.first for _, group in chosen])
        messages = [group.message for _, group in chosen] if by == "error" else []
        failures = await self._reader.failures(messages)
        items = [
            ResultGroup(
                group_text(name) if isinstance(name, int) else name,
                group.objects,
                paths.get(group.first, ""),
                self._matrix.folders(group),
                _failure(failures, group.message, name),
            )
            for name, group in chosen
        ]
        is_last = len(every) <= begin + limit
        return Page(items, None if is_last else encode_cursor(begin + limit, of))

    async def objects(
        self, where: ResultFilter, cursor: str | None = None, limit: int = 100
    ) -> Page[ReplayedObject]:
        """Return the objects of a cell, in the order in which they were listed."""
        of = list_of("result_objects", self._pair.a, self._pair.b, *astuple(where))
        beyond = decode_cursor(cursor, int, of) or 0
        found: list[int] = []
        for ordinal in self._ordinals(where, beyond):
            if len(found) == limit:
                return Page(await self._reader.objects(found), encode_cursor(found[-1], of))
            found.append(ordinal)
        return Page(await self._reader.objects(found))

    async def step(self, ordinal: int, where: ResultFilter) -> ResultStep | None:
        """Return an object of a list with its neighbours; None if there is no object at this place."""
        found = await self._reader.objects([ordinal])
        if not found:
            return None
        listed = [*self._ordinals(where, 0)]
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

    def _ordinals(self, where: ResultFilter, beyond: int) -> Iterator[int]:
        number = None if where.error is None else group_number(where.error)
        asked: Mapping[GroupedBy, Name | None] = {
            "error": number,
            "folder": where.folder,
            "stage": where.stage,
        }
        names = [(by, name) for by, name in asked.items() if name is not None]
        return self._matrix.ordinals(where.before, where.after, names, beyond)


def _path(one: ListedObject) -> str:
    return rest_of(one.key)[len(one.stage) + 1 :]


def _failure(
    failures: Mapping[int, Failure], message: int | None, group: Name | None
) -> ResultFailure | None:
    """Return a failure as people see it; None if the message is not dead any more."""
    found = failures.get(message or 0)
    return ResultFailure(*found, group_text(group) if isinstance(group, int) else "") if found else None
