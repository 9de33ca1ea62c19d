"""Pruning: which executions, under which lock, and which objects and records.

A decision about an execution and the record of a pruning are one transaction under the exclusive lock of the
execution. `open_replay` and `resend` hold the lock too, so one of the two sees what the other one did.

Records of an execution may be needed by a later one only if that one takes over its results, and then only
the outputs that have the bytes: they stay until the last reference to them is deleted. The number of the
message in `original` or `result` may outlive the message. SQLite gives no new message this number as long
as a row has it, because that row has a greater number itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.executions import exclude, prunings_of, records_deleted_at
from playhead.backends._sql_catalog.lanes import as_retention, as_uuid, as_uuid_or_none, below, lanes_of
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict
from playhead.keys import INPUT_STAGE, owner_of
from playhead.model import Execution, Kept, PruneFilter, Retention, StageTotal
from playhead.ports.catalog.prune import Candidate, PrunedObject, PrunePage, Pruning, RecordsPage

ALL_PRUNED: Final = "[]"
"""What `retained` is after a retention has pruned all stages."""
_AFTER_RECORDS: Final = (
    SQL.delete_reports,
    SQL.delete_deliveries,
    SQL.delete_failing,
    SQL.delete_reviews,
    SQL.end_records,
)
"""What ends the deletion of the records of an execution."""


class PrunePart(Part):
    async def pin(self, execution: UUID, pinned: bool) -> Execution | None:
        change = Change("execution.pin" if pinned else "execution.unpin")

        async def set_it(db: Session) -> Execution | None:
            n = await db.value(SQL.execution_number, id=execution)
            if n is None:
                return None
            await change.check(db, n)
            await exclude(db, [n])
            gone = [one for one in (await prunings_of(db, [n]))[n] if one.stage is None]
            if pinned and gone:
                raise Conflict(
                    "execution_pruned",
                    f"cannot pin execution {execution}: its objects were pruned on {gone[0].pruned_at}",
                )
            if await db.run(SQL.set_pinned, execution=n, pinned=pinned):
                await change.record(db, execution=n)
            return await self._executions.find(db, execution)

        return await change.write(self._db, set_it)

    async def retentions(self) -> dict[str, Retention]:
        rows = await self._db.rows(SQL.newest_retentions)
        return {name: as_retention(text) for name, text in rows}

    async def newest_tags(self, *, limit: int) -> list[str]:
        rows = await self._db.rows(SQL.newest_tags, limit=limit)
        return [tag for (tag,) in rows]

    async def stage_names(self, config: str | None) -> list[str]:
        rows = await self._db.rows(SQL.stage_names, config=config)
        return [stage for (stage,) in rows]

    async def prune_candidates(
        self, where: PruneFilter, *, after: int = 0, limit: int = 100
    ) -> tuple[list[Candidate], int | None]:
        if where.records:
            return await self._records_candidates(where, after=after, limit=limit)
        retention = json.dumps(sorted(where.stages or ()))
        done: list[int] = []

        async def find(db: Session) -> tuple[list[Candidate], int | None]:
            given = _conditions(where, after, limit)
            if where.is_retention:
                others = await db.rows(SQL.other_retentions, config=where.config, retention=retention)
                pages = [await db.rows(SQL.retention_selection, **given, retained=one) for (one,) in others]
                numbers = sorted(n for page in pages for (n,) in page)[:limit]
            else:
                numbers = [n for (n,) in await db.rows(SQL.prune_selection, **given)]
            states = await self._states(db, numbers)
            # Adopted executions are Playhead's only if they are named, and then an answer says why not.
            states = [row for row in states if row[2] != "adopted" or where.execution_ids is not None]
            left = await self._not_kept(db, states, where)
            found = dict(await self._candidates(db, left, where.stages or ()))
            done[:] = [row[0] for row in left if row[0] not in found]
            return list(found.values()), numbers[-1] if len(numbers) == limit else None

        page = await self._db.read(find)
        if where.is_retention and done:
            # What was pruned stays pruned, so this holds although the rows were read without a lock.
            await self._db.run(SQL.mark_retained, numbers=done, retention=retention)
        return page

    async def _records_candidates(
        self, where: PruneFilter, *, after: int, limit: int
    ) -> tuple[list[Candidate], int | None]:
        async def find(db: Session) -> tuple[list[Candidate], int | None]:
            given = _conditions(where, after, limit)
            if where.is_retention:
                rows = await db.rows(SQL.retention_selection, **given, retained=ALL_PRUNED)
            else:
                rows = await db.rows(SQL.records_selection, **given)
            numbers = [n for (n,) in rows]
            found = [one for _, one in await self._with_records(db, numbers)]
            # Of executions that are not pruned, there are many: they are named only if the caller names them.
            named = where.execution_ids is not None
            found = [one for one in found if named or one.kept not in ("adopted", "stored")]
            return found, numbers[-1] if len(numbers) == limit else None

        return await self._db.read(find)

    async def _with_records(self, db: Session, numbers: Sequence[int]) -> list[tuple[int, Candidate]]:
        """Return candidates for those of these executions that have records, by number."""
        found = []
        for n, identity, kind, is_pruned, is_due, is_source, is_published in await db.rows(
            SQL.records_states, numbers=numbers
        ):
            kept: Kept | None = "reported" if is_due else "replayed" if is_source else None
            if is_published:
                kept = "published"
            if not is_pruned:
                kept = "adopted" if kind == "adopted" else "stored"
            found.append((n, Candidate(as_uuid(identity), (), kept, records=True)))
        return found

    async def _states(self, db: Session, numbers: Sequence[int]) -> list[Row]:
        return await db.rows(SQL.prune_states, numbers=sorted(numbers)) if numbers else []

    async def _not_kept(self, db: Session, states: Sequence[Row], where: PruneFilter) -> list[Row]:
        """Return the rows that are not among the newest ones that `keep_last` keeps."""
        if not where.keep_last:
            return list(states)
        known: dict[tuple[str, str, str | None], int] = {}

        async def first(config: str, kind: str, status: str | None) -> int:
            if (config, kind, status) not in known:
                row = await db.row(
                    SQL.first_kept,
                    config=config,
                    kind=kind,
                    status=status,
                    tag=where.tag,
                    keep=where.keep_last,
                )
                known[config, kind, status] = row[0] if row and row[1] == where.keep_last else 0
            return known[config, kind, status]

        left = []
        for row in states:
            n, _, kind, _, _, _, status, config, *_ = row
            if config is None or (
                n < await first(config, kind, None)
                and (status != "completed" or n < await first(config, kind, status))
            ):
                left.append(row)
        return left

    async def _candidates(
        self, db: Session, states: Sequence[Row], stages: Sequence[str]
    ) -> list[tuple[int, Candidate]]:
        """Return candidates for rows of `prune_states` that have something to prune, by number."""
        pruned = await prunings_of(db, [row[0] for row in states])
        found = []
        for n, identity, kind, settled, pinned, version, _, _, is_source, in_draft in states:
            gone = {one.stage for one in pruned[n]}
            if None in gone:
                continue
            missing: list[str] = []
            if stages:
                missing = [
                    one for one in await self._stages(db, kind, version) if one in stages and one not in gone
                ]
                if not missing:
                    continue
            kept = _why_kept(kind, settled=settled, pinned=pinned, is_source=is_source, in_draft=in_draft)
            found.append((n, Candidate(as_uuid(identity), tuple(missing), kept)))
        return found

    async def _stages(self, db: Session, kind: str, version: int | None) -> list[str]:
        """Return the stages of an execution that have objects of Playhead."""
        if version is None:
            return []
        lanes = await lanes_of(db, version)
        return [INPUT_STAGE] * (kind == "run") + [lane.stage for lane in lanes if lane.stage]

    async def count_records(self, candidate: Candidate) -> int:
        async def count(db: Session) -> int:
            n = await db.value(SQL.execution_number, id=candidate.execution)
            keys = below(Pruning(n, candidate.execution, None).prefix)
            found: int = await db.value(SQL.count_records, execution=n, **keys)
            return found

        return await self._db.read(count)

    async def count_prunable(self, candidate: Candidate) -> list[StageTotal]:
        found: list[StageTotal] = []
        for stage in candidate.stages or (None,):
            keys = below(Pruning(0, candidate.execution, stage).prefix)
            found += [StageTotal(*row) for row in await self._db.rows(SQL.count_disposable, **keys)]
        return found

    async def count_protected(self, candidate: Candidate) -> int:
        size = 0
        for stage in candidate.stages or (None,):
            [(some,)] = await self._db.rows(
                SQL.count_protected, **below(Pruning(0, candidate.execution, stage).prefix)
            )
            size += some
        return size

    async def begin_prune(self, candidates: Sequence[Candidate]) -> list[Pruning]:
        change = Change("prune.begin")

        async def begin(db: Session) -> list[Pruning]:
            chosen = {await db.value(SQL.execution_number, id=one.execution): one for one in candidates}
            chosen.pop(None, None)
            await change.check(db, *chosen)
            await exclude(db, chosen)
            # Read after the lock is held: a replay may have been opened while it was awaited.
            begun: list[Pruning] = []
            with_records = {n for n, one in chosen.items() if one.records}
            for n, one in await self._with_records(db, sorted(with_records)) if with_records else ():
                if not one.kept:
                    await change.record(db, execution=n, object="records")
                    begun.append(await self._begin_records(db, n, one.execution))
            for row in await self._states(db, list(chosen.keys() - with_records)):
                for n, one in await self._candidates(db, [row], chosen[row[0]].stages):
                    for stage in () if one.kept else one.stages or ("",):
                        number = await db.value(SQL.begin_pruning, execution=n, stage=stage)
                        if number is not None:
                            await change.record(db, execution=n, object=stage or None)
                            begun.append(Pruning(number, one.execution, stage or None))
            return begun

        return await change.write(self._db, begin)

    async def _begin_records(self, db: Session, n: int, execution: UUID) -> Pruning:
        await self._replays.keep_numbers(db, n)
        await db.run(SQL.begin_records, execution=n)
        return Pruning(n, execution, None, records=True)

    async def open_prunings(self, *, older_than: float = 0.0) -> list[Pruning]:
        async def find(db: Session) -> list[Pruning]:
            rows = await db.rows(SQL.open_prunings, older_than=older_than)
            found = [Pruning(n, as_uuid(identity), stage or None) for n, identity, stage in rows]
            rows = await db.rows(SQL.open_records, older_than=older_than)
            return found + [Pruning(n, as_uuid(identity), None, records=True) for n, identity in rows]

        return await self._db.read(find)

    async def prune_page(
        self, pruning: Pruning, *, deleted: str | None = None, limit: int
    ) -> PrunePage | None:
        async def take(db: Session) -> PrunePage | None:
            row = await db.row(SQL.lock_pruning, pruning=pruning.n)
            if row is None:
                return None
            # Another process may work on the same pruning. Both delete the same objects, which does no harm,
            # and the cursor never goes back.
            cursor = max(row[0], deleted or "", key=str.encode)
            if cursor != row[0]:
                await db.run(SQL.move_prune_cursor, pruning=pruning.n, cursor=cursor)
            rows = await db.rows(SQL.prune_keys, **below(pruning.prefix, cursor), limit=limit)
            if not rows:
                return None
            keys = [key for key, *_ in rows]
            new = {key: size for key, size, is_new, _ in rows if is_new}
            locations = [location for *_, location in rows if location is not None]
            # A draft that names one of these objects holds its row: one of the two sees what the other did.
            if locations or db.row_locks:
                await db.rows(SQL.lock_outputs, keys=[*new, *locations])
            await db.run(SQL.mark_pruned, keys=list(new), pruned_at=row[1])
            # In a new statement, which sees what the locks have waited for.
            free = dict(map(tuple, await db.rows(SQL.disposable_among, keys=keys)))
            counted = [new[key] for key in free if key in new]
            return PrunePage(keys[-1], sorted(free.values()), len(counted), sum(counted))

        return await self._db.write(take)

    async def delete_records(self, pruning: Pruning, *, after: str = "", limit: int) -> RecordsPage | None:
        async def delete(db: Session) -> RecordsPage | None:
            await exclude(db, [pruning.n])
            rows = await db.rows(SQL.output_records, **below(pruning.prefix, after), limit=limit)
            if rows:
                return await self._delete_outputs(db, rows)
            # Their outputs first: no output has the number of a message that is deleted.
            deleted = await db.rows(SQL.delete_messages, execution=pruning.n, limit=limit)
            if not deleted:
                return None
            await db.run(SQL.forget_results, messages=[n for (n,) in deleted])
            return RecordsPage(after, len(deleted))

        return await self._db.write(delete)

    async def _delete_outputs(self, db: Session, rows: Sequence[Row]) -> RecordsPage:
        """Delete records of outputs, except those that have the bytes of later outputs."""
        keys = [key for _, key, _ in rows]
        locations = list({location for *_, location in rows if location is not None})
        if locations:
            await db.rows(SQL.lock_outputs, keys=locations)
        needed = {key for (key,) in await db.rows(SQL.referred_among, keys=keys)}
        await db.run(SQL.detach_outputs, keys=sorted(needed))
        count = await db.run(SQL.delete_outputs, keys=[key for key in keys if key not in needed])
        if locations:
            count += await db.run(SQL.delete_outputs, keys=await self._left_over(db, locations))
        return RecordsPage(keys[-1], count)

    async def _left_over(self, db: Session, locations: Sequence[str]) -> list[str]:
        """Return those of these outputs that only references have kept, and to which none refers now."""
        needed = {key for (key,) in await db.rows(SQL.referred_among, keys=locations)}
        owners = {key: owner_of(key) for key in locations if key not in needed}
        gone = await records_deleted_at(db, set(owners.values()))
        return [key for key, owner in owners.items() if owner in gone]

    async def late_among(self, keys: Sequence[str]) -> set[str]:
        rows = await self._db.rows(SQL.late_among, keys=list(keys))
        return {key for (key,) in rows}

    async def pruned_object(self, key: str) -> PrunedObject | None:
        row = await self._db.row(SQL.pruned_object, key=key)
        if row is None:
            return None
        content_type, attributes, size, sha256, created, pruned, message, attempt = row
        return PrunedObject(
            *(content_type, json.loads(attributes), size, sha256, created, pruned),
            *(as_uuid_or_none(message), attempt),
        )

    async def end_prune(self, pruning: Pruning) -> None:
        async def end(db: Session) -> None:
            if not pruning.records:
                await db.run(SQL.end_pruning, pruning=pruning.n)
                return
            await exclude(db, [pruning.n])
            for statement in _AFTER_RECORDS:
                await db.run(statement, execution=pruning.n)

        await self._db.write(end)


def _conditions(where: PruneFilter, after: int, limit: int) -> dict[str, Any]:
    """Return the parameters of a selection."""
    return {
        "after": after,
        "limit": limit,
        "executions": where.execution_ids,
        "config": where.config,
        "tag": where.tag,
        "older_than": where.older_than_seconds,
    }


def _why_kept(kind: str, *, settled: bool, pinned: bool, is_source: bool, in_draft: bool) -> Kept | None:
    if kind == "adopted":
        return "adopted"
    if kind == "publication":
        return "published"
    if not settled:
        return "running"
    if pinned:
        return "pinned"
    if in_draft:
        return "in_draft"
    return "replayed" if is_source else None
