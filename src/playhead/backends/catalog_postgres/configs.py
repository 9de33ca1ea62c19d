"""Configs in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from playhead.backends._postgres import Connection
from playhead.backends._sql_catalog.configs import NEW_LANE, NEWEST, VERSION, loaded, new_lanes, refuse_taken
from playhead.backends.catalog_postgres.rows import Part
from playhead.model import Config, ConfigVersion
from playhead.ports.catalog.configs import Loaded

_NEWEST_OF_ONE = f"{VERSION} WHERE v.name = $1 ORDER BY v.version DESC LIMIT 1"

_ONE_AT_A_TIME = "LOCK TABLE configs IN SHARE ROW EXCLUSIVE MODE"
"""Who owns a queue is said by all configs together, so whoever changes one waits for others that do."""


class ConfigsPart(Part):
    async def save_config(self, config: Config, *, source: str, digest: str) -> tuple[ConfigVersion, bool]:
        async def job(con: Connection) -> tuple[ConfigVersion, bool]:
            await con.execute(_ONE_AT_A_TIME)
            newest = await con.fetchrow(_NEWEST_OF_ONE, config.name)
            if newest and newest[3] == digest:
                return loaded(newest).version, False
            active = bool(newest[4]) if newest else True
            if active:
                await self._check_queues(con, config)
            if not newest:
                await con.execute(
                    "INSERT INTO configs (name, active, created_at) VALUES ($1, true, playhead_now())",
                    config.name,
                )
            made = await con.fetchval(
                "INSERT INTO config_versions (name, version, hash, source, document, created_at) "
                "VALUES ($1, $2, $3, $4, $5, playhead_now()) RETURNING id",
                *(config.name, newest[2] + 1 if newest else 1, digest, source),
                json.dumps(config.document()),
            )
            await con.executemany(
                f"INSERT INTO lanes ({NEW_LANE}) VALUES ($1, $2, $3, $4, $5, $6, $7)", new_lanes(made, config)
            )
            (row,) = await con.fetch(f"{VERSION} WHERE v.id = $1", made)
            return loaded(row).version, True

        return await self._write(job)

    async def config(self, name: str, version: int | None = None) -> Loaded | None:
        async def job(con: Connection) -> Loaded | None:
            row = await con.fetchrow(
                f"{VERSION} WHERE v.name = $1 AND ($2::int IS NULL OR v.version = $2) "
                "ORDER BY v.version DESC LIMIT 1",
                *(name, version),
            )
            return loaded(row) if row else None

        return await self._read(job)

    async def configs(self, *, before: str | None = None, limit: int = 100) -> Sequence[ConfigVersion]:
        async def job(con: Connection) -> list[ConfigVersion]:
            rows = await con.fetch(
                f"{VERSION} WHERE {NEWEST} "
                "AND ($1::text IS NULL OR c.n < (SELECT n FROM configs WHERE name = $1)) "
                "ORDER BY c.n DESC LIMIT $2",
                *(before, limit),
            )
            return [loaded(r).version for r in rows]

        return await self._read(job)

    async def config_versions(
        self, name: str, *, before: int | None = None, limit: int = 100
    ) -> Sequence[ConfigVersion]:
        async def job(con: Connection) -> list[ConfigVersion]:
            rows = await con.fetch(
                f"{VERSION} WHERE v.name = $1 AND ($2::int IS NULL OR v.version < $2) "
                "ORDER BY v.version DESC LIMIT $3",
                *(name, before, limit),
            )
            return [loaded(r).version for r in rows]

        return await self._read(job)

    async def set_active(self, name: str, active: bool) -> ConfigVersion | None:
        async def job(con: Connection) -> ConfigVersion | None:
            await con.execute(_ONE_AT_A_TIME)
            row = await con.fetchrow(_NEWEST_OF_ONE, name)
            if row is None:
                return None
            if active and not row[4]:
                await self._check_queues(con, loaded(row).config)
            await con.execute("UPDATE configs SET active = $1 WHERE name = $2", active, name)
            (row,) = await con.fetch(_NEWEST_OF_ONE, name)
            return loaded(row).version

        return await self._write(job)

    async def active_configs(self) -> Sequence[Loaded]:
        async def job(con: Connection) -> list[Loaded]:
            rows = await con.fetch(f"{VERSION} WHERE c.active AND {NEWEST} ORDER BY c.n")
            return [loaded(r) for r in rows]

        return await self._read(job)

    async def queue_owners(self, queues: Sequence[str], *, except_config: str) -> dict[str, tuple[str, str]]:
        return await self._read(lambda con: self._owners(con, queues, except_config))

    async def _owners(
        self, con: Connection, queues: Sequence[str], except_config: str
    ) -> dict[str, tuple[str, str]]:
        rows = await con.fetch(
            "SELECT l.queue, v.name, l.route FROM lanes l JOIN config_versions v ON v.id = l.config_version "
            f"JOIN configs c ON c.name = v.name WHERE c.active AND {NEWEST} AND v.name <> $1 "
            "AND l.queue = ANY($2::text[])",
            *(except_config, list(queues)),
        )
        return {queue: (config, route) for queue, config, route in rows}

    async def _check_queues(self, con: Connection, config: Config) -> None:
        queues = [r.queue for r in config.routes.values()]
        refuse_taken(await self._owners(con, queues, config.name))
