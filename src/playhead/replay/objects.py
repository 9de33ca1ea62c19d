"""Whether a replay would find an object, and select one."""

from __future__ import annotations

from shlex import join, quote
from typing import Final
from uuid import UUID

from playhead.errors import BadRequest, NotFound
from playhead.model import Execution, ReplayRequest
from playhead.reading.listing import Listing
from playhead.replay.request import RequestCatalog, Resolved
from playhead.replay.selection import Selector, selector_of

_MOST_MISSING: Final = 10
"""Paths that an error names."""


async def check(catalog: RequestCatalog, listing: Listing, request: ReplayRequest, found: Resolved) -> None:
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
