"""Stored objects: list them, and read their bytes and sidecars."""

from __future__ import annotations

from typing import Annotated, Any, Final
from urllib.parse import quote
from uuid import UUID

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from playhead.api.answers import responses
from playhead.api.asking import Asked, Cursor, Limit, operations
from playhead.api.ids import NO_EXECUTION, execution_query, key_query
from playhead.keys import sidecar_key
from playhead.model import ObjectVersion, Page, StoredObject
from playhead.reading.paging import list_of, page_of
from playhead.services.objects import Content

router = operations(prefix="/api/v1/storage/objects", tags=["storage"])

_MOST_PREVIEWED: Final = 1_048_576

Key = Annotated[str, key_query("key")]

BYTES: dict[str, Any] = {
    "description": "The bytes of the object, with the content type of its sidecar.",
    # Generated clients read the first one, as bytes.
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in ("application/octet-stream", "*/*")
    },
}
_first_bytes: dict[str, Any] = {
    **BYTES,
    "description": "The first `limit` bytes of an object that has more.",
    "headers": {
        "Content-Range": {
            "schema": {"type": "string"},
            "description": "`bytes 0-LAST/SIZE`: the last byte that is sent, and the size of the object.",
        }
    },
}
_sidecar: dict[str, Any] = {
    "description": "The stored sidecar.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}
_no_object = responses(
    "invalid_path", *NO_EXECUTION, "object_not_found", "records_deleted", "store_unavailable"
)
_no_content = responses(
    *(
        "invalid_path",
        *NO_EXECUTION,
        "object_not_found",
        "object_pruned",
        "records_deleted",
        "store_unavailable",
    )
)


@router.get(
    "",
    responses=responses(
        *("invalid_path", *NO_EXECUTION, "invalid_cursor", "stage_not_found", "store_unavailable")
    ),
)
async def list_objects(
    execution_id: Annotated[UUID, execution_query("execution_id", "The execution", required=True)],
    asked: Asked,
    stage: Annotated[str | None, Query(min_length=1)] = None,
    path: Annotated[str | None, Query(description="A folder or an object in the stage.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StoredObject]:
    """List the objects that a replay would select, in byte order of their keys."""
    return await asked.objects.list(execution_id, stage, path, cursor, limit)


@router.get("/content", response_class=Response, responses={200: BYTES, 206: _first_bytes, **_no_content})
async def get_object_content(
    key: Key,
    asked: Asked,
    limit: Annotated[
        int | None,
        Query(ge=1, le=_MOST_PREVIEWED, description="Maximum number of bytes, for a preview."),
    ] = None,
) -> Response:
    """Stream the bytes of an object. The headers let a browser save them, but not run them.

    With `limit`, no further bytes are read from the store. If the object has more, the status is 206, and
    `Content-Range` has the size of the object. `Range` headers are ignored.
    """
    return content_response(key, await asked.objects.content(key, limit=limit), limit)


def content_response(key: str, content: Content, limit: int | None = None) -> Response:
    """Return the response with the bytes of an object."""
    size = content.size if limit is None else min(limit, content.size)
    is_cut = size < content.size
    return StreamingResponse(
        content.chunks,
        status_code=206 if is_cut else 200,
        headers={
            "Content-Type": content.content_type,  # not as `media_type`: the framework would add a charset
            "Content-Length": str(size),
            **({"Content-Range": f"bytes 0-{size - 1}/{content.size}"} if is_cut else {}),
            **_to_save(key),
        },
    )


@router.get("/metadata", response_class=Response, responses={200: _sidecar, **_no_object})
async def get_object_metadata(key: Key, asked: Asked) -> Response:
    """Return the stored sidecar of an object.

    Of a pruned object, return what the catalog knows of it: size, sha256, content type, attributes, the
    message that stored it, and `pruned_at`.
    """
    sidecar = await asked.objects.metadata(key)
    return Response(sidecar, media_type="application/json", headers=_to_save(sidecar_key(key)))


@router.get(
    "/versions", responses=responses("invalid_path", *NO_EXECUTION, "invalid_cursor", "store_unavailable")
)
async def list_object_versions(
    key: Key, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[ObjectVersion]:
    """List the objects with the same stage and path in the family of an execution, oldest first.

    The family is the run at the beginning, the replays of the run, the replays of these, and so on. The
    object itself is one of them. Pruned objects are left out. At most 100 executions are searched.
    """
    found = await asked.objects.versions(key)
    return page_of(found, lambda one: one.key, cursor, limit, list_of("versions", key))


def _to_save(key: str) -> dict[str, str]:
    """Return headers that make a browser save the bytes instead of showing or running them."""
    # RFC 5987: all characters except letters, digits and `_.-~` are percent-encoded.
    name = quote(key.rpartition("/")[2], safe="")
    return {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
