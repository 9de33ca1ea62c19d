"""Which objects of a publication `made_by` selects: those whose results have such code.

They become `paths` when a request is resolved. So a process that drives the replay needs no adapters, and a
config or an adapter that changes meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from playhead.errors import BadRequest
from playhead.model import MOST_PATHS, CodeCondition, Execution, Selection
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Publications
from playhead.reading.newestcode import NewestCode, ResultsCatalog


class MadeByCatalog(ResultsCatalog, Publications, Protocol): ...


async def with_paths(
    catalog: MadeByCatalog,
    adapters: Mapping[str, AdapterSpec],
    selection: Selection,
    source: Execution,
    *,
    stage: str,
    path: str,
    target: tuple[str, str],
) -> Selection:
    """Return a selection with the paths that its `made_by` means.

    Args:
        adapters: those of this process, which are the newest code.
        path: folder or object in the stage; an empty text: the whole stage.
        target: the config and the route of the request.

    Raises:
        BadRequest: `invalid_body`: the source is not a publication of this config, `newest` is not compared
            with the route, or more paths than a request may have are selected. `selection_empty`.
        Conflict: `code_unknown`: an adapter of the route is not loaded here.
    """
    assert selection.made_by
    condition = CodeCondition.of(selection.made_by)
    config, route = target
    found = await catalog.publication_of(source.execution_id)
    if found is None or found.config != config:
        raise BadRequest(
            "invalid_body",
            f"made_by selects results of a publication of config {config}, but execution "
            f"{source.execution_id} is not one. Name a dataset as the source: current:NAME",
        )
    if condition.is_newest and condition.name != route:
        raise BadRequest(
            "invalid_body",
            f"made_by compares {condition.name} with newest, but the replay goes to the route {route}: write "
            f"{route}!=newest",
        )
    number = await catalog.dataset_number(config, found.dataset)
    given = None if selection.paths is None else frozenset(selection.paths)
    paths: dict[str, None] = {}
    received = NewestCode(catalog, adapters).received(number, found, route, stage, condition)
    async with aclosing(received) as every:
        async for one in every:
            if (not path or one == path or one.startswith(f"{path}/")) and (given is None or one in given):
                paths[one] = None
            if len(paths) > MOST_PATHS:
                raise BadRequest(
                    "invalid_body",
                    f"made_by selects more than {MOST_PATHS:,} objects. Replay them in parts, with "
                    "from_path, or the whole stage without made_by",
                )
    if not paths:
        raise BadRequest(
            "selection_empty",
            f"made_by selects no object that meets the other conditions: {selection.made_by}",
        )
    return replace(selection, paths=list(paths))
