"""The next step of each sink that follows a dataset, and what it has answered."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.staging import PAGE
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict
from playhead.keys import object_key
from playhead.ports.catalog.publications import SINK, Draft, DraftLost
from playhead.ports.catalog.sinks import DuePage, DueSink, Forgotten, SinkChanges


class SinksPart(Part):
    async def due_sinks(self) -> list[DueSink]:
        return [_due(row) for row in await self._db.rows(SQL.due_sinks)]

    async def sink_changes(self, due: DueSink, page: DuePage) -> SinkChanges:
        statement = SQL.next_changes if page.after else SQL.next_content
        rows = await self._db.rows(
            statement,
            dataset=due.dataset,
            stage=f"{SINK}{due.route}",
            n=page.n,
            after=page.cursor,
            limit=PAGE,
        )
        added = [_result(*row[1:3]) for row in rows if row[3]]
        removed = [_result(*row[1:3]) for row in rows if not row[3]]
        return SinkChanges(added, removed, rows[-1][0] if rows else page.cursor)

    async def sink_staged(
        self, due: DueSink, page: DuePage, changes: SinkChanges, missing: Sequence[str]
    ) -> None:
        await self._db.run(
            SQL.sink_staged,
            **_place(due),
            n=page.n,
            page=page.k,
            cursor=changes.cursor,
            missing=len(missing),
            first_missing=UUID(missing[0].partition(".")[0]) if missing else None,
        )

    async def sink_switched(self, due: DueSink, n: int) -> None:
        await self._db.run(SQL.sink_switched, **_place(due), n=n, seq=due.seq)

    async def sink_failed(self, due: DueSink, code: str, detail: str, *, delay: float) -> None:
        await self._db.run(SQL.sink_failed, **_place(due), code=code, detail=detail, delay=delay)

    async def to_forget(self, due: DueSink) -> Forgotten:
        async def find(db: Session) -> Forgotten:
            at = await db.value(SQL.catalog_time)
            decided = await db.value(SQL.decided_of, dataset=due.dataset)
            numbers = [n for (n,) in await db.rows(SQL.dropped_numbers, dataset=due.dataset)]
            pruned = await db.rows(SQL.pruned_executions, **_place(due))
            return Forgotten(_ranges(numbers), decided, [as_uuid(one) for (one,) in pruned], at)

        return await self._db.read(find)

    async def sink_forgot(self, due: DueSink, at: float) -> None:
        await self._db.run(SQL.sink_forgot, **_place(due), at=at)

    async def staged(self, draft: Draft) -> bool:
        async def prepare(db: Session) -> bool:
            given = {"dataset": draft.dataset, "n": draft.n}
            if await db.row(SQL.lock_draft, **given, epoch=draft.epoch) is None:
                raise DraftLost
            unready = await db.rows(SQL.unready_sinks, **given)
            if not unready:
                await db.run(SQL.prepare_draft, **given, epoch=draft.epoch)
                return True
            for row in unready:
                _refuse(draft, row)
            return False

        return await self._db.write(prepare)

    async def published_results(
        self, dataset: int, route: str, n: int, *, after: UUID, limit: int
    ) -> list[tuple[UUID, str]]:
        given = {"dataset": dataset, "stage": f"{SINK}{route}", "n": n, "after": after, "limit": limit}
        rows = await self._db.rows(SQL.sink_results, **given)
        return [(as_uuid(message), _result(message, attempt)) for message, attempt in rows]


def _due(row: Row) -> DueSink:
    dataset, config, name, route, version, n, *page, shows, seq, must_forget = row
    due = None if n is None else DuePage(n, *page)
    return DueSink(dataset, config, name, route, version, due, shows, seq, bool(must_forget))


def _place(due: DueSink) -> dict[str, object]:
    return {"dataset": due.dataset, "route": due.route}


def _result(message: UUID | bytes, attempt: int) -> str:
    return f"{as_uuid(message)}.{attempt}"


def _refuse(draft: Draft, row: Row) -> None:
    """Raise why a sink cannot have a draft; return if it has only to be waited for."""
    route, is_open, missing, code, problem, stage, key, execution = row
    if code == "sink_behind":
        raise Conflict(
            "sink_behind",
            f"{route} has missed an earlier publication: was it restored from a backup? {problem}. Run: "
            f"playhead index check {draft.name} {route} --repair",
        )
    if missing and not is_open:
        where = ""
        if key:
            path = key.removeprefix(object_key(as_uuid(execution), stage, ""))
            where = (
                f", the first for {stage}/{path} of execution {as_uuid(execution)}. To write them: playhead "
                f"replay {as_uuid(execution)} {stage} {route}. Then publish this replay, too"
            )
        raise Conflict("sink_rows_missing", f"{route} lacks rows of {missing:,} results{where}")


def _ranges(numbers: Sequence[int]) -> list[range]:
    """Join neighbours."""
    found: list[range] = []
    for n in numbers:
        if found and found[-1].stop == n:
            found[-1] = range(found[-1].start, n + 1)
        else:
            found.append(range(n, n + 1))
    return found
