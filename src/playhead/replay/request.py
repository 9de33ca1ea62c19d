"""The checks of a request for a replay or a plan, in the order of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import join, quote
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from playhead.errors import BadRequest, NotFound
from playhead.ids import now
from playhead.keys import check_path
from playhead.model import Execution, OnReplay, ReplayRequest, Selection
from playhead.ports.catalog import Browse
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.prune import check_unpruned
from playhead.reading.listing import Listing
from playhead.replay import effects, target
from playhead.replay.selection import SelectionCatalog, Selector, resolve_selection, selector_of

_MOST_MISSING: Final = 10
"""Paths that an error names."""


class RequestCatalog(Browse, SelectionCatalog, effects.EffectsCatalog, Protocol): ...


class Resolved(NamedTuple):
    """What a request means, decided once for the whole replay.

    Attributes:
        source: the source execution; possibly only objects in the store (`adopted`).
        prefix: `{execution}/{stage}` or `{execution}/{stage}/{path}`: where to list.
        loaded: the config version of the target route. Its `on_replay` is that of the newest version, where
            that is stricter.
        route: the name of the target route.
        effects: what the replay does in the routes of the config, as `Replay.effects` shows it.
        selection: which objects, with fixed times; None: all.
    """

    source: Execution
    prefix: str
    loaded: Loaded
    route: str
    effects: Mapping[str, OnReplay]
    selection: Selection | None = None

    @property
    def target(self) -> str:
        """The target route: `CONFIG/ROUTE`."""
        return f"{self.loaded.version.name}/{self.route}"


async def resolve(
    catalog: RequestCatalog, listing: Listing, request: ReplayRequest, *, to_config: str | None = None
) -> Resolved:
    """Check a request, except its effects (`check_effects`), and whether it selects any object
    (`check_objects`). Nothing is recorded.

    `to_config` is the config of the target route, if a plan has decided it; otherwise a route without a
    config is looked up.

    Raises:
        BadRequest: `invalid_path`, `route_ambiguous`.
        NotFound: `execution_not_found`, `stage_not_found`, `route_not_found`, `config_not_found`.
        Conflict: `config_inactive`, `stage_pruned`.
    """
    selection = resolve_selection(request.selection, now()) if request.selection else None
    stage = check_path(request.from_stage, "from_stage")
    path = (request.from_path or "").removesuffix("/")
    if path or request.from_path not in (None, ""):
        check_path(path, "from_path")
    source = await _source(catalog, listing, request.from_execution_id)
    await listing.check_stage(source, stage)
    to_route = request.to_route
    if to_config is not None:
        to_route = f"{to_config}/{to_route.rpartition('/')[2]}"
    loaded, route = await target.resolve(catalog, source, to_route, request.config_version)
    prefix = f"{request.from_execution_id}/{stage}" + (f"/{path}" if path else "")
    check_unpruned(source.execution_id, stage, source.pruned)
    if request.config_version is not None:
        loaded = loaded._replace(config=await effects.with_newest(catalog, loaded.config))
    on_replay = await effects.resolve(catalog, request, source, loaded.config)
    return Resolved(source, prefix, loaded, route, on_replay, selection)


def check_effects(request: ReplayRequest, found: Resolved) -> None:
    """Check that no route refuses the replay. Raises `Conflict` (`effects_refused`)."""
    effects.check(found.loaded.config, found.route, found.effects, request)


async def check_objects(
    catalog: RequestCatalog, listing: Listing, request: ReplayRequest, found: Resolved
) -> None:
    """Check that a replay would find an object, and select one.

    Raises:
        NotFound: `no_objects`, `object_not_found` (`paths`), `replay_not_found`.
        BadRequest: `selection_empty`.
    """
    if not await listing.any_object(found.source, found.prefix):
        raise _no_objects(request, found.source, found.prefix)
    if found.selection is None:
        return
    source = found.source.execution_id
    selector = await selector_of(
        catalog, found.selection, source=source, stage=request.from_stage, target=found.target
    )
    if found.selection.only == "unfinished":
        for execution in selector.executions:
            await _check_ended(catalog, execution)
    missing, count = set(found.selection.paths or ()), len(found.selection.paths or ())
    skip = len(f"{source}/{request.from_stage}/")
    is_empty = True
    async for page in listing.visible(found.source, found.prefix, sizes=selector.needs_times):
        is_empty = is_empty and not await selector.select(page)
        missing -= {one.key[skip:] for one in page}
        if not is_empty and not missing:
            return
    if missing:
        some = ", ".join(sorted(missing)[:_MOST_MISSING])
        raise NotFound(
            "object_not_found",
            f"{len(missing):,} of {count:,} paths are not objects at {found.prefix}: {some}. Paths are "
            f"relative to the stage. To list them, run: playhead ls {source} {quote(request.from_stage)}",
        )
    raise BadRequest("selection_empty", _left_out(found.prefix, selector))


async def _check_ended(catalog: RequestCatalog, execution: UUID) -> None:
    """Check that no object of an execution is still processed, so that it is known which are unfinished."""
    found = await catalog.execution(execution)
    if found and (found.status == "running" or found.counts.pending):
        raise BadRequest(
            "selection_empty",
            f"execution {execution} has not ended, so its unfinished objects are not known. Wait until it "
            f"has ended, or run: playhead cancel {execution}",
        )


def _left_out(prefix: str, selector: Selector) -> str:
    counts = selector.left_out
    reasons = {
        "filtered": "do not meet the other conditions"
        if counts["not_failed"]
        else "do not meet the conditions",
        "not_failed": "are finished" if selector.only == "unfinished" else "have no dead letter",
    }
    why = [f"{counts[name]:,} {reason}" for name, reason in reasons.items() if counts[name]]
    return f"the selection matches no object at {prefix}: {', '.join(why)}"


async def _source(catalog: RequestCatalog, listing: Listing, execution_id: UUID) -> Execution:
    """Return the source execution: from the catalog, or as external objects in the store show it."""
    found = await catalog.execution(execution_id)
    if found is None:
        found = await listing.adoptable(execution_id)
    if found is None:
        raise NotFound(
            "execution_not_found",
            f"execution {execution_id} is neither in the catalog nor in the store. Run: playhead executions",
        )
    return found


def _no_objects(request: ReplayRequest, source: Execution, prefix: str) -> NotFound:
    detail = f"nothing to replay at {prefix}: it holds no object other than sidecars and folder markers"
    ls = f"playhead ls {request.from_execution_id} {quote(request.from_stage)}"
    if source.kind != "replay" or source.parent_execution_id is None:
        return NotFound("no_objects", f"{detail}. `{ls}` lists the stage")
    # A replay typed again with `latest` as its source: `latest` is then the first replay.
    again = ["playhead", "replay", str(source.parent_execution_id), request.from_stage, request.to_route]
    if request.from_path:
        again += ["--path", request.from_path]
    return NotFound(
        "no_objects",
        f"{detail}. This execution is itself a replay of {source.parent_execution_id}. "
        f"To replay that execution again, run: {join(again)}",
    )
