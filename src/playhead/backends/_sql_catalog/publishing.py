"""Publications and datasets as rows have them, for the parts that prepare, decide and read them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final, TypedDict
from uuid import UUID

from playhead.backends._sql_catalog.declared import declarations_of
from playhead.backends._sql_catalog.lanes import as_uuid, moment_or_none
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL, Statement
from playhead.errors import Conflict, NotFound
from playhead.form import read
from playhead.ids import moment, uuid7
from playhead.model import (
    Config,
    Dataset,
    DatasetConfig,
    DatasetEvent,
    Publication,
    PublicationPart,
    PublishRequest,
    Refusal,
    SinkCheck,
    SinkRepair,
    SinkState,
    StageChanges,
    UnitCounts,
)
from playhead.ports.catalog.declarations import MOST_DECLARATIONS
from playhead.ports.catalog.publications import EntryCursor

_KEPT_DELIVERIES: Final = 100
"""Newest events of a dataset that are kept when they have been sent."""


class AuditedDataset(TypedDict):
    """The config of a dataset, and `CONFIG/NAME`."""

    config: str
    object: str


def encode_request(request: PublishRequest) -> str:
    return json.dumps(asdict(request), default=str)


def decode_request(stored: str) -> PublishRequest:
    return read(PublishRequest, json.loads(stored))


async def publications_of(db: Session, rows: Sequence[Row]) -> list[Publication]:
    """Return publications from rows with the columns of the fragment `publication`."""
    parts: dict[int, list[PublicationPart]] = {row[1]: [] for row in rows}
    seen: set[tuple[int, int]] = set()
    for dataset in {row[0] for row in rows}:
        found = await db.rows(SQL.parts_of, dataset=dataset, numbers=list(parts))
        for n, identity, role, revision in found:
            parts[n].append(PublicationPart(as_uuid(identity), role, revision))
        published = [row[1] for row in rows if row[0] == dataset and row[6] == "published"]
        if published:
            chain = await db.rows(SQL.seen_publications, dataset=dataset, lowest=min(published))
            seen |= {(dataset, n) for (n,) in chain}
    made = []
    for row in rows:
        dataset, n, identity, name, config, version, state, base, counts, units, digest, *rest = row
        code, detail, request, pinned, created, published, dropped, size = rest
        made.append(
            Publication(
                dataset=name,
                config=config,
                n=n,
                execution_id=as_uuid(identity),
                state=state,
                base=base or None,
                parts=parts[n],
                config_version=version,
                counts={stage: StageChanges(**one) for stage, one in json.loads(counts).items()},
                units=UnitCounts(**json.loads(units)),
                digest=digest,
                refusal=Refusal(code, detail) if code else None,
                reason=json.loads(request)["reason"],
                is_pinned=bool(pinned),
                created_at=moment(created),
                published_at=moment_or_none(published),
                dropped_at=moment_or_none(dropped),
                bytes_protected=0 if dropped is not None else size,
                is_taken_back=state == "published" and (dataset, n) not in seen,
            )
        )
    return made


async def publication(db: Session, dataset: int, n: int) -> Publication | None:
    rows = await db.rows(SQL.publication, dataset=dataset, n=n)
    return (await publications_of(db, rows))[0] if rows else None


async def publication_of(db: Session, execution: UUID) -> Publication | None:
    rows = await db.rows(SQL.publication_of_execution, execution=execution)
    return (await publications_of(db, rows))[0] if rows else None


async def dataset_of(db: Session, row: Row) -> Dataset:
    """Return a dataset from a row with the columns of the fragment `dataset`."""
    number, config, name, seq, current, decided, draft, held, since, newest, _ = row
    declared = declared_of(row)
    last = await publication(db, number, newest) if newest != current else None
    rows = await db.rows(SQL.unpublished_executions, dataset=number, config=config, limit=10)
    return Dataset(
        name=name,
        config=config,
        current=current,
        switched_at=moment_or_none(since),
        seq=seq,
        decided=decided or None,
        draft=last if draft else None,
        refused=last if last and last.refusal else None,
        held=bool(held),
        publish=declared.publish if declared else "manual",
        routes=list(declared.routes) if declared else [],
        sinks=[_sink(name, one) for one in await db.rows(SQL.sink_states, dataset=number)],
        unpublished=[as_uuid(one) for (one,) in rows],
        declared_valid=await declarations_of(
            db, await db.rows(SQL.open_declarations_of, dataset=number, limit=MOST_DECLARATIONS)
        ),
    )


def _sink(dataset: str, row: Row) -> SinkState:
    route, step, shown, seq, lag, staged, pages, is_staging, *rest = row
    repair = f"playhead index check {dataset} {route} --repair"
    lacks_rows, missing, number, problem, since, current, *check = rest
    is_checked, checked_at, checked, is_repairing, repairing = check
    found = json.loads(checked) if checked else None
    if lacks_rows and missing:
        how = "They are being written again" if is_repairing else f"To write them again, run: {repair}"
        problem = f"it lacks rows of {missing:,} results of publication {number}. {how}"
    elif current is not None and current < since:
        problem = (
            f"it begins with publication {since}, and readers see {current}. To rebuild it, run: {repair}"
        )
    return SinkState(
        route=route,
        adapter=json.loads(step)["type"],
        shown=shown,
        seq=seq,
        lag_seconds=max(lag, 0.0),
        staged=staged if is_staging else 0,
        pages=pages if is_staging else 0,
        problem=problem,
        is_checked=bool(is_checked),
        check=SinkCheck(
            publication=found["n"],
            missing=found["missing"],
            left_over=found["left_over"],
            first_missing=found["first_missing"],
            stages=found["stages"],
            checked_at=moment(checked_at),
        )
        if found
        else None,
        repair=SinkRepair(**json.loads(repairing), is_open=bool(is_repairing)) if repairing else None,
    )


def declared_of(row: Row) -> DatasetConfig | None:
    """Return what the newest version of its config declares of a dataset, from a row as in `dataset_of`."""
    return Config.from_document(json.loads(row[-1])).datasets.get(row[2])


async def record_event(db: Session, dataset: int, event: DatasetEvent) -> None:
    """Record an event for the webhook of a dataset, if it has one, in the transaction of the change.

    So the webhook receives each event that was committed, and no other. Call it after the change: the body
    shows the dataset as this transaction leaves it.
    """
    row = await lock_dataset(db, dataset)
    declared = declared_of(row)
    if declared is None or declared.webhook is None:
        return
    found = await dataset_of(db, row)
    now = await db.value(SQL.catalog_time)
    body = {"type": event, "timestamp": moment(now), "data": asdict(found)}
    await db.run(
        SQL.insert_delivery,
        id=uuid7(),
        execution=None,
        dataset=dataset,
        revision=found.seq,
        event=event,
        url=declared.webhook,
        body=json.dumps(body, default=str),
    )
    await db.run(SQL.delete_old_deliveries, dataset=dataset, keep=_KEPT_DELIVERIES)


async def lock_dataset(db: Session, dataset: int) -> Any:
    """Return a dataset, locked against other drafts, decisions and rollbacks until the transaction ends."""
    row = await db.row(SQL.lock_dataset, dataset=dataset)
    assert row, "a dataset is never deleted"
    return row


async def audited(db: Session, dataset: int) -> AuditedDataset:
    """Lock a dataset, and return what the audit says about a change of it."""
    _, config, name, *_ = await lock_dataset(db, dataset)
    return AuditedDataset(config=config, object=f"{config}/{name}")


async def find_dataset(db: Session, config: str, name: str) -> int:
    """Return the number of a dataset. Raises `NotFound` (`dataset_not_found`)."""
    number: int | None = await db.value(SQL.dataset_number, config=config, name=name)
    if number is None:
        raise NotFound("dataset_not_found", f"config {config} has no dataset {name!r}")
    return number


async def abandon(db: Session, dataset: int, n: int, code: str | None, detail: str | None) -> bool:
    """Lock the dataset and end a draft. Returns whether it was open."""
    await lock_dataset(db, dataset)
    if not await db.run(SQL.abandon_draft, dataset=dataset, n=n, code=code, detail=detail):
        return False
    await db.run(SQL.clear_draft, dataset=dataset, n=n)
    await db.run(SQL.end_publication_execution, dataset=dataset, n=n, status="cancelled")
    if code:
        await record_event(db, dataset, "dataset.refused")
    return True


async def count_entries(db: Session, dataset: int, added: Iterable[int], deleted: Iterable[int]) -> None:
    """Record how many entries have results of executions, by number."""
    change = Counter(added)
    change.subtract(deleted)
    rows = [(execution, dataset, number) for execution, number in sorted(change.items()) if number]
    if rows:
        await db.insert(SQL.count_entries, rows)
        await db.run(SQL.forget_counts, dataset=dataset)


def moved(config: str, name: str, seq: int, expected: int, current: int | None) -> Conflict:
    """Return the error for a change that expected another switch."""
    now = f"publication {current}" if current else "no publication"
    return Conflict(
        "publication_moved",
        f"switch {seq} of dataset {name} made {now} current, but the request expects switch {expected}. "
        f"Look again: playhead publications {name}",
    )


async def page_of(
    db: Session, statement: Statement, after: EntryCursor, last: int, *, limit: int, **given: object
) -> list[Row]:
    """Return the next entries of publications, one publication after the other.

    Args:
        statement: returns entries of the publication `number` after the entry `after`.
        last: number of the last publication.
    """
    number, n = after
    found: list[Row] = []
    while number <= last and len(found) < limit:
        found += await db.rows(statement, number=number, after=n, limit=limit - len(found), **given)
        number, n = number + 1, 0
    return found
