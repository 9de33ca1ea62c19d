"""Searching in the index of Find, and in what needs no index because there is little of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from playhead.backends._sql_catalog.lanes import as_uuid, as_uuid_or_none
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.rows import ABOVE_ALL
from playhead.backends._sql_catalog.trigrams import LENGTH, match
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.model import ROW_STATES
from playhead.ports.catalog.terms import (
    TERM_KINDS,
    Failure,
    ObjectFacts,
    Place,
    RouteAdapter,
    Started,
    Switched,
    Term,
)

_PATH: Final = TERM_KINDS.index("path")
_MOST_STAGES: Final = 200
_MOST_GROUPS: Final = 1000
_MOST_MESSAGES: Final = 100
"""Messages of an object that are read for its states."""
_MOST_CONFIGS: Final = 100
_LAST: Final = "\U0010ffff"
"""Follows every text with the same beginning."""


class TermsPart(Part):
    async def terms_with(self, text: str, *, paths: bool, has_parts: bool, limit: int) -> list[Term]:
        if has_parts and len(text) >= LENGTH:
            rows = await self._db.read(partial(_containing, text=text, paths=paths, limit=limit))
        else:
            rows = await self._db.read(partial(_beginning, text=text, paths=paths, limit=limit))
        found = {row[0]: Term(row[0], TERM_KINDS[row[1]], row[2], row[3] or 0) for row in rows}
        return sorted(found.values(), key=lambda one: (-one.newest, one.text))

    async def places_of(self, terms: Sequence[int], *, limit: int) -> dict[int, list[Place]]:
        found: dict[int, list[Place]] = {n: [] for n in terms}
        for n, execution, key in await self._db.rows(SQL.term_places, terms=list(terms), limit=limit):
            found[n].append(Place(as_uuid(execution), key))
        return found

    async def uses_counted(self, terms: Sequence[int], *, most: int) -> dict[int, int]:
        rows = await self._db.rows(SQL.count_uses, terms=list(terms), most=most)
        return {row[0]: row[1] for row in rows}

    async def newest_keys(self, text: str, *, rows: int, limit: int) -> list[str]:
        found = await self._db.rows(SQL.newest_keys, pattern=_pattern(text), rows=rows, limit=limit)
        return [key for (key,) in found]

    async def objects_found(self, keys: Sequence[str]) -> dict[str, ObjectFacts]:
        async def look(db: Session) -> dict[str, ObjectFacts]:
            found = await db.rows(SQL.objects_found, keys=list(keys))
            known = [row[0] for row in found]
            states: dict[str, list[int]] = {}
            for key, state, *_ in await db.rows(SQL.states_of_objects, keys=known, most=_MOST_MESSAGES):
                states.setdefault(key, []).append(state)
            owners = [key[:36] for key in known]
            seen = await db.rows(SQL.current_objects, keys=known, executions=owners)
            shown = {row[0]: row[1] > 0 for row in seen}
            return {
                key: ObjectFacts(
                    key,
                    stored_at,
                    bool(is_pruned),
                    [ROW_STATES[state] for state in states.get(key, ())],
                    shown.get(key),
                )
                for key, stored_at, is_pruned in found
            }

        return await self._db.read(look) if keys else {}

    async def started_with(self, terms: Sequence[int], *, limit: int) -> list[tuple[int, Started]]:
        rows = await self._db.rows(SQL.started_with, terms=list(terms), limit=limit)
        return [
            (term, Started(as_uuid(id), as_uuid_or_none(batch), *rest)) for term, id, batch, *rest in rows
        ]

    async def failures_with(self, text: str, *, limit: int) -> list[Failure]:
        async def look(db: Session) -> list[Row]:
            newest = await db.rows(
                SQL.newest_groups,
                execution=None,
                config=None,
                route=None,
                before=ABOVE_ALL,
                limit=_MOST_GROUPS,
            )
            numbers = [n for (n,) in newest]
            return await db.rows(SQL.failures_containing, rows=numbers, pattern=_pattern(text), limit=limit)

        rows = await self._db.read(look)
        return [Failure(as_uuid(id), as_uuid(execution), *rest) for id, execution, *rest in rows]

    async def adapters_with(self, text: str, *, limit: int) -> list[RouteAdapter]:
        rows = await self._db.rows(SQL.documents_containing, pattern=_pattern(text), limit=_MOST_CONFIGS)
        wanted = text.lower()
        return [
            RouteAdapter(config, route, adapter)
            for config, document in rows
            for route, adapter in _adapters(json.loads(document))
            if wanted in adapter.lower()
        ][:limit]

    async def switches_with(self, text: str, *, limit: int) -> list[Switched]:
        rows = await self._db.rows(SQL.switches_containing, pattern=_pattern(text), limit=limit)
        return [Switched(*row) for row in rows]


async def _containing(db: Session, *, text: str, paths: bool, limit: int) -> list[Row]:
    await db.run(SQL.plan_for_parts, bitmaps="on", indexes="off")
    found = await db.rows(
        SQL.terms_containing,
        pattern=_pattern(text),
        match=match(text, is_path=paths),
        paths=True if paths else None,
        others=None if paths else True,
        limit=limit,
    )
    if not found:
        return []
    # With bitmaps, PostgreSQL would read all executions of a term to find the newest one.
    await db.run(SQL.plan_for_parts, bitmaps="off", indexes="on")
    uses = await db.rows(SQL.newest_uses, terms=[row[0] for row in found])
    newest: dict[int, int] = {row[0]: row[1] for row in uses}
    return [(*row, newest.get(row[0])) for row in found]


async def _beginning(db: Session, *, text: str, paths: bool, limit: int) -> list[Row]:
    """Return terms that begin with a text, or whose name does."""
    kinds = [_PATH] if paths else [*range(_PATH + 1, len(TERM_KINDS))]
    given = [(kind, text) for kind in kinds]
    if paths:
        given += [(_PATH, f"{stage}/{text}") for (stage,) in await db.rows(SQL.stages, limit=_MOST_STAGES)]
        given.append((_PATH, f"input/{text}"))
    rows = await db.rows(
        SQL.terms_beginning,
        kinds=[kind for kind, _ in given],
        firsts=[first for _, first in given],
        lasts=[first + _LAST for _, first in given],
        limit=limit,
    )
    named = await db.rows(SQL.terms_named, kind=kinds[0], first=text, last=text + _LAST, limit=limit)
    return [*rows, *named]


def _adapters(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the routes of a config with the types of their adapters, each once."""
    for name, route in document["routes"].items():
        for adapter in dict.fromkeys(step["type"] for step in route["steps"]):
            yield name, adapter


def _pattern(text: str) -> str:
    """Return a pattern for texts that contain a text: no character of it is special."""
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return f"%{text}%"
