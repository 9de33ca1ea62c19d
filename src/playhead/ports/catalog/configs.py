"""Configs: named, versioned, never edited in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from playhead.model import Config, ConfigVersion


class Loaded(NamedTuple):
    """A config version as a worker uses it."""

    version: ConfigVersion
    config: Config


class Configs(Protocol):
    async def save_config(self, config: Config, *, source: str, digest: str) -> tuple[ConfigVersion, bool]:
        """Store a new version, unless the newest version has the same digest and the same `on_replay` in all
        routes. Otherwise the newest version only gets the `effects` of the routes, as they are declared now.

        Versions count from 1. A new config is active; a deactivated one stays deactivated. A queue belongs to
        one route of one active config.

        Returns the version, and whether it is new.

        Raises `Conflict` (`queue_taken`) if the newest version of another active config names one of the
        queues; the detail names that config. For a deactivated config only `set_active` raises it.
        """
        ...

    async def config(self, name: str, version: int | None = None) -> Loaded | None:
        """Return a version, or the newest one if `version` is None. None if it does not exist."""
        ...

    async def configs(self, *, before: str | None = None, limit: int = 100) -> Sequence[ConfigVersion]:
        """Return the newest version of each config, newest config first. `before` is the name of a config."""
        ...

    async def config_versions(
        self, name: str, *, before: int | None = None, limit: int = 100
    ) -> Sequence[ConfigVersion]:
        """Return the versions of one config, newest first."""
        ...

    async def set_active(self, name: str, active: bool) -> ConfigVersion | None:
        """Allow or refuse new runs of a config, and replays into it. None if the config does not exist.

        Raises `Conflict` (`queue_taken`) on activation if one of its queues belongs to another active config.
        """
        ...

    async def active_configs(self) -> Sequence[Loaded]:
        """Return the newest version of every active config."""
        ...

    async def queue_owners(self, queues: Sequence[str], *, except_config: str) -> dict[str, tuple[str, str]]:
        """Return (config, route) of each queue that the newest version of another active config names."""
        ...
