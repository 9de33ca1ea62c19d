"""Take over earlier results: references to objects, and message rows that need no attempt.

A reference is an outputs row whose `location` is the key of the object that has the bytes. It always names
the object itself, never another reference. So a chain of runs needs no chain of reads, and the object is
needed exactly as long as a row that is not pruned names it (`disposable` in `prune.sql`).

All of it happens in transactions that exist anyway, so a `kill -9` leaves all or nothing of each:

1. `bind_inputs` binds an unchanged input as a reference, before its bytes would be stored. Like any input, it
   does not count before the run is sealed.
2. `record` inserts the rows of a page of inputs, and follows the earlier run from them, route by route. A row
   with a valid result is `taken_over`, with its outputs and its children: that of the earlier run, else of a
   replay that received the same object, else of an equal item (`reusing`). The first row without one stays
   `pending`. The cursor moves in the same transaction, under the epoch, so no page is taken over twice. Rows
   of the entry route are published by the job, and the others by the reconciler, as after a crash.
3. `finish` does the same for the children of an attempt, by equal items. Its caller publishes the others.

Nothing that they read can go away meanwhile. The source and its replays are not pruned until the run has
settled (`prune_states`), and the stages that were pruned before are not in the plan. Their rows may end while
they are read: a message that ends too late is processed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.codes import number_of_chain
from playhead.backends._sql_catalog.executions import prunings_of, records_deleted_at, share
from playhead.backends._sql_catalog.lanes import Lane, Lanes, as_text, as_uuid_or_none, below, lanes_of
from playhead.backends._sql_catalog.reusing import Reused, Reusing, Source, Wanted
from playhead.backends.sql import COMPLETED, PENDING, SKIPPED, STORED, TAKEN_OVER, WRITING
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ids import mint, text
from playhead.keys import INPUT_STAGE
from playhead.model import AdapterCode
from playhead.ports.catalog.prune import check_not_all_pruned, check_replays_recorded
from playhead.ports.catalog.runs import Reusable, ReusableRoutes

_MOST_ROWS: Final = 2_000
"""Outputs that one page takes over, on average."""
_MOST_IN_A_PAGE: Final = 1_000
_MOST_PLANS: Final = 100
_VALID: Final = (COMPLETED, SKIPPED, TAKEN_OVER)


class Plan(NamedTuple):
    """What a run may take over.

    Attributes:
        source: the number of the earlier run; None: results are only found by their items (`reusing.py`).
        since: its id.
        lanes: by number of an execution (the earlier run, or a replay of it) and lane of this run: what may
            have produced the results: the lane of the same route in that execution, and the number of a code.
        has_inputs: whether inputs may be references.
        page: how many inputs one transaction records.
        codes: by lane of this execution, the codes whose results are valid for any item that is the same.
    """

    source: int | None
    since: UUID | None
    lanes: dict[tuple[int, int], list[tuple[int, int | None]]]
    has_inputs: bool
    page: int
    codes: dict[int, list[int]]

    def allows(self, lane: int, source: Source) -> bool:
        """Whether a row in a lane may have the result of a row of the earlier run, or of a replay of it."""
        valid = self.lanes.get((source.execution, lane), ())
        if source.state == SKIPPED and source.code is None:
            return False  # a replay has skipped the route
        return source.state in _VALID and (source.lane, source.code) in valid

    @property
    def executions(self) -> list[int]:
        """The earlier run, if there is one, and its replays."""
        return list({execution for execution, _ in self.lanes})

    def best(
        self, wanted: Mapping[str, Sequence[tuple[str, int]]], found: Iterable[Source]
    ) -> dict[str, Reused]:
        """Return the lane and the source of new rows, by id: the earlier run, or else the newest replay.

        Args:
            wanted: the ids and lanes of new rows, by the key of their object in the earlier run.
            found: rows that received these objects.
        """
        same = {}
        for one in sorted(found, key=lambda one: (one.execution == self.source, one.n)):
            for cid, lane in wanted[one.key]:
                if self.allows(lane, one):
                    same[cid] = Reused(lane, one, None)
        return same

    def encode(self) -> str:
        lanes, codes = list(self.lanes.items()), list(self.codes.items())
        return json.dumps([self.source, lanes, self.has_inputs, self.page, codes])

    @classmethod
    def decode(cls, since: Any, stored: str) -> Plan:
        source, lanes, has_inputs, page, codes = json.loads(stored)
        by_lane = {
            (execution, lane): [(of, code) for of, code in valid] for (execution, lane), valid in lanes
        }
        return cls(source, as_uuid_or_none(since), by_lane, has_inputs, page, dict(codes))


@dataclass(frozen=True, eq=False)
class _Pair:
    """A new row, and the result that it gets."""

    n: int
    result: Reused

    @property
    def lane(self) -> int:
        return self.result.lane

    @property
    def source(self) -> Source:
        return self.result.source


class Taken(NamedTuple):
    """What was taken over.

    Attributes:
        ids: of the rows among those asked for that need no attempt.
        rows: the numbers of all rows that need none, also of those that follow.
    """

    ids: set[str]
    rows: list[int]


class _Child(NamedTuple):
    """A new row below one that was taken over."""

    lane: int
    key: str
    stage: str
    parent: _Pair


class TakeOver:
    """Takes over results."""

    def __init__(self, lanes: Lanes, reusing: Reusing) -> None:
        self._lanes = lanes
        self._reusing = reusing
        self._losses = 0
        self._plans: dict[int, Plan] = {}

    async def set_plan(self, db: Session, n: int, version: int, reuse: Reusable) -> None:
        """Decide what an execution may take over."""
        ours = await lanes_of(db, version)
        codes = {
            lane.id: [number_of_chain(chain) for chain in reuse.items[lane.route] or ()]
            for lane in ours
            if lane.route in reuse.items
        }
        plan = Plan(None, None, {}, False, _MOST_IN_A_PAGE, codes)
        if reuse.execution is not None:
            plan = await self._plan_since(db, ours, reuse.execution, reuse, codes)
        await db.run(SQL.set_plan, since=plan.since, plan=plan.encode(), execution=n)

    async def _plan_since(
        self,
        db: Session,
        ours: Sequence[Lane],
        since: UUID,
        reuse: Reusable,
        codes: dict[int, list[int]],
    ) -> Plan:
        """Return the plan of a run since an earlier one. Locks that one, as `open_replay` does: a prune of it
        either comes before, or it waits, and then finds this run."""
        sources: list[tuple[int, int, ReusableRoutes]] = []
        for identity, routes in [(since, reuse.routes), *reuse.replays.items()]:
            row = await db.row(SQL.execution_counts, id=identity)
            assert row, "the caller has found the execution"
            sources.append((row[0], row[1], routes))
        source, *_ = numbers = [number for number, *_ in sources]
        await share(db, numbers)
        pruned = (all_pruned := await prunings_of(db, numbers))[source]
        check_not_all_pruned(since, pruned)
        check_replays_recorded(since, await records_deleted_at(db, reuse.replays))
        lanes = {}
        for number, their_version, routes in sources:
            theirs = {lane.route: lane.id for lane in await lanes_of(db, their_version)}
            for lane in ours:
                is_kept = not (lane.stage and any(one.overlaps(lane.stage) for one in all_pruned[number]))
                if lane.route in routes and is_kept:
                    valid = _numbers(routes[lane.route])
                    lanes[number, lane.id] = [(theirs[lane.route], code) for code in valid]
        first_input, last_input = below(f"{since}/{INPUT_STAGE}").values()
        given = {"first_input": first_input, "last_input": last_input, **below(f"{since}")}
        inputs, outputs = await db.row(SQL.count_inputs_and_outputs, **given) or (0, 0)
        page = max(1, min(_MOST_IN_A_PAGE, _MOST_ROWS * max(inputs, 1) // max(outputs, 1)))
        has_inputs = not any(one.overlaps(INPUT_STAGE) for one in pruned)
        return Plan(source, since, lanes, has_inputs, page, codes)

    async def _plan(self, db: Session, execution: int) -> Plan:
        """Return the plan of an execution that has one. It never changes."""
        if self._losses != self._lanes.losses:
            self._losses, self._plans = self._lanes.losses, {}
        plan = self._plans.get(execution)
        if plan is None:
            row = await db.row(SQL.plan_of, execution=execution)
            assert row, "the caller has found the execution"
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            plan = self._plans[execution] = Plan.decode(*row)
        return plan

    async def refer_inputs(self, db: Session, execution: int, inputs: Sequence[tuple[str, bytes]]) -> None:
        """Bind as references what the earlier run has stored, of inputs (key, sha256) that are not bound."""
        plan = await self._plan(db, execution)
        if plan.since is None or not plan.has_inputs:
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
        self, db: Session, execution: int, identity: UUID, wanted: Sequence[Wanted], publisher: str | None
    ) -> Taken:
        """Take over results for new rows, and for all that follows.

        Args:
            execution: their execution, by number; `identity` is its id.
            publisher: publishes the rows below them that have no result; None: the reconciler does.
        """
        plan = await self._plan(db, execution)
        same = {} if publisher or plan.since is None else await self._same_roots(db, plan, plan.since, wanted)
        same |= await self._reusing.find(db, plan.codes, [one for one in wanted if one.id not in same])
        pairs = await self._pairs(db, same)
        kept = await self._refer(db, identity, list(pairs.values()))
        await self._close(db, list(kept))
        taken = Taken({cid for cid, pair in pairs.items() if pair in kept}, [])
        while kept:
            taken.rows.extend(one.n for one in kept)
            level = await self._follow(db, execution, plan, kept, publisher)
            kept = await self._refer(db, identity, level)
            if len(kept) < len(level):
                rows = [one.n for one in level if one not in kept]
                await db.run(SQL.process_after_all, rows=rows, publisher=publisher)
        return taken

    async def _same_roots(
        self, db: Session, plan: Plan, since: UUID, roots: Sequence[Wanted]
    ) -> dict[str, Reused]:
        """Return the results of the earlier run for roots with the same path and the same bytes."""
        before = {_moved(one.key, since): one for one in roots}
        bound = await db.rows(SQL.bound_inputs, keys=[*before, *(one.key for one in roots)])
        contents = {key: sha256 for key, _, sha256, _ in bound}
        wanted = {
            old: [(one.id, one.lane)]
            for old, one in before.items()
            if old in contents and contents[old] == contents.get(one.key)
        }
        return plan.best(wanted, await self._roots(db, wanted, plan.executions))

    async def _roots(self, db: Session, keys: Iterable[str], executions: Sequence[int]) -> list[Source]:
        found = await db.rows(SQL.roots_of, keys=list(keys), executions=list(executions))
        return list(map(Source._make, found))

    async def _pairs(self, db: Session, same: Mapping[str, Reused]) -> dict[str, _Pair]:
        """Return new rows with their results, by id."""
        rows = await db.rows(SQL.numbers_of, ids=list(same)) if same else []
        return {cid: _Pair(n, same[cid]) for cid, n in sorted((as_text(one), n) for one, n in rows)}

    async def _refer(self, db: Session, execution: UUID, level: Sequence[_Pair]) -> dict[_Pair, list[str]]:
        """Insert references to the outputs of rows; return the rows with their outputs.

        If another message of the execution has bound the key of an output, the row is left out. It is
        processed, and its attempt reports the conflict.
        """
        if not level:
            return {}
        rows: dict[str, tuple[Any, ...]] = {}
        missing: set[int] = set()
        for pair, path, attempt, described in await self._outputs(db, level):
            row = (f"{execution}/{path}", pair.n, attempt, STORED, *described)
            if rows.setdefault(row[0], row) is not row:
                missing.add(pair.n)  # two rows of this level have the same output
        # Sorted, so that two transactions that insert the same keys never deadlock.
        free = {key for (key,) in await db.insert(SQL.refer, sorted(rows.values()))} if rows else set[str]()
        missing |= {n for key, n, *_ in rows.values() if key not in free}
        if missing:
            await db.run(SQL.delete_references, rows=list(missing))
        kept: dict[int, tuple[_Pair, list[str]]] = {one.n: (one, []) for one in level if one.n not in missing}
        for key, n, *_ in rows.values():
            if n in kept:
                kept[n][1].append(key)
        return dict(kept.values())

    async def _close(self, db: Session, pairs: Sequence[_Pair]) -> None:
        """Close rows that were inserted before their results were known."""
        if pairs:
            columns = map(list, zip(*(one.result.columns for one in pairs), strict=True))
            given = dict(zip(("codes", "error_codes", "errors", "originals"), columns, strict=True))
            await db.run(SQL.close_taken_over, rows=[one.n for one in pairs], **given)

    async def _outputs(self, db: Session, level: Sequence[_Pair]) -> list[tuple[_Pair, str, int, list[Any]]]:
        """Return the outputs of new rows, in order: path with the stage, attempt, and the columns after the
        state."""
        pairs = {one.source.n: one for one in level if one.result.outputs is None}
        found = await db.rows(SQL.outputs_of, rows=list(pairs)) if pairs else []
        made = [
            (pairs[message], _path(key), attempt, described)
            for _, message, key, attempt, *described in sorted(found, key=lambda row: row[0])
        ]
        lanes = await self._lanes.learn(db, {one.lane for one in level})
        for one in level:
            for path, (attempt, *described) in (one.result.outputs or {}).items():
                made.append((one, f"{lanes[one.lane].stage}/{path}", attempt, described))
        return made

    async def _follow(
        self,
        db: Session,
        execution: int,
        plan: Plan,
        above: Mapping[_Pair, Sequence[str]],
        publisher: str | None,
    ) -> list[_Pair]:
        """Insert the children of rows that are taken over (with outputs); return those with results."""
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
        parents = {child.parent.source.n for child in family}
        found = map(Source._make, await db.rows(SQL.children_of, parents=list(parents)))
        sources = {(one.parent, _path(one.key), one.lane): one for one in found}
        same: dict[str, Reused] = {}
        wanted: dict[str, list[tuple[str, int]]] = {}
        for cid, child in zip(ids, family, strict=True):
            above_it = child.parent.source
            if child.parent.result.outputs is not None:
                continue  # its item may differ from that of the source, so the children may differ too
            # The lane is the same with each code.
            for theirs, _ in plan.lanes.get((above_it.execution, child.lane), ())[:1]:
                source = sources.get((above_it.n, _path(child.key), theirs))
                if source and plan.allows(child.lane, source):
                    same[cid] = Reused(child.lane, source, None)
            if cid not in same and plan.since and above_it.execution == plan.source:
                wanted.setdefault(_moved(child.key, plan.since), []).append((cid, child.lane))
        if wanted and (replays := [one for one in plan.executions if one != plan.source]):
            same |= plan.best(wanted, await self._roots(db, wanted, replays))
        left = [
            Wanted(cid, child.lane, child.key, child.stage)
            for cid, child in zip(ids, family, strict=True)
            if cid not in same
        ]
        same |= await self._reusing.find(db, plan.codes, left)
        closed, open_rows = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
        for cid, key, child in zip(ids, raw if db.raw_ids else ids, family, strict=True):
            row = key, execution, child.lane, child.key, child.stage
            if result := same.get(cid):
                closed.append((*row, child.parent.n, *result.columns))
            else:
                open_rows.append((*row, PENDING, child.parent.n, publisher, None))
        await db.insert(SQL.insert_children, open_rows)
        numbers = await db.insert(SQL.insert_taken_over, closed) if closed else []
        return [_Pair(n, same[as_text(cid)]) for n, cid in sorted(numbers, key=lambda row: row[0])]


def _numbers(chains: Sequence[Sequence[AdapterCode]] | None) -> list[int | None]:
    """Return the numbers of codes; None is that of other programs."""
    return [None] if chains is None else [number_of_chain(chain) for chain in chains]


def _path(key: str) -> str:
    """Return the part of a key that follows the execution."""
    return key.partition("/")[2]


def _moved(key: str, execution: UUID) -> str:
    """Return the key of the same object in another execution."""
    return f"{execution}/{_path(key)}"
