"""Configs in SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence

from playhead.backends._sql_catalog.configs import NEW_LANE, NEWEST, VERSION, loaded, new_lanes, refuse_taken
from playhead.backends._sqlite import Connection
from playhead.backends.catalog_sqlite.rows import Part
from playhead.model import Config, ConfigVersion
from playhead.ports.catalog.configs import Loaded


class ConfigsPart(Part):
    async def save_config(self, config: Config, *, source: str, digest: str) -> tuple[ConfigVersion, bool]:
        def job(con: Connection) -> tuple[ConfigVersion, bool]:
            newest = con.execute(
                f"{VERSION} WHERE v.name = ? ORDER BY v.version DESC LIMIT 1", (config.name,)
            ).fetchone()
            if newest and newest[3] == digest:
                return loaded(newest).version, False
            active = bool(newest[4]) if newest else True
            if active:
                self._check_queues(con, config)
            now = self._clock()
            con.execute(
                "INSERT INTO configs (name, active, created_at) VALUES (?, 1, ?) ON CONFLICT DO NOTHING",
                (config.name, now),
            )
            version = newest[2] + 1 if newest else 1
            row = con.execute(
                "INSERT INTO config_versions (name, version, hash, source, document, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                (config.name, version, digest, source, json.dumps(config.document()), now),
            ).fetchone()
            con.executemany(
                f"INSERT INTO lanes ({NEW_LANE}) VALUES (?, ?, ?, ?, ?, ?, ?)", new_lanes(row[0], config)
            )
            return loaded(con.execute(f"{VERSION} WHERE v.id = ?", row).fetchone()).version, True

        return await self._write(job)

    async def config(self, name: str, version: int | None = None) -> Loaded | None:
        def job(con: Connection) -> Loaded | None:
            row = con.execute(
                f"{VERSION} WHERE v.name = ? AND (?2 IS NULL OR v.version = ?2) ORDER BY v.version DESC LIMIT 1",
                (name, version),
            ).fetchone()
            return loaded(row) if row else None

        return await self._read(job)

    async def configs(self, *, before: str | None = None, limit: int = 100) -> Sequence[ConfigVersion]:
        def job(con: Connection) -> list[ConfigVersion]:
            rows = con.execute(
                f"{VERSION} WHERE {NEWEST} AND (?1 IS NULL OR c.rowid < (SELECT rowid FROM configs WHERE name = ?1)) "
                "ORDER BY c.rowid DESC LIMIT ?2",
                (before, limit),
            ).fetchall()
            return [loaded(r).version for r in rows]

        return await self._read(job)

    async def config_versions(
        self, name: str, *, before: int | None = None, limit: int = 100
    ) -> Sequence[ConfigVersion]:
        def job(con: Connection) -> list[ConfigVersion]:
            rows = con.execute(
                f"{VERSION} WHERE v.name = ?1 AND (?2 IS NULL OR v.version < ?2) ORDER BY v.version DESC LIMIT ?3",
                (name, before, limit),
            ).fetchall()
            return [loaded(r).version for r in rows]

        return await self._read(job)

    async def set_active(self, name: str, active: bool) -> ConfigVersion | None:
        def job(con: Connection) -> ConfigVersion | None:
            query = f"{VERSION} WHERE v.name = ? ORDER BY v.version DESC LIMIT 1"
            row = con.execute(query, (name,)).fetchone()
            if row is None:
                return None
            if active and not row[4]:
                self._check_queues(con, loaded(row).config)
            con.execute("UPDATE configs SET active = ? WHERE name = ?", (active, name))
            return loaded(con.execute(query, (name,)).fetchone()).version

        return await self._write(job)

    async def active_configs(self) -> Sequence[Loaded]:
        def job(con: Connection) -> list[Loaded]:
            rows = con.execute(f"{VERSION} WHERE c.active AND {NEWEST} ORDER BY c.rowid").fetchall()
            return [loaded(r) for r in rows]

        return await self._read(job)

    async def queue_owners(self, queues: Sequence[str], *, except_config: str) -> dict[str, tuple[str, str]]:
        return await self._read(lambda con: self._owners(con, queues, except_config))

    def _owners(
        self, con: Connection, queues: Sequence[str], except_config: str
    ) -> dict[str, tuple[str, str]]:
        rows = con.execute(
            "SELECT l.queue, v.name, l.route FROM lanes l JOIN config_versions v ON v.id = l.config_version "
            f"JOIN configs c ON c.name = v.name WHERE c.active AND {NEWEST} AND v.name <> ?",
            (except_config,),
        )
        wanted = set(queues)
        return {queue: (config, route) for queue, config, route in rows if queue in wanted}

    def _check_queues(self, con: Connection, config: Config) -> None:
        queues = [r.queue for r in config.routes.values()]
        refuse_taken(self._owners(con, queues, config.name))
