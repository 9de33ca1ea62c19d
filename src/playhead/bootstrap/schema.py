"""Migrate the databases that the settings name, and give roles of PostgreSQL their rights."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from playhead.backends._sqlite import Database
from playhead.bootstrap.backends import POSTGRES, extra, scheme, sqlite_path
from playhead.errors import CannotStart, broker_unavailable, catalog_unavailable
from playhead.ports.diagnosis import ProcessRole

if TYPE_CHECKING:
    from playhead.settings import Settings


async def migrate(settings: Settings, check: bool) -> list[str]:
    """Migrate the databases to the schema of this version, or only list the pending migrations (`check`).

    Returns:
        `database: number` for each migration.

    Raises:
        CannotStart: a database has a newer schema, or cannot be changed.
        Unavailable: a database is unreachable.
    """
    steps: dict[str, list[int]] = {}
    for url, what, unavailable in (
        (settings.catalog, "CATALOG", catalog_unavailable),
        (settings.broker, "BROKER", broker_unavailable),
    ):
        if scheme(url) in POSTGRES:
            with extra("postgres", url):
                from playhead.backends._postgres import Postgres, Unreachable
            postgres = Postgres(url or "")
            try:
                if postgres.address not in steps:
                    steps[postgres.address] = await (postgres.pending() if check else postgres.migrate())
            except Unreachable as exc:
                raise unavailable(str(exc)) from exc
            finally:
                await postgres.close()
        elif scheme(url) in (None, "sqlite"):
            db = Database(sqlite_path(settings, url, what))
            if str(db.path) not in steps:
                steps[str(db.path)] = await asyncio.to_thread(db.pending if check else db.migrate)
    return [f"{Path(name).name}: {n}" for name, numbers in steps.items() for n in numbers]


async def grants(settings: Settings, roles: Mapping[ProcessRole, str], *, execute: bool) -> list[str]:
    """Return the statements that give roles of PostgreSQL the rights of servers and workers.

    Args:
        roles: a role for each kind of process.
        execute: run them, too.

    Raises:
        CannotStart: no address is one of PostgreSQL, or the schema does not exist.
        Unavailable: a database is unreachable.
    """
    found: dict[str, list[str]] = {}
    for url, unavailable in (
        (settings.catalog, catalog_unavailable),
        (settings.broker, broker_unavailable),
    ):
        if scheme(url) not in POSTGRES:
            continue
        with extra("postgres", url):
            from playhead.backends._postgres import Postgres, Unreachable
        postgres = Postgres(url or "")
        try:
            if postgres.address not in found:
                found[postgres.address] = await postgres.grants(roles, execute=execute)
        except Unreachable as exc:
            raise unavailable(str(exc)) from exc
        finally:
            await postgres.close()
    if not found:
        raise CannotStart(
            "setup_invalid",
            "no backend of this deployment is PostgreSQL, and others have no grants: set PLAYHEAD_CATALOG to "
            "postgresql://host/database",
        )
    return [line for some in found.values() for line in some]
