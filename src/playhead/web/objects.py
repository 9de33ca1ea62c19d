"""`/objects`: one object, its content, its lineage, and what produced it. `/objects/raw`: its bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal
from uuid import UUID

from starlette.responses import Response, StreamingResponse

from playhead import keys
from playhead.errors import BadRequest, NotFound
from playhead.model import Execution, ObjectVersion, PublishedIn
from playhead.services import Services
from playhead.web.ancestry import Ancestry, ancestry
from playhead.web.content import VIEWS, ContentView, content_view
from playhead.web.page import ApiCall, Ask, Crumb, Missing, Page, Raw, Shown, or_missing, url
from playhead.web.preview import disposition, raw_headers, without_connections

_MOST_FACT: Final = 2000
_LISTS: Final = ("map", "list")


@dataclass(frozen=True, slots=True)
class Code:
    """An adapter that produced an object, with the code that ran.

    Attributes:
        type: name of the adapter.
        version: version that its author has set.
        code: fingerprint of its source, or name and version of its package.
        was: `version X` or `other code`, which produced the object that it is compared with; else None.
    """

    type: str
    version: str
    code: str
    was: str | None = None


@dataclass(frozen=True, slots=True)
class SidecarView:
    """What is stored with an object. Any program may have written it, so each field may be missing.

    Attributes:
        source_key: key of the object from which it was made.
        adapters: the adapters that produced it, in order.
        config: name of the config.
        config_version: version of the config.
        config_hash: hash of that version.
        route: route that produced it.
        message: id of the message that produced it.
        attempt: attempt that produced it.
        attributes: its attributes, each as JSON.
        sha256: SHA-256 of its content in hex.
        size: size in bytes.
        content_type: its content type.
        created_at: when it was stored.
        pruned_at: when it was pruned; None if it was not.
    """

    source_key: str | None
    adapters: Sequence[Code]
    config: str | None
    config_version: int | None
    config_hash: str | None
    route: str | None
    message: str | None
    attempt: int | None
    attributes: Sequence[tuple[str, str]]
    sha256: str | None
    size: int | None
    content_type: str | None
    created_at: str | None
    pruned_at: str | None


@dataclass(frozen=True, slots=True)
class ObjectView:
    """An object.

    Attributes:
        key: its key.
        stage: its stage.
        path: its path in the stage.
        execution: its execution.
        sidecar: its sidecar, or a reason if it does not exist or cannot be read now.
        content: its content; a reason if it was pruned, or cannot be read now.
        ancestry: its lineage.
        lineage: whether the lineage is shown as a map or as a list.
        lineages: URLs of the page with each of both.
        versions: the objects with the same stage and path in the run and all replays of the family.
        runs: those in the newest runs of the same config that are not in the family.
        against: the one of the versions with which it is compared; None if there is no other one.
        sha256: SHA-256 of its content in hex, as it is recorded; None if it is not.
        published: in which publications readers see it, or have seen it.
    """

    key: str
    stage: str
    path: str
    execution: Execution
    sidecar: SidecarView | Missing
    content: ContentView | Missing
    ancestry: Ancestry | Missing
    lineage: Literal["map", "list"]
    lineages: Mapping[str, str]
    versions: Sequence[ObjectVersion]
    runs: Sequence[ObjectVersion]
    against: ObjectVersion | None
    sha256: str | None
    published: Sequence[PublishedIn]


async def show(ask: Ask) -> Shown[ObjectView]:
    services = ask.services
    key = ask.needed("key")
    view = ask.choice("view", VIEWS)
    lineage = ask.choice("lineage", _LISTS)
    parsed = keys.parse_key(key)
    if parsed is None:
        raise BadRequest("invalid_path", f"{key!r} is not {{execution_id}}/{{stage}}/{{path}}")
    execution = await services.executions.get(parsed[0])
    # Parts that do not need each other are read at once: a page that reads all in turn takes twice as long.
    (versions, runs), (stage, path) = await asyncio.gather(
        services.objects.versions_and_runs(execution, parsed[1]),
        _split(services, execution, parsed[1]),
    )
    against = await _against(ask, key, versions, execution)
    version = next((one for one in versions if one.key == key), None)
    sidecar, content, lineage_of = await asyncio.gather(
        or_missing(_sidecar, services, key, against if view in (None, "changes") else None),
        or_missing(_content, partial(content_view, services, key, view, version, against, lineage)),
        or_missing(ancestry, services, key, stage, execution),
    )
    is_pruned = isinstance(content, Missing) and content.error_code == "object_pruned"
    found = ObjectView(
        key,
        stage,
        path,
        execution,
        sidecar,
        content,
        lineage_of,
        "list" if lineage == "list" else "map",
        {
            one: url("/objects", key=key, view=view, against=ask.text("against"), lineage=one)
            for one in _LISTS
        },
        versions,
        runs,
        against,
        version.sha256 if version else None if isinstance(sidecar, Missing) else sidecar.sha256,
        version.published if version else (),
    )
    return Shown(
        path,
        found,
        [
            *(
                []
                if isinstance(sidecar, Missing)
                else [ApiCall(url("/api/v1/storage/objects/metadata", key=key))]
            ),
            ApiCall(url("/api/v1/storage/objects/content", key=key)),
            ApiCall(url("/api/v1/storage/objects/versions", key=key)),
            ApiCall(url("/api/v1/lineage/chain", object_key=key)),
            ApiCall(url("/api/v1/lineage/chain/summary", object_key=key)),
            ApiCall(url("/api/v1/lineage/counts", object_key=key)),
        ],
        crumbs=list(_crumbs(execution, stage, path)),
        status=410 if is_pruned else 200,
    )


async def _content(read: Callable[[], Awaitable[ContentView]]) -> ContentView | Missing:
    try:
        return await read()
    except NotFound as exc:
        if exc.code != "object_pruned":
            raise
        return Missing(exc.code, exc.detail)


def _crumbs(execution: Execution, stage: str, path: str) -> Sequence[Crumb]:
    home = f"/executions/{execution.execution_id}"
    name = execution.config or "adopted"
    crumbs = [
        Crumb("Executions", "/executions"),
        Crumb(f"{execution.kind} {str(execution.execution_id)[-8:]} of {name}", url(home)),
        Crumb(stage, url(home, tab="objects", stage=stage)),
    ]
    folders = path.split("/")[:-1]
    for n, folder in enumerate(folders):
        crumbs.append(Crumb(folder, url(home, tab="objects", stage=stage, path="/".join(folders[: n + 1]))))
    return crumbs


async def _split(services: Services, execution: Execution, rest: str) -> tuple[str, str]:
    stages: list[str] = []
    if execution.config is not None:
        pipeline = await services.pipelines.of_config(execution.config, execution.config_version)
        stages = [route.stage for route in pipeline.routes if route.stage]
    return keys.stage_of(rest, [keys.INPUT_STAGE, *stages], rest.partition("/")[0])


async def _against(
    ask: Ask, key: str, versions: Sequence[ObjectVersion], execution: Execution
) -> ObjectVersion | None:
    """Return the version that the request names by key or execution; else the source's, or the nearest."""
    others = [one for one in versions if one.key != key]
    if asked := ask.text("against"):
        if keys.parse_key(asked):
            wanted = asked
        else:
            found = await ask.services.resolve.execution(asked)
            wanted = f"{found}/{key.partition('/')[2]}"
        if wanted == key:
            return None
        for one in others:
            if one.key == wanted:
                return one
        return await _other(ask.services, wanted)
    for one in others:
        if one.execution_id == execution.parent_execution_id:
            return one
    earlier = [one for one in others if one.created_at < execution.created_at]
    return next(reversed(earlier or others), None)


