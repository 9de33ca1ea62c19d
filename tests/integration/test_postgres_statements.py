"""PostgreSQL prepares each statement of the catalog, with and without its optional parameters."""

from __future__ import annotations

from typing import Any

import asyncpg  # type: ignore[import-untyped]

from playhead.backends._postgres import Postgres
from playhead.backends.sql.statements import SQL
from tests.unit.test_statements import INSERTED_IN_BULK, PARAMETER

UTILITY = "LOCK"
"""The beginning of a statement that PostgreSQL does not prepare."""


async def test_each_statement_is_valid_in_postgresql(url: str):
    db = Postgres(url)
    await db.migrate()
    await db.close()
    con = await asyncpg.connect(url)
    for statement in SQL:
        if not statement.texts["postgresql"]:  # it is for the other database
            continue
        if statement.name in INSERTED_IN_BULK:
            await con.prepare(statement.postgres_insert())
            continue
        names = [found[0] for found in PARAMETER.findall(statement.texts["postgresql"])]
        for value in (None, 1):
            values: dict[str, Any] = dict.fromkeys(names, value)
            text, _ = statement.postgres(values)
            if text and not text.startswith(UTILITY):
                await con.prepare(text)
    await con.close()
