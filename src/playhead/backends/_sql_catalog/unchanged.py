"""Take over unchanged inputs together with all that is below them.

An input is taken over here if the earlier run has a valid result of the newest code for each message below
it, and if the routes follow one another as they did. Then nothing has to be chosen: the new rows are those of
the earlier run, and the database copies their outputs without returning them. `TakeOver.take_results` decides
about all other inputs, message by message. Its results would be the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.earlier import moved, path_in, roots_of
from playhead.backends._sql_catalog.lanes import Lanes
from playhead.backends._sql_catalog.reusing import Source
from playhead.backends._sql_catalog.takeover_plan import Plan
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.ids import mint, text


class KeyTaken(Exception):
    """Another message of the execution has bound the key of an output, so the transaction must not commit."""


class Root(NamedTuple):
    """A row to be inserted for an input. `id` has 16 bytes."""

    id: bytes
    key: str
    stage: str
    ordinal: int


class _Route(NamedTuple):
    """A route of the new run: its lane, and what it stores and feeds."""

    lane: int
    stage: str
    is_last: bool


class _New(NamedTuple):
    """The number of a new row, and the row of the earlier run whose result it gets."""

    n: int
    source: Source


class UnchangedInputs:
    """Takes over inputs below which nothing has changed."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def take(
        self, db: Session, execution: int, identity: UUID, plan: Plan, lane: int, roots: Sequence[Root]
    ) -> set[bytes]:
        """Insert the rows of unchanged inputs, and of all that is below them. The caller inserts the others.

        Args:
            execution: theirs, by number; `identity` is its id, and `lane` is that of its entry route.

        Returns the ids of the unchanged inputs.
        Raises `KeyTaken`: the caller starts over, and inserts all inputs itself.
        """
        routes = await self._same_routes(db, plan, lane)
        if not routes:
            return set()
        first, *below = await self._levels(db, plan, routes, await self._candidates(db, plan, lane, roots))
        by_path = {path_in(one.key): one for one in first}
        kept = [(root, source) for root in roots if (source := by_path.get(path_in(root.key)))]
        rows = [
            (
                *(_form(db, root.id), execution, lane, root.key, root.stage, root.ordinal),
                *(*_result(source), source.execution),
            )
            for root, source in kept
        ]
        level = await _insert(db, SQL.insert_whole, rows, [source for _, source in kept])
        prefix = str(identity)
        await _copy_outputs(db, prefix, level)
        for sources in below:
            above = {one.source.n: (one.n, routes[one.source.lane].stage) for one in level}
            children = list[tuple[Any, ...]]()
            for cid, one in zip(mint(len(sources)), sources, strict=True):
                parent, stage = above[one.parent or 0]
                key = f"{prefix}/{path_in(one.key)}"
                to = routes[one.lane].lane
                children.append((_form(db, cid), execution, to, key, stage, parent, *_result(one), None))
            level = await _insert(db, SQL.insert_taken_over, children, sources)
            await _copy_outputs(db, prefix, level)
        return {root.id for root, _ in kept}

    async def _same_routes(self, db: Session, plan: Plan, entry: int) -> Mapping[int, _Route]:
        """Return the routes from the entry on, by their lanes in the earlier run.

        Returns none if a route has other followers than there, or has results that are not taken over.
        """
        routes: dict[int, _Route] = {}
        ahead = [entry]
        while ahead:
            lane = ahead.pop()
            theirs = plan.lane_of_newest(lane)
            if theirs is None:
                return {}
            if theirs in routes:
                continue
            lanes = await self._lanes.learn(db, {lane, theirs})
            here = lanes[lane]
            if sorted(here.feeds) != sorted(lanes[theirs].feeds):
                return {}
            routes[theirs] = _Route(lane, here.stage or "", not here.feeds)
            ahead += [await self._lanes.feed(db, here.config_version, to) for to in here.feeds]
        return routes

    async def _candidates(self, db: Session, plan: Plan, lane: int, roots: Sequence[Root]) -> list[Source]:
        """Return what the earlier run has for inputs with the same bytes, if it is valid."""
        assert plan.source is not None
        assert plan.since is not None
        # An input that is a reference has the bytes of the earlier run's input with the same path.
        keys = {one.key for one in roots}
        referred = await db.rows(SQL.referred_between, first=min(keys), last=max(keys)) if keys else []
        old = [moved(key, plan.since) for (key,) in referred if key in keys]
        found = await roots_of(db, old, [plan.source]) if old else []
        return [one for one in found if plan.is_newest(lane, one)]

    async def _levels(
        self, db: Session, plan: Plan, routes: Mapping[int, _Route], roots: Sequence[Source]
    ) -> list[list[Source]]:
        """Return the rows of the roots below which all rows are valid, and the rows below them by level."""
        levels = [list(roots)]
        root_of = {one.n: one.n for one in roots}
        changed: set[int] = set()
        while parents := [one.n for one in levels[-1] if not routes[one.lane].is_last]:
            level = []
            for one in map(Source._make, await db.rows(SQL.children_of, parents=parents)):
                root = root_of[one.n] = root_of[one.parent or 0]
                route = routes.get(one.lane)
                if route and plan.is_newest(route.lane, one):
                    level.append(one)
                else:
                    changed.add(root)
            levels.append(sorted(level, key=lambda one: one.n))
        if changed:
            levels = [[one for one in level if root_of[one.n] not in changed] for level in levels]
        return levels


async def _insert(
    db: Session, statement: Statement, rows: Sequence[Sequence[Any]], sources: Sequence[Source]
) -> list[_New]:
    """Insert a row for each source. The first column is the id."""
    numbers = {cid if db.raw_ids else str(cid): n for n, cid in await db.insert(statement, rows)}
    return [_New(numbers[row[0]], source) for row, source in zip(rows, sources, strict=True)]


async def _copy_outputs(db: Session, identity: str, level: Sequence[_New]) -> None:
    """Insert references to the outputs of rows of the earlier run."""
    sources = [one.source.n for one in level]
    if expected := await db.value(SQL.count_outputs_of, rows=sources):
        rows = [one.n for one in level]
        copied = await db.run(SQL.copy_outputs, identity=identity, sources=sources, rows=rows)
        if copied != expected:
            raise KeyTaken


def _form(db: Session, cid: bytes) -> bytes | str:
    """An id in the form in which it is inserted."""
    return cid if db.raw_ids else text(cid)


def _result(source: Source) -> tuple[int | None, str | None, str | None, int, int]:
    return source.code, source.error_code, source.error, source.original, source.result
