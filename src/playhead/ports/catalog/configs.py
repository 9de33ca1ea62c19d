"""Configs: named, versioned, never edited in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from playhead.model import Config, ConfigVersion


class Loaded(NamedTuple):
    """A config version as the engine uses it."""

    version: ConfigVersion
    config: Config


class Configs(Protocol):
    async def save_config(self, config: Config, *, source: str, digest: str) -> tuple[ConfigVersion, bool]:
        """Store a new version, unless the newest version has the same digest.

        Versions count from 1. Saving makes the config active only when it is new; a deactivated one
        stays so. A queue belongs to one route of one active config: another active config's newest
        version that names one of these queues is a `Conflict` (`queue_taken`; the detail names it),
        for a deactivated config not before it is activated.

        Returns the version and whether it is new.
        """
        ...

    async def config(self, name: str, version: int | None = None) -> Loaded | None:
        """Return a version (the newest when None), or None when there is none."""
        ...

    async def configs(self, *, before: str | None = None, limit: int = 100) -> Sequence[ConfigVersion]:
        """Return the newest version of each config, the last created first; `before` is a config's name."""
        ...

    async def config_versions(
        self, name: str, *, before: int | None = None, limit: int = 100
    ) -> Sequence[ConfigVersion]:
        """Return the versions of one config, newest first."""
        ...

    async def set_active(self, name: str, active: bool) -> ConfigVersion | None:
        """Start or stop new runs of, and replays into, a config; None when there is none.

        Activating one whose queue another active config holds is a `Conflict` (`queue_taken`).
        """
        ...

    async def active_configs(self) -> Sequence[Loaded]:
        """Return the newest version of every active config."""
        ...

    async def queue_owners(self, queues: Sequence[str], *, except_config: str) -> dict[str, tuple[str, str]]:
        """Return, for those queues that an active config's newest version names, its (config, route)."""
        ...
