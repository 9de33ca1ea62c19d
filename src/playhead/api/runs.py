"""Runs: send inputs to a config."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from playhead import keys
from playhead.api.answers import BODY_CODES, UnsupportedMediaType, responses
from playhead.api.asking import WARNINGS, Asked, ConfigName, RequireCode, operations, warner
from playhead.api.bodies import JSON, check_model, is_json, media_type, read_model
from playhead.api.ids import NO_EXECUTION
from playhead.api.schemas import RunForm, RunPayload
from playhead.model import Execution
from playhead.services import Services
from playhead.services.submit import MAX_UPLOAD_FILES
from playhead.uploads import MULTIPART, WrongPart, read_upload

router = operations(prefix="/api/v1/configs", tags=["configs"])

_form = RunForm.model_json_schema()
_form["properties"] = {
    "files": {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": (f"At most {MAX_UPLOAD_FILES} files. The name of a file is its path under `input`."),
    },
    **_form["properties"],
}
_form["required"] = ["files"]
_body: dict[str, Any] = {
    # Every request may have it. It is described here because openapi-python-client (its issue 1451) writes
    # code that cannot be imported for an operation with two content types and no optional parameter.
    "parameters": [
        {
            "name": "X-Correlation-ID",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "Your own id for this request. The response has it in the same header.",
        }
    ],
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {"schema": _form},
            JSON: {"schema": RunPayload.model_json_schema()},
        },
    },
}


@router.post(
    "/{name}/run",
    scope="run",
    status_code=202,
    openapi_extra=_body,
    responses=responses(
        *("invalid_path", "invalid_body", "selection_empty", "config_not_found", "config_inactive"),
        *("execution_ended", "code_differs", "unsupported_media_type", *BODY_CODES),
        *("not_comparable", "execution_pruned", "records_deleted", *NO_EXECUTION),
        *("store_unavailable", "store_full"),
    )
    | {202: {"headers": WARNINGS}},
)
async def run_config(
    name: ConfigName, request: Request, asked: Asked, response: Response, require_code: RequireCode = False
) -> Execution:
    """Store inputs and start a run: files as multipart, or one JSON value.

    No message is published before all inputs are stored.
    """
    kind = media_type(request)
    if not is_json(kind) and kind != MULTIPART:
        raise UnsupportedMediaType(kind, MULTIPART, JSON)
    # Before the body is read: an upload for a config that cannot run is not worth receiving.
    await asked.submit.check_config(name)
    given = partial(asked.submit.run, name, require_code=require_code, warn=warner(response))
    if is_json(kind):
        run = await read_model(request, RunPayload)
        payload = json.dumps(run.payload, ensure_ascii=False).encode()
        inputs = _one(keys.check_path(run.path), payload)
        return await given(inputs, **await _selected(asked, name, run))
    try:
        async with read_upload(request, max_object_bytes=asked.submit.max_object_bytes) as upload:
            fields = {
                field: values if field == "tags" else values[-1] for field, values in upload.fields.items()
            }
            form = check_model(RunForm, fields)
            return await given(upload.contents(), **await _selected(asked, name, form))
    except WrongPart as exc:
        fault = {"type": "extra_forbidden", "loc": ("body", exc.part), "input": exc.file, "msg": exc.why}
        raise RequestValidationError([fault]) from exc


async def _selected(asked: Services, name: str, run: RunForm) -> dict[str, Any]:
    """Return the arguments of a run that its body names."""
    since = run.changed_since
    return {
        "version": run.config_version,
        "tags": run.tags,
        "compare": run.compare,
        "reuse": run.reuse,
        "changed_since": None if since is None else await asked.resolve.earlier_run(str(since), name),
    }


async def _one(path: str, data: bytes) -> AsyncIterator[tuple[str, bytes]]:
    yield path, data
