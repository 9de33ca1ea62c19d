"""The methods of a client about a deployment: configs, adapters, queues, workers and its health."""

from __future__ import annotations

from functools import partial

from playhead import __version__
from playhead.client.connection import Connection, warn
from playhead.envelope import Message
from playhead.model import (
    AdapterInfo,
    ConfigVersion,
    Diagnostic,
    Examination,
    Health,
    RouteStatus,
    Worker,
)
from playhead.services.take import HandOut


class DeploymentMethods(Connection):
    """See `AsyncClient`."""

    async def apply(self, source: str | bytes) -> ConfigVersion:
        """Record a config, given as YAML, and return its version. An equivalent newest version is returned.

        Raises:
            ConfigInvalid: with all faults in `diagnostics`, each with line and column.
        """
        version, _ = await self._services.configs.apply(source, warn)
        return version

    async def validate(self, source: str | bytes) -> list[Diagnostic]:
        """Return all faults of a config, given as YAML, without recording it."""
        return await self._services.configs.validate(source)

    async def configs(self, *, limit: int | None = None) -> list[ConfigVersion]:
        """Return the newest version of each config, by name."""
        return await self._collect(self._services.configs.list, limit)

    async def config(self, name: str, version: int | None = None) -> ConfigVersion:
        """Return a version of a config; None: the newest."""
        return await self._services.configs.get(name, version)

    async def versions(self, config: str, *, limit: int | None = None) -> list[ConfigVersion]:
        """Return the versions of a config, newest first."""
        return await self._collect(partial(self._services.configs.versions, config), limit)

    async def activate(self, config: str) -> ConfigVersion:
        """Allow new runs and replays of a config."""
        return await self._services.configs.set_active(config, True)

    async def deactivate(self, config: str) -> ConfigVersion:
        """Refuse new runs and replays of a config. Those that exist continue."""
        return await self._services.configs.set_active(config, False)

    async def adapters(self) -> list[AdapterInfo]:
        """Return the adapters that the server has loaded, or this process."""
        return await self._services.system.adapters()

    async def queues(self, *, limit: int | None = None) -> list[RouteStatus]:
        """Return the routes with the depth of their queues and their workers."""
        return await self._collect(self._services.queues.routes, limit)

    async def peek(self, queue: str, *, limit: int = 20) -> list[Message]:
        """Return the first messages of a queue without consuming them."""
        return await self._services.queues.peek(queue, limit)

    async def take(self, queue: str, *, limit: int = 20) -> HandOut:
        """Return messages of a queue that no worker of Playhead consumes, and hide them for a while.

        Pass `receipt` to `remove` when they are processed, with the same client. Otherwise the broker
        delivers them again after the visibility time.
        """
        return await self._services.take.take(queue, limit)

    async def remove(self, queue: str, receipt: str) -> int:
        """Remove the messages that `take` returned from their queue; return their number."""
        return await self._services.take.remove(queue, receipt)

    async def workers(self, *, limit: int | None = None) -> list[Worker]:
        """Return the live processes with their queues and the code that they have loaded."""
        return await self._collect(partial(self._services.workers.list), limit)

    async def health(self) -> Health:
        """Return whether store, broker and catalog answer, and how fast."""
        return await self._services.system.health(__version__)

    async def doctor(self) -> Examination:
        """Check store, broker and catalog, also by writing test data, and return advice."""
        return await self._services.doctor.examine()
