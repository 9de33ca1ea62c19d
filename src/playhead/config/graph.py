"""Checks across routes: names that must exist, cycles, and stages and queues that must not be shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from playhead.config.diagnostics import listed, shown
from playhead.config.fields import QUEUE, Spot
from playhead.model import Config, RateLimit, Route

_CIRCLE_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Lane:
    """A route as read, with the places that faults between routes point at.

    Attributes:
        spot: the route; its key is where a fault of the whole route stands.
        queue: None where the queue is the default one.
        stage: None if it is missing or invalid.
        to: the routes it feeds, as written and each once; what could not be read is left out.
        limits: the rate limits of the route and its steps, with their places.
        whole: whether nothing was left out of `to`.
        is_sink: its last adapter is a sink.
        follows: that sink follows publications.
    """

    route: Route
    spot: Spot
    queue: Spot | None
    stage: Spot | None
    to: Sequence[tuple[str, Spot]]
    whole: bool
    limits: Sequence[tuple[RateLimit, Spot]] = ()
    is_sink: bool = False
    follows: bool = False


def check_targets(lanes: Mapping[str, Lane]) -> None:
    """E302: each `to` names a route."""
    for lane in lanes.values():
        for target, spot in lane.to:
            if target not in lanes:
                near = spot.found.nearest(target, lanes)
                spot.fault("E302", f"there is no route {shown(target)}; routes: {listed(lanes)}", near)


def check_circles(lanes: Mapping[str, Lane]) -> None:
    """E303: routes must not form a cycle. Each target that closes one is a fault."""
    done: set[str] = set()
    for start in lanes:
        if start in done:
            continue
        # Not by recursion: a chain of routes may be longer than the stack of Python.
        way: dict[str, Iterator[tuple[str, Spot]]] = {start: iter(lanes[start].to)}
        while way:
            route, targets = next(reversed(way.items()))
            for target, spot in targets:
                if target in way:
                    names = list(way)
                    _report_circle(spot, [*names[names.index(target) :], target])
                elif target in lanes and target not in done:
                    way[target] = iter(lanes[target].to)
                    break
            else:
                done.add(route)
                del way[route]


def _report_circle(spot: Spot, circle: list[str]) -> None:
    if len(circle) > _CIRCLE_SHOWN:
        circle = [*circle[: _CIRCLE_SHOWN - 2], "…", *circle[-2:]]
    spot.fault("E303", f"routes must not form a cycle: {' -> '.join(circle)}")


def check_stages(lanes: Mapping[str, Lane]) -> None:
    """E304, E305: a stage belongs to one route, and is not inside another stage."""
    owners: dict[str, Lane] = {}
    for lane in lanes.values():
        stage = lane.route.stage
        if not lane.stage or not stage:
            continue
        first = owners.setdefault(stage, lane)
        if first is not lane:
            lane.stage.fault(
                "E304",
                f"stage {shown(stage)} already belongs to route {first.route.name!r} "
                f"(line {first.spot.named.line}); a stage has one route",
                f"{stage}_{lane.route.name}",
            )
    for stage, lane in owners.items():
        segments = stage.split("/")
        for end in range(1, len(segments)):
            outer = "/".join(segments[:end])
            if lane.stage and outer in owners:
                lane.stage.fault(
                    "E305",
                    f"stage {shown(stage)} is inside stage {shown(outer)} of route "
                    f"{owners[outer].route.name!r}; a replay of the outer one would include it",
                    "_".join(segments),
                )
                break


def check_queues(lanes: Mapping[str, Lane], config: str, taken: Mapping[str, tuple[str, str]]) -> None:
    """E307: a queue belongs to one route of one active config."""
    owners: dict[str, Lane] = {}
    for lane in lanes.values():
        queue = lane.route.queue
        first = owners.setdefault(queue, lane)
        if first is not lane:
            owner = f"route {first.route.name!r} (line {first.spot.named.line})"
        elif queue in taken and taken[queue][0] != config:
            owner = "route {1!r} of the active config {0!r}".format(*taken[queue])
        else:
            continue
        message = f"queue {shown(queue)} belongs to {owner}; a queue has one route"
        default = f"{config}.{lane.route.name}"
        spot = lane.queue or lane.spot
        usable = queue != default and QUEUE.regex.fullmatch(default)
        spot.fault("E307", message, default if usable else None, at_key=lane.queue is None)


def warn_unreached(lanes: Mapping[str, Lane], entry: str) -> None:
    """W101: routes that no path from the entry reaches.

    Not checked while a target is invalid: correct routes would get the warning.
    """
    if not all(lane.whole and all(target in lanes for target, _ in lane.to) for lane in lanes.values()):
        return
    reached: set[str] = set()
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in lanes and name not in reached:
            reached.add(name)
            waiting += lanes[name].route.to
    for name, lane in lanes.items():
        if name not in reached:
            lane.spot.fault(
                "W101", f"no path leads from {entry!r} to {name!r}; only a replay reaches it", at_key=True
            )


def warn_dropped(config: Config, previous: Config, routes: Spot) -> None:
    """W104: routes and stages of the previous version that are gone."""
    for name in previous.routes:
        if name not in config.routes:
            routes.fault(
                "W104",
                f"route {name!r} of the previous version is gone; replays into it are no longer possible",
                at_key=True,
                under=name,
            )
    kept = set(config.stages)
    for route in previous.routes.values():
        if route.stage and route.stage not in kept:
            routes.fault(
                "W104",
                f"stage {route.stage!r} of the previous version is gone; its objects can still be replayed",
                at_key=True,
                under=f"{route.name}.outbound.stage",
            )
