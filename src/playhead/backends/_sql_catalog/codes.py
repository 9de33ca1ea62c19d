"""The code of adapters as rows hold it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from playhead.backends._sql_catalog.lanes import storable
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import AdapterCode, LoadedCode, MadeByCondition, WorkerCondition


def number_of(adapters: str) -> int:
    """Return the number of a row of `codes`. It follows from the content, so all databases agree on it."""
    return int.from_bytes(hashlib.sha256(adapters.encode()).digest()[:8]) >> 1


def number_of_chain(adapters: Sequence[AdapterCode]) -> int:
    """Return the number that `record_code` gives a chain."""
    return number_of(json.dumps(as_rows(adapters)))


def as_rows(adapters: Sequence[AdapterCode]) -> list[tuple[str, str | None, str | None]]:
    return [(one.type, storable(one.version), storable(one.code)) for one in adapters]


async def insert_chain(db: Session, adapters: Sequence[AdapterCode]) -> int:
    """Record a chain; return its number."""
    rows = as_rows(adapters)
    listed = json.dumps(rows)
    await db.run(SQL.insert_code, id=number_of(listed), adapters=listed)
    for kind, version, code in sorted(set(rows)):
        await db.run(SQL.insert_adapter_code, type=kind, version=version, code=code)
    return number_of(listed)


async def insert_loaded(db: Session, loaded: LoadedCode) -> int:
    """Record what a process has loaded; return its number."""
    adapters = json.dumps([[one.type, one.version, one.code, one.source] for one in loaded.adapters])
    number = number_of(adapters)
    await db.run(SQL.insert_code, id=number, adapters=adapters)
    return number


class Makers(NamedTuple):
    """What a condition selects, as parameters of statements; None: any.

    Attributes:
        ran: numbers of codes.
        worker: id of a process.
    """

    ran: list[int] | None
    worker: str | None


async def makers_of(db: Session, by: MadeByCondition) -> Makers:
    """Return what a condition selects."""
    if isinstance(by, WorkerCondition):
        return Makers(None, by.worker)
    quoted = re.sub("[!%_]", r"!\g<0>", json.dumps(by.name))
    rows = await db.rows(SQL.codes_of_type, pattern=f"%{quoted}%")
    chains = ((number, json.loads(adapters)) for number, adapters in rows)
    return Makers(
        [n for n, chain in chains if by.is_met(AdapterCode(*one[:3]) for one in chain)],
        None,
    )


async def codes_of(db: Session, numbers: Iterable[int | None]) -> dict[int | None, list[AdapterCode]]:
    """Return the adapters that ran, by the numbers of their codes."""
    wanted = list({number for number in numbers if number is not None})
    rows = await db.rows(SQL.codes_named, ids=wanted) if wanted else []
    return {number: [AdapterCode(*one) for one in json.loads(adapters)] for number, adapters in rows}
