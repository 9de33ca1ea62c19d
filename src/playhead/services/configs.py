"""Configs: apply, validate, look up, activate and deactivate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from playhead import events
from playhead.errors import ConfigInvalid, Conflict
from playhead.model import ConfigPreview, ConfigVersion, Diagnostic, Page
from playhead.ports.catalog.configs import Configs
from playhead.ports.config import ParseConfig, Parsed
from playhead.reading.codecheck import CodeCheck, Warn, no_warning
from playhead.reading.paging import decode_cursor, encode_cursor, list_of
from playhead.replay.target import config_not_found

_MOST_REMEMBERED: Final = 1000


class ConfigService:
    """Stores and returns configs. Every method raises `Unavailable` when the catalog is unavailable.

    Args:
        code: knows which code has run; None: it is not compared.
    """

    def __init__(self, catalog: Configs, parse: ParseConfig, code: CodeCheck | None = None) -> None:
        self._code = code
        self._catalog = catalog
        self._parse = parse
        # A version never changes, so neither do its warnings.
        self._warnings: dict[tuple[str, int], list[Diagnostic]] = {}

    async def apply(self, source: bytes | str, warn: Warn = no_warning) -> tuple[ConfigVersion, bool]:
        """Store a config as a new version; return the version, and whether it is new.

        If the newest version is equivalent, it is returned instead. `warn` is called with warnings about the
        code of its adapters.

        Raises:
            ConfigInvalid: with all errors and warnings.
        """
        parsed = await self._read(source)
        if parsed.config is None or parsed.digest is None:
            raise _invalid(parsed.diagnostics)
        try:
            version, new = await self._catalog.save_config(
                parsed.config, source=parsed.source, digest=parsed.digest
            )
        except Conflict as exc:  # another config claimed the queue after the check in `_read`
            fault = Diagnostic("error", "E307", "routes", 1, 1, exc.detail)
            raise _invalid((*parsed.diagnostics, fault)) from exc
        if new:
            events.emit(events.CONFIG_APPLIED, config=version.name, version=version.version)
        if self._code:
            types = {step.type for route in parsed.config.routes.values() for step in route.steps}
            for warning in await self._code.unversioned_here(types):
                warn(warning)
        return await self._shown(version), new

    async def validate(self, source: bytes | str) -> list[Diagnostic]:
        """Return the errors and warnings that `apply` would report."""
        return list((await self._read(source)).diagnostics)

    async def preview(self, source: bytes | str) -> ConfigPreview:
        """Return what `apply` would store, and how it differs from the newest version."""
        parsed = await self._read(source)
        if parsed.config is None or parsed.digest is None:
            return ConfigPreview(parsed.diagnostics)
        config, found = parsed.config, await self._catalog.config(parsed.config.name)
        if found is None:
            return ConfigPreview(parsed.diagnostics, config.name, added=list(config.routes))
        old, new = found.config.routes, config.routes
        return ConfigPreview(
            parsed.diagnostics,
            config.name,
            found.version,
            is_same=found.version.hash == parsed.digest and found.config.is_like(config),
            added=[name for name in new if name not in old],
            changed=config.changed_routes(found.config),
            removed=[name for name in old if name not in new],
        )

    async def get(self, name: str, version: int | None = None) -> ConfigVersion:
        """Return one version of a config; the newest if `version` is None.

        Raises:
            NotFound: `config_not_found`.
        """
        loaded = await self._catalog.config(name, version)
        if loaded is None:
            raise config_not_found(name, version)
        return await self._shown(loaded.version)

    async def list(self, cursor: str | None, limit: int) -> Page[ConfigVersion]:
        """Return the newest version of each config; the config created last comes first."""
        of = list_of("configs")
        before = decode_cursor(cursor, str, of)
        found = await self._catalog.configs(before=before, limit=limit + 1)
        shown = [await self._shown(version) for version in found[:limit]]
        return Page(shown, encode_cursor(shown[-1].name, of) if len(found) > limit else None)

    async def versions(self, name: str, cursor: str | None, limit: int) -> Page[ConfigVersion]:
        """Return the versions of one config, newest first.

        Raises:
            NotFound: `config_not_found`.
        """
        of = list_of("versions", name)
        before = decode_cursor(cursor, int, of)
        found = await self._catalog.config_versions(name, before=before, limit=limit + 1)
        if not found and await self._catalog.config(name) is None:
            raise config_not_found(name, None)
        shown = [await self._shown(version) for version in found[:limit]]
        return Page(shown, encode_cursor(shown[-1].version, of) if len(found) > limit else None)

    async def set_active(self, name: str, active: bool) -> ConfigVersion:
        """Activate or deactivate a config. Idempotent.

        A deactivated config accepts no new runs and no replays. Running executions continue.

        Raises:
            NotFound: `config_not_found`.
            Conflict: `queue_taken`; another active config uses one of its queues.
        """
        version = await self._catalog.set_active(name, active)
        if version is None:
            raise config_not_found(name, None)
        return await self._shown(version)

    async def _read(self, source: bytes | str) -> Parsed:
        """Parse a config, and check it against its last version and the queues of other active configs."""
        parsed = await asyncio.to_thread(self._parse, source)
        if parsed.config is None:
            # The name may be wrong, so check the queues of all configs: one pass must report all errors.
            owners = {
                route.queue: (loaded.config.name, route.name)
                for loaded in await self._catalog.active_configs()
                for route in loaded.config.routes.values()
            }
            return await asyncio.to_thread(self._parse, source, taken=owners)
        name = parsed.config.name
        newest = await self._catalog.config(name)
        taken: Mapping[str, tuple[str, str]] = {}
        if newest is None or newest.version.active:  # a deactivated config reserves no queue
            queues = [route.queue for route in parsed.config.routes.values()]
            taken = await self._catalog.queue_owners(queues, except_config=name)
        if newest is None and not taken:
            return parsed
        # Parse again: only the parser can add line and column to conflicts found in the catalog.
        previous = newest.config if newest else None
        return await asyncio.to_thread(self._parse, source, taken=taken, previous=previous)

    async def _shown(self, version: ConfigVersion) -> ConfigVersion:
        """Return the version with the warnings that `apply` reported for it."""
        identity = (version.name, version.version)
        warnings = self._warnings.get(identity)
        if warnings is None:
            before = None
            if version.version > 1:
                before = await self._catalog.config(version.name, version.version - 1)
            parsed = await asyncio.to_thread(
                self._parse, version.source, previous=before.config if before else None
            )
            warnings = [fault for fault in parsed.diagnostics if fault.severity == "warning"]
            if len(self._warnings) >= _MOST_REMEMBERED:
                self._warnings.clear()
            self._warnings[identity] = warnings
        return replace(version, warnings=warnings)


def _invalid(diagnostics: Sequence[Diagnostic]) -> ConfigInvalid:
    faults = [fault for fault in diagnostics if fault.severity == "error"]
    first = faults[0]
    more = f"; `diagnostics` has {len(faults) - 1} more" if len(faults) > 1 else ""
    return ConfigInvalid(
        f"the config is not valid: {first.line}:{first.column}: {first.code}: {first.message}{more}",
        diagnostics,
    )
