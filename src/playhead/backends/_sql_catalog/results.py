"""The results of publications: what made them, how many there are, and how many bytes they protect."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from playhead.backends._sql_catalog.made import decode_made
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql import DEAD
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.ports.catalog.publications import SINK
from playhead.ports.catalog.results import MadeBy, Protected, Result, Shown, StepTimes


class ResultsPart(Part):
    async def made_by(self, dataset: int, numbers: Sequence[int]) -> dict[int, list[MadeBy]]:
        async def find(db: Session) -> dict[int, list[MadeBy]]:
            rows = await db.rows(SQL.made_of, dataset=dataset, numbers=list(numbers))
            made = await decode_made(db, self._lanes, [stored for _, stored in rows])
            return {n: one for (n, _), one in zip(rows, made, strict=True)}

        return await self._db.read(find) if numbers else {}

    async def results_in(self, dataset: int, n: int, *, stage: str, after: str, limit: int) -> list[Result]:
        given = {"dataset": dataset, "n": n, "stage": stage, "after": after, "limit": limit}
        rows = await self._db.rows(SQL.results_in, **given)
        return [
            Result(path, key, received, received[received.index("/") + len(of) + 2 :], (lane, of, code))
            for path, key, lane, of, received, code in rows
        ]

    async def failed_replays(self, keys: Sequence[str]) -> dict[tuple[str, str], str]:
        async def find(db: Session) -> dict[tuple[str, str], str]:
            rows = sorted(await db.rows(SQL.roots_by_key, keys=list(keys)), key=lambda row: row[0])
            lanes = await self._lanes.learn(db, {lane for _, _, lane, *_ in rows})
            newest = {(key, lanes[lane].route): (state, error) for _, key, lane, state, error in rows}
            return {of: error for of, (state, error) in newest.items() if state == DEAD}

        return await self._db.read(find) if keys else {}

    async def shown(self) -> list[Shown]:
        async def find(db: Session) -> list[Shown]:
            rows = await db.rows(SQL.shown)
            every = await decode_made(db, self._lanes, [stored for *_, stored, _ in rows])
            return [
                Shown(config, name, n, _objects(json.loads(counts)), made, max(age, 0.0))
                for (config, name, n, counts, _, age), made in zip(rows, every, strict=True)
            ]

        return await self._db.read(find)

    async def publication_times(self) -> list[StepTimes]:
        rows = await self._db.rows(SQL.publication_times)
        return [StepTimes(max(resolving, 0.0), max(staging, 0.0)) for resolving, staging in rows]

    async def protected_bytes(self) -> list[Protected]:
        return [Protected(*row) for row in await self._db.rows(SQL.protected_bytes)]


def _objects(counts: Mapping[str, Mapping[str, int]]) -> int:
    return sum(one["total"] for stage, one in counts.items() if not stage.startswith(SINK))
