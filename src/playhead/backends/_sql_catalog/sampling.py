"""The sample of a replay's objects that a canary with a seed publishes first."""

from __future__ import annotations

from random import Random

from playhead.backends._sql_catalog import requests
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL


async def draw_sample(db: Session, n: int, objects: int) -> None:
    """Move the sample of a canary with a seed to the first rows of a listed job.

    Rows exchange their objects, so ordinals, numbers and ids stay in order. An object with an invalid key
    stays where it is. Nothing is exchanged after the first payment: those rows may be sent.
    """
    row = await db.row(SQL.canary_of_unsent, execution=n)
    canary = requests.decode(row[0]).canary if row else None
    if canary is None or canary.seed is None or canary.objects >= objects:
        return
    chosen = set(Random(canary.seed).sample(range(1, objects + 1), canary.objects))
    first = range(1, canary.objects + 1)
    pairs = list(zip(sorted(chosen.difference(first)), sorted(set(first) - chosen), strict=True))
    rows_at = await db.rows(SQL.rows_at, execution=n, ordinals=[one for pair in pairs for one in pair])
    numbers: dict[int, int] = dict(map(tuple, rows_at))
    both = [(numbers[a], numbers[b]) for a, b in pairs if a in numbers and b in numbers]
    rows = [one for pair in both for one in pair]
    partners = [one for a, b in both for one in (b, a)]
    await db.run(SQL.exchange_objects, rows=rows, partners=partners)
