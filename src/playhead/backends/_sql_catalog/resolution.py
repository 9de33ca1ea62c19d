"""The pages in which the content of a draft is read and written.

Each page that writes holds the shared locks of the parts, and checks that none of them has run again and that
the caller still holds the draft. So all pages see the parts as they were when the draft began. Readers see
decided numbers only. A page that is repeated finds its changes made, and has no effect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar

from playhead.backends._sql_catalog import publishing, staging
from playhead.backends._sql_catalog.aliases import columns_of
from playhead.backends._sql_catalog.continued import place_of
from playhead.backends._sql_catalog.executions import share
from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.made import made_with
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql import CANCELLED, COMPLETED, SKIPPED, TAKEN_OVER
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.errors import Conflict
from playhead.keys import object_key, owner_of
from playhead.model import EFFECTS_SKIPPED, ROW_STATES
from playhead.ports.catalog.drafts import Difference, Draft, DraftLost, DraftPart, Note
from playhead.ports.catalog.entries import Entry, Identity, Made, Node, Root, Slot
from playhead.ports.catalog.publications import EntryCursor, Place
from playhead.ports.catalog.results import MadeById, MadeCount

T = TypeVar("T")

_LONGEST_DETAIL = 300


class ResolutionPart(Part):
    # -- pages that only write ---------------------------------------------------------------------

    async def undo_abandoned(self, draft: Draft, *, limit: int) -> int:
        async def undo(db: Session) -> int:
            await self._hold(db, draft)
            decided = await db.value(SQL.decided_of, dataset=draft.dataset)
            given = {"dataset": draft.dataset, "decided": decided, "draft": draft.n, "limit": limit}
            added = await db.rows(SQL.undo_added, **given)
            await self._delete(db, draft, added)
            closed = [n for (n,) in await db.rows(SQL.undo_closed, **given)]
            await db.run(SQL.open_entries, rows=closed)
            return len(added) + len(closed)

        return await self._write(draft, undo)

    async def rewind(
        self, draft: Draft, side: Literal["newer", "older"], *, after: EntryCursor, limit: int
    ) -> EntryCursor | None:
        async def rewind(db: Session) -> EntryCursor | None:
            await self._hold(db, draft)
            statement = SQL.rewind_newer if side == "newer" else SQL.rewind_older
            rows = await _later(db, statement, draft, after, base=draft.base, limit=limit)
            if side == "newer":
                await self._close(db, draft, [n for n, _ in rows])
                return (rows[-1][1], rows[-1][0]) if rows else None
            await db.run(SQL.open_entries, rows=[n for n, last in rows if last == draft.n])
            copied = [n for n, last in rows if last != draft.n]
            if copied:
                await db.run(SQL.copy_entries, rows=copied, draft=draft.n)
                executions = await db.rows(SQL.executions_of_entries, rows=copied)
                await publishing.count_entries(db, draft.dataset, [one for _, one in executions], ())
            return (rows[-1][1], rows[-1][0]) if rows else None

        return await self._write(draft, rewind)

    async def _write(self, draft: Draft, body: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """Run a page, or abandon the draft if a part has changed."""
        try:
            return await self._db.write(body)
        except Conflict as exc:  # in a new transaction: the dataset is locked before its draft
            given = draft.dataset, draft.n, exc.code, exc.detail
            await self._db.write(lambda db: publishing.abandon(db, *given))
            raise

    async def _hold(self, db: Session, draft: Draft) -> str:
        """Lock a draft that this process holds, and its parts; return its cursor.

        Raises `DraftLost`, and `Conflict` (`execution_changed`).
        """
        numbers = [n for (n,) in await db.rows(SQL.part_numbers, dataset=draft.dataset, n=draft.n)]
        await share(db, numbers)
        row = await db.row(SQL.lock_draft, dataset=draft.dataset, n=draft.n, epoch=draft.epoch)
        if row is None:
            raise DraftLost
        changed = await db.rows(SQL.changed_parts, dataset=draft.dataset, n=draft.n)
        if changed:
            part = next(one for one in draft.parts if one.execution == changed[0][0])
            raise Conflict(
                "execution_changed",
                f"execution {part.id} has run again while publication {draft.n} of {draft.name} was "
                "prepared. Publish again when it has settled",
            )
        return str(row[0])

    async def _close(self, db: Session, draft: Draft, numbers: Sequence[int]) -> None:
        """Close open entries; those that the draft itself has added are deleted."""
        if not numbers:
            return
        rows = await db.rows(SQL.first_of_entries, rows=list(numbers))
        await self._delete(db, draft, [(n, execution) for n, first, execution in rows if first == draft.n])
        await db.run(SQL.close_entries, rows=[n for n, first, _ in rows if first != draft.n], draft=draft.n)

    async def _delete(self, db: Session, draft: Draft, rows: Sequence[Row]) -> None:
        if rows:
            await db.run(SQL.delete_entries, rows=[n for n, _ in rows])
            await publishing.count_entries(db, draft.dataset, (), [execution for _, execution in rows])

    async def write_entries(
        self,
        draft: Draft,
        *,
        close: Sequence[Entry] = (),
        add: Sequence[Entry] = (),
        notes: Sequence[Note] = (),
        cursor: str,
    ) -> bool:
        async def write(db: Session) -> bool:
            await self._hold(db, draft)
            outputs = {entry.output for entry in add if entry.output is not None}
            if outputs:
                there = await db.rows(SQL.lock_unpruned, outputs=sorted(outputs))
                if len(there) < len(outputs):
                    return False
            await self._close(db, draft, [entry.n for entry in close if entry.n is not None])
            await self._add(db, draft, add)
            await db.insert(
                SQL.insert_notes,
                [
                    (draft.dataset, draft.n, one.kind, *one.place, one.execution, one.message, one.detail)
                    for one in notes
                ],
            )
            await db.run(SQL.move_draft, dataset=draft.dataset, n=draft.n, cursor=cursor)
            return True

        return await self._write(draft, write)

    async def _add(self, db: Session, draft: Draft, add: Sequence[Entry]) -> None:
        if not add:
            return
        known = await db.rows(
            SQL.entries_closed_by,
            dataset=draft.dataset,
            draft=draft.n,
            **columns_of([Place(*one[:2]) for one in add]),
        )
        there = {Identity(*row[1:5]): row for row in known}
        new = add
        if there:
            again = [there[one.identity] for one in add if one.identity in there]
            await db.run(SQL.open_entries, rows=[row[0] for row in again if row[5] is not None])
            new = [one for one in add if one.identity not in there]
        await db.insert(
            SQL.insert_entries,
            [
                (
                    draft.dataset,
                    one.stage,
                    one.path,
                    one.up,
                    one.message,
                    one.attempt,
                    one.is_first,
                    one.execution,
                    one.output,
                    draft.n,
                )
                for one in new
            ],
        )
        await publishing.count_entries(db, draft.dataset, [one.execution for one in new], ())

    async def finish_draft(
        self,
        draft: Draft,
        *,
        counts: Mapping[str, Mapping[str, int]],
        units: Mapping[str, int],
        digest: str,
        made: Mapping[MadeById, int],
        size: int,
    ) -> None:
        async def finish(db: Session) -> None:
            await self._hold(db, draft)
            given: dict[str, object] = {"counts": json.dumps(counts), "units": json.dumps(units)}
            given["digest"] = digest
            given["made"], given["bytes"] = await made_with(db, draft, made, size)
            if await db.run(SQL.finish_draft, dataset=draft.dataset, n=draft.n, epoch=draft.epoch, **given):
                await staging.stage(db, draft)

        await self._write(draft, finish)

    # -- messages of the parts ---------------------------------------------------------------------

    async def units(
        self, draft: Draft, part: DraftPart, *, after: int, limit: int
    ) -> tuple[list[Root], list[Node]]:
        async def find(db: Session) -> tuple[list[Root], list[Node]]:
            rows = await db.rows(SQL.unit_roots, execution=part.execution, after=after, limit=limit)
            unchanged = await self._unchanged_units.among(db, draft, part, rows)
            return await self._trees(db, draft, rows, unchanged)

        return await self._db.read(find)

    async def roots_at(
        self, draft: Draft, part: DraftPart, places: Sequence[Place]
    ) -> tuple[list[Root], list[Node]]:
        async def find(db: Session) -> tuple[list[Root], list[Node]]:
            keys = list(await self._keys(db, part, places))
            rows = await db.rows(SQL.roots_with, keys=keys, execution=part.execution) if keys else []
            return await self._trees(db, draft, rows)

        return await self._db.read(find)

    async def _keys(self, db: Session, part: DraftPart, places: Sequence[Place]) -> dict[str, Place]:
        """Return the keys that objects at these places have in the source of a part."""
        if part.publication is None:
            return {object_key(part.source, *place): place for place in places}
        dataset, n = part.publication
        rows = await db.rows(SQL.keys_at, dataset=dataset, n=n, **columns_of(places))
        return {key: Place(stage, path) for key, stage, path in rows}

    async def listed(self, part: DraftPart, places: Sequence[Place]) -> set[Place]:
        async def find(db: Session) -> set[Place]:
            keys = await self._keys(db, part, places)
            rows = await db.rows(SQL.listed_keys, keys=list(keys), execution=part.execution)
            return {keys[key] for (key,) in rows}

        return await self._db.read(find) if places else set()

    async def _trees(
        self, db: Session, draft: Draft, rows: Sequence[Row], unchanged: Container[int] = ()
    ) -> tuple[list[Root], list[Node]]:
        """Return roots from rows of the fragment `node`, and all relevant messages at and below them.

        Args:
            unchanged: roots below which nothing is read.
        """
        every: list[Row] = []
        level = list(rows)
        skipped = {row[0] for row in rows if row[0] in unchanged}
        routes = draft.routes
        while level:
            lanes = await self._lanes.learn(db, {row[2] for row in level})
            level = [row for row in level if lanes[row[2]].route in routes]
            every += level
            parents = [row[0] for row in level if row[0] not in skipped]
            level = await db.rows(SQL.unit_children, parents=parents) if parents else []
        lanes = await self._lanes.learn(db, {row[2] for row in every})
        made: dict[int, list[Made]] = {row[0]: [] for row in every}
        with_outputs = {row[0] for row in every if row[5] in (COMPLETED, TAKEN_OVER) and lanes[row[2]].stage}
        if with_outputs := with_outputs - skipped:
            stages = {row[0]: lanes[row[2]].stage or "" for row in every}
            for message, key, output, fingerprint in await db.rows(
                SQL.objects_of_messages, rows=list(with_outputs)
            ):
                made[message].append(Made(place_of(key, stages[message]), output, bytes(fingerprint)))
        nodes = [_node(row, lanes[row[2]].route, made[row[0]]) for row in every]
        by_number = {node.n: node for node in nodes}
        roots = [(by_number[row[0]], row) for row in rows if row[0] in by_number]
        objects = await self._objects(db, [row[4] for _, row in roots])
        owners = {owner_of(key) for key in objects}
        found = await db.rows(SQL.executions_with_ids, ids=sorted(owners)) if owners else []
        numbers = {as_uuid(identity): n for identity, n in found}
        return [
            Root(
                node,
                row[8],
                objects.get(node.key),
                numbers.get(owner_of(node.key), 0),
                node.n in skipped,
            )
            for node, row in roots
        ], nodes

    async def _objects(self, db: Session, keys: Sequence[str]) -> dict[str, Made]:
        rows = await db.rows(SQL.objects_with, keys=list(set(keys))) if keys else []
        return {key: Made(Place("", ""), output, bytes(fingerprint)) for key, output, fingerprint in rows}

    async def fingerprints(self, keys: Sequence[str]) -> dict[str, bytes]:
        found = await self._db.read(lambda db: self._objects(db, keys))
        return {key: one.fingerprint for key, one in found.items()}

    # -- entries -----------------------------------------------------------------------------------

    async def entries_at(self, draft: Draft, places: Sequence[Place]) -> list[Entry]:
        given = {"dataset": draft.dataset, "at": _at(draft), **columns_of(places)}
        return await self._entries(SQL.entries_at, **given) if places else []

    async def entries_below(self, draft: Draft, ups: Sequence[int]) -> list[Entry]:
        given = {"dataset": draft.dataset, "at": _at(draft), "ups": list(ups)}
        return await self._entries(SQL.entries_below, **given) if ups else []

    async def scan(self, draft: Draft, *, stage: str | None, after: Place, limit: int) -> list[Entry]:
        given = {"dataset": draft.dataset, "at": _at(draft), "stage": stage, "limit": limit}
        return await self._entries(SQL.scan_entries, after_stage=after.stage, after_path=after.path, **given)

    async def _entries(self, statement: Statement, **values: object) -> list[Entry]:
        async def find(db: Session) -> list[Entry]:
            rows = await db.rows(statement, **values)
            lanes = await self._lanes.learn(db, {row[9] for row in rows if row[9] is not None})
            found = []
            for n, stage, path, up, message, attempt, execution, output, fingerprint, *of_message in rows:
                lane, its_stage, key, processed = of_message
                received = Slot(lanes[lane].route, *place_of(key, its_stage)) if key else None
                of = None if fingerprint is None else bytes(fingerprint)
                found.append(
                    Entry(
                        *(stage, path, up, message, attempt, execution, output, of, received, n),
                        processed=processed,
                    )
                )
            return found

        return await self._db.read(find)

    async def duplicates(
        self, draft: Draft, *, after: EntryCursor, limit: int
    ) -> tuple[list[Place], EntryCursor | None]:
        rows = await self._db.read(lambda db: _later(db, SQL.duplicates, draft, after, limit=limit))
        found = [Place(stage, path) for _, _, stage, path, count in rows if count > 1]
        return found, (rows[-1][0], rows[-1][1]) if len(rows) == limit else None

    async def differences(
        self, draft: Draft, side: Literal["added", "closed"], *, after: EntryCursor, limit: int
    ) -> list[Difference]:
        added = SQL.added_entries if draft.base else SQL.first_entries
        statement = added if side == "added" else SQL.closed_entries
        rows = await self._db.read(
            lambda db: _later(db, statement, draft, after, base=draft.base, limit=limit)
        )
        found = []
        for number, n, stage, path, before, after_it in rows:
            found.append(Difference((number, n), Place(stage, path), _bytes(before), _bytes(after_it)))
        return found

    async def count_made(
        self, draft: Draft, side: Literal["added", "closed"], *, after: EntryCursor, limit: int
    ) -> tuple[list[MadeCount], EntryCursor | None]:
        number, n = max(after, (draft.base + 1, 0))
        given = {"dataset": draft.dataset, "number": number, "base": draft.base}
        statement = SQL.count_added if side == "added" else SQL.count_closed
        rows = await self._db.rows(statement, after=n, limit=limit, **given)
        found = [
            MadeCount(None if lane is None else (lane, *by), results, size)
            for lane, *by, _, _, results, size in rows
        ]
        if sum(row[3] for row in rows) == limit:
            return found, (number, max(row[4] for row in rows))
        return found, (number + 1, 0) if number < draft.n else None


def _at(draft: Draft) -> int | None:
    """The publication whose entries are read; None: the open ones."""
    return None if draft.n else draft.base


async def _later(
    db: Session, statement: Statement, draft: Draft, after: EntryCursor, *, limit: int, **given: object
) -> list[Row]:
    """Return the next entries that publications later than the base have added or closed."""
    after = max(after, (draft.base + 1, 0))
    return await publishing.page_of(
        db, statement, after, draft.n, dataset=draft.dataset, limit=limit, **given
    )


def _bytes(value: bytes | str | None) -> bytes | None:
    """Return a fingerprint. SQLite has an empty one as text."""
    return None if value is None else bytes(value or b"")  # type: ignore[arg-type]


def _node(row: Row, route: str, outputs: Sequence[Made]) -> Node:
    n, parent, _, stage, key, state, code, error, _, message, attempt, execution, _, processed = row
    is_good = state in (COMPLETED, TAKEN_OVER) or (state == SKIPPED and code != EFFECTS_SKIPPED.code)
    what = f"{code}: {error}" if code else ROW_STATES[state]
    return Node(
        n=n,
        parent=parent,
        slot=Slot(route, *place_of(key, stage)),
        key=key,
        is_good=is_good,
        is_cancelled=state == CANCELLED,
        message=message,
        attempt=attempt,
        execution=execution,
        processed=processed,
        detail=None if is_good else what[:_LONGEST_DETAIL],
        outputs=outputs,
    )
