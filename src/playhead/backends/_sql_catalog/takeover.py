"""Take over earlier results: references to objects, and message rows that need no attempt.

A reference is an outputs row whose `location` is the key of the object that has the bytes. It always names
the object itself, never another reference. So a chain of runs needs no chain of reads, and the object is
needed exactly as long as a row that is not pruned names it (`disposable` in `prune.sql`).

All of it happens in transactions that exist anyway, so a `kill -9` leaves all or nothing of each:

1. `bind_inputs` binds an unchanged input as a reference, before its bytes would be stored. Like any input, it
   does not count before the run is sealed.
2. `record` inserts the rows of a page of inputs. Those of inputs below which nothing differs from the earlier
   run come first, with all that is below them (`unchanged`). They are marked with its number (`whole`), for
   publications. If one of their outputs cannot be inserted, the transaction starts over without this. From
   the other inputs, `record` follows the earlier run, route by route. A row with a valid result is
   `taken_over`, with its outputs and its children: that of the earlier run or of a replay that received the
   same object (`earlier`), else of an equal item (`reusing`). The first row without one stays `pending`. The
   cursor moves in the same transaction, under the epoch, so no page is taken over twice. Rows of the entry
   route are published by the job, and the others by the reconciler, as after a crash. Some of these inputs,
   too, have all that one execution has: the earlier run, such as results that were declared valid, or a
   replay. They are marked with this execution as well.
3. `finish` does the same for the children of an attempt, by equal items. Its caller publishes the others.

Nothing that they read can go away meanwhile. The source and its replays are not pruned until the run has
settled (`prune_states`), and the stages that were pruned before are not in the plan. Their rows may end while
they are read: a message that ends too late is processed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from playhead.backends._sql_catalog.aliases import Aliases
from playhead.backends._sql_catalog.earlier import EarlierResults, Need, moved, path_in, roots_of
from playhead.backends._sql_catalog.lanes import Lanes, as_text
from playhead.backends._sql_catalog.pairs import Child, Pair, Taken
from playhead.backends._sql_catalog.reusing import Reused, Reusing, Source, Wanted
from playhead.backends._sql_catalog.takeover_plan import Plan, make_plan
from playhead.backends._sql_catalog.unchanged import Root, UnchangedInputs
from playhead.backends.sql import PENDING, STORED
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ids import mint, text
from playhead.ports.catalog.runs import Input, Reusable, Unread

_MOST_PLANS: Final = 100


class TakeOver:
    """Takes over results."""

    def __init__(self, lanes: Lanes, reusing: Reusing, aliases: Aliases) -> None:
        self._lanes = lanes
        self._reusing = reusing
        self._earlier = EarlierResults(lanes, aliases)
        self._unchanged = UnchangedInputs(lanes)
        self._losses = 0
        self._plans: dict[int, Plan] = {}

    async def set_plan(self, db: Session, n: int, version: int, reuse: Reusable) -> None:
        """Decide what an execution may take over."""
        plan = await make_plan(db, version, reuse)
        await db.run(SQL.set_plan, since=plan.since, plan=plan.encode(), execution=n)

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

    async def refer_inputs(
        self, db: Session, execution: int, identity: UUID, inputs: Mapping[str, Input | Unread]
    ) -> set[str]:
        """Bind inputs (by key) that the earlier run has stored as references; return their keys."""
        plan = await self._plan(db, execution)
        if plan.since is None or not plan.has_inputs:
            return set()
        wanted = {moved(key, plan.since): (key, one) for key, one in inputs.items()}
        same, stamps = list[str](), dict[str, str | None]()
        for old, *described in await db.rows(SQL.contents_of, keys=list(wanted)):
            key, one = wanted[old]
            if _is_same(one, *described):
                same.append(old)
                if one.stamp != described[-1]:
                    stamps[key] = one.stamp
        if not same:
            return set()
        referred = {key for (key,) in await db.rows(SQL.refer_inputs, identity=str(identity), keys=same)}
        if stamps:
            await db.run(SQL.set_stamps, keys=list(stamps), stamps=list(stamps.values()))
        return referred

    async def take_unchanged(
        self, db: Session, execution: int, identity: UUID, lane: int, roots: Sequence[Root]
    ) -> set[bytes]:
        """Insert the inputs below which nothing has changed; see `UnchangedInputs.take`."""
        plan = await self._plan(db, execution)
        return await self._unchanged.take(db, execution, identity, plan, lane, roots)

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
        whole = {one.root: one.source.execution for one in kept if one.result.outputs is None}
        while kept:
            taken.rows.extend(one.n for one in kept)
            level, incomplete = await self._follow(db, execution, plan, kept, publisher)
            kept = await self._refer(db, identity, level)
            if len(kept) < len(level):
                rows = [one.n for one in level if one not in kept]
                await db.run(SQL.process_after_all, rows=rows, publisher=publisher)
            for one in level:
                if one not in kept or not one.is_of(whole.get(one.root)):
                    incomplete.add(one.root)
            whole = {root: of for root, of in whole.items() if root not in incomplete}
        if whole:
            await db.run(SQL.mark_whole, rows=list(whole), executions=list(whole.values()))
        return taken

    async def _same_roots(
        self, db: Session, plan: Plan, since: UUID, roots: Sequence[Wanted]
    ) -> dict[str, Reused]:
        """Return the results of the earlier run for roots with the same path and the same bytes."""
        before = {moved(one.key, since): one for one in roots}
        bound = await db.rows(SQL.bound_inputs, keys=[*before, *(one.key for one in roots)])
        contents = {key: sha256 for key, _, sha256, _ in bound}
        wanted = {
            old: (one.id, one.lane, one.key)
            for old, one in before.items()
            if old in contents and contents[old] == contents.get(one.key)
        }
        assert plan.source is not None
        found = {one.key: one for one in await roots_of(db, list(wanted), [plan.source])}
        needs = [
            Need(cid, lane, new, found.get(old), of_earlier=True) for old, (cid, lane, new) in wanted.items()
        ]
        return await self._earlier.results(db, plan, needs)

    async def _pairs(self, db: Session, same: Mapping[str, Reused]) -> dict[str, Pair]:
        """Return new rows with their results, by id."""
        rows = await db.rows(SQL.numbers_of, ids=list(same)) if same else []
        return {cid: Pair(n, same[cid], n) for cid, n in sorted((as_text(one), n) for one, n in rows)}

    async def _refer(self, db: Session, execution: UUID, level: Sequence[Pair]) -> dict[Pair, list[str]]:
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
        kept: dict[int, tuple[Pair, list[str]]] = {one.n: (one, []) for one in level if one.n not in missing}
        for key, n, *_ in rows.values():
            if n in kept:
                kept[n][1].append(key)
        return dict(kept.values())

    async def _close(self, db: Session, pairs: Sequence[Pair]) -> None:
        """Close rows that were inserted before their results were known."""
        if pairs:
            columns = map(list, zip(*(one.result.columns for one in pairs), strict=True))
            given = dict(
                zip(
                    ("codes", "error_codes", "errors", "originals", "results", "declarations"),
                    columns,
                    strict=True,
                )
            )
            await db.run(SQL.close_taken_over, rows=[one.n for one in pairs], **given)

    async def _outputs(self, db: Session, level: Sequence[Pair]) -> list[tuple[Pair, str, int, list[Any]]]:
        """Return the outputs of new rows, in order: path with the stage, attempt, and the columns after the
        state."""
        pairs = {one.source.n: one for one in level if one.result.outputs is None}
        found = await db.rows(SQL.outputs_of, rows=list(pairs)) if pairs else []
        made = [
            (pairs[message], path_in(key), attempt, described)
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
        above: Mapping[Pair, Sequence[str]],
        publisher: str | None,
    ) -> tuple[list[Pair], set[int]]:
        """Insert the children of rows that are taken over (with outputs).

        Returns those with results, and the roots above the others.
        """
        lanes = await self._lanes.learn(db, {one.lane for one in above})
        feeds = {
            lane: [await self._lanes.feed(db, lanes[lane].config_version, to) for to in lanes[lane].feeds]
            for lane in {one.lane for one in above}
        }
        family = [
            Child(feed, key, lanes[parent.lane].stage or "", parent)
            for parent, keys in above.items()
            for key in keys
            for feed in feeds[parent.lane]
        ]
        if not family:
            return [], set()
        raw = mint(len(family))
        ids = [text(one) for one in raw]
        parents = {child.parent.source.n for child in family}
        found = map(Source._make, await db.rows(SQL.children_of, parents=list(parents)))
        sources = {(one.parent, path_in(one.key), one.lane): one for one in found}
        needs = []
        for cid, child in zip(ids, family, strict=True):
            above_it = child.parent.source
            if child.parent.result.outputs is not None:
                continue  # its item may differ from that of the source, so the children may differ too
            theirs = plan.lane_in(above_it.execution, child.lane)
            source = None if theirs is None else sources.get((above_it.n, path_in(child.key), theirs))
            of_earlier = above_it.execution == plan.source
            needs.append(Need(cid, child.lane, child.key, source, of_earlier=of_earlier))
        same = await self._earlier.results(db, plan, needs)
        left = [
            Wanted(cid, child.lane, child.key, child.stage)
            for cid, child in zip(ids, family, strict=True)
            if cid not in same
        ]
        same |= await self._reusing.find(db, plan.codes, left)
        closed, open_rows = list[tuple[Any, ...]](), list[tuple[Any, ...]]()
        roots: dict[str, int] = {}
        incomplete: set[int] = set()
        for cid, key, child in zip(ids, raw if db.raw_ids else ids, family, strict=True):
            row = key, execution, child.lane, child.key, child.stage
            if result := same.get(cid):
                closed.append((*row, child.parent.n, *result.columns))
                roots[cid] = child.parent.root
            else:
                incomplete.add(child.parent.root)
                open_rows.append((*row, PENDING, child.parent.n, publisher, None))
        await db.insert(SQL.insert_children, open_rows)
        numbers = await db.insert(SQL.insert_taken_over, closed) if closed else []
        level = sorted((n, as_text(cid)) for n, cid in numbers)
        return [Pair(n, same[cid], roots[cid]) for n, cid in level], incomplete


def _is_same(one: Input | Unread, size: int, sha256: bytes, stamp: str | None) -> bool:
    """Whether an input has the bytes of a stored one, or the same file if it was not read."""
    if isinstance(one, Unread):
        return (one.size, one.stamp) == (size, stamp)
    return one.sha256 == sha256
