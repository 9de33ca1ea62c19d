"""Configs: store, look up, activate and deactivate."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from playhead.api.answers import BODY_CODES, UnsupportedMediaType, responses
from playhead.api.asking import (
    WARNINGS,
    Asked,
    ConfigName,
    Cursor,
    Depth,
    Focus,
    Limit,
    VersionNumber,
    operations,
    warner,
)
from playhead.api.bodies import JSON, is_json, media_type, read_model
from playhead.api.schemas import ConfigSource, Validated
from playhead.model import MAX_VERSION, ConfigVersion, Page, Pipeline

router = operations(prefix="/api/v1/configs", tags=["configs"])

YAML: Final = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")

_body: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            YAML[0]: {"schema": {"type": "string", "description": "The text of the config."}},
            JSON: {"schema": ConfigSource.model_json_schema()},
        },
    }
}
_wrong_shape: dict[int | str, dict[str, Any]] = {
    422: {
        "description": "Validation Error",
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/HTTPValidationError"}}},
    }
}
_refused = ("invalid_body", "unsupported_media_type", *BODY_CODES)


async def _source(request: Request) -> bytes | str:
    """Return the YAML of a request, from the body or from the JSON field `source`."""
    kind = media_type(request)
    if kind in YAML:
        return await request.body()
    if is_json(kind):
        return (await read_model(request, ConfigSource)).source
    raise UnsupportedMediaType(kind, YAML[0], JSON)


@router.post(
    "",
    scope="apply",
    status_code=201,
    response_model=ConfigVersion,
    openapi_extra=_body,
    responses={
        **responses("config_invalid", *_refused),
        **_wrong_shape,
        200: {
            "model": ConfigVersion,
            "description": "The newest version is already equivalent.",
            "headers": WARNINGS,
        },
        201: {"headers": WARNINGS},
    },
)
async def create_config(request: Request, response: Response, asked: Asked) -> ConfigVersion:
    """Store a new version of a config (201), or return the newest version if it has the same hash (200)."""
    version, new = await asked.configs.apply(await _source(request), warner(response))
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"{router.prefix}/{version.name}/versions/{version.version}"
    return version


@router.post(
    "/validate", scope="apply", openapi_extra=_body, responses={**responses(*_refused), **_wrong_shape}
)
async def validate_config(request: Request, asked: Asked) -> Validated:
    """Return all faults of a config. Stores nothing."""
    diagnostics = await asked.configs.validate(await _source(request))
    return Validated(valid=all(d.severity != "error" for d in diagnostics), diagnostics=diagnostics)


@router.get("", responses=responses("invalid_cursor"))
async def list_configs(asked: Asked, limit: Limit = 100, cursor: Cursor = None) -> Page[ConfigVersion]:
    """List the newest version of each config, newest config first."""
    return await asked.configs.list(cursor, limit)


@router.get("/{name}", responses=responses("config_not_found"))
async def get_config(name: ConfigName, asked: Asked) -> ConfigVersion:
    """Return the newest version of a config."""
    return await asked.configs.get(name)


@router.get("/{name}/versions", responses=responses("config_not_found", "invalid_cursor"))
async def list_config_versions(
    name: ConfigName, asked: Asked, limit: Limit = 100, cursor: Cursor = None
) -> Page[ConfigVersion]:
    """List the versions of a config, newest first."""
    return await asked.configs.versions(name, cursor, limit)


@router.get("/{name}/versions/{version}", responses=responses("config_not_found"))
async def get_config_version(name: ConfigName, version: VersionNumber, asked: Asked) -> ConfigVersion:
    """Return one version of a config."""
    return await asked.configs.get(name, version)


@router.get("/{name}/dag", responses=responses("config_not_found", "route_not_found"))
async def get_config_dag(
    name: ConfigName,
    asked: Asked,
    version: Annotated[
        int | None, Query(ge=1, le=MAX_VERSION, description="Version of the config; without it, the newest.")
    ] = None,
    focus: Focus = None,
    depth: Depth = None,
) -> Pipeline:
    """Return the structure of the pipeline that a version of a config declares."""
    return await asked.pipelines.of_config(name, version, focus, depth)


@router.post("/{name}/activate", scope="apply", responses=responses("config_not_found", "queue_taken"))
async def activate_config(name: ConfigName, asked: Asked) -> ConfigVersion:
    """Activate a config: it accepts new runs and replays."""
    return await asked.configs.set_active(name, True)


@router.post("/{name}/deactivate", scope="operate", responses=responses("config_not_found"))
async def deactivate_config(name: ConfigName, asked: Asked) -> ConfigVersion:
    """Deactivate a config: it accepts no new runs and replays. Running executions continue."""
    return await asked.configs.set_active(name, False)
