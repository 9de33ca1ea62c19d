"""Datasets and publications as people see them, and what happens to publications after their decision.

A rollback changes one row and adds another, whatever the size of the publications. A drop deletes entries in
pages; each page repeats without effect, and leaves more than is needed if the process dies, never less.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from uuid import UUID

from playhead.backends._sql_catalog import publishing, requests
from playhead.backends._sql_catalog.aliases import columns_of
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.declared import declared_at
from playhead.backends._sql_catalog.executions import exclude
from playhead.backends._sql_catalog.lanes import as_uuid, as_uuid_or_none
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict, NotFound
from playhead.ids import moment
from playhead.keys import owner_of
from playhead.model import (
    Config,
    Dataset,
    Declaration,
    NoteKind,
    Placement,
    Publication,
    PublicationNote,
    PublicationRange,
    PublishedIn,
    Switch,
)
from playhead.ports.catalog.publications import Changed, Dropping, EntryCursor, Place, PublishedObject

_MOST_SWITCHES = 1_000
_REQUEST = 13
"""Column of the request in the fragment `publication`."""


class DatasetsPart(Part):
    async def datasets(self, name: str | None = None, *, config: str | None = None) -> list[Dataset]:
        async def find(db: Session) -> list[Dataset]:
            rows = await db.rows(SQL.datasets, name=name, config=config)
            found = [await publishing.dataset_of(db, row) for row in rows]
            return [one for one in found if one.routes or one.current]

        return await self._db.read(find)

    async def dataset_number(self, config: str, name: str) -> int:
        return await self._db.read(lambda db: publishing.find_dataset(db, config, name))

    async def publication(self, dataset: int, n: int) -> Publication | None:
        return await self._db.read(lambda db: publishing.publication(db, dataset, n))

    async def publication_of_dataset(self, config: str, name: str, n: int) -> Publication | None:
        async def find(db: Session) -> Publication | None:
            return await publishing.publication(db, await publishing.find_dataset(db, config, name), n)

        return await self._db.read(find)

    async def publication_of(self, execution: UUID) -> Publication | None:
        return await self._db.read(lambda db: publishing.publication_of(db, execution))

    async def publications(
        self, dataset: int, *, before: int | None = None, every: bool = False, limit: int = 100
    ) -> list[Publication]:
        async def find(db: Session) -> list[Publication]:
            given = {"before": before, "kept": None if every else True, "limit": limit}
            rows = await db.rows(SQL.newest_publications, dataset=dataset, **given)
            return await publishing.publications_of(db, rows)

        return await self._db.read(find)

    async def switches(self, dataset: int, *, before: int | None = None, limit: int = 100) -> list[Switch]:
        rows = await self._db.rows(SQL.newest_switches, dataset=dataset, before=before, limit=limit)
        return [Switch(seq, n, kind, reason, moment(at)) for seq, n, kind, reason, at in rows]

    async def notes(
        self, dataset: int, n: int, *, kind: NoteKind | None = None, after: int = 0, limit: int
    ) -> tuple[list[PublicationNote], int | None]:
        given = {"dataset": dataset, "n": n, "kind": kind, "after": after, "limit": limit + 1}
        rows = await self._db.rows(SQL.notes_of, **given)
        found = [
            PublicationNote(what, stage, path, as_uuid(execution), as_uuid_or_none(message), detail)
            for _, what, stage, path, execution, message, detail in rows[:limit]
        ]
        return found, rows[limit - 1][0] if len(rows) > limit else None

    async def published(
        self, dataset: int, n: int, *, stage: str, first: str = "", last: str | None = None, limit: int
    ) -> list[PublishedObject]:
        given = {"dataset": dataset, "n": n, "stage": stage, "first": first, "last": last, "limit": limit}
        rows = await self._db.rows(SQL.published_objects, **given)
        return [PublishedObject._make(row) for row in rows]

    async def published_at(self, dataset: int, n: int, places: Sequence[Place]) -> list[PublishedObject]:
        rows = await self._db.rows(SQL.published_at, dataset=dataset, n=n, **columns_of(places))
        return [PublishedObject._make(row) for row in rows]

    async def changes(
        self, dataset: int, since: int, until: int, *, stage: str | None, after: Place | None, limit: int
    ) -> list[Changed]:
        low, high = sorted((since, until))
        start = after or Place("", "")

        async def find(db: Session) -> list[Changed]:
            found: list[Changed] = []
            at = start
            while len(found) < limit:
                rows = await db.rows(
                    SQL.changed_between,
                    dataset=dataset,
                    low=low,
                    high=high,
                    limit=limit,
                    only=stage,
                    stage=at.stage,
                    path=at.path,
                )
                places = [Place(*row) for row in rows]
                if not places:
                    break
                at = places[-1]
                sides = []
                for n in (since, until):
                    some = await db.rows(SQL.published_at, dataset=dataset, n=n, **columns_of(places))
                    made = map(PublishedObject._make, some)
                    sides.append({Place(one.stage, one.path): one for one in made})
                found += [one for place in places if (one := _change(place, *map(_at(place), sides)))]
                if len(places) < limit:
                    break
            return found[:limit]

        return await self._db.read(find)

    # -- afterwards --------------------------------------------------------------------------------

    async def roll_back(
        self, dataset: int, *, to: int | None, expect_seq: int | None, reason: str | None
    ) -> int:
        change = Change("dataset.rollback")

        async def switch(db: Session) -> int:
            row = await publishing.lock_dataset(db, dataset)
            _, config, name, seq, current, _, _, was_held, *_ = row
            change.check_configs([config])
            if expect_seq not in (None, seq):
                raise publishing.moved(config, name, seq, expect_seq or 0, current)
            n = to if to is not None else await self._before(db, dataset, name, current)
            found = await publishing.publication(db, dataset, n)
            kept = [
                one for (one,) in await db.rows(SQL.newest_published, dataset=dataset, limit=_MOST_SWITCHES)
            ]
            if found is None:
                newest = f"The newest is {kept[0]}" if kept else "None is published"
                raise NotFound("publication_not_found", f"dataset {name} has no publication {n}. {newest}")
            if found.state == "dropped":
                raise NotFound(
                    "publication_dropped",
                    f"publication {n} of {name} was dropped on {found.dropped_at}; these are kept: "
                    f"{', '.join(map(str, sorted(kept)))}",
                )
            if found.state != "published":
                raise NotFound(
                    "publication_not_found",
                    f"publication {n} of {name} is {found.state}: readers have never seen it",
                )
            if n != current:
                about = {"from": current, "to": n}
                await change.record(db, config=config, object=f"{config}/{name}", reason=reason, detail=about)
                await db.run(
                    SQL.insert_switch, dataset=dataset, seq=seq + 1, n=n, kind="rollback", reason=reason
                )
                await db.run(SQL.set_current, dataset=dataset, seq=seq + 1, n=n, held=True)
                await publishing.record_event(db, dataset, "dataset.rolled_back")
                declared = publishing.declared_of(row)
                if declared and declared.publish == "automatic" and not was_held:
                    await publishing.record_event(db, dataset, "dataset.held")
            return n

        return await change.write(self._db, switch)

    async def _before(self, db: Session, dataset: int, name: str, current: int | None) -> int:
        """Return the kept publication that was current before the present one."""
        if current is None:
            raise Conflict(
                "nothing_published",
                f"dataset {name} has no current publication. Run: playhead publish {name} latest",
            )
        kept = {one for (one,) in await db.rows(SQL.newest_published, dataset=dataset, limit=_MOST_SWITCHES)}
        for (n,) in await db.rows(SQL.before_current, dataset=dataset, limit=_MOST_SWITCHES):
            if n < current and n in kept:
                return int(n)
        raise Conflict(
            "nothing_published",
            f"dataset {name} has no publication before {current}. To list those that are kept, run: "
            f"playhead publications {name}",
        )

    async def automatic_runs(self) -> list[tuple[str, str, UUID]]:
        rows = await self._db.rows(SQL.automatic_runs)
        return [(config, name, as_uuid(run)) for config, name, run in rows]

    async def replays_to_publish(self) -> list[tuple[str, str, UUID, str | None]]:
        rows = await self._db.rows(SQL.replays_to_publish)
        return [
            (config, name, as_uuid(replay), requests.decode(request).reason)
            for config, name, replay, request in rows
        ]

    async def release_dataset(self, dataset: int) -> None:
        change = Change("dataset.release")

        async def release(db: Session) -> None:
            _, config, name, _, _, _, _, was_held, *_ = await publishing.lock_dataset(db, dataset)
            change.check_configs([config])
            if was_held:
                await change.record(db, config=config, object=f"{config}/{name}")
            await db.run(SQL.release_dataset, dataset=dataset)

        await change.write(self._db, release)

    async def pin_publication(self, dataset: int, n: int, pinned: bool) -> None:
        change = Change("publication.pin" if pinned else "publication.unpin")

        async def pin(db: Session) -> None:
            about = await publishing.audited(db, dataset)  # it is locked: a drop holds it, too
            change.check_configs([about["config"]])
            if await db.run(SQL.pin_publication, dataset=dataset, n=n, pinned=pinned):
                await change.record(db, **about, detail={"publication": n})

        await change.write(self._db, pin)

    async def mark_dropped(self) -> list[Dropping]:
        numbers = [row[0] for row in await self._db.rows(SQL.datasets, name=None, config=None)]
        for dataset in numbers:
            if await self._db.read(lambda db, dataset=dataset: self._excess(db, dataset)):  # type: ignore[misc]
                await self._db.write(lambda db, dataset=dataset: self._drop(db, dataset))  # type: ignore[misc]
        unswept: dict[int, list[int]] = {}
        for dataset, n in await self._db.rows(SQL.unswept):
            unswept.setdefault(dataset, []).append(n)
        return [Dropping(dataset, found) for dataset, found in unswept.items()]

    async def _excess(self, db: Session, dataset: int) -> list[int]:
        """Return the publications that a dataset need not keep."""
        row = await db.row(SQL.dataset_declaration, dataset=dataset)
        assert row
        name, document = row
        declared = Config.from_document(json.loads(document)).datasets.get(name)
        keep = declared.keep if declared else 0
        kept = {n for (n,) in await db.rows(SQL.newest_published, dataset=dataset, limit=keep + 1)}
        return [n for (n,) in await db.rows(SQL.droppable, dataset=dataset) if n not in kept]

    async def _drop(self, db: Session, dataset: int) -> None:
        # A replay of a publication shares the lock of its execution while it begins: one of the two waits.
        await publishing.lock_dataset(db, dataset)
        numbers = await self._excess(db, dataset)
        rows = await db.rows(SQL.executions_of_publications, dataset=dataset, numbers=numbers)
        await exclude(db, [execution for (execution,) in rows])
        free = set(await self._excess(db, dataset))
        if numbers := [n for n in numbers if n in free]:
            await db.run(SQL.drop_publications, dataset=dataset, numbers=numbers)

    async def drop_page(self, dropping: Dropping, *, after: EntryCursor, limit: int) -> EntryCursor | None:
        async def delete(db: Session) -> EntryCursor | None:
            decided = await db.value(SQL.decided_of, dataset=dropping.dataset)
            start = max(after, (min(dropping.numbers) + 1, 0))
            given = {"dataset": dropping.dataset, "limit": limit}
            rows = await publishing.page_of(db, SQL.droppable_entries, start, decided, **given)
            if not rows:
                return None
            await db.run(SQL.delete_entries, rows=[row[0] for row in rows])
            await publishing.count_entries(db, dropping.dataset, (), [row[1] for row in rows])
            outputs = list({row[2] for row in rows if row[2] is not None})
            free = await db.rows(SQL.unnamed_outputs, outputs=outputs) if outputs else []
            if owners := list({owner_of(key) for _, key in free}):
                found = await db.rows(SQL.executions_by_ids, ids=owners)
                await db.run(SQL.reopen_prunings, executions=[n for (n,) in found])
            return (rows[-1][3], rows[-1][0]) if len(rows) == limit else None

        return await self._db.write(delete)

    async def end_drop(self, dropping: Dropping) -> None:
        async def end(db: Session) -> None:
            await db.run(SQL.swept, dataset=dropping.dataset, numbers=list(dropping.numbers))
            await db.run(SQL.sinks_must_forget, dataset=dropping.dataset)

        await self._db.write(end)

    async def placements(self, config: str, execution: UUID) -> list[Placement]:
        async def find(db: Session) -> list[Placement]:
            found = []
            for number, _, name, _, current, *_, document in await db.rows(
                SQL.datasets, name=None, config=config
            ):
                rows = await db.rows(SQL.numbers_with_part, dataset=number, execution=execution)
                is_declared = name in Config.from_document(json.loads(document)).datasets
                if is_declared or current is not None:
                    place = await self._place(db, number, [n for (n,) in rows], current)
                    found.append(Placement(name, config, current, *place))
            return found

        return await self._db.read(find)

    async def _place(
        self, db: Session, dataset: int, numbers: Sequence[int], current: int | None
    ) -> tuple[int | None, bool, int | None]:
        """Return `n`, `is_current` and `replaced_in` of the `Placement` of a part of these publications."""
        if not numbers or current is None:
            return (numbers[0] if numbers else None), False, None
        chain = await db.rows(SQL.based_on, dataset=dataset, n=current, least=numbers[-1])
        for n, _ in chain:
            if n in numbers:
                return n, True, None
        lowest, is_new = chain[-1]
        return numbers[0], False, lowest if lowest > numbers[0] and is_new else None

    async def published_in(self, keys: Sequence[str]) -> dict[str, list[PublishedIn]]:
        async def find(db: Session) -> dict[str, list[PublishedIn]]:
            real = await self._aliases.real(db, keys)
            rows = await db.rows(SQL.entries_of_objects, keys=list(set(real.values())))
            seen: dict[tuple[int, int], set[Place]] = {}
            for _, _, _, current, *_, dataset, stage, path in rows:
                if current is not None:
                    seen.setdefault((dataset, current), set()).add(Place(stage, path))
            declared = {of[0]: await declared_at(db, *of, places) for of, places in seen.items()}
            return {
                key: _published_in([row[1:] for row in rows if row[0] == of], declared)
                for key, of in real.items()
            }

        return await self._db.read(find) if keys else {}

    async def refused_automatic(self) -> list[Publication]:
        async def find(db: Session) -> list[Publication]:
            rows = await db.rows(SQL.newest_refused)
            automatic = [row for row in rows if json.loads(row[_REQUEST]).get("automatic")]
            # Numbers are unique in a dataset only.
            return [(await publishing.publications_of(db, [row]))[0] for row in automatic]

        return await self._db.read(find)


def _published_in(
    rows: Sequence[Row], declared: Mapping[int, Mapping[Place, Declaration]]
) -> list[PublishedIn]:
    """Return where an object is published, from rows of `entries_of_objects`, which are in order.

    Args:
        declared: what was declared about results that readers see, by the number of their dataset.
    """
    found: list[PublishedIn] = []
    for (config, dataset), entries in groupby(rows, key=lambda row: (row[0], row[1])):
        ranges: list[PublicationRange] = []
        since, end, valid = None, None, None
        for _, _, current, first, last, lowest, highest, number, *place in entries:
            if lowest is None:  # readers have seen none of them, for example a draft
                continue
            if first == end:  # the next entry of the same object, such as one that is below another result
                lowest = ranges.pop().first
            ranges.append(PublicationRange(lowest, highest))
            end = last
            if current is not None and lowest <= current <= highest:
                since, valid = lowest, declared[number].get(Place(*place))
        if ranges:
            found.append(PublishedIn(dataset, config, since, ranges, valid))
    return found


def _at(place: Place) -> Callable[[Mapping[Place, PublishedObject]], PublishedObject | None]:
    return lambda side: side.get(place)


def _change(place: Place, before: PublishedObject | None, after: PublishedObject | None) -> Changed | None:
    if after is None:
        return Changed(*place, "removed", None, None, before.sha256) if before else None
    if before is None:
        return Changed(*place, "added", after.key, after.sha256, None)
    if (before.sha256, before.content_type) == (after.sha256, after.content_type):
        return None
    return Changed(*place, "changed", after.key, after.sha256, before.sha256)