async def _other(services: Services, key: str) -> ObjectVersion:
    """Return an object that is not in the family, as its sidecar describes it.

    Raises:
        NotFound: `object_not_found`, `object_pruned`.
    """
    parsed = keys.parse_key(key)
    if parsed is None:
        raise BadRequest("invalid_path", f"{key!r} is not a key")
    execution = await services.executions.get(parsed[0])
    described = await _sidecar(services, key, None)
    if isinstance(described, Missing):
        raise NotFound("object_not_found", described.detail)
    return ObjectVersion(
        *(key, execution.execution_id, execution.kind, execution.config, execution.config_version),
        *(execution.created_at, described.size or 0, described.sha256 or "", described.content_type or ""),
    )


async def _sidecar(services: Services, key: str, against: ObjectVersion | None) -> SidecarView | Missing:
    try:
        fields = _read(await services.objects.metadata(key))
        before = _read(await services.objects.metadata(against.key)) if against else {}
    except NotFound as exc:
        return Missing(exc.code, exc.detail)
    earlier = {one.type: one for one in _adapters(before)}
    adapters = []
    for one in _adapters(fields):
        old = earlier.get(one.type)
        was = None
        if old and (old.version, old.code) != (one.version, one.code):
            was = f"version {old.version}" if old.version != one.version else "other code"
        adapters.append(Code(one.type, one.version, one.code, was))
    return SidecarView(
        source_key=_text(fields, "source_key"),
        adapters=adapters,
        config=_text(fields, "config"),
        config_version=_number(fields, "config_version"),
        config_hash=_text(fields, "config_hash"),
        route=_text(fields, "route"),
        message=_message(fields),
        attempt=_number(fields, "attempt"),
        attributes=_attributes(fields),
        sha256=_text(fields, "sha256"),
        size=_number(fields, "size"),
        content_type=_text(fields, "content_type"),
        created_at=_time(fields, "created_at"),
        pruned_at=_time(fields, "pruned_at"),
    )


