"""Config versions and their lanes, and which route owns a queue."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql.session import Row, Session
from playhead.backends.sql.statements import SQL
from playhead.errors import Conflict
from playhead.ids import moment
from playhead.model import Config, ConfigVersion
from playhead.ports.catalog.configs import Loaded


class ConfigsPart(Part):
    async def save_config(self, config: Config, *, source: str, digest: str) -> tuple[ConfigVersion, bool]:
        change = Change("config.apply")
        change.check_configs([config.name])

        async def save(db: Session) -> tuple[ConfigVersion, bool]:
            await db.run(SQL.lock_configs)
            newest = await self._version_of(db, config.name)
            if newest and newest.version.hash == digest and newest.config.is_like(config):
                await self._update_effects(db, newest, config)
                return newest.version, False
            if newest is None or newest.version.active:
                await self._check_queues(db, config)
            if newest is None:
                await db.run(SQL.insert_config, name=config.name)
            number = await db.value(
                SQL.insert_version,
                name=config.name,
                version=newest.version.version + 1 if newest else 1,
                hash=digest,
                source=source,
                document=json.dumps(config.document()),
                retention=json.dumps(asdict(config.retention)) if config.retention else None,
            )
            await db.insert(
                SQL.insert_lanes,
                [
                    (
                        *(number, r.name, r.queue, r.stage, r.external, r.errors.max_attempts),
                        *(json.dumps(r.to), r.on_replay, r.effects, r.stage and r.outputs_digest),
                    )
                    for r in config.routes.values()
                ],
            )
            await db.run(SQL.forget_automatic, config=config.name)
            for name, dataset in config.datasets.items():
                is_automatic = dataset.publish == "automatic"
                await db.run(SQL.insert_dataset, config=config.name, name=name, automatic=is_automatic)
            saved = await self._version_of(db, config.name)
            assert saved
            version = {"version": saved.version.version, "hash": digest}
            await change.record(db, config=config.name, detail=version)
            return saved.version, True

        return await change.write(self._db, save)

    async def _update_effects(self, db: Session, newest: Loaded, config: Config) -> None:
        """Record what the adapters declare now. Only new replays read it, so the version stays as it is."""
        for name, route in config.routes.items():
            if route.effects != newest.config.routes[name].effects:
                await db.run(
                    SQL.set_effects,
                    effects=route.effects,
                    name=config.name,
                    version=newest.version.version,
                    route=name,
                )

    async def config(self, name: str, version: int | None = None) -> Loaded | None:
        return await self._db.read(lambda db: self._version_of(db, name, version))

    async def _version_of(self, db: Session, name: str, version: int | None = None) -> Loaded | None:
        row = await db.row(SQL.version_of_config, name=name, version=version)
        return (await self._loaded(db, [row]))[0] if row else None

    async def _loaded(self, db: Session, rows: Sequence[Row]) -> list[Loaded]:
        """From rows with the columns of the fragment `version`."""
        declared: dict[int, dict[str, Any]] = {row[0]: {} for row in rows}
        for version, route, on_replay, effects in await db.rows(
            SQL.effects_of_lanes, versions=list(declared)
        ):
            declared[version][route] = on_replay, effects
        configs = [_config(row).with_effects(declared[row[0]]) for row in rows]
        return [Loaded(_version(row, config), config) for row, config in zip(rows, configs, strict=True)]

    async def configs(self, *, before: str | None = None, limit: int = 100) -> Sequence[ConfigVersion]:
        rows = await self._db.rows(SQL.newest_versions, before=before, limit=limit)
        return [_version(row, _config(row)) for row in rows]

    async def config_versions(
        self, name: str, *, before: int | None = None, limit: int = 100
    ) -> Sequence[ConfigVersion]:
        rows = await self._db.rows(SQL.versions_of_config, name=name, before=before, limit=limit)
        return [_version(row, _config(row)) for row in rows]

    async def set_active(self, name: str, active: bool) -> ConfigVersion | None:
        change = Change("config.activate" if active else "config.deactivate")
        change.check_configs([name])

        async def set_it(db: Session) -> ConfigVersion | None:
            await db.run(SQL.lock_configs)
            found = await self._version_of(db, name)
            if found is None:
                return None
            if active and not found.version.active:
                await self._check_queues(db, found.config)
            if found.version.active != active:
                await change.record(db, config=name)
            await db.run(SQL.set_active, name=name, active=active)
            changed = await self._version_of(db, name)
            return changed and changed.version

        return await change.write(self._db, set_it)

    async def active_configs(self) -> Sequence[Loaded]:
        async def load(db: Session) -> list[Loaded]:
            return await self._loaded(db, await db.rows(SQL.active_versions))

        return await self._db.read(load)

    async def queue_owners(self, queues: Sequence[str], *, except_config: str) -> dict[str, tuple[str, str]]:
        return await self._db.read(lambda db: self._owners(db, queues, except_config))

    async def _owners(
        self, db: Session, queues: Sequence[str], except_config: str
    ) -> dict[str, tuple[str, str]]:
        rows = await db.rows(SQL.queue_owners, except_config=except_config, queues=list(queues))
        return {queue: (config, route) for queue, config, route in rows}

    async def _check_queues(self, db: Session, config: Config) -> None:
        """Raise `Conflict` (`queue_taken`) if another active config owns a queue of this one."""
        owners = await self._owners(db, [r.queue for r in config.routes.values()], config.name)
        for queue, (owner, route) in sorted(owners.items()):
            raise Conflict(
                "queue_taken",
                f"queue {queue!r} belongs to route {owner}/{route}; a queue belongs to one route of one "
                f"active config: name another queue, or deactivate {owner}",
            )


def _config(row: Row) -> Config:
    """From the columns of the fragment `version`, without what its lanes say of replays."""
    return Config.from_document(json.loads(row[7]))


def _version(row: Row, config: Config) -> ConfigVersion:
    """From the columns of the fragment `version`."""
    _, name, version, digest, active, created, source, _ = row
    return ConfigVersion(
        name=name,
        version=version,
        hash=digest,
        active=bool(active),
        created_at=moment(created),
        entry=config.entry,
        routes=list(config.routes),
        stages=list(config.stages),
        source=source,
    )
