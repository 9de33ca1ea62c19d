"""Which objects `made_by` selects: those whose results have such code, or were made by such a worker.

They become `paths` when a request is resolved. So a process that drives the replay needs no adapters, and a
config or an adapter that changes meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from playhead.errors import BadRequest, NotFound
from playhead.model import (
    MOST_PATHS,
    Execution,
    MadeByCondition,
    Replay,
    Selection,
    WorkerCondition,
    made_by_of,
)
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Code, Publications
from playhead.reading.newestcode import NewestCode, ResultsCatalog


class MadeByCatalog(ResultsCatalog, Publications, Code, Protocol):
    async def replay(self, batch: UUID) -> Replay | None: ...


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
        BadRequest: `invalid_body`: the source has no such results, `newest` is not compared with the route,
            or more paths than a request may have are selected. `selection_empty`.
        NotFound: `replay_not_found` (`in_replay`).
        Conflict: `code_unknown`: an adapter of the route is not loaded here.
    """
    assert selection.made_by
    condition = made_by_of(selection.made_by)
    config, route = target
    found = await catalog.publication_of(source.execution_id)
    if source.kind in ("run", "replay") and not condition.is_newest:
        received = _of_messages(catalog, selection, source, stage, target, condition)
        return await _with_paths(selection, received, path)
    if found is None or found.config != config or isinstance(condition, WorkerCondition):
        raise _no_results(source, condition, config, is_publication=found is not None)
    if condition.is_newest and condition.name != route:
        raise BadRequest(
            "invalid_body",
            f"made_by compares {condition.name} with newest, but the replay goes to the route {route}: write "
            f"{route}!=newest",
        )
    number = await catalog.dataset_number(config, found.dataset)
    received = NewestCode(catalog, adapters).received(number, found, route, stage, condition)
    return await _with_paths(selection, received, path)


async def _of_messages(
    catalog: MadeByCatalog,
    selection: Selection,
    source: Execution,
    stage: str,
    target: tuple[str, str],
    condition: MadeByCondition,
) -> AsyncGenerator[str, None]:
    """Yield the paths of objects of a run or a replay, by the messages that have received them."""
    execution = source.execution_id
    if batch := selection.in_replay:
        replay = await catalog.replay(batch)
        if replay is None or replay.from_execution_id != execution:
            raise NotFound(
                "replay_not_found",
                f"execution {execution} has no replay {batch}. Run: playhead replays {execution}",
            )
        execution = replay.execution_id
    prefix = f"{source.execution_id}/{stage}/"
    for key in await catalog.received_from(execution, target, stage, condition, limit=MOST_PATHS + 1):
        if key.startswith(prefix):
            yield key.removeprefix(prefix)


async def _with_paths(selection: Selection, received: AsyncGenerator[str, None], path: str) -> Selection:
    given = None if selection.paths is None else frozenset(selection.paths)
    paths: dict[str, None] = {}
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


def _no_results(
    source: Execution, condition: MadeByCondition, config: str, *, is_publication: bool
) -> BadRequest:
    """Return the error about a source without such results."""
    if is_publication and isinstance(condition, WorkerCondition):
        return BadRequest(
            "invalid_body",
            f"{condition} selects results of a run or a replay, but execution {source.execution_id} is a "
            f"publication. Run: playhead affected --worker {condition.worker}",
        )
    return BadRequest(
        "invalid_body",
        f"made_by selects results of a publication of config {config}, but execution "
        f"{source.execution_id} is not one. Name a dataset as the source: current:NAME",
    )
