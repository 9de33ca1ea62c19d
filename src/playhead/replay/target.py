"""Which config version and route a replay's `to_route` names."""

from __future__ import annotations

from playhead.errors import BadRequest, Conflict, NotFound
from playhead.model import Execution
from playhead.ports.catalog import Configs
from playhead.ports.catalog.configs import Loaded
from playhead.similar import did_you_mean


async def resolve(
    catalog: Configs, source: Execution, to_route: str, version: int | None = None
) -> tuple[Loaded, str]:
    """Return the config version and the name of the route, decided once for the whole replay.

    `config/route` names both. A bare route belongs to the source's config if any of its versions has it.
    Otherwise the newest versions of all active configs are searched.

    Args:
        version: of the config of the route; None: the newest.

    Raises:
        BadRequest: `route_ambiguous`.
        NotFound: `route_not_found`, `config_not_found`.
        Conflict: `config_inactive`.
    """
    config, slash, route = to_route.partition("/")
    if slash:
        # No name contains NUL, and PostgreSQL does not accept it in text.
        newest = None if "\0" in config else await catalog.config(config)
        if newest is None:
            raise NotFound(
                "route_not_found", f"there is no route '{config}/{route}': no config is named {config!r}"
            )
    else:
        route = to_route
        newest = await _config_of(catalog, source, route)
    loaded = await _version(catalog, newest, version)
    if route not in loaded.config.routes:
        earlier = "" if slash or version else " An earlier version has it; name that version to use it."
        raise NotFound(
            "route_not_found",
            f"version {loaded.version.version} of config {loaded.version.name!r} has no route {route!r}; its "
            f"routes: {', '.join(loaded.config.routes)}.{earlier}",
        )
    if not loaded.version.active:
        name = loaded.version.name
        raise Conflict(
            "config_inactive", f"config {name!r} is deactivated. Run: playhead config activate {name}"
        )
    return loaded, route


async def _version(catalog: Configs, newest: Loaded, version: int | None) -> Loaded:
    if version in (None, newest.version.version):
        return newest
    loaded = await catalog.config(newest.version.name, version)
    if loaded is None:
        raise config_not_found(newest.version.name, version)
    return loaded


async def _config_of(catalog: Configs, source: Execution, route: str) -> Loaded:
    """Return the newest version of the config that a bare route belongs to."""
    own = await catalog.config(source.config) if source.config else None
    if own and await _has_had(catalog, own, route):
        return own
    others = [c for c in await catalog.active_configs() if c.version.name != source.config]
    matches = [c for c in others if route in c.config.routes]
    if len(matches) == 1:
        return matches[0]
    if matches:
        candidates = ", ".join(f"{c.version.name}/{route}" for c in matches)
        raise BadRequest(
            "route_ambiguous", f"more than one config has a route {route!r}; name one of: {candidates}"
        )
    known = [r for c in others for r in c.config.routes]
    hint = ""
    if own:
        known += own.config.routes
        hint = f" Config {source.config!r} has the routes {', '.join(own.config.routes)}."
    hint = did_you_mean(route, known) or hint
    raise NotFound("route_not_found", f"no active config has a route {route!r}.{hint}")


async def _has_had(catalog: Configs, newest: Loaded, route: str) -> bool:
    """Whether any version of a config has a route."""
    if route in newest.config.routes:
        return True
    for version in range(newest.version.version - 1, 0, -1):
        loaded = await catalog.config(newest.version.name, version)
        if loaded and route in loaded.config.routes:
            return True
    return False


def config_not_found(name: str, version: int | None) -> NotFound:
    """The error for a config, or a version of it, that does not exist."""
    what = f"config {name!r}" + (f" has no version {version}" if version else " does not exist")
    return NotFound("config_not_found", f"{what}. Run: playhead config list")
