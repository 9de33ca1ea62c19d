"""Executions, with their routes, stages, replays and messages."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Depth, Filter, Focus, Limit, operations
from playhead.api.ids import NO_EXECUTION, ExecutionId, execution_query
from playhead.api.schemas.affected import MadeBy
from playhead.api.schemas.replays import Time
from playhead.api.streams import LastEventId, stream, stream_responses
from playhead.model import (
    Execution,
    Kind,
    Lineage,
    Page,
    Pipeline,
    Replay,
    RouteCode,
    RouteCounts,
    RowState,
    StageSummary,
    StageTotals,
    Status,
    WatchedExecution,
    Why,
)
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.reading.paging import list_of, page_of

router = operations(prefix="/api/v1/executions", tags=["executions"])

_missing = responses(*NO_EXECUTION, "store_unavailable")
_missing_or_cursor = responses(*NO_EXECUTION, "invalid_cursor", "store_unavailable")
_messages = responses(*NO_EXECUTION, "records_deleted", "invalid_cursor", "store_unavailable")


@router.get("", scope="any", responses=responses(*NO_EXECUTION, "invalid_cursor"))
async def list_executions(
    asked: Asked,
    parent: Annotated[UUID | None, execution_query("parent", "List only replays of this execution")],
    status: Status | None = None,
    config: Filter = None,
    kind: Kind | None = None,
    tag: Filter = None,
    since: Annotated[
        Time | None,
        Query(
            description="List only executions that were created at this time or later: a time with an "
            "offset, as in `2026-01-31T18:00:00Z`, or the time before the request, as in `-24h` or `-7d` "
            "(units `s`, `m`, `h`, `d`, `w`)."
        ),
    ] = None,
    until: Annotated[
        Time | None,
        Query(description="List only executions that were created before this time, in the same form."),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Execution]:
    """List executions, newest first."""
    where = ExecutionFilter(status, config, kind, tag, parent, since, until)
    return await asked.executions.list(where, cursor, limit)


@router.get("/{execution_id}", scope="any", responses=_missing)
async def get_execution(execution_id: ExecutionId, asked: Asked) -> Execution:
    """Return an execution. If it exists only in the store, its kind is `adopted`."""
    return await asked.executions.get(execution_id)


@router.get(
    "/{execution_id}/events",
    scope="any",
    response_class=Response,
    response_model=WatchedExecution,
    responses=stream_responses("execution", WatchedExecution, *NO_EXECUTION, "store_unavailable"),
)
async def watch_execution(
    execution_id: ExecutionId, asked: Asked, last_event_id: LastEventId = None
) -> Response:
    """Stream the state of an execution: at once, and after each change, until it ends.

    The data of an event `execution` are the body of a `GET`, and `routes` with the counts of each route. The
    last event is `end`, with the same data.
    Changes within half a second may be combined. The id of an event is derived from the state, so a client
    may reconnect to any server: with `Last-Event-ID`, the stream begins with the first newer state. After
    `end` the response is 204. Without it, an `EventSource` would reconnect whenever the stream closes.

    After ten seconds without an event, the server sends a comment. It also sends a comment when the catalog
    is unavailable, and continues when the catalog is back. A stream that closes without `end` means that
    the server is shutting down: reconnect.
    """
    return stream("execution", await asked.watch.execution(execution_id), last_event_id)


@router.post("/{execution_id}/cancel", scope="operate", responses=responses(*NO_EXECUTION, "execution_ended"))
async def cancel_execution(execution_id: ExecutionId, asked: Asked) -> Execution:
    """Cancel an execution. After the response, no further attempt of it starts. Idempotent."""
    return await asked.recover.cancel(execution_id)


@router.get("/{execution_id}/routes", scope="any", responses=_missing_or_cursor)
async def list_execution_routes(
    execution_id: ExecutionId, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[RouteCounts]:
    """Count the messages of each route, in the order of the config. The sums are those of the execution."""
    counts = await asked.executions.route_counts(execution_id)
    return page_of(
        counts, lambda route: route.route, cursor, limit, list_of("execution routes", execution_id)
    )


@router.get("/{execution_id}/dag", responses=responses(*NO_EXECUTION, "route_not_found", "store_unavailable"))
async def get_execution_dag(
    execution_id: ExecutionId, asked: Asked, focus: Focus = None, depth: Depth = None
) -> Pipeline:
    """Return the structure of the pipeline of an execution, with its messages in each route.

    An adopted execution has no config: its pipeline has no routes.
    """
    return await asked.pipelines.of_execution(execution_id, focus, depth)


@router.get("/{execution_id}/code", responses=_messages)
async def list_execution_code(
    execution_id: ExecutionId, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[RouteCode]:
    """Count the messages by the code that ran, for each route. Reads all messages of the execution."""
    codes = await asked.executions.code(execution_id)
    return page_of(codes, lambda route: route.route, cursor, limit, list_of("execution code", execution_id))


@router.get("/{execution_id}/stages", responses=_missing_or_cursor)
async def list_execution_stages(
    execution_id: ExecutionId, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[StageSummary]:
    """Count stored objects and bytes of each stage, as a replay would find them now."""
    stages = await asked.executions.stages(execution_id)
    return page_of(
        stages, lambda stage: stage.stage, cursor, limit, list_of("execution stages", execution_id)
    )


@router.get("/{execution_id}/totals", scope="any", responses=_missing)
async def get_execution_totals(execution_id: ExecutionId, asked: Asked) -> StageTotals:
    """Return objects and bytes of all stages at once, without a listing of the store.

    The numbers are those of `/stages`, except that objects of other programs are counted only if the
    execution is adopted. While the execution runs, they are at most five seconds old.
    """
    return await asked.executions.stage_totals(execution_id)


@router.get("/{execution_id}/replays", scope="any", responses=_missing_or_cursor)
async def list_execution_replays(
    execution_id: ExecutionId, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[Replay]:
    """List the replay batches whose source is this execution, newest first."""
    return await asked.executions.replays(execution_id, cursor, limit)


@router.get("/{execution_id}/lineage", responses=_messages)
async def list_execution_lineage(
    execution_id: ExecutionId,
    asked: Asked,
    route: Filter = None,
    status: RowState | None = None,
    made_by: Annotated[
        MadeBy | None,
        Query(
            description="List only messages whose result an adapter of this version or code (`chunk=2`, "
            "`chunk<2`, `chunk=sha256:ab12`), or a worker (`worker:ID`), has made."
        ),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Lineage]:
    """List the messages of an execution, newest first."""
    return await asked.lineage.list(
        execution=execution_id, route=route, status=status, made_by=made_by, cursor=cursor, limit=limit
    )


@router.get(
    "/{execution_id}/why",
    responses=responses(
        "invalid_path", *NO_EXECUTION, "object_not_found", "records_deleted", "store_unavailable"
    ),
)
async def explain_item(
    execution_id: ExecutionId,
    asked: Asked,
    path: Annotated[
        str,
        Query(
            description="Path of an input; or `stage/path`, a path in another stage, or the key of an object."
        ),
    ],
    stage: Annotated[
        str | None, Query(min_length=1, description="Stage that contains the path; without it, any stage.")
    ] = None,
) -> Why:
    """Explain what happened to an item: its trace through the routes, and where and why it ended.

    For a replay, `path` may also be a path in the execution that it replays. The trace begins there then.
    For an object of a publication, the trace is that of the execution that stored it.
    """
    return await asked.why.explain(execution_id, path, stage)
