"""Roles of PostgreSQL for a server and a worker, with the rights that `playhead migrate --grants` prints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg  # type: ignore[import-untyped]

from playhead.backends._postgres import Postgres
from playhead.ids import uuid7
from playhead.ports.diagnosis import PROCESS_ROLES, ProcessRole


@asynccontextmanager
async def roles_without_rights(url: str) -> AsyncIterator[Mapping[ProcessRole, str]]:
    """Yield two new roles, which are dropped at the end with their rights on this database."""
    roles: dict[ProcessRole, str] = {role: f"{role[0]}{uuid7().hex}" for role in PROCESS_ROLES}
    con = await asyncpg.connect(url)
    try:
        for name in roles.values():
            await con.execute(f"CREATE ROLE {name} LOGIN")
        yield roles
    finally:
        for name in roles.values():
            await con.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
        await con.close()


@asynccontextmanager
async def process_roles(url: str) -> AsyncIterator[Mapping[ProcessRole, str]]:
    """Migrate a schema, and yield two roles with their rights on it."""
    async with roles_without_rights(url) as roles:
        db = Postgres(url)
        await db.migrate()
        await db.grants(roles, execute=True)
        await db.close()
        yield roles


def as_role(url: str, role: str) -> str:
    """Return the URL with another user."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{role}@{rest.rpartition('@')[2]}"
