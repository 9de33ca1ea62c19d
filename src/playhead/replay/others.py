"""What a replay declares about the results that it leaves out: `others_valid`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from playhead.errors import BadRequest, Conflict
from playhead.model import Publication, ReplayRequest, Route, Selection
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Browse, Configs, Publications, Results
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.ports.catalog.declarations import Declare
from playhead.reading.newestcode import code_here
from playhead.replay.request import Resolved


class OthersCatalog(Browse, Configs, Publications, Results, Protocol):
    """What the check needs of the catalog."""


async def declared(
    catalog: OthersCatalog,
    adapters: Mapping[str, AdapterSpec],
    request: ReplayRequest,
    found: Resolved,
) -> Declare | None:
    """Return what a request declares; None if it declares nothing.

    Args:
        adapters: those of this process, which are the newest code.

    Raises:
        BadRequest: `invalid_body`: the declaration could mean nothing.
        Conflict: `code_unknown`: an adapter of the route is not loaded here.
    """
    if not request.others_valid:
        return None
    config, route = found.loaded.version.name, found.loaded.config.routes[found.route]
    if request.from_path in (None, "") and found.selection in (None, Selection()):
        raise _refused("the replay leaves out no object. Select a part of the stage, or omit others_valid")
    of = await catalog.publication_of(found.source.execution_id)
    if of is None or of.config != config:
        raise _refused(
            f"execution {found.source.execution_id} is not a publication of config {config}, so its results "
            "are not what readers see. Name a dataset as the source: current:NAME"
        )
    [dataset] = [one for one in await catalog.datasets(config=config) if one.name == of.dataset]
    if of.n != dataset.current:
        raise _refused(
            f"readers do not see publication {of.n} of {of.dataset}, but {dataset.current}. Replay that one: "
            f"current:{of.dataset}"
        )
    if why := await _never_taken_over(catalog, adapters, route, of, request.from_stage):
        raise _refused(why)
    newest = await catalog.config(config)
    assert newest, "configs are never deleted"
    if route.name not in newest.config.routes or not newest.config.routes[route.name].has_outputs_of(route):
        raise _refused(
            f"version {newest.version.version} of config {config}, the newest one, declares the route "
            f"{route.name} otherwise than version {found.loaded.version.version}"
        )
    code = code_here(route, adapters)
    if code is None:
        raise Conflict(
            "code_unknown",
            f"the adapters of route {route.name} are not loaded here, and others_valid is about their newest "
            "code. Load them (PLAYHEAD_ADAPTERS), or ask a server that has them (--server)",
        )
    number = await catalog.dataset_number(config, of.dataset)
    return Declare(number, of.n, route.name, code)


async def count(catalog: OthersCatalog, request: ReplayRequest, found: Resolved, objects: int) -> int | None:
    """Return how many objects of the stage a replay of some leaves out; None if it declares nothing."""
    of = await catalog.publication_of(found.source.execution_id) if request.others_valid else None
    return of.counts[request.from_stage].total - objects if of else None


def check_reason(request: ReplayRequest) -> None:
    """Check that a declaration has a reason. Raises `BadRequest` (`invalid_body`)."""
    if request.others_valid and not (request.reason or "").strip():
        raise _refused("it needs a reason: why the other results are valid (--reason)")


async def _never_taken_over(
    catalog: OthersCatalog,
    adapters: Mapping[str, AdapterSpec],
    route: Route,
    of: Publication,
    from_stage: str,
) -> str | None:
    """Return why no run would take over other results of a route; None if runs would."""
    if route.external:
        return f"other programs consume the queue of route {route.name}, so its results have no code"
    if route.stage is None:
        return f"the route {route.name} has no stage, so its results are not stored"
    specs = [adapters[one.type] for one in route.steps if one.type in adapters]
    if effects := [one.name for one in specs if one.effects == "external"]:
        return (
            f"the route {route.name} has external effects ({', '.join(effects)}), and results with older "
            "effects cannot be declared valid"
        )
    if always := [one.name for one in specs if not one.reuse]:
        return f"{', '.join(always)} is declared with reuse=False, so no result of it is taken over"
    if not (await catalog.executions(ExecutionFilter(kind="run", config=of.config), limit=1))[0]:
        return f"config {of.config} has no runs, and only runs with changed_since take results over"
    number = await catalog.dataset_number(of.config, of.dataset)
    made = (await catalog.made_by(number, [of.n])).get(of.n, [])
    if (route.name, from_stage) not in {(one.route, one.from_stage) for one in made}:
        return (
            f"publication {of.n} of {of.dataset} has no result of the route {route.name} for stage "
            f"{from_stage}"
        )
    return None


def _refused(why: str) -> BadRequest:
    return BadRequest("invalid_body", f"others_valid: {why}")
