"""What a request for a replay or a plan means, checked in the order of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from playhead.ids import now
from playhead.keys import check_path
from playhead.model import Execution, OnReplay, ReplayRequest, Selection
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Browse
from playhead.ports.catalog.configs import Loaded
from playhead.ports.catalog.prune import check_unpruned
from playhead.reading.listing import Listing
from playhead.reading.lookup import find_execution
from playhead.replay import effects, madeby, target
from playhead.replay.selection import SelectionCatalog


class RequestCatalog(Browse, SelectionCatalog, effects.EffectsCatalog, madeby.MadeByCatalog, Protocol): ...


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
    catalog: RequestCatalog,
    listing: Listing,
    request: ReplayRequest,
    adapters: Mapping[str, AdapterSpec],
    *,
    to_config: str | None = None,
) -> Resolved:
    """Check a request, except its effects (`effects.check`), and whether it selects any object
    (`objects.check`). Nothing is recorded.

    Args:
        adapters: those of this process.
        to_config: the config of the target route, if a plan has decided it; None: a route without a config is
            looked up.

    Raises:
        BadRequest: `invalid_path`, `route_ambiguous`, and what `madeby.with_paths` raises.
        NotFound: `execution_not_found`, `stage_not_found`, `route_not_found`, `config_not_found`.
        Conflict: `config_inactive`, `stage_pruned`, `code_unknown`.
    """
    selection = request.selection and request.selection.fixed(now())
    stage = check_path(request.from_stage, "from_stage")
    path = (request.from_path or "").removesuffix("/")
    if path or request.from_path not in (None, ""):
        check_path(path, "from_path")
    source = await find_execution(catalog, listing, request.from_execution_id)
    await listing.check_stage(source, stage)
    to_route = request.to_route
    if to_config is not None:
        to_route = f"{to_config}/{to_route.rpartition('/')[2]}"
    loaded, route = await target.resolve(catalog, source, to_route, request.config_version)
    prefix = f"{request.from_execution_id}/{stage}" + (f"/{path}" if path else "")
    check_unpruned(source.execution_id, stage, source.pruned)
    if selection and selection.made_by and not request.plan_id:  # a plan has its objects
        of = (loaded.version.name, route)
        selection = await madeby.with_paths(
            catalog, adapters, selection, source, stage=stage, path=path, target=of
        )
    if request.config_version is not None:
        loaded = loaded._replace(config=await effects.with_newest(catalog, loaded.config))
    on_replay = await effects.resolve(catalog, request, source, loaded.config)
    return Resolved(source, prefix, loaded, route, on_replay, selection)
