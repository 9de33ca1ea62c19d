"""Configs and their versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from playhead.errors import Conflict
from playhead.ids import moment
from playhead.model import Config, ConfigVersion
from playhead.ports.catalog.configs import Loaded
from tests.catalog_memory.rows import ConfigRow, VersionRow
from tests.catalog_memory.tables import Tables


class ConfigsPart(Tables):
    async def save_config(self, config: Config, *, source: str, digest: str) -> tuple[ConfigVersion, bool]:
        await self._begin()
        row = self._configs.get(config.name)
        if row and row.newest.digest == digest:
            return row.view(row.newest), False
        if row is None or row.active:
            self._refuse_taken(config)
        if row is None:
            row = self._configs[config.name] = ConfigRow(config.name)
        version = VersionRow(
            n=next(self._numbers),
            number=len(row.versions) + 1,
            digest=digest,
            source=source,
            config=config,
            created_at=moment(self._clock()),
        )
        row.versions.append(version)
        return row.view(version), True

    async def config(self, name: str, version: int | None = None) -> Loaded | None:
        await self._begin()
        row = self._configs.get(name)
        if row is None or not (version is None or 1 <= version <= len(row.versions)):
            return None
        found = row.newest if version is None else row.versions[version - 1]
        return Loaded(row.view(found), found.config)

    async def configs(self, *, before: str | None = None, limit: int = 100) -> Sequence[ConfigVersion]:
        await self._begin()
        names = list(self._configs)
        if before is not None:
            names = names[: names.index(before)] if before in names else []
        rows = [self._configs[name] for name in reversed(names)]
        return [row.view(row.newest) for row in rows[:limit]]

    async def config_versions(
        self, name: str, *, before: int | None = None, limit: int = 100
    ) -> Sequence[ConfigVersion]:
        await self._begin()
        row = self._configs.get(name)
        if row is None:
            return []
        older = [v for v in reversed(row.versions) if before is None or v.number < before]
        return [row.view(version) for version in older[:limit]]

    async def set_active(self, name: str, active: bool) -> ConfigVersion | None:
        await self._begin()
        row = self._configs.get(name)
        if row is None:
            return None
        if active and not row.active:
            self._refuse_taken(row.newest.config)
        row.active = active
        return row.view(row.newest)

    async def active_configs(self) -> Sequence[Loaded]:
        await self._begin()
        return [
            Loaded(row.view(row.newest), row.newest.config) for row in self._configs.values() if row.active
        ]

    async def queue_owners(self, queues: Sequence[str], *, except_config: str) -> dict[str, tuple[str, str]]:
        await self._begin()
        return self._owners(queues, except_config)

    def _owners(self, queues: Iterable[str], except_config: str) -> dict[str, tuple[str, str]]:
        asked = set(queues)
        return {
            route.queue: (row.name, route.name)
            for row in self._configs.values()
            if row.active and row.name != except_config
            for route in row.newest.config.routes.values()
            if route.queue in asked
        }

    def _refuse_taken(self, config: Config) -> None:
        taken = self._owners([route.queue for route in config.routes.values()], config.name)
        for route in config.routes.values():
            if route.queue in taken:
                owner, their_route = taken[route.queue]
                raise Conflict(
                    "queue_taken",
                    f"queue {route.queue!r} of route {route.name!r} belongs to route {their_route!r} of the "
                    f"active config {owner!r}: name another queue, or deactivate {owner!r}",
                )