def _read(sidecar: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(sidecar)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value[:_MOST_FACT] if isinstance(value, str) else None


def _number(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a time in the only form that Playhead writes."""
    value = _text(fields, name)
    is_time = value and len(value) <= 30 and value.endswith("Z")
    try:
        return datetime.fromisoformat(value).isoformat() if is_time and value else None
    except ValueError:
        return None


def _message(fields: Mapping[str, Any]) -> str | None:
    value = _text(fields, "correlation_id")
    try:
        return str(UUID(value)) if value else None
    except ValueError:
        return None


def _adapters(fields: Mapping[str, Any]) -> list[Code]:
    found = fields.get("adapters")
    return [
        Code(*(str(one.get(name, ""))[:200] for name in ("type", "version", "code")))
        for one in (found if isinstance(found, list) else [])[:100]
        if isinstance(one, dict)
    ]


def _attributes(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = fields.get("attributes")
    if not isinstance(found, dict):
        return []
    return [
        (
            name[:200],
            (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))[:_MOST_FACT],
        )
        for name, value in list(found.items())[:100]
    ]


async def raw(ask: Ask) -> Response:
    """Return the bytes of an object. The headers let a browser show them, but run or load nothing."""
    key = ask.needed("key")
    content = await ask.services.objects.content(key)
    chunks: AsyncIterator[bytes] = content.chunks
    headers = raw_headers(key, content.content_type)
    if ask.choice("save", ("yes",)):
        headers |= {"Content-Disposition": disposition(key, "attachment"), "Content-Type": keys.OCTET_STREAM}
    elif headers["Content-Type"].startswith("text/html"):
        chunks = without_connections(chunks)
    return StreamingResponse(
        chunks, headers={**headers, "Content-Length": str(content.size), "Cache-Control": "no-store"}
    )


PAGES: Final = (Page("/objects", "object.html", show, "executions", scope="read"),)
RAW: Final = (Raw("/objects/raw", raw, scope="read"),)
