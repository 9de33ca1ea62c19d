"""What made the results of publications, as rows hold it: numbers of results by lane, stage and code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from playhead.backends._sql_catalog.codes import codes_of
from playhead.backends._sql_catalog.lanes import Lanes
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ports.catalog.drafts import Draft
from playhead.ports.catalog.publications import SINK
from playhead.ports.catalog.results import MadeBy, MadeById


async def made_with(db: Session, draft: Draft, made: Mapping[MadeById, int], size: int) -> tuple[str, int]:
    """Return what made the results of a draft, as JSON, and the bytes of its objects.

    Args:
        made, size: the changes to its base publication.
    """
    row = await db.row(SQL.base_made, dataset=draft.dataset, n=draft.base)
    before, bytes_before = row or ("[]", 0)
    found = Counter[MadeById]({tuple(by): results for *by, results in json.loads(before)})
    found.update(made)
    return json.dumps([[*by, results] for by, results in found.items() if results]), bytes_before + size


async def decode_made(db: Session, lanes: Lanes, stored: Sequence[str]) -> list[list[MadeBy]]:
    """Return what made the results of publications, each from its JSON."""
    every = [[(tuple(by), results) for *by, results in json.loads(one)] for one in stored]
    known = await lanes.learn(db, {by[0] for made in every for by, _ in made})
    codes = await codes_of(db, [by[2] for made in every for by, _ in made])
    return [
        sorted(
            (
                MadeBy(
                    *(known[by[0]].version, known[by[0]].route, by[1]),
                    known[by[0]].stage or f"{SINK}{known[by[0]].route}",
                    tuple(codes[by[2]]) if by[2] in codes else None,
                    *(results, by),
                )
                for by, results in made
            ),
            key=lambda one: (one.route, one.from_stage, one.id[0]),
        )
        for made in every
    ]
