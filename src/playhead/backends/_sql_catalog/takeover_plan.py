"""What a run may take over: decided when it is opened, and stored with its job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.codes import number_of_chain
from playhead.backends._sql_catalog.executions import prunings_of, records_deleted_at, share
from playhead.backends._sql_catalog.lanes import Lane, as_uuid, as_uuid_or_none, below, lanes_of
from playhead.backends._sql_catalog.reusing import Source
from playhead.backends.sql import COMPLETED, SKIPPED, TAKEN_OVER
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.keys import INPUT_STAGE
from playhead.model import AdapterCode
from playhead.ports.catalog.prune import check_not_all_pruned, check_replays_recorded
from playhead.ports.catalog.runs import Reusable, ReusableRoutes

_MOST_ROWS: Final = 2_000
"""Outputs that one page takes over, on average."""
_MOST_IN_A_PAGE: Final = 1_000
_VALID: Final = (COMPLETED, SKIPPED, TAKEN_OVER)


class Replayed(NamedTuple):
    """A replay whose results may be taken over.

    Attributes:
        execution: its number.
        source: the id of the execution whose objects it has received: the earlier run, or a publication.
        lane: the lane of this run with its target route.
    """

    execution: int
    source: UUID
    lane: int


class Shown(NamedTuple):
    """The results that a declaration is about: those that a publication has.

    Attributes:
        declaration: number of the execution of the replay.
    """

    declaration: int
    dataset: int
    publication: int


class Declared(NamedTuple):
    """Declarations about a lane that are in force.

    Attributes:
        numbers: their numbers. A result that was taken over under one of them stays valid.
        shown: those of them that make other results valid, the newest first.
        since: the number of the first of their replays. An object that this replay or a later one has
            received gets only results of the newest code.
        is_listing: one of their replays is not listed to its end, so it is not known which objects it
            receives. Then no result of older code is taken over.
        lanes: by number of an execution, its lane with the same route and the same stage.
    """

    numbers: list[int]
    shown: list[Shown]
    since: int
    is_listing: bool
    lanes: dict[int, int]


class Plan(NamedTuple):
    """What a run may take over.

    Attributes:
        source: the number of the earlier run; None: results are only found by their items (`reusing.py`).
        since: its id.
        lanes: by number of an execution (the earlier run, or a replay) and lane of this run: what may have
            produced the results: the lane of the same route in that execution, and the number of a code. The
            first is that of the newest code.
        has_inputs: whether inputs may be references.
        page: how many inputs one transaction records.
        codes: by lane of this execution, the codes whose results are valid for any item that is the same.
        replays: the replays, oldest first.
        declared: by lane of this execution, the declarations about it.
    """

    source: int | None
    since: UUID | None
    lanes: dict[tuple[int, int], list[tuple[int, int | None]]]
    has_inputs: bool
    page: int
    codes: dict[int, list[int]]
    replays: list[Replayed]
    declared: dict[int, Declared]

    def is_newest(self, lane: int, source: Source) -> bool:
        """Whether a row has a result of the newest code, and a new row in this lane may take it over."""
        return _is_of_its_lane(source) and (source.lane, source.code) in self._valid(lane, source)[:1]

    def allows(self, lane: int, source: Source) -> bool:
        """Whether a row has a result of any valid code, and a new row in this lane may take it over."""
        return _is_of_its_lane(source) and (source.lane, source.code) in self._valid(lane, source)

    def may_be_declared(self, lane: int, source: Source) -> bool:
        """Whether a declaration may make the result of a row valid, whatever its code."""
        declared = self.declared[lane]
        return _has_result(source) and declared.lanes.get(source.execution) == source.lane

    def _valid(self, lane: int, source: Source) -> Sequence[tuple[int, int | None]]:
        return self.lanes.get((source.execution, lane), ())

    def lane_of_newest(self, lane: int) -> int | None:
        """Return the lane of the earlier run with the same route, if results of it may be taken over."""
        valid = None if self.source is None else self.lanes.get((self.source, lane))
        return valid[0][0] if valid else None

    def lane_in(self, execution: int, lane: int) -> int | None:
        """Return the lane with the same route in an execution whose results may be taken over."""
        for theirs, _ in self.lanes.get((execution, lane), ()):
            return theirs
        declared = self.declared.get(lane)
        return declared.lanes.get(execution) if declared else None

    def encode(self) -> str:
        lanes, codes = list(self.lanes.items()), list(self.codes.items())
        replays = [(one.execution, str(one.source), one.lane) for one in self.replays]
        declared = [(lane, [*one[:-1], list(one.lanes.items())]) for lane, one in self.declared.items()]
        return json.dumps([self.source, lanes, self.has_inputs, self.page, codes, replays, declared])

    @classmethod
    def decode(cls, since: Any, stored: str) -> Plan:
        source, lanes, has_inputs, page, codes, replays, declared = json.loads(stored)
        by_lane = {
            (execution, lane): [(of, code) for of, code in valid] for (execution, lane), valid in lanes
        }
        of_lanes = {
            lane: Declared(numbers, [Shown(*one) for one in shown], after, is_listing, dict(theirs))
            for lane, (numbers, shown, after, is_listing, theirs) in declared
        }
        received = [Replayed(n, UUID(of), lane) for n, of, lane in replays]
        identity = as_uuid_or_none(since)
        return cls(source, identity, by_lane, has_inputs, page, dict(codes), received, of_lanes)


def _is_of_its_lane(source: Source) -> bool:
    """Whether a row has a result that its lane and its code have made. One that was declared valid may have
    been made with other settings than its lane says."""
    return _has_result(source) and source.declaration is None


def _has_result(source: Source) -> bool:
    if source.state == SKIPPED and source.code is None:
        return False  # a replay has skipped the route
    return source.state in _VALID


async def make_plan(db: Session, version: int, reuse: Reusable) -> Plan:
    """Decide what an execution of a config version may take over."""
    ours = await lanes_of(db, version)
    codes = {
        lane.id: [number_of_chain(chain) for chain in reuse.items[lane.route] or ()]
        for lane in ours
        if lane.route in reuse.items
    }
    if reuse.execution is None:
        return Plan(None, None, {}, False, _MOST_IN_A_PAGE, codes, [], {})
    return await _since(db, ours, reuse.execution, reuse, codes)


class _Earlier(NamedTuple):
    """An execution whose results may be taken over.

    Attributes:
        source: the id of the execution whose objects it has received; of a run, its own.
        routes: those whose results may be taken over.
        theirs: its lanes by route.
    """

    number: int
    source: UUID
    to_route: str
    routes: ReusableRoutes
    theirs: Mapping[str, Lane]
    pruned: Sequence[Any]

    def has(self, lane: Lane) -> bool:
        """Whether it may have objects of the stage of a lane."""
        return not (lane.stage and any(one.overlaps(lane.stage) for one in self.pruned))


async def _since(
    db: Session, ours: Sequence[Lane], since: UUID, reuse: Reusable, codes: dict[int, list[int]]
) -> Plan:
    """Return the plan of a run since an earlier one. Locks that one and the replays, as `open_replay` does: a
    prune of them either comes before, or it waits, and then finds this run."""
    rows = []
    for identity, routes in [(since, reuse.routes), *reuse.replays.items()]:
        row = await db.row(SQL.earlier_execution, id=identity)
        assert row, "the caller has found the execution"
        rows.append((identity, *row, routes))
    numbers = [row[1] for row in rows]
    await share(db, numbers)
    all_pruned = await prunings_of(db, numbers)
    source, *_ = numbers
    pruned = all_pruned[source]
    check_not_all_pruned(since, pruned)
    deleted = await records_deleted_at(db, reuse.replays)
    check_replays_recorded(
        since, {row[0]: deleted[row[0]] for row in rows if row[0] in deleted and as_uuid(row[3]) == since}
    )
    every = [
        _Earlier(
            *(number, as_uuid(received), to_route, routes),
            *({lane.route: lane for lane in await lanes_of(db, version)}, all_pruned[number]),
        )
        for identity, number, version, received, to_route, routes in rows
        if identity not in deleted
    ]
    lanes = {
        (one.number, lane.id): [
            (one.theirs[lane.route].id, code) for code in _numbers(one.routes[lane.route])
        ]
        for one in every
        for lane in ours
        if lane.route in one.routes and one.has(lane)
    }
    by_route = {lane.route: lane.id for lane in ours}
    replays = sorted(
        Replayed(one.number, one.source, by_route[one.to_route])
        for one in every[1:]
        if one.to_route in by_route
    )
    first_input, last_input = below(f"{since}/{INPUT_STAGE}").values()
    given = {"first_input": first_input, "last_input": last_input, **below(f"{since}")}
    inputs, outputs = await db.row(SQL.count_inputs_and_outputs, **given) or (0, 0)
    page = max(1, min(_MOST_IN_A_PAGE, _MOST_ROWS * max(inputs, 1) // max(outputs, 1)))
    has_inputs = not any(one.overlaps(INPUT_STAGE) for one in pruned)
    declared = {
        lane.id: found
        for lane in ours
        if lane.route in reuse.declared and (found := await _declared(db, lane, every, reuse.declared))
    }
    return Plan(source, since, lanes, has_inputs, page, codes, replays, declared)


async def _declared(
    db: Session, lane: Lane, every: Sequence[_Earlier], declared: Mapping[str, Sequence[UUID]]
) -> Declared | None:
    """Return the declarations about a lane; None: all of them were undone meanwhile."""
    rows = await db.rows(SQL.declarations_of, ids=list(declared[lane.route]))
    if not rows:
        return None
    # If a replay ended before it was listed, or its records are deleted, it is not known what it leaves out.
    known = {one.number for one in every}
    listed = [row for row in rows if row[3] == "completed" and row[0] in known]
    lanes = {
        one.number: theirs.id
        for one in every
        if (theirs := one.theirs.get(lane.route)) and theirs.stage == lane.stage and one.has(lane)
    }
    return Declared(
        numbers=[row[0] for row in rows],
        shown=[Shown(*row[:3]) for row in listed],
        since=min(row[0] for row in rows),
        is_listing=any(row[3] == "open" for row in rows),
        lanes=lanes,
    )


def _numbers(chains: Sequence[Sequence[AdapterCode]] | None) -> list[int | None]:
    """Return the numbers of codes; None is that of other programs."""
    return [None] if chains is None else [number_of_chain(chain) for chain in chains]
