"""Decide which routes may take over earlier results, and why the others may not.

A route without a stage has no result that could be taken over, such as the step that fills an index. It
processes all items. So a sink has rows of this run for each of them, and rows that replace older ones of a
document replace all of them. Two kinds of routes without a stage are taken over: those with an adapter whose
repetition does harm, and sinks that follow a dataset, because they keep the rows of each execution.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from playhead import faults
from playhead.model import AdapterCode, Compare, Config, Declaration, Execution, Route, RouteCode, Warning
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog.runs import Reusable, ReusableRoutes, Runs
from playhead.reading.newestcode import code_here


class Earlier(NamedTuple):
    """An earlier run of the same config, or a replay of it.

    Attributes:
        execution: the run or the replay.
        config: its version of the config.
        ran: the code that ran in it.
    """

    execution: Execution
    config: Config
    ran: Sequence[RouteCode]


def reusable(
    config: Config,
    earlier: Earlier,
    replays: Sequence[Earlier],
    adapters: Mapping[str, AdapterSpec],
    compare: Compare,
    declared: Sequence[Declaration] = (),
) -> tuple[Reusable, list[Warning], bool]:
    """Return what may be taken over, and why routes process items although the route before has not changed.

    Also returns whether the earlier run has valid results for all of its inputs. Then only changed inputs
    need results that are found by their content.

    Args:
        config: the version that will run.
        replays: those of the earlier run, and of publications of its config.
        adapters: those of this process.
        compare: `version`: other code with the same declared version is accepted too.
        declared: what `of_code` returns. The replays are among `replays`.
    """
    routes, reasons = _routes(config, earlier, adapters, compare)
    of_replays: dict[UUID, ReusableRoutes] = {}
    replayed: set[str] = set()
    for replay in replays:
        theirs, _ = _routes(config, replay, adapters, compare)
        of_replays[replay.execution.execution_id] = theirs
        replayed |= {
            one.route
            for one in replay.ran
            if any(code.adapters in (theirs.get(one.route) or ()) for code in one.codes)
        }
    reasons |= {
        route: ("the items that no replay has processed, if there are any", why)
        for route, (_, why) in reasons.items()
        if route in replayed
    }
    items = _items(config, adapters)
    is_complete = earlier.execution.status == "completed" and not reasons.keys() & items.keys()
    in_force = _in_force(config, replays, declared)
    # A person has decided about the older results of these.
    reasons = {route: why for route, why in reasons.items() if route not in in_force}
    if compare == "version":
        items = {route: routes.get(route) or here for route, here in items.items()}
    warnings = [
        Warning("not_taken_over", route, detail=": ".join(reasons[route]))
        for route in _after_unchanged(config, reasons)
    ]
    found = Reusable(earlier.execution.execution_id, routes, of_replays, in_force, items)
    return found, warnings, is_complete


def of_code(
    declared: Sequence[Declaration], config: Config, adapters: Mapping[str, AdapterSpec], compare: Compare
) -> list[Declaration]:
    """Return the declarations that were made when the code of their routes was that of now."""
    found = []
    for one in declared:
        route = config.routes.get(one.route)
        here = code_here(route, adapters) if route else None
        is_same = one.adapters == here
        if here and (is_same or (compare == "version" and _versions(one.adapters) == _versions(here))):
            found.append(one)
    return found


def _in_force(
    config: Config, replays: Sequence[Earlier], declared: Sequence[Declaration]
) -> dict[str, list[UUID]]:
    """Return the replays whose declarations are about the routes as they are now, by route."""
    configs = {one.execution.execution_id: one.config for one in replays}
    found: dict[str, list[UUID]] = {}
    for one in declared:
        if config.routes[one.route].has_outputs_of(configs[one.execution_id].routes[one.route]):
            found.setdefault(one.route, []).append(one.execution_id)
    return found


_NOT_LOADED = "this process lacks its adapters, so their code cannot be compared: set PLAYHEAD_ADAPTERS"


def reusable_items(
    config: Config, adapters: Mapping[str, AdapterSpec], warn: Callable[[Warning], None]
) -> Reusable:
    """Return what an execution without an earlier run may take over.

    `warn` is called for each route with a stage whose adapters this process has not loaded.
    """
    for route in config.routes.values():
        if route.stage and code_here(route, adapters) is None:
            warn(Warning("not_taken_over", route.name, detail=f"all items: {_NOT_LOADED}"))
    return Reusable(items=_items(config, adapters))


async def index(
    catalog: Runs, config: str, reuse: Reusable, indexed: Callable[[int], None] = lambda count: None
) -> None:
    """Index the results of earlier executions, if some of them may be taken over.

    Each page is a transaction, and an execution counts as indexed after its last page. So after a `kill -9`,
    the next call indexes its results again.
    """
    if not reuse.items:
        return

    def page_written(count: int) -> None:
        faults.reach("reuse.indexed")
        indexed(count)

    await catalog.index_results(config, page_written)


def _items(config: Config, adapters: Mapping[str, AdapterSpec]) -> ReusableRoutes:
    """Return the routes whose results may be taken over for any item that is the same, with their code.

    Effects may depend on what the catalog does not see of an item, so these routes have none.
    """
    found = {}
    for route in config.routes.values():
        here = code_here(route, adapters)
        specs = [adapters[one.type] for one in route.steps if one.type in adapters]
        is_pure = all(one.reuse and one.effects == "none" and not one.is_sink for one in specs)
        if route.stage and route.steps and not route.external and here is not None and is_pure:
            found[route.name] = [here]
    return found


def _routes(
    config: Config, earlier: Earlier, adapters: Mapping[str, AdapterSpec], compare: Compare
) -> tuple[ReusableRoutes, dict[str, tuple[str, str]]]:
    """Return the routes whose results may be taken over, and which items other routes process, and why."""
    identity = earlier.execution.execution_id
    ran = {one.route: [code.adapters for code in one.codes] for one in earlier.ran}
    routes: dict[str, Sequence[Sequence[AdapterCode]] | None] = {}
    reasons: dict[str, tuple[str, str]] = {}
    for route in config.routes.values():
        here = code_here(route, adapters)
        if why := _why_not(config, route, earlier, adapters):
            reasons[route.name] = "all items", why
        elif route.external:
            routes[route.name] = None
        else:
            assert here is not None
            there = ran.get(route.name, [])
            same = [one for one in there if compare == "version" and _versions(one) == _versions(here)]
            routes[route.name] = valid = [here, *(one for one in same if one != here)]
            if differing := [one for one in there if one not in valid]:
                items = "all items again" if len(differing) == len(there) else "some items again"
                reasons[route.name] = items, _difference(here, differing, identity)
    return routes, reasons


def _why_not(
    config: Config, route: Route, earlier: Earlier, adapters: Mapping[str, AdapterSpec]
) -> str | None:
    """Return why no result of a route can be taken over; None if the code decides."""
    identity = earlier.execution.execution_id
    other = earlier.config.routes.get(route.name)
    dataset = config.followed_by(route.name)
    if other is None:
        return f"execution {identity} did not have this route"
    if not route.has_outputs_of(other):
        return f"its stage or its steps have changed in the config since execution {identity}"
    if code_here(route, adapters) is None:
        return _NOT_LOADED
    if always := [one.type for one in route.steps if not adapters[one.type].reuse]:
        return f"{', '.join(always)} is declared with reuse=False"
    if route.stage is None:
        if route.external or any(adapters[one.type].effects == "external" for one in route.steps):
            return None
        if dataset and earlier.config.followed_by(route.name) == dataset:
            return _why_pruned(earlier, None)
        return "it has no stage, so its results are not stored"
    return _why_pruned(earlier, route.stage)


def _why_pruned(earlier: Earlier, stage: str | None) -> str | None:
    """Return why the objects of a stage, or the rows of a sink (None), may be gone."""
    identity = earlier.execution.execution_id
    for one in earlier.execution.pruned:
        if stage is None and one.stage is None:
            return f"execution {identity} was pruned"
        if stage is not None and one.overlaps(stage):
            return f"stage {stage} of execution {identity} was pruned"
    return None


def _versions(chain: Sequence[AdapterCode]) -> list[tuple[str, str]]:
    return [(one.type, one.version) for one in chain]


def _difference(
    here: Sequence[AdapterCode], others: Sequence[Sequence[AdapterCode]], identity: object
) -> str:
    pairs = [(one, other) for chain in others for one, other in zip(here, chain, strict=True) if one != other]
    raised = dict.fromkeys(one.type for one, other in pairs if one.version != other.version)
    if raised:
        return f"the version of {', '.join(raised)} differs from that of execution {identity}"
    types = dict.fromkeys(one.type for one, _ in pairs)
    return (
        f"the code of {', '.join(types)} differs from that of execution {identity}, but not the version. "
        "To keep the results: --compare version"
    )


def _after_unchanged(config: Config, reasons: Container[str]) -> Iterator[str]:
    """Yield the routes with a reason that receive results that are taken over, or inputs."""
    names = [config.entry]
    for name in names:
        if name in reasons:
            yield name
        else:
            names += [to for to in config.routes[name].to if to not in names]
