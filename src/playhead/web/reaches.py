"""What a replay reaches: the routes below its target."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from playhead.model import OnReplay, Pipeline, Plan
from playhead.web.pipelines import adapters_of
from playhead.wording import expected_text

_STRICTNESS: tuple[OnReplay, ...] = ("run", "skip", "refuse")


@dataclass(frozen=True, slots=True)
class Reach:
    """A route that a replay reaches.

    Attributes:
        route: its name.
        level: number of routes between it and the target, which has 0.
        adapters: its steps with their versions.
        is_external: whether other programs consume its queue.
        effects: whether it changes anything outside Playhead.
        policy: what the replay does in it.
        declared: the least that the config allows: the form cannot be less strict.
        messages: how many messages the replay leads to in it, in words; empty if they are not counted, or
            not known.
    """

    route: str
    level: int
    adapters: str
    is_external: bool
    effects: Literal["none", "external", "unknown"]
    policy: OnReplay
    declared: OnReplay
    messages: str

    @property
    def is_decided(self) -> bool:
        """Whether a request may decide what the replay does in it."""
        return self.effects != "none" or self.policy != "run" or self.declared != "run"

    @property
    def choices(self) -> Sequence[tuple[OnReplay, bool]]:
        """What the replay may do, and whether the config allows it."""
        least = _STRICTNESS.index(self.declared)
        return [(policy, at >= least) for at, policy in enumerate(_STRICTNESS)]


def reached(
    pipeline: Pipeline,
    target: str,
    asked: Mapping[str, str],
    plan: Plan | None,
) -> list[Reach]:
    """Return the routes that a replay into `target` reaches, as a tree in depth-first order.

    Args:
        asked: what the form says about routes.
        plan: has the decisions if the replay was counted; then also those that follow from other replays.
    """
    routes = {one.route: one for one in pipeline.routes}
    planned = {one.route: one for one in plan.routes} if plan else {}
    below: dict[str, list[str]] = defaultdict(list)
    for edge in pipeline.edges:
        below[edge.from_route].append(edge.to_route)
    found: list[Reach] = []
    seen = {target}

    def visit(name: str, level: int) -> None:
        route = routes[name]
        declared: OnReplay = route.on_replay or "run"
        policy: OnReplay = declared
        effects: Literal["none", "external", "unknown"] = "external" if route.has_effects else "none"
        if name in planned:
            policy, effects = planned[name].on_replay, planned[name].effects
        elif (wanted := asked.get(name)) in _STRICTNESS:
            policy = max(declared, wanted, key=_STRICTNESS.index)
        if not route.is_external and not route.adapters:
            effects = "none"
        found.append(
            Reach(
                name,
                level,
                adapters_of(route),
                route.is_external,
                effects,
                policy,
                declared,
                expected_text(plan, planned[name]) if plan and name in planned else "",
            )
        )
        if policy != "run":
            return
        following = [to for to in below[name] if to not in seen and to in routes]
        seen.update(following)
        for to in following:
            visit(to, level + 1)

    if target in routes:
        visit(target, 0)
    return found
