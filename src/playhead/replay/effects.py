"""What a replay does in routes with side effects. It is decided once, when the replay is created.

For each route, the strictest value applies: `on_replay` of the config, in the version that runs and in the
newest one, and the value of the request. The value of a request for all routes applies to those with external
effects. If a request has no value for a route, it takes over the stricter value of two replays: its source,
if that is a replay, and the one that `in_replay` names. So no replay of a replay, and none that continues a
cancelled one, repeats the effects that the first one has skipped. Values of routes that the config does not
have are carried on as `config/route`, because a replay of this replay may reach them again.

The result is stored with the replay by the names of the routes, so a later version of the config changes
nothing. The catalog closes the messages of skipped routes when it inserts or claims them. Only a worker knows
what the adapters that it has loaded declare now. If they have external effects that were not known, it calls
`Work.skip_route`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol, get_args
from uuid import UUID

from playhead import acting
from playhead.acting import check_scope
from playhead.errors import Conflict, NotFound
from playhead.model import OTHER_ROUTES, Config, Execution, OnReplay, Replay, ReplayRequest, is_skipped
from playhead.ports.catalog.configs import Configs

_STRICTNESS: Final = get_args(OnReplay)


class EffectsCatalog(Configs, Protocol):
    async def replay(self, batch: UUID) -> Replay | None: ...


def as_permitted(request: ReplayRequest) -> ReplayRequest:
    """Return what who acts may ask for. Without the scope `effects`, a replay is refused if it reaches routes
    with external effects that it does not skip.

    Raises:
        Forbidden: `scope_missing`; the request runs such routes, or is published, without the scope for it.
    """
    if request.publish:
        check_scope("operate")
    if "effects" in acting.current().caller.scopes:
        return request
    asked = request.effects_by_route
    if "run" in asked.values():
        check_scope("effects")
    return replace(request, effects={OTHER_ROUTES: "refuse", **asked})


async def with_newest(catalog: Configs, config: Config) -> Config:
    """Return a version of a config with `on_replay` of the newest one, where that is stricter: the steps of
    an older version do no less harm."""
    newest = await catalog.config(config.name)
    if newest is None:
        return config
    stricter = newest.config.on_replay
    return config.with_effects(
        {
            name: (_strictest(route.on_replay, stricter.get(name)), route.effects)
            for name, route in config.routes.items()
        }
    )


def _strictest(*values: OnReplay | None) -> OnReplay | None:
    return max((one for one in values if one), key=_STRICTNESS.index, default=None)


async def resolve(
    catalog: EffectsCatalog, request: ReplayRequest, source: Execution, config: Config
) -> dict[str, OnReplay]:
    """Return what a replay does in the routes of its config, as `Replay.effects` shows it.

    Raises:
        NotFound: `route_not_found`; the request names a route that the config does not have.
    """
    asked = request.effects_by_route
    unknown = [name for name in asked if name != OTHER_ROUTES and name not in config.routes]
    if unknown:
        raise NotFound(
            "route_not_found",
            f"effects: config {config.name!r} has no route {unknown[0]!r}; its routes: "
            f"{', '.join(config.routes)}",
        )
    # A replay that continues another one repeats no effect that the other one has skipped, either.
    continued = request.selection.in_replay if request.selection else None
    inherited: dict[str, OnReplay] = {}
    for batch in (source.replay_batch_id, continued):
        for name, value in (await _inherited(catalog, batch, config) if batch else {}).items():
            inherited[name] = _strictest(inherited.get(name), value) or value
    carried = {name: value for name, value in inherited.items() if is_carried(name)}
    if OTHER_ROUTES not in asked:
        own = {name: value for name, value in inherited.items() if name not in carried}
        asked = await _renamed(catalog, config, carried) | own | asked
    return resolved(config, asked) | carried


def is_carried(name: str) -> bool:
    """Whether a name in the effects of a replay is that of a route that its config does not have."""
    return "/" in name


def resolved(config: Config, asked: Mapping[str, OnReplay]) -> dict[str, OnReplay]:
    """Return what a replay does in the routes of its config.

    Args:
        asked: the request by route, and what it takes over from the replay that it replays.
    """
    others = asked.get(OTHER_ROUTES)
    effects: dict[str, OnReplay] = {}
    for name, route in config.routes.items():
        # A replay that must not repeat effects is refused if they are not known.
        has_effects = route.effects == "external" or (route.effects is None and others == "refuse")
        value = _strictest(route.on_replay, asked.get(name, others if has_effects else None))
        # `run` is stored only if it was asked for. Otherwise a worker may find effects.
        if value and (value != "run" or name in asked):
            effects[name] = value
    return effects | ({OTHER_ROUTES: asked[OTHER_ROUTES]} if OTHER_ROUTES in asked else {})


def reached(config: Config, target: str, effects: Mapping[str, OnReplay]) -> list[str]:
    """Return the routes whose messages a replay inserts, nearest first. Nothing follows a skipped route."""
    found = [target]
    known = {target}
    for name in found:
        following = () if is_skipped(effects, name) else config.routes[name].to
        found += [to for to in following if to not in known]
        known.update(following)
    return found


def refused(config: Config, target: str, effects: Mapping[str, OnReplay]) -> list[str]:
    """Return the routes because of which a replay is refused: those with `refuse`, and a skipped target."""
    return [
        name
        for name in reached(config, target, effects)
        if effects.get(name) == "refuse" or (name == target and is_skipped(effects, name))
    ]


def check(config: Config, target: str, effects: Mapping[str, OnReplay], request: ReplayRequest) -> None:
    """Check that a replay may be created. Raises `Conflict` (`effects_refused`), which lists the routes."""
    names = refused(config, target, effects)
    if not names:
        return
    reasons = [_reason(config, name, effects[name], request, is_target=name == target) for name in names]
    raise Conflict(
        "effects_refused",
        f"the replay would repeat the effects of {', '.join(reasons)}: replay into another route",
    )


def _reason(config: Config, name: str, value: OnReplay, request: ReplayRequest, *, is_target: bool) -> str:
    if config.routes[name].on_replay == value:
        source = f"on_replay: {value} in the config"
    elif request.effects is not None:
        source = f"effects: {value} in the request"
    else:
        source = f"effects: {value} of the replay that it replays, unless the request has another value"
    return f"{name} ({source}{', and it is the target' if is_target else ''})"


async def _inherited(catalog: EffectsCatalog, batch: UUID, config: Config) -> dict[str, OnReplay]:
    """Return what a replay did: by route of a config, and by `config/route` for all other routes."""
    replay = await catalog.replay(batch)
    if replay is None:
        return {}
    found: dict[str, OnReplay] = {}
    for name, value in replay.effects.items():
        if name != OTHER_ROUTES:
            of, _, route = name.rpartition("/")
            of = of or replay.to_config
            name = route if of == config.name and route in config.routes else f"{of}/{route}"
        found[name] = value
    return found


async def _renamed(catalog: Configs, config: Config, carried: Mapping[str, OnReplay]) -> dict[str, OnReplay]:
    """Return values for routes that may be those of `carried` under other names.

    These are the routes with effects that the newest version with such a route does not have.
    """
    found: dict[str, OnReplay] = {}
    newest = await catalog.config(config.name) if carried else None
    for name, value in carried.items():
        of, _, route = name.rpartition("/")
        for number in range(newest.version.version if newest and of == config.name else 0, 0, -1):
            loaded = await catalog.config(config.name, number)
            if loaded and route in loaded.config.routes:
                for new in config.routes.keys() - loaded.config.routes.keys():
                    if config.routes[new].effects in ("external", None):
                        found[new] = _strictest(found.get(new), value) or value
                break
    return found
