"""Datasets: what readers see, and its publications."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import Path, Query
from fastapi.encoders import jsonable_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from playhead.api.answers import BODY_CODES, responses
from playhead.api.asking import Asked, Cursor, Filter, Limit, operations
from playhead.api.bodies import JsonRoute
from playhead.api.ids import NO_DATASET, NO_PUBLICATION, DeliveryId
from playhead.api.replay_headers import PublicationKey, replayed
from playhead.api.schemas import Word
from playhead.api.schemas.datasets import Forget, IndexCheck, Publish, Rollback
from playhead.api.storage import BYTES, content_response
from playhead.api.streams import LastEventId, stream, stream_responses
from playhead.keys import object_key
from playhead.model import (
    MAX_NUMBER,
    OPEN_PUBLICATION_STATES,
    CodeResults,
    Dataset,
    DatasetChange,
    NoteKind,
    Page,
    Publication,
    PublicationNote,
    PublicationPreview,
    StaleResult,
    StoredObject,
    Switch,
    WebhookDelivery,
)
from playhead.reading.datasets import check_readable
from playhead.reading.paging import decode_cursor

router = operations(prefix="/api/v1/datasets", tags=["datasets"], route_class=JsonRoute)

DatasetName = Annotated[Word, Path(description="Name of a dataset.")]
Config = Annotated[
    Word | None, Query(description="Config of the dataset; needed if several configs have one of this name.")
]
Number = Annotated[int, Path(ge=1, le=MAX_NUMBER, description="Number of a publication.")]
At = Annotated[
    int | None,
    Query(ge=1, le=MAX_NUMBER, description="Number of a publication; without it, the current one."),
]
_BODY: Final = ("invalid_body", "unsupported_media_type", *BODY_CODES)
_REFUSED: Final = (
    *("execution_not_found", "records_deleted", "id_ambiguous", "execution_running", "execution_pruned"),
    *("publication_in_progress", "publication_moved", "not_a_base", "nothing_published", "older_results"),
    *("publication_not_found", "publication_dropped"),
)
_IN_CONTENT: Final = (
    *("source_superseded", "source_not_published", "units_failed", "publication_incomplete"),
    *("publication_shrinks", "publication_empty", "path_conflict", "execution_changed"),
    *("sink_rows_missing", "sink_behind"),
)
_NEWEST: Final = Rollback()
_ALL: Final = IndexCheck()
_NUMBER: Final = re.compile("[1-9][0-9]{0,14}")


def _etag(description: str) -> dict[str, Any]:
    return {"ETag": {"schema": {"type": "string"}, "description": description}}


_TAGGED: Final = _etag("Name, number of the current publication and of the newest switch: `docs@8/12`.")
_OF_PUBLICATION: Final = _etag("Name and number of the publication: `docs@8`.")


def _name(name: str, config: str | None) -> str:
    return f"{config}/{name}" if config else name


@router.get("", responses=responses(*NO_DATASET))
async def list_datasets(asked: Asked, name: Filter = None, config: Config = None) -> Page[Dataset]:
    """List the datasets of all configs, by config and name."""
    found = await asked.publish.datasets()
    return Page([one for one in found if name in (None, one.name) and config in (None, one.config)])


@router.get(
    "/{name}",
    response_model=Dataset,
    responses=responses(*NO_DATASET)
    | {200: {"headers": _TAGGED}, 304: {"description": "Nothing has changed since the given ETag."}},
)
async def get_dataset(name: DatasetName, asked: Asked, request: Request, config: Config = None) -> Response:
    """Return what readers see now. With `If-None-Match`, only if another switch was made since."""
    found = await asked.publish.dataset(_name(name, config))
    tag = f'"{quote(found.name)}@{found.current or 0}/{found.seq}"'
    if tag in [one.strip() for one in request.headers.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers={"ETag": tag})
    return JSONResponse(jsonable_encoder(found), headers={"ETag": tag})


@router.get(
    "/{name}/events",
    response_class=Response,
    response_model=Dataset,
    responses=stream_responses("dataset", Dataset, *NO_DATASET, is_endless=True),
)
async def watch_dataset(
    name: DatasetName, asked: Asked, config: Config = None, last_event_id: LastEventId = None
) -> Response:
    """Stream what readers see: at once, and after each change, until the client disconnects.

    The data of an event `dataset` are the body of a `GET`. A new state of the draft or of a sink is
    a change, too; a growing lag is not. The stream has no last event. Otherwise, it is like that of an
    execution.
    """
    return stream("dataset", await asked.watch.dataset(_name(name, config)), last_event_id)


@router.get("/{name}/publications", responses=responses(*NO_DATASET, "invalid_cursor"))
async def list_publications(
    name: DatasetName,
    asked: Asked,
    config: Config = None,
    every: Annotated[bool, Query(alias="all", description="Also abandoned and dropped ones.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Publication]:
    """List the publications of a dataset, newest first."""
    return await asked.publish.publications(_name(name, config), cursor, limit, every=every)


@router.get("/{name}/publications/{n}", responses=responses(*NO_PUBLICATION))
async def get_publication(name: DatasetName, n: Number, asked: Asked, config: Config = None) -> Publication:
    """Return one publication; while it is prepared, with its state."""
    return await asked.publish.publication(_name(name, config), n)


@router.post(
    "/{name}/publications",
    scope="operate",
    response_model=Publication,
    status_code=202,
    responses=responses(
        *(*NO_DATASET, *_REFUSED, *_IN_CONTENT, *_BODY),
        *("invalid_idempotency_key", "idempotency_key_reused"),
    )
    | {
        200: {"model": PublicationPreview, "description": "What would change: the response to `dry_run`."},
        202: {"headers": replayed("publication")},
    },
)
async def publish(
    name: DatasetName, body: Publish, asked: Asked, config: Config = None, key: PublicationKey = None
) -> Response:
    """Prepare a publication from executions, and make it what readers see.

    The response is sent as soon as the draft is recorded. Its state at `Location` is `published`, or
    `abandoned` with the reason. Until then, readers see the current publication.
    """
    service, of = asked.publish, _name(name, config)
    if body.dry_run:
        preview = await service.preview(of, await body.request(asked.resolve.execution))
        return JSONResponse(jsonable_encoder(preview))
    fresh = True
    if key is None:
        made = await service.begin(of, await body.request(asked.resolve.execution))
    else:
        request = partial(body.request, asked.resolve.execution)
        made, fresh = await service.begin_once(of, key, body.model_dump(mode="json"), request)
    place = f"/api/v1/datasets/{quote(name)}/publications/{made.n}" + (f"?config={config}" if config else "")
    headers = {"Location": place} | ({} if fresh else {"Idempotent-Replayed": "true"})
    return JSONResponse(jsonable_encoder(made), 202, headers)


@router.post("/{name}/publications/{n}/cancel", scope="operate", responses=responses(*NO_PUBLICATION))
async def cancel_publication(
    name: DatasetName, n: Number, asked: Asked, config: Config = None
) -> Publication:
    """Abandon a publication that is being prepared. One that has ended is returned unchanged."""
    found = await asked.publish.publication(_name(name, config), n)
    if found.state in OPEN_PUBLICATION_STATES:
        found = await asked.publish.cancel(_name(name, config))
    return found


@router.post("/{name}/publications/{n}/pin", scope="operate", responses=responses(*NO_PUBLICATION))
async def pin_publication(name: DatasetName, n: Number, asked: Asked, config: Config = None) -> Publication:
    """Keep a publication until it is unpinned. Idempotent."""
    return await asked.publish.pin(_name(name, config), n)


@router.post("/{name}/publications/{n}/unpin", scope="prune", responses=responses(*NO_PUBLICATION))
async def unpin_publication(name: DatasetName, n: Number, asked: Asked, config: Config = None) -> Publication:
    """End the protection of a publication. Idempotent."""
    return await asked.publish.pin(_name(name, config), n, False)


@router.post(
    "/{name}/rollback", scope="operate", responses=responses(*NO_PUBLICATION, "publication_moved", *_BODY)
)
async def roll_back(
    name: DatasetName, asked: Asked, config: Config = None, body: Rollback = _NEWEST
) -> Dataset:
    """Make an earlier publication current again; without `to`, the one that was before.

    Automatic publication is held until a person publishes or releases.
    """
    return await asked.publish.roll_back(_name(name, config), body.to, body.expect_seq, body.reason)


@router.post(
    "/{name}/index/check",
    scope="operate",
    status_code=202,
    responses=responses(*NO_DATASET, "route_not_found", *_BODY),
)
async def check_index(
    name: DatasetName, asked: Asked, config: Config = None, body: IndexCheck = _ALL
) -> Dataset:
    """Compare indexes and tables with what is published, and repair those that differ, if asked to.

    A worker does it. `sinks[].check` has the result as soon as `sinks[].is_checked` is false, and
    `sinks[].repair` the replays that write lost rows again. They are published as soon as they have settled.
    """
    return await asked.publish.check(_name(name, config), body.route, repair=body.repair)


@router.post("/{name}/release", scope="operate", responses=responses(*NO_DATASET))
async def release_dataset(name: DatasetName, asked: Asked, config: Config = None) -> Dataset:
    """End the hold of automatic publication. Idempotent."""
    return await asked.publish.release(_name(name, config))


@router.post("/{name}/forget", scope="operate", responses=responses(*NO_DATASET, "route_not_found", *_BODY))
async def forget(name: DatasetName, body: Forget, asked: Asked, config: Config = None) -> Dataset:
    """Undo what was declared about the results of a route (`others_valid` of a replay).

    They are stale again, and the next runs with `changed_since` process them.
    """
    return await asked.publish.forget(_name(name, config), body.route)


@router.get("/{name}/switches", responses=responses(*NO_DATASET))
async def list_switches(
    name: DatasetName, asked: Asked, config: Config = None, limit: Limit = 100
) -> Page[Switch]:
    """List what was made current, newest first."""
    return Page(await asked.publish.switches(_name(name, config), limit))


@router.get("/{name}/deliveries", responses=responses(*NO_DATASET, "invalid_cursor"))
async def list_dataset_deliveries(
    name: DatasetName, asked: Asked, config: Config = None, limit: Limit = 100, cursor: Cursor = None
) -> Page[WebhookDelivery]:
    """List the events for the webhook of a dataset, newest first: the newest 100, and all that are due."""
    return await asked.webhooks.list_of_dataset(_name(name, config), cursor, limit)


@router.post(
    "/{name}/deliveries/{delivery_id}/send",
    scope="operate",
    responses=responses(*NO_DATASET, "delivery_not_found"),
)
async def send_dataset_delivery(
    name: DatasetName, delivery_id: DeliveryId, asked: Asked, config: Config = None
) -> WebhookDelivery:
    """Send an event again, under the same id, whatever its state. All of its attempts are available again."""
    return await asked.webhooks.send_again_of_dataset(_name(name, config), delivery_id)


@router.get("/{name}/changes", responses=responses(*NO_PUBLICATION, "invalid_cursor"))
async def list_changes(
    name: DatasetName,
    asked: Asked,
    since: Annotated[
        int, Query(ge=0, le=MAX_NUMBER, description="Number of any publication; 0: before the first.")
    ],
    until: At = None,
    stage: Filter = None,
    config: Config = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[DatasetChange]:
    """List the objects that differ between two publications, by stage and path."""
    return await asked.publish.changes(_name(name, config), since, until, stage, cursor, limit)


@router.get("/{name}/notes", responses=responses(*NO_PUBLICATION, "invalid_cursor"))
async def list_notes(
    name: DatasetName,
    asked: Asked,
    at: At = None,
    kind: Annotated[NoteKind | None, Query()] = None,
    config: Config = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[PublicationNote]:
    """List the documents and replayed objects whose new results a publication does not have."""
    return await asked.publish.notes(_name(name, config), at, kind, cursor, limit)


@router.get("/{name}/code", responses=responses(*NO_PUBLICATION, "invalid_cursor"))
async def list_publication_code(
    name: DatasetName,
    asked: Asked,
    at: At = None,
    config: Config = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[CodeResults]:
    """Count the results of a publication by the code that made them, for each route.

    The server compares them with the newest version of the config, and with the adapters that it has loaded.
    """
    return await asked.publish.code(_name(name, config), at, cursor, limit)


@router.get(
    "/{name}/stale",
    responses=responses(
        *NO_PUBLICATION, "publication_dropped", "route_not_found", "code_unknown", "invalid_cursor"
    ),
)
async def list_stale_results(
    name: DatasetName,
    asked: Asked,
    at: At = None,
    route: Annotated[Word | None, Query(description="Only results of this route.")] = None,
    from_stage: Annotated[
        str | None, Query(description="Only results of routes that have received objects of this stage.")
    ] = None,
    config: Config = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StaleResult]:
    """List the results of a publication that were made by other code, or by another config, than the newest.

    The server compares them with the newest version of the config, and with the adapters that it has loaded.
    """
    return await asked.publish.stale(_name(name, config), at, route, from_stage, cursor, limit)


@router.get(
    "/{name}/objects",
    response_model=Page[StoredObject],
    responses=responses(
        *(*NO_PUBLICATION, "invalid_path", "invalid_cursor", "stage_not_found", "store_unavailable")
    )
    | {200: {"headers": _OF_PUBLICATION}},
)
async def list_published_objects(
    name: DatasetName,
    asked: Asked,
    response: Response,
    at: At = None,
    stage: Filter = None,
    path: Annotated[str | None, Query(description="A folder or an object in the stage.")] = None,
    config: Config = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StoredObject]:
    """List objects of a publication, by stage and path. All pages are of the publication of the first one."""
    number, _, inner = (cursor or "").partition(".")
    if cursor is not None and not (_NUMBER.fullmatch(number) and inner):
        decode_cursor(cursor, str, "")  # refuses it
    found = await asked.publish.publication(_name(name, config), int(number) if cursor else at)
    check_readable(await asked.publish.dataset(_name(name, config)), found, found.n)
    page = await asked.objects.list(found.execution_id, stage, path, inner or None, limit)
    response.headers["ETag"] = f'"{quote(found.dataset)}@{found.n}"'
    then = page.next_cursor and f"{found.n}.{page.next_cursor}"
    return replace(page, next_cursor=then)


@router.get(
    "/{name}/content/{stage}/{path:path}",
    response_class=Response,
    responses=responses(*NO_PUBLICATION, "invalid_path", "object_not_found", "store_unavailable")
    | {200: BYTES},
)
async def get_published_content(
    name: DatasetName,
    stage: Annotated[str, Path(description="Stage of the object.")],
    path: Annotated[str, Path(description="Path in the stage.")],
    asked: Asked,
    at: At = None,
    config: Config = None,
) -> Response:
    """Stream the bytes of an object of a publication."""
    found = await asked.publish.publication(_name(name, config), at)
    check_readable(await asked.publish.dataset(_name(name, config)), found, found.n)
    key = object_key(found.execution_id, stage, path)
    return content_response(key, await asked.objects.content(key))
