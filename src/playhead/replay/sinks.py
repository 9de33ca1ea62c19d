"""Warn before a replay that reaches a sink, such as an index, with a part of the objects or with older ones.

A row of a sink replaces rows of earlier executions, and executions are in the order in which they began. So a
replay also replaces rows that come from newer inputs than its own.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from playhead.model import Execution, ReplayRequest, Warning, is_skipped
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.replay import effects
from playhead.replay.request import RequestCatalog, Resolved


async def warnings_of(
    catalog: RequestCatalog, request: ReplayRequest, found: Resolved, sinks: Collection[str]
) -> list[Warning]:
    """Return the warnings about a replay. `sinks` are the types of the adapters that are sinks."""
    config = found.loaded.config
    places = [
        f"{name} ({step.type})"
        for name in effects.reached(config, found.route, found.effects)
        if not is_skipped(found.effects, name)
        if not config.followed_by(name)  # it shows only what is published
        for step in config.routes[name].steps
        if step.type in sinks
    ]
    if not places:
        return []
    run, is_partial = await _origin(catalog, found.source)
    warnings = []
    if is_partial or found.selection or request.from_path:
        warnings.append(Warning("partial_into_sink", found.route, places=places))
    if run and (newer := await _newer_run(catalog, run)):
        warnings.append(Warning("older_into_sink", str(run.execution_id), places=places, detail=str(newer)))
    return warnings


async def _origin(catalog: RequestCatalog, source: Execution) -> tuple[Execution | None, bool]:
    """Return the run from which the objects of an execution come, and whether replays took only a part of it.

    None: they come from another program, or the run is unknown.
    """
    found: Execution | None = source
    is_partial = False
    while found and found.kind == "replay" and found.replay_batch_id and found.parent_execution_id:
        replay = await catalog.replay(found.replay_batch_id)
        is_partial |= replay is not None and bool(replay.selection or replay.from_path)
        found = await catalog.execution(found.parent_execution_id)
    return (found if found and found.kind == "run" else None), is_partial


async def _newer_run(catalog: RequestCatalog, run: Execution) -> UUID | None:
    """Return the newest run of the same config, if a run is older than it."""
    newest, _ = await catalog.executions(ExecutionFilter(kind="run", config=run.config), limit=1)
    is_older = newest and newest[0].execution_id > run.execution_id
    return newest[0].execution_id if is_older else None
