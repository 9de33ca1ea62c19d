"""Read the state of the backends and processes, and the loaded adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from playhead.errors import Unavailable
from playhead.model import AdapterInfo, BackendHealth, Health, WorkerInfo
from playhead.ports.adapter import AdapterSpec
from playhead.ports.broker import Broker
from playhead.ports.store import Store
from playhead.reading.health import Checked, check_all


class SystemCatalog(Checked, Protocol):
    """The part of the catalog that `SystemService` needs."""

    async def workers(self) -> list[WorkerInfo]: ...

    async def size(self) -> str: ...


class SystemService:
    """Reads the state of the system.

    Args:
        adapters: the adapters that this process has loaded, by name.
    """

    def __init__(
        self, catalog: SystemCatalog, broker: Broker, store: Store, adapters: Mapping[str, AdapterSpec]
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._store = store
        self._adapters = adapters

    async def adapters(self) -> list[AdapterInfo]:
        """Return the adapters that this process has loaded, sorted by name."""
        return describe_adapters(self._adapters)

    async def catalog_size(self) -> str:
        """Return the size of the catalog, and its growth a day, in words. Raises `Unavailable`."""
        return await self._catalog.size()

    async def health(self, version: str) -> Health:
        """Return the health of each backend, and the live processes. Does not raise `Unavailable`."""
        store, broker, catalog = await check_all(self._store, self._broker, self._catalog)
        workers: list[WorkerInfo] = []
        if catalog.status == "ok":
            try:
                workers = await self._catalog.workers()
            except Unavailable as exc:
                catalog = BackendHealth(catalog.backend, "down", exc.detail)
        well = all(backend.status == "ok" for backend in (store, broker, catalog))
        return Health("ok" if well else "degraded", version, store, broker, catalog, workers)


def describe_adapters(adapters: Mapping[str, AdapterSpec]) -> list[AdapterInfo]:
    """Describe adapters for users, sorted by name."""
    found = [adapters[name] for name in sorted(adapters)]
    return [
        AdapterInfo(
            type=spec.name,
            version=spec.version,
            produces=spec.produces,
            effects=spec.effects,
            batch=spec.batch,
            description=spec.doc,
            origin=spec.origin,
            code=spec.code,
            source=spec.source,
            covers=list(spec.covers),
            whole=spec.whole,
            config=spec.config_model.model_json_schema() if spec.config_model is not None else None,
        )
        for spec in found
    ]
