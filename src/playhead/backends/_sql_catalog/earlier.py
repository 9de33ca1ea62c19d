"""Find the results that an object has in an earlier run and in replays, and decide which of them is valid.

They rank like this:

1. A result of the newest code: that of the earlier run, or else of the newest replay that has received the
   object. So a fix carries over, whatever older code is accepted too.
2. A result of other code that is accepted (`--compare version`), in the same order.
3. A result that a person has declared valid when a part was replayed (`--others-valid`): one that was taken
   over under the declaration, or that the publication has which was replayed.

An object that the replay of a declaration has received, or a later replay, never gets a result of older code,
also if its message there has failed or is still open.

A replay of the earlier run has received an object of that run. A replay of a publication has received what
that publication has at the same place. It counts if its bytes, type and attributes are those of the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.aliases import Aliases, columns_of
from playhead.backends._sql_catalog.lanes import Lanes
from playhead.backends._sql_catalog.reusing import Reused, Source
from playhead.backends._sql_catalog.takeover_plan import Declared, Plan
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ports.catalog.publications import SINK, Place


class Need(NamedTuple):
    """A new row that may get a result.

    Attributes:
        key: of its object.
        found: what the execution has for it from which its object was taken over.
        of_earlier: its object is that of the earlier run at the same place.
    """

    id: str
    lane: int
    key: str
    found: Source | None
    of_earlier: bool


class EarlierResults:
    """Finds results of an earlier run and of replays."""

    def __init__(self, lanes: Lanes, aliases: Aliases) -> None:
        self._lanes = lanes
        self._aliases = aliases

    async def results(self, db: Session, plan: Plan, needs: Sequence[Need]) -> dict[str, Reused]:
        """Return results by the ids of new rows."""
        same: dict[str, Reused] = {}
        left: list[Need] = []
        for one in needs:
            if one.found and plan.is_newest(one.lane, one.found):
                same[one.id] = Reused(one.lane, one.found, None)
            else:
                left.append(one)
        received = await self._received(db, plan, left)
        undecided: list[tuple[Need, Sequence[Source]]] = []
        for one in left:
            replayed = received.get(one.id, [])
            candidates = [*([one.found] if one.found else []), *replayed]
            best = next((each for each in candidates if plan.is_newest(one.lane, each)), None)
            declared = plan.declared.get(one.lane)
            if best is None and not (declared and _needs_newest(declared, replayed)):
                best = next((each for each in candidates if plan.allows(one.lane, each)), None)
                if best is None and declared:
                    undecided.append((one, candidates))
            if best:
                same[one.id] = Reused(one.lane, best, None)
        return same | await self._declared_valid(db, plan, undecided)

    async def _received(self, db: Session, plan: Plan, needs: Sequence[Need]) -> dict[str, list[Source]]:
        """Return by the ids of rows what replays into their routes have for their objects, newest first."""
        found: dict[str, list[Source]] = {}
        for source in dict.fromkeys(one.source for one in plan.replays):
            executions: dict[int, list[int]] = {}
            for replay in plan.replays:
                if replay.source == source:
                    executions.setdefault(replay.lane, []).append(replay.execution)
            some = [one for one in needs if one.lane in executions]
            keys = await self._keys_in(db, plan, source, some)
            wanted = list(dict.fromkeys(keys.values()))
            every = list({one for numbers in executions.values() for one in numbers})
            roots = await roots_of(db, wanted, every) if wanted else []
            by_key: dict[str, list[Source]] = {}
            for root in roots:
                by_key.setdefault(root.key, []).append(root)
            for one in some:
                of_lane = executions[one.lane]
                there = [root for root in by_key.get(keys.get(one.id, ""), ()) if root.execution in of_lane]
                found.setdefault(one.id, []).extend(there)
        return {one: sorted(roots, key=lambda root: -root.n) for one, roots in found.items()}

    async def _keys_in(self, db: Session, plan: Plan, source: UUID, needs: Sequence[Need]) -> dict[str, str]:
        """Return by the ids of rows the keys of their objects as a replay of `source` has received them."""
        if source == plan.since:
            return {one.id: moved(one.key, source) for one in needs if one.of_earlier}
        aliases = {moved(one.key, source): one for one in needs}
        objects = await self._aliases.objects(db, aliases) if aliases else {}
        if not objects:
            return {}
        keys = [one.key for one in needs] + [one.key for one in objects.values()]
        prints = {key: bytes(one) for key, one in await db.rows(SQL.fingerprints_of, keys=keys)}
        return {
            aliases[alias].id: one.key
            for alias, one in objects.items()
            if prints.get(one.key) == prints.get(aliases[alias].key)
        }

    # -- declared valid ----------------------------------------------------------------------------

    async def _declared_valid(
        self, db: Session, plan: Plan, undecided: Sequence[tuple[Need, Sequence[Source]]]
    ) -> dict[str, Reused]:
        """Return the results that declarations make valid."""
        same: dict[str, Reused] = {}
        by_lane: dict[int, list[tuple[Need, Source]]] = {}
        for one, candidates in undecided:
            possible = [each for each in candidates if plan.may_be_declared(one.lane, each)]
            numbers = plan.declared[one.lane].numbers
            if carried := next((each for each in possible if each.declaration in numbers), None):
                same[one.id] = Reused(one.lane, carried, None, carried.declaration)
            else:
                by_lane.setdefault(one.lane, []).extend((one, each) for each in possible)
        for lane, pairs in by_lane.items():
            places = await self._places(db, lane, [each for _, each in pairs])
            for shown in plan.declared[lane].shown:
                columns = columns_of(places.values())
                rows = await db.rows(
                    SQL.published_messages, dataset=shown.dataset, n=shown.publication, **columns
                )
                there = {(Place(stage, path), message) for stage, path, message in rows}
                for one, each in pairs:
                    if one.id not in same and (places[each.n], each.result) in there:
                        same[one.id] = Reused(lane, each, None, shown.declaration)
        return same

    async def _places(self, db: Session, lane: int, sources: Sequence[Source]) -> dict[int, Place]:
        """Return where publications have the results of rows of a route: one place of each."""
        of = (await self._lanes.learn(db, {lane}))[lane]
        found: dict[int, Place] = {}
        rows = await db.rows(SQL.outputs_of, rows=[one.n for one in sources])
        for _, message, key, *_ in sorted(rows, key=lambda row: -row[0]):
            found[message] = Place(of.stage or "", path_in(key)[len(of.stage or "") + 1 :])
        return {one.n: Place(f"{SINK}{of.route}", path_in(one.key)) for one in sources} | found


def _needs_newest(declared: Declared, replayed: Sequence[Source]) -> bool:
    """Whether only a result of the newest code may be taken over, because the replay of a declaration, or a
    later replay, has received the object, or may receive it."""
    return declared.is_listing or any(one.execution >= declared.since for one in replayed)


async def roots_of(db: Session, keys: Sequence[str], executions: Sequence[int]) -> list[Source]:
    """Return the roots of executions that have received objects."""
    rows = await db.rows(SQL.roots_of, keys=list(keys), executions=list(executions))
    return list(map(Source._make, rows))


def path_in(key: str) -> str:
    """Return the part of a key that follows the execution."""
    return key.partition("/")[2]


def moved(key: str, execution: UUID) -> str:
    """Return the key of the same object in another execution."""
    return f"{execution}/{path_in(key)}"
