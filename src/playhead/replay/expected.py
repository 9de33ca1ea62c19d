"""What a replay leads to: from what the same objects led to in the source."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from playhead.model import PlannedRoute
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.outcomes import Outcomes
from playhead.replay.request import Resolved

MOST_LOOKED_UP: Final = 1_000
_AT_ONCE: Final = 100
_MOST_MESSAGES: Final = 50_000
"""No further object is looked up after this many messages: a fan-out may be large."""


class ExpectedCatalog(Configs, Outcomes, Protocol): ...


class Expected(NamedTuple):
    """What objects led to in the source.

    Attributes:
        looked_up: how many objects were looked up.
        known: how many of them the target route has processed successfully. Only these count: what the others
            lead to is not known, because they ended early.
        messages: of these objects, by route.
        seconds: how long their attempts took, by route.
    """

    looked_up: int
    known: int
    messages: Counter[str]
    seconds: Mapping[str, float]


async def look_up(catalog: ExpectedCatalog, found: Resolved, sample: Sequence[str]) -> Expected:
    """Return what a sample of the objects of a replay led to in its source."""
    looked_up = known = 0
    messages = Counter[str]()
    seconds: dict[str, float] = defaultdict(float)
    has_run = found.source.config == found.loaded.version.name
    for at in range(0, len(sample) if has_run else 0, _AT_ONCE):
        if messages.total() > _MOST_MESSAGES:
            break
        some = sample[at : at + _AT_ONCE]
        looked_up += len(some)
        below = await catalog.messages_below(some, found.source.execution_id, found.target)
        for counts in below.values():
            if any(one.undone or one.route != found.route for one in counts if one.is_top):
                continue
            known += 1
            for one in counts:
                messages[one.route] += one.messages
                seconds[one.route] += one.seconds
    return Expected(looked_up, known, messages, seconds)


async def with_expected(
    catalog: Configs, found: Resolved, routes: Sequence[PlannedRoute], objects: int, of: Expected
) -> list[PlannedRoute]:
    """Return the routes of a plan with the messages that its objects lead to."""
    ran = found.source.config and await catalog.config(found.source.config, found.source.config_version)
    earlier = ran.config.routes if ran else {}
    share = objects / of.known if of.known else 0.0

    def expected(route: PlannedRoute) -> PlannedRoute:
        is_known = route.reached and of.known and route.route in earlier
        is_target = route.route == found.route
        messages = objects if is_target else round(of.messages[route.route] * share) if is_known else None
        seconds = round(of.seconds.get(route.route, 0.0) * share, 3) if is_known else None
        return replace(route, messages=messages, seconds=seconds)

    return [expected(one) for one in routes]
