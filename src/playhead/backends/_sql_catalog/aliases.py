"""The objects of publications, which have keys like those of an execution: aliases of the stored objects.

An alias is `{execution of the publication}/{stage}/{path}`. Listings, plans and comparisons read aliases as
they read the references of a run that takes over results. Messages get the key of the stored object, so
that lineage leads to the message that made it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Final
from uuid import UUID

from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ids import parse_uuid
from playhead.keys import INPUT_STAGE, stage_of
from playhead.ports.catalog.browse import Reference
from playhead.ports.catalog.outputs import RecordedOutput
from playhead.ports.catalog.publications import Place, PublishedObject

_MOST_KNOWN: Final = 10_000

Numbered = tuple[int, int]
"""Dataset and number of a publication."""


class Aliases:
    """Aliases of the publications that this process has looked up. An execution never changes its kind."""

    def __init__(self) -> None:
        self._known: dict[str, Numbered | None] = {}
        self._stages: dict[str, list[str]] = {}

    async def publication(self, db: Session, owner: str) -> Numbered | None:
        """Return the publication whose execution id is the first part of a key."""
        if owner not in self._known:
            if len(self._known) > _MOST_KNOWN:
                self._known = {}
            identity = parse_uuid(owner)
            row = await db.row(SQL.publication_source, source=identity) if identity else None
            if row is None and identity and await db.value(SQL.execution_number, id=identity) is None:
                return None  # it may become a publication
            self._known[owner] = (row[0], row[1]) if row else None
        return self._known[owner]

    async def stages(self, db: Session, owner: str) -> list[str]:
        """Return the stages of a publication, in the byte order of its keys."""
        if owner not in self._stages:
            rows = await db.rows(SQL.declared_stages, execution=UUID(owner))
            self._stages[owner] = sorted([INPUT_STAGE, *(stage for (stage,) in rows)], key=_ends_with_slash)
        return self._stages[owner]

    async def objects(self, db: Session, keys: Iterable[str]) -> dict[str, PublishedObject]:
        """Return the stored objects of those of these keys that are aliases."""
        by_owner: dict[str, list[str]] = {}
        for key in keys:
            by_owner.setdefault(key.partition("/")[0], []).append(key)
        found: dict[str, PublishedObject] = {}
        for owner, some in by_owner.items():
            of = await self.publication(db, owner)
            if of is None:
                continue
            places = await self.places(db, owner, some)
            rows = await db.rows(SQL.published_at, dataset=of[0], n=of[1], **columns_of(places.values()))
            made = {(row[0], row[1]): PublishedObject._make(row) for row in rows}
            found |= {key: made[place] for key, place in places.items() if place in made}
        return found

    async def places(self, db: Session, owner: str, keys: Iterable[str]) -> dict[str, Place]:
        """Return the places of those of these keys that belong to a publication."""
        stages = await self.stages(db, owner)
        rests = {key: key.partition("/")[2] for key in keys if key.startswith(f"{owner}/")}
        return {key: Place(*stage_of(rest, stages, "")) for key, rest in rests.items()}

    async def real(self, db: Session, keys: Sequence[str]) -> dict[str, str]:
        """Return the keys of stored objects by the given keys; others stand for themselves."""
        found = await self.objects(db, keys)
        return {key: found[key].key if key in found else key for key in keys}

    async def references(self, db: Session, prefix: str, after: str, limit: int) -> list[Reference] | None:
        """Return the aliases at or below a key, after another one; None if it is of no publication."""
        owner, _, rest = prefix.partition("/")
        if await self.publication(db, owner) is None:
            return None
        found: list[Reference] = []
        async for one in self._between(db, owner, rest, after, limit):
            alias = f"{owner}/{one.stage}/{one.path}"
            found.append(Reference(alias, one.location, one.size, one.created_at))
        return found

    async def _between(
        self, db: Session, owner: str, rest: str, after: str, limit: int
    ) -> AsyncIterator[PublishedObject]:
        of = await self.publication(db, owner)
        assert of
        start = after.partition("/")[2] if after.startswith(f"{owner}/") else ""
        count = 0
        for stage in await self.stages(db, owner):
            path = _path_in(stage, rest)
            if path is None or f"{stage}0" <= start:
                continue
            first = start[len(stage) + 1 :] if start.startswith(f"{stage}/") else ""
            given = {"dataset": of[0], "n": of[1], "stage": stage, "path": path, "after": first}
            ends = {"first": f"{path}/", "last": f"{path}0"} if path else {"first": "", "last": None}
            for row in await db.rows(SQL.published_below, limit=limit - count, **given, **ends):
                count += 1
                yield PublishedObject._make(row)
            if count == limit:
                return

    async def recorded(self, db: Session, first: str, last: str, limit: int) -> list[RecordedOutput] | None:
        """Return aliases from key `first` to before `last`; None if they are of no publication."""
        owner, _, begin = first.partition("/")
        of = await self.publication(db, owner)
        if of is None:
            return None
        end = last.partition("/")[2]
        found: list[RecordedOutput] = []
        for stage in await self.stages(db, owner):
            if f"{stage}0" <= begin or f"{stage}/" >= end:
                continue
            given = {
                "from": begin[len(stage) + 1 :] if begin.startswith(f"{stage}/") else "",
                "to": end[len(stage) + 1 :] if end.startswith(f"{stage}/") else None,
            }
            rows = await db.rows(
                SQL.published_range, dataset=of[0], n=of[1], stage=stage, limit=limit - len(found), **given
            )
            for row in rows:
                one = PublishedObject._make(row)
                key = f"{owner}/{one.stage}/{one.path}"
                found.append(RecordedOutput(key, one.size, one.sha256, one.content_type, None))
            if len(found) == limit:
                break
        return found


def columns_of(places: Collection[Place]) -> dict[str, list[str]]:
    """Return places as parameters of statements."""
    return {"stages": [one.stage for one in places], "paths": [one.path for one in places]}


def _ends_with_slash(stage: str) -> bytes:
    return f"{stage}/".encode()


def _path_in(stage: str, rest: str) -> str | None:
    """Return the path in a stage at which a listing of `rest` begins; None if it has nothing of it."""
    if rest in ("", stage) or stage.startswith(f"{rest}/"):
        return ""
    return rest[len(stage) + 1 :] if rest.startswith(f"{stage}/") else None
