"""Which config version and route a replay's `to_route` names."""

from __future__ import annotations

import difflib

from playhead.errors import BadRequest, Conflict, NotFound
from playhead.model import Execution
from playhead.ports.catalog import Configs
from playhead.ports.catalog.configs import Loaded


async def resolve(catalog: Configs, source: Execution, to_route: str) -> tuple[Loaded, str]:
    """Return the config version and the name of the route, decided once for the whole replay.

    `config/route` names both. A bare route is looked up in the newest version of the source's config first.
    If that config never had it, all active configs are searched.

    Raises:
        BadRequest: `route_ambiguous`.
        NotFound: `route_not_found`.
        Conflict: `config_inactive`.
    """
    config, slash, route = to_route.partition("/")
    if slash:
        return await _named(catalog, config, route), route
    route = to_route
    own = source.config
    if own:
        loaded = await catalog.config(own)
        if loaded and route in loaded.config.routes:
            return _active(loaded), route
        if loaded and await _had(catalog, own, loaded.version.version, route):
            raise NotFound(
                "route_not_found",
                f"config {own!r} had a route {route!r} in an earlier version, but version "
                f"{loaded.version.version} does not; its routes: {', '.join(loaded.config.routes)}",
            )
    others = [c for c in await catalog.active_configs() if c.version.name != own]
    matches = [c for c in others if route in c.config.routes]
    if len(matches) == 1:
        return matches[0], route
    if matches:
        candidates = ", ".join(f"{c.version.name}/{route}" for c in matches)
        raise BadRequest(
            "route_ambiguous", f"more than one config has a route {route!r}; name one of: {candidates}"
        )
    known = [r for c in others for r in c.config.routes]
    hint = ""
    if own and (loaded := await catalog.config(own)):
        known += loaded.config.routes
        hint = f" Config {own!r} has the routes {', '.join(loaded.config.routes)}."
    if near := difflib.get_close_matches(route, known, 1):
        hint = f" Did you mean {near[0]!r}?"
    raise NotFound("route_not_found", f"no active config has a route {route!r}.{hint}")


async def _named(catalog: Configs, config: str, route: str) -> Loaded:
    # No name contains NUL, and PostgreSQL does not accept it in text.
    loaded = None if "\0" in config else await catalog.config(config)
    if loaded is None:
        raise NotFound(
            "route_not_found", f"there is no route '{config}/{route}': no config is named {config!r}"
        )
    if route not in loaded.config.routes:
        raise NotFound(
            "route_not_found",
            f"there is no route '{config}/{route}': its config has {', '.join(loaded.config.routes)}",
        )
    return _active(loaded)


def _active(loaded: Loaded) -> Loaded:
    if not loaded.version.active:
        name = loaded.version.name
        raise Conflict(
            "config_inactive", f"config {name!r} is deactivated. Run: playhead config activate {name}"
        )
    return loaded


async def _had(catalog: Configs, config: str, newest: int, route: str) -> bool:
    """Whether an earlier version of a config had a route."""
    for version in range(newest - 1, 0, -1):
        loaded = await catalog.config(config, version)
        if loaded and route in loaded.config.routes:
            return True
    return False


def config_not_found(name: str, version: int | None) -> NotFound:
    """The error for a config, or a version of it, that does not exist."""
    what = f"config {name!r}" + (f" has no version {version}" if version else " does not exist")
    return NotFound("config_not_found", f"{what}. Run: playhead config list")
