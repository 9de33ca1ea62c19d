"""The code of adapters as rows hold it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from playhead.backends._sql_catalog.lanes import storable
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.model import AdapterCode, LoadedCode


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


async def codes_of(db: Session, numbers: Iterable[int | None]) -> dict[int | None, list[AdapterCode]]:
    """Return the adapters that ran, by the numbers of their codes."""
    wanted = list({number for number in numbers if number is not None})
    rows = await db.rows(SQL.codes_named, ids=wanted) if wanted else []
    return {number: [AdapterCode(*one) for one in json.loads(adapters)] for number, adapters in rows}
