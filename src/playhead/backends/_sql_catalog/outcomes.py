"""What happened to the objects that a run or a replay has listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from playhead.backends._sql_catalog.aliases import columns_of
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.lanes import as_uuid, storable
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.ids import moment
from playhead.model import ROW_STATES, Review
from playhead.ports.catalog.outcomes import (
    MOST_REVIEWS,
    Failure,
    ListedObject,
    MessagesBelow,
    OutcomesBelow,
    OutputBelow,
)
from playhead.ports.catalog.outputs import RecordedOutput


class OutcomesPart(Part):
    async def listed_after(self, execution: UUID, ordinal: int, *, limit: int) -> list[ListedObject]:
        return _listed(await self._db.rows(SQL.listed_after, execution=execution, after=ordinal, limit=limit))

    async def listed_at(self, execution: UUID, ordinals: Sequence[int]) -> list[ListedObject]:
        return _listed(await self._db.rows(SQL.listed_at, execution=execution, ordinals=list(ordinals)))

    async def outcomes_below(
        self, keys: Sequence[str], execution: UUID, route: str
    ) -> Mapping[str, Sequence[OutcomesBelow]]:
        statements = SQL.outcomes_below, SQL.published_outcomes_below

        async def find(db: Session) -> Mapping[str, Sequence[OutcomesBelow]]:
            rows = await self._below(db, statements, keys, execution, route)
            lanes = await self._lanes.learn(db, {row[2] for row in rows})
            found: dict[str, list[OutcomesBelow]] = {}
            for key, is_top, lane, state, group, count, first, digest in rows:
                of = bool(is_top), lanes[lane].route, lanes[lane].stage, ROW_STATES[state]
                one = OutcomesBelow(*of, group, count, first, int(digest or 0))
                found.setdefault(key, []).append(one)
            return found

        return await self._db.read(find) if keys else {}

    async def messages_below(
        self, keys: Sequence[str], execution: UUID, route: str
    ) -> Mapping[str, Sequence[MessagesBelow]]:
        statements = SQL.messages_below, SQL.published_messages_below

        async def find(db: Session) -> Mapping[str, Sequence[MessagesBelow]]:
            rows = await self._below(db, statements, keys, execution, route)
            lanes = await self._lanes.learn(db, {row[2] for row in rows})
            found: dict[str, list[MessagesBelow]] = {}
            for key, is_top, lane, *figures in rows:
                one = MessagesBelow(bool(is_top), lanes[lane].route, *figures)
                found.setdefault(key, []).append(one)
            return found

        return await self._db.read(find) if keys else {}

    async def outputs_below(self, key: str, execution: UUID, route: str, *, limit: int) -> list[OutputBelow]:
        statements = SQL.outputs_below, SQL.published_outputs_below

        async def find(db: Session) -> list[OutputBelow]:
            rows = await self._below(db, statements, [key], execution, route, limit=limit)
            lanes = await self._lanes.learn(db, {row[-1] for row in rows})
            return [
                OutputBelow(
                    RecordedOutput(name, size, bytes(sha256), kind, pruned),
                    bool(is_top),
                    lanes[lane].route,
                    lanes[lane].stage or "",
                )
                for name, size, sha256, kind, pruned, is_top, lane in rows
            ]

        return await self._db.read(find)

    async def _below(
        self,
        db: Session,
        statements: tuple[Statement, Statement],
        keys: Sequence[str],
        execution: UUID,
        route: str,
        **more: int,
    ) -> list[Row]:
        """Return the rows of the first of two statements, or for a publication those of the second."""
        of = await self._aliases.publication(db, str(execution))
        if of is None:
            given = {"keys": list(keys), "execution": execution, "has_failed": True}
            return await db.rows(statements[0], **given, route=route, **more)
        there = await self._aliases.places(db, str(execution), keys)
        given = {"keys": list(there), **columns_of(there.values()), "dataset": of[0], "at": of[1]}
        return await db.rows(statements[1], **given, route=route, **more)

    async def failures(self, messages: Sequence[int]) -> Mapping[int, Failure]:
        async def find(db: Session) -> Mapping[int, Failure]:
            rows = await db.rows(SQL.failures, rows=list(messages))
            lanes = await self._lanes.learn(db, {row[2] for row in rows})
            return {
                n: Failure(as_uuid(cid), lanes[lane].route, code or "", error or "")
                for n, cid, lane, code, error in rows
            }

        return await self._db.read(find)

    async def record_review(
        self, execution: UUID, against: UUID, ordinal: int, *, is_right: bool, reviewed_by: str
    ) -> None:
        given = {"ordinal": ordinal, "is_right": is_right, "reviewed_by": storable(reviewed_by)}
        change = Change("replay.review")

        async def review(db: Session) -> None:
            about = {"object": ordinal, "is_right": is_right}
            n = await db.value(SQL.execution_number, id=execution)
            await change.record(db, execution=n, detail=about)
            await db.run(SQL.record_review, execution=execution, against=against, **given)

        await change.write(self._db, review)

    async def reviews(self, execution: UUID, against: UUID) -> Mapping[int, Review]:
        rows = await self._db.rows(SQL.reviews, execution=execution, against=against, limit=MOST_REVIEWS)
        return {ordinal: Review(bool(is_right), by, moment(at)) for ordinal, is_right, by, at in rows}


def _listed(rows: Sequence[Row]) -> list[ListedObject]:
    return [ListedObject(ordinal, key, stage, as_uuid(cid)) for ordinal, key, stage, cid in rows]
