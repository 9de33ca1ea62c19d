"""The next step of each sink that follows a dataset, and what it has answered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from uuid import UUID

from playhead.backends._sql_catalog import publishing
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.staging import PAGE, pages_of
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict
from playhead.keys import object_key
from playhead.ports.catalog.drafts import Draft, DraftLost
from playhead.ports.catalog.publications import SINK
from playhead.ports.catalog.sinks import (
    DuePage,
    DueSink,
    Forgotten,
    Lagging,
    OpenRepair,
    PublishedResult,
    Repair,
    SinkChanges,
    SinkDifference,
)
from playhead.ports.sinks import joined

_CHECK = 1
_REPAIR = 2
_REBUILT = 3


class SinksPart(Part):
    async def due_sinks(self) -> list[DueSink]:
        return [_due(row) for row in await self._db.rows(SQL.due_sinks)]

    async def sink_changes(self, due: DueSink, page: DuePage) -> SinkChanges:
        given = {"dataset": due.dataset, "stage": f"{SINK}{due.route}", "after": page.cursor, "limit": PAGE}

        async def find(db: Session) -> tuple[list[Row], list[Row]]:
            if not page.after:
                return await db.rows(SQL.next_content, n=page.n, **given), []
            return (
                await db.rows(SQL.next_added, number=page.n, **given),
                await db.rows(SQL.next_closed, number=page.n, **given),
            )

        added, removed = await self._db.read(find)
        numbers = sorted(row[0] for row in (*added, *removed))[:PAGE]
        cursor = numbers[-1] if numbers else page.cursor
        return SinkChanges(
            [_result(*of) for n, *of in added if n <= cursor],
            [_result(*of) for n, *of in removed if n <= cursor],
            cursor,
        )

    async def sink_staged(
        self, due: DueSink, page: DuePage, changes: SinkChanges, missing: Sequence[str]
    ) -> None:
        await self._db.run(
            SQL.sink_staged,
            **_place(due),
            n=page.n,
            generation=due.generation,
            page=page.k,
            cursor=changes.cursor,
            missing=len(missing),
            first_missing=UUID(missing[0].partition(".")[0]) if missing else None,
        )

    async def sink_switched(self, due: DueSink, n: int) -> None:
        await self._db.run(SQL.sink_switched, **_place(due), n=n, seq=due.seq, generation=due.generation)

    async def sink_failed(self, due: DueSink, code: str, detail: str, *, delay: float) -> None:
        await self._db.run(SQL.sink_failed, **_place(due), code=code, detail=detail, delay=delay)

    async def to_forget(self, due: DueSink) -> Forgotten:
        async def find(db: Session) -> Forgotten:
            at = await db.value(SQL.catalog_time)
            decided = await db.value(SQL.decided_of, dataset=due.dataset)
            numbers = [n for (n,) in await db.rows(SQL.dropped_numbers, dataset=due.dataset)]
            pruned = await db.rows(SQL.pruned_executions, **_place(due))
            return Forgotten(joined(numbers), decided, [as_uuid(one) for (one,) in pruned], at)

        return await self._db.read(find)

    async def let_sinks_forget(self) -> None:
        await self._db.run(SQL.all_sinks_must_forget)

    async def sink_forgot(self, due: DueSink, at: float) -> None:
        await self._db.run(SQL.sink_forgot, **_place(due), at=at)

    async def report_lags(self, seconds: float) -> list[Lagging]:
        rows = await self._db.rows(SQL.lagging_sinks, seconds=seconds)
        lagging = [Lagging._make(row) for row in rows]
        return [one for one in lagging if await self._db.write(partial(self._report_lag, one))]

    async def _report_lag(self, one: Lagging, db: Session) -> bool:
        await publishing.lock_dataset(db, one.dataset)
        if not await db.run(SQL.report_lag, dataset=one.dataset, route=one.route):
            return False  # it has switched meanwhile, or another process has reported it
        await publishing.record_event(db, one.dataset, "dataset.sink_lagging")
        return True

    async def staged(self, draft: Draft) -> bool:
        given = {"dataset": draft.dataset, "n": draft.n}
        unready = await self._db.rows(SQL.unready_sinks, **given)
        for row in unready:
            _refuse(draft, row)
        if unready:
            return False

        async def prepare(db: Session) -> bool:
            if await db.row(SQL.lock_draft, **given, epoch=draft.epoch) is None:
                raise DraftLost
            return await db.run(SQL.prepare_draft, **given, epoch=draft.epoch) > 0

        # A sink that has all pages of a draft keeps them while the draft is open.
        return await self._db.write(prepare)

    async def published_results(
        self, due: DueSink, n: int, *, after: UUID, limit: int
    ) -> list[PublishedResult]:
        given = {"dataset": due.dataset, "stage": f"{SINK}{due.route}", "n": n}
        rows = await self._db.rows(SQL.sink_results, **given, after=after, limit=limit)
        return [PublishedResult(as_uuid(one), _result(one, attempt), *of) for one, attempt, *of in rows]

    async def check_sinks(self, dataset: int, *, route: str | None, repair: bool) -> int:
        mode = _REPAIR if repair else _CHECK
        change = Change("dataset.index_check")

        async def check(db: Session) -> int:
            about = await publishing.audited(db, dataset)
            change.check_configs([about["config"]])
            count = await db.run(SQL.check_sinks, dataset=dataset, route=route, mode=mode)
            if count:
                await change.record(db, **about, detail={"route": route, "repair": repair})
            return count

        return await change.write(self._db, check)

    async def sink_checked(self, due: DueSink, found: SinkDifference, repair: Repair | None = None) -> None:
        await self._db.run(
            SQL.sink_checked,
            **_place(due),
            repairs=due.repairs,
            checked=json.dumps(found._asdict()),
            repair=_encoded(repair) if repair else None,
            is_repairing=bool(repair and repair.replays),
        )

    async def open_repairs(self) -> list[OpenRepair]:
        found = []
        for dataset, config, name, route, repairs, text in await self._db.rows(SQL.open_repairs):
            fields = json.loads(text)
            repair = Repair(**{**fields, "replays": [UUID(one) for one in fields["replays"]]})
            given = {"dataset": dataset, "execution": repair.replays[0]}
            n = await self._db.value(SQL.newest_with_part, **given)
            found.append(OpenRepair(dataset, config, name, route, repairs, repair, n))
        return found

    async def end_repair(self, repair: OpenRepair, n: int | None, problem: str | None) -> None:
        ended = repair.repair._replace(publication=n, problem=problem)
        place = {"dataset": repair.dataset, "route": repair.route, "repairs": repair.repairs}
        await self._db.run(SQL.end_repair, **place, repair=_encoded(ended), is_published=n is not None)

    async def rebuild_sink(self, due: DueSink) -> bool:
        async def rebuild(db: Session) -> bool:
            _, _, _, _, current, decided, draft, *_ = await publishing.lock_dataset(db, due.dataset)
            if draft is not None or current is None:
                return False
            given = {"dataset": due.dataset, "stage": f"{SINK}{due.route}", "n": current}
            pages = pages_of(await db.value(SQL.content_of_sink, **given))
            # The next draft changes what the newest publication has left open.
            newest = current == decided
            await db.run(SQL.rebuild_sink, **_place(due), n=current, pages=pages, needs_whole=not newest)
            return True

        return await self._db.write(rebuild)


def _due(row: Row) -> DueSink:
    *rest, must_forget, mode, repairs = row
    dataset, config, name, route, version, generation, n, *page, shows, seq, current = rest
    due = None if n is None else DuePage(n, *page)
    names = dataset, config, name, route, version, generation
    modes = mode > 0, mode == _REPAIR, mode == _REBUILT
    return DueSink(*names, due, shows, seq, current, bool(must_forget), *modes, repairs)


def _encoded(repair: Repair) -> str:
    return json.dumps({**repair._asdict(), "replays": [str(one) for one in repair.replays]})


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
