"""Take over the results of an earlier run: references to objects, and message rows that need no attempt.

A reference is an outputs row whose `location` is the key of the object that has the bytes. It always names
the object itself, never another reference. So a chain of runs needs no chain of reads, and the object is
needed exactly as long as a row that is not pruned names it (`disposable` in `prune.sql`).

All of it happens in two transactions that exist anyway, so a `kill -9` leaves all or nothing of each:

1. `bind_inputs` binds an unchanged input as a reference, before its bytes would be stored. Like any input, it
   does not count before the run is sealed.
2. `record` inserts the rows of a page of inputs, and follows the earlier run from them, route by route. A row
   with a valid result is closed as `taken_over`, with its outputs and its children. If the result is not
   valid, that of a replay is used that received the same object of the earlier run. The first row without one
   stays `pending`. The cursor moves in the same transaction, under the epoch. So no page is taken over twice,
   and no process can see a part of it. Rows of the entry route are published by the job. The others have no
   publisher, so the reconciler publishes them, as it does after a crash.

Meanwhile nothing that they read can go away. The source and its replays are not pruned until the run has
settled (`prune_states`), and the stages that were pruned before are not in the plan. Their rows may end while
they are read: a message that ends too late is processed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.codes import number_of_chain
from playhead.backends._sql_catalog.executions import prunings_of, records_deleted_at, share
from playhead.backends._sql_catalog.lanes import Lanes, as_text, as_uuid, below, lanes_of
from playhead.backends.sql import COMPLETED, PENDING, SKIPPED, STORED, TAKEN_OVER, WRITING
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ids import mint, text
from playhead.keys import INPUT_STAGE
from playhead.model import AdapterCode
from playhead.ports.catalog.prune import check_not_all_pruned, check_replays_recorded
from playhead.ports.catalog.runs import ReusableRoutes, Since

_MOST_ROWS: Final = 2_000
"""Outputs that one page takes over, on average."""
_MOST_IN_A_PAGE: Final = 1_000
_VALID: Final = (COMPLETED, SKIPPED, TAKEN_OVER)


class Plan(NamedTuple):
    """What a run may take over.

    Attributes:
        source: the number of the earlier run.
        since: its id.
        lanes: by number of an execution (the earlier run, or a replay of it) and lane of this run: what may
            have produced the results: the lane of the same route in that execution, and the number of a code.
        has_inputs: whether inputs may be references.
        page: how many inputs one transaction records.
    """

    source: int
    since: UUID
    lanes: dict[tuple[int, int], list[tuple[int, int | None]]]
    has_inputs: bool
    page: int

    def allows(self, lane: int, source: _Source) -> bool:
        """Whether a row in a lane may have the result of a row of the earlier run, or of a replay of it."""
        valid = self.lanes.get((source.execution, lane), ())
        if source.state == SKIPPED and source.code is None:
            return False  # a replay has skipped the route
        return source.state in _VALID and (source.lane, source.code) in valid

    @property
    def replays(self) -> list[int]:
        return list({execution for execution, _ in self.lanes} - {self.source})

    def best(
        self, wanted: Mapping[str, Sequence[tuple[str, int]]], found: Iterable[_Source]
    ) -> dict[str, tuple[int, _Source]]:
        """Return the lane and the source of new rows, by id: the earlier run, or else the newest replay.

        Args:
            wanted: the ids and lanes of new rows, by the key of their object in the earlier run.
            found: rows that received these objects.
        """
        same = {}
        for one in sorted(found, key=lambda one: (one.execution == self.source, one.n)):
            for cid, lane in wanted[one.key]:
                if self.allows(lane, one):
                    same[cid] = lane, one
        return same

    def encode(self) -> str:
        return json.dumps([self.source, list(self.lanes.items()), self.has_inputs, self.page])

    @classmethod
    def decode(cls, since: Any, stored: str) -> Plan:
        source, lanes, has_inputs, page = json.loads(stored)
        by_lane = {
            (execution, lane): [(of, code) for of, code in valid] for (execution, lane), valid in lanes
        }
        return cls(source, as_uuid(since), by_lane, has_inputs, page)


class _Source(NamedTuple):
    """A row of the earlier run, or of a replay of it, with the columns of the fragment `result`."""

    execution: int
    parent: int | None
    key: str
    n: int
    lane: int
    state: int
    code: int | None
    error_code: str | None
    error: str | None
    original: int


class _Pair(NamedTuple):
    """A new row, and the row of the earlier run whose result it gets."""

    n: int
    lane: int
    source: _Source


class _Child(NamedTuple):
    """A new row below one that was taken over."""

    lane: int
    key: str
    stage: str
    parent: _Pair


class TakeOver:
    """Takes over results."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def set_plan(self, db: Session, n: int, version: int, since: Since) -> None:
        """Decide what a run may take over. Locks the source, as `open_replay` does: a prune of it either
        comes before, or it waits, and then finds this run."""
        sources: list[tuple[int, int, ReusableRoutes]] = []
        for identity, routes in [(since.execution, since.routes), *since.replays.items()]:
            row = await db.row(SQL.execution_counts, id=identity)
            assert row, "the caller has found the execution"
            sources.append((row[0], row[1], routes))
        source, *_ = numbers = [number for number, *_ in sources]
        await share(db, numbers)
        all_pruned = await prunings_of(db, numbers)
        pruned = all_pruned[source]
        check_not_all_pruned(since.execution, pruned)
        check_replays_recorded(since.execution, await records_deleted_at(db, since.replays))
        ours = await lanes_of(db, version)
        lanes = {}
        for number, their_version, routes in sources:
            theirs = {lane.route: lane.id for lane in await lanes_of(db, their_version)}
            for lane in ours:
                is_kept = not (lane.stage and any(one.overlaps(lane.stage) for one in all_pruned[number]))
                if lane.route in routes and is_kept:
                    valid = _numbers(routes[lane.route])
                    lanes[number, lane.id] = [(theirs[lane.route], code) for code in valid]
        first_input, last_input = below(f"{since.execution}/{INPUT_STAGE}").values()
        given = {"first_input": first_input, "last_input": last_input, **below(f"{since.execution}")}
        inputs, outputs = await db.row(SQL.count_inputs_and_outputs, **given) or (0, 0)
        page = max(1, min(_MOST_IN_A_PAGE, _MOST_ROWS * max(inputs, 1) // max(outputs, 1)))
        has_inputs = not any(one.overlaps(INPUT_STAGE) for one in pruned)
        plan = Plan(source, since.execution, lanes, has_inputs, page)
        await db.run(SQL.set_plan, since=since.execution, plan=plan.encode(), execution=n)

    async def refer_inputs(self, db: Session, execution: UUID, inputs: Sequence[tuple[str, bytes]]) -> None:
        """Bind as references what the earlier run has stored, of inputs (key, sha256) that are not bound."""
        since, stored = await db.row(SQL.plan_of, execution=execution) or (None, None)
        if not stored or not (plan := Plan.decode(since, stored)).has_inputs:
            return
        wanted = {_moved(key, plan.since): (key, sha256) for key, sha256 in inputs}
        same = []
        for old, size, sha256, *described in await db.rows(SQL.stored_bytes, keys=list(wanted)):
            key, content = wanted[old]
            if sha256 == content:
                same.append((key, None, None, WRITING, size, sha256, *described))
        if same:
            await db.insert(SQL.refer, sorted(same))

    async def take_results(
        self, db: Session, execution: int, identity: UUID, lane: int, roots: Mapping[str, str]
    ) -> set[str]:
        """Take over the results of new roots, and of all that follows; return the ids of roots that need no
        attempt.

        Args:
            execution: their execution, by number; `identity` is its id.
            roots: their ids, by their objects.
        """
        row = await db.row(SQL.plan_of, execution=identity)
        assert row, "the caller has locked the job"
        plan = Plan.decode(*row)
        keys = {_moved(key, plan.since): key for key in roots}
        bound = await db.rows(SQL.bound_inputs, keys=[*keys, *roots])
        contents = {key: sha256 for key, _, sha256, _ in bound}
        wanted = {
            old: [(roots[key], lane)]
            for old, key in keys.items()
            if old in contents and contents[old] == contents.get(key)
        }
        found = await self._roots(db, wanted, [plan.source, *plan.replays])
        pairs = await self._pairs(db, plan.best(wanted, found))
        kept = await self._refer(db, identity, list(pairs.values()))
        done = {cid for cid, pair in pairs.items() if pair in kept}
        while kept:
            kept = await self._refer(db, identity, await self._follow(db, execution, plan, kept))
        return done

    async def _roots(self, db: Session, keys: Iterable[str], executions: Sequence[int]) -> list[_Source]:
        rows = await db.rows(SQL.roots_of, keys=list(keys), executions=list(executions))
        return [_Source(*row) for row in rows]

    async def _pairs(self, db: Session, same: Mapping[str, tuple[int, _Source]]) -> dict[str, _Pair]:
        """Return new rows with their sources, by id. `same`: the lane and the source of each."""
        rows = await db.rows(SQL.numbers_of, ids=list(same)) if same else []
        return {cid: _Pair(n, *same[cid]) for cid, n in sorted((as_text(one), n) for one, n in rows)}

    async def _refer(self, db: Session, execution: UUID, level: Sequence[_Pair]) -> dict[_Pair, list[str]]:
        """Close rows as taken over, with references to the outputs; return the rows with their outputs.

        If another message of the execution has bound the key of an output, the row is left out. It is
        processed, and its attempt reports the conflict.
        """
        if not level:
            return {}
        pairs = {one.source.n: one for one in level}
        rows = []
        found = await db.rows(SQL.outputs_of, rows=list(pairs))
        for _, message, key, attempt, *described in sorted(found, key=lambda row: row[0]):
            rows.append((_moved(key, execution), pairs[message].n, attempt, STORED, *described))
        free = {key for (key,) in await db.insert(SQL.refer, rows)} if rows else set[str]()
        if missing := {n for key, n, *_ in rows if key not in free}:
            await db.run(SQL.delete_references, rows=list(missing))
        kept: dict[int, tuple[_Pair, list[str]]] = {one.n: (one, []) for one in level if one.n not in missing}
        for key, n, *_ in rows:
            if n in kept:
                kept[n][1].append(key)
        sources = [one.source for one, _ in kept.values()]
        await db.run(
            SQL.close_taken_over,
            rows=list(kept),
            codes=[one.code for one in sources],
            error_codes=[one.error_code for one in sources],
            errors=[one.error for one in sources],
            originals=[one.original for one in sources],
        )
        return dict(kept.values())

    async def _follow(
        self, db: Session, execution: int, plan: Plan, above: Mapping[_Pair, Sequence[str]]
    ) -> list[_Pair]:
        """Insert the children of rows that are taken over (with their outputs); return those that can have
        results."""
        lanes = await self._lanes.learn(db, {one.lane for one in above})
        feeds = {
            lane: [await self._lanes.feed(db, lanes[lane].config_version, to) for to in lanes[lane].feeds]
            for lane in {one.lane for one in above}
        }
        family = [
            _Child(feed, key, lanes[parent.lane].stage or "", parent)
            for parent, keys in above.items()
            for key in keys
            for feed in feeds[parent.lane]
        ]
        if not family:
            return []
        raw = mint(len(family))
        ids = [text(one) for one in raw]
        await db.insert(
            SQL.insert_children,
            [
                (cid, execution, child.lane, child.key, child.stage, PENDING, child.parent.n, None, None)
                for cid, child in zip(raw if db.raw_ids else ids, family, strict=True)
            ],
        )
        parents = list({child.parent.source.n for child in family})
        found = map(_Source._make, await db.rows(SQL.children_of, parents=parents))
        sources = {(one.parent, _path(one.key), one.lane): one for one in found}
        same: dict[str, tuple[int, _Source]] = {}
        wanted: dict[str, list[tuple[str, int]]] = {}
        for cid, child in zip(ids, family, strict=True):
            above_it = child.parent.source
            # The lane is the same with each code.
            for theirs, _ in plan.lanes.get((above_it.execution, child.lane), ())[:1]:
                source = sources.get((above_it.n, _path(child.key), theirs))
                if source and plan.allows(child.lane, source):
                    same[cid] = child.lane, source
            if cid not in same and above_it.execution == plan.source and plan.replays:
                wanted.setdefault(_moved(child.key, plan.since), []).append((cid, child.lane))
        if wanted:
            same |= plan.best(wanted, await self._roots(db, wanted, plan.replays))
        return list((await self._pairs(db, same)).values())


def _numbers(chains: Sequence[Sequence[AdapterCode]] | None) -> list[int | None]:
    """Return the numbers of codes; None is that of other programs."""
    return [None] if chains is None else [number_of_chain(chain) for chain in chains]


def _path(key: str) -> str:
    """Return the part of a key that follows the execution."""
    return key.partition("/")[2]


def _moved(key: str, execution: UUID) -> str:
    """Return the key of the same object in another execution."""
    return f"{execution}/{_path(key)}"
