"""Decide which parts a base publication shows, so that unchanged units of a new run need not be read.

A new run N has taken over results of an earlier run S, and of replays. Its unit of an input is *whole* from
an execution X if each of its messages has the result of the message of X at the same place
(`messages.whole`). The base publication shows S, and layers that were applied after it. It has the unit of N
already if X is the last of S and these layers that has received the input or an object below it:

- All changes of a publication since S was applied are units of the layers. If no layer has received the
  input or an object below it, the publication shows all that S has below the input, because all of that is
  valid: N has taken it over.
- If the last one that has received any of these is X, its unit has replaced all that was below the input. It
  was applied, because all of it is valid, and because no unit of its publication was refused for another
  reason than a failure. X has received the input itself, because N has the result of X for it.

What a layer has received is an object of the base publication, so the input above it is found there, by what
each result has received. If the object is not there any more, a later layer has replaced the result above it.

This holds if the following is true, too. Otherwise all units are compared.

- The base publication, and each that it is based on down to the one with S, was made from the parts as they
  are now: none of them has run again since.
- All of these publications have the same routes.
- No object of a layer was left out, also because its document had changed or was not published: of such an
  object, the publication does not show what the layer has.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from typing import Final

from playhead.backends._sql_catalog.candidates import Candidate, candidates
from playhead.backends._sql_catalog.lanes import as_uuid
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.ports.catalog.drafts import Draft, DraftPart
from playhead.ports.catalog.publications import Place

_MOST: Final = 10
"""Publications that are considered. The objects of each layer are read once."""
_PAGE: Final = 1_000
_NOT_APPLIED: Final = ("left_out", "superseded", "removed", "older")


async def continued_by(db: Session, dataset: int, n: int, part: DraftPart) -> list[Candidate]:
    """Return the run whose results a part has taken over, and the layers that publication `n` shows over it.

    Nothing if it is not known which units are the same.
    """
    since = await db.row(SQL.plan_of, execution=part.execution)
    if since is None or since[0] is None:
        return []
    rows = await db.rows(SQL.applied_parts, dataset=dataset, n=n, most=_MOST)
    if not rows or (rows[0][1], as_uuid(rows[0][2])) != ("base", as_uuid(since[0])):
        return []
    if not all(is_same for _, _, _, is_same, _, _ in rows):
        return []
    for _, _, _, _, has_other_edges, units in rows[1:]:
        if has_other_edges or any(json.loads(units).get(kind) for kind in _NOT_APPLIED):
            return []
    found = {one.id: one for one in await candidates(db, [as_uuid(row[2]) for row in rows])}
    run, *layers = [found[as_uuid(row[2])] for row in rows]
    return [run, *layers] if run.is_run else []


class UnchangedUnits:
    """Finds the units that a base publication has already."""

    def __init__(self) -> None:
        self._base: tuple[int, int] | None = None
        self._inputs: dict[int, frozenset[Place]] = {}

    async def among(self, db: Session, draft: Draft, part: DraftPart, rows: Sequence[Row]) -> Container[int]:
        """Return the roots, of rows of the fragment `node`, whose units the base publication has already."""
        if part.continues is None:
            return ()
        taken = {row[0]: (place_of(row[4], row[3]), row[12]) for row in rows if row[12] is not None}
        shown = {place: part.continues.run for place, _ in taken.values()}
        for layer in part.continues.layers:
            inputs = shown.keys() & await self._inputs_of(db, draft, layer)
            shown |= dict.fromkeys(inputs, layer.execution)
        return {n for n, (place, execution) in taken.items() if shown[place] == execution}

    async def _inputs_of(self, db: Session, draft: Draft, layer: DraftPart) -> frozenset[Place]:
        """Return the inputs of the base publication at or above the objects that a layer has received.

        They never change, and are kept until another publication is the base.
        """
        base = draft.dataset, draft.base
        if self._base != base:
            self._base, self._inputs = base, {}
        known = self._inputs  # of this base: while this waits, another draft may need another one
        if layer.execution in known:
            return known[layer.execution]
        inputs, seen, after = set[Place](), set[Place](), 0
        while rows := await db.rows(SQL.unit_roots, execution=layer.execution, after=after, limit=_PAGE):
            after = rows[-1][8]
            places = {place_of(row[4], row[3]) for row in rows} - seen
            while places:
                seen |= places
                columns = {"stages": [one.stage for one in places], "paths": [one.path for one in places]}
                entries = await db.rows(SQL.entries_at, dataset=draft.dataset, at=draft.base, **columns)
                inputs |= {Place(row[1], row[2]) for row in entries if row[4] is None}
                places = {place_of(row[11], row[10]) for row in entries if row[4] is not None} - seen
        known[layer.execution] = frozenset(inputs)
        return known[layer.execution]


def place_of(key: str, stage: str) -> Place:
    """Return the place of an object, by its key and its stage."""
    return Place(stage, key[key.index("/") + len(stage) + 2 :])
