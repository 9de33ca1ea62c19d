"""Read the structure of pipelines: routes, edges, and the messages of an execution in each route."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Final, Protocol
from uuid import UUID

from playhead.errors import NotFound
from playhead.model import (
    Config,
    Counts,
    Execution,
    Pipeline,
    PipelineAdapter,
    PipelineEdge,
    PipelineRoute,
    Route,
)
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.configs import Configs
from playhead.ports.store import Store
from playhead.reading.listing import Listing
from playhead.reading.lookup import find_execution
from playhead.replay.effects import with_newest
from playhead.replay.target import config_not_found
from playhead.similar import did_you_mean

_NEAR: Final = 1
"""Edges from the focus, if a request does not limit them."""


class PipelineCatalog(Browse, Configs, Protocol):
    """The part of the catalog that `PipelineService` needs."""


class PipelineService:
    """Reads pipelines. Every method raises `Unavailable` if a backend that it needs is unavailable.

    With `focus`, a pipeline has only the routes up to `depth` edges from this route, in both directions.
    With `depth` alone, the distance is counted from the entry.

    Args:
        adapters: the adapters that this process has loaded, by name.
    """

    def __init__(self, catalog: PipelineCatalog, store: Store, adapters: Mapping[str, AdapterSpec]) -> None:
        self._catalog = catalog
        self._listing = Listing(catalog, store)
        self._adapters = adapters

    async def of_config(
        self, name: str, version: int | None = None, focus: str | None = None, depth: int | None = None
    ) -> Pipeline:
        """Return the structure of a config version; of the newest if `version` is None.

        Raises:
            NotFound: `config_not_found`, `route_not_found`.
        """
        return await self._pipeline(name, version, focus, depth, {})

    async def of_execution(
        self, execution: UUID, focus: str | None = None, depth: int | None = None
    ) -> Pipeline:
        """Return the structure of the config version of an execution, with its messages in each route.

        An adopted execution has no config: its pipeline has no routes.

        Raises:
            NotFound: `execution_not_found`, `route_not_found`.
        """
        return await self.of_found(
            await find_execution(self._catalog, self._listing, execution), focus, depth
        )

    async def of_found(
        self, found: Execution, focus: str | None = None, depth: int | None = None
    ) -> Pipeline:
        """Return the same of an execution that was read a moment ago. Raises `NotFound`, as above."""
        execution = found.execution_id
        if found.config is None:
            if focus is not None:
                raise NotFound(
                    "route_not_found", f"execution {execution} is adopted: it has no config, and no routes"
                )
            return Pipeline(None, None, None, None, [], [], 0)
        counts = {one.route: one.counts for one in await self._catalog.route_counts(execution)}
        return await self._pipeline(found.config, found.config_version, focus, depth, counts)

    async def _pipeline(
        self,
        name: str,
        version: int | None,
        focus: str | None,
        depth: int | None,
        counts: Mapping[str, Counts],
    ) -> Pipeline:
        loaded = await self._catalog.config(name, version)
        if loaded is None:
            raise config_not_found(name, version)
        config = await with_newest(self._catalog, loaded.config)
        shown = _near(config, focus, depth)
        routes = [route for route in config.routes.values() if route.name in shown]
        return Pipeline(
            config=config.name,
            version=loaded.version.version,
            hash=loaded.version.hash,
            entry=config.entry,
            routes=[self._route(route, counts.get(route.name)) for route in routes],
            edges=[
                PipelineEdge(route.name, to, _condition(route))
                for route in routes
                for to in route.to
                if to in shown
            ],
            hidden=len(config.routes) - len(shown),
        )

    def _route(self, route: Route, counts: Counts | None) -> PipelineRoute:
        loaded = ((step.type, self._adapters.get(step.type)) for step in route.steps)
        return PipelineRoute(
            route=route.name,
            queue=route.queue,
            adapters=[PipelineAdapter(type_, spec.version if spec else None) for type_, spec in loaded],
            stage=route.stage,
            is_external=route.external,
            has_effects=route.effects == "external",
            on_replay=route.on_replay,
            counts=counts,
        )


def _near(config: Config, focus: str | None, depth: int | None) -> set[str]:
    """Return the routes that are shown. Raises `NotFound` (`route_not_found`)."""
    if focus is None and depth is None:
        return set(config.routes)
    start = focus if focus is not None else config.entry
    if start not in config.routes:
        hint = did_you_mean(start, config.routes)
        raise NotFound("route_not_found", f"config {config.name!r} has no route {start!r}.{hint}")
    neighbours = defaultdict(set)
    for route in config.routes.values():
        for to in route.to:
            neighbours[route.name].add(to)
            neighbours[to].add(route.name)
    shown = last = {start}
    for _ in range(_NEAR if depth is None else depth):
        last = {one for name in last for one in neighbours[name]} - shown
        if not last:
            break
        shown = shown | last
    return shown


def _condition(route: Route) -> str | None:
    """Return the conditions that an item must meet to leave a route."""
    conditions = [step.condition for step in route.steps if step.condition]
    texts = [
        f"{one.field} {one.operator} {json.dumps(one.value, ensure_ascii=False)}"
        for one in conditions
        if one.otherwise == "drop"
    ]
    return " and ".join(texts) or None
