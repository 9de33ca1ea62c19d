"""Runs: send inputs to a config."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from fastapi import APIRouter
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from playhead import keys
from playhead.api.answers import UnsupportedMediaType, responses
from playhead.api.asking import Asked, ConfigName
from playhead.api.bodies import JSON, check_model, is_json, media_type, read_model
from playhead.api.schemas import RunForm, RunPayload
from playhead.errors import TooLarge
from playhead.model import Execution

router = APIRouter(prefix="/api/v1/configs", tags=["configs"])

MULTIPART: Final = "multipart/form-data"
MAX_FILES: Final = 10_000

_form = RunForm.model_json_schema()
_form["properties"] = {
    "files": {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": f"At most {MAX_FILES}; a file's name is its path under `input`, and may hold `/`.",
    },
    **_form["properties"],
}
_form["required"] = ["files"]
_body: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            MULTIPART: {"schema": _form},
            JSON: {"schema": RunPayload.model_json_schema()},
        },
    }
}


@router.post(
    "/{name}/run",
    status_code=202,
    openapi_extra=_body,
    responses=responses(
        *("invalid_path", "invalid_body", "selection_empty", "config_not_found", "config_inactive"),
        *("execution_ended", "body_too_large", "unsupported_media_type"),
        *("store_unavailable", "store_full"),
    ),
)
async def run_config(name: ConfigName, request: Request, asked: Asked) -> Execution:
    """Store inputs and start a run of them: files as multipart, or one JSON value.

    Nothing is published before all inputs are stored.
    """
    kind = media_type(request)
    if is_json(kind):
        said = await read_model(request, RunPayload)
        payload = json.dumps(said.payload, ensure_ascii=False).encode()
        inputs = _one(keys.check_path(said.path), payload)
        return await asked.submit.run(name, inputs, version=said.config_version, tags=said.tags)
    if kind != MULTIPART:
        raise UnsupportedMediaType(kind, MULTIPART, JSON)
    form = await _read_form(request)
    try:
        files, rest = _parts(form)
        return await asked.submit.run(name, _contents(files), version=rest.config_version, tags=rest.tags)
    finally:
        await form.close()


async def _read_form(request: Request) -> FormData:
    try:
        return await request.form(max_files=MAX_FILES)
    except HTTPException as exc:
        if exc.detail.startswith("Too many files"):
            raise TooLarge(f"a run takes at most {MAX_FILES} files; make it several runs of one tag") from exc
        raise


def _parts(form: FormData) -> tuple[list[tuple[str, UploadFile]], RunForm]:
    """Split a form into checked paths with their files, and the rest.

    Raises:
        BadRequest: `invalid_path`. All names are looked at before anything is stored.
        RequestValidationError: a part that is not known, or not of its kind.
    """
    files: list[tuple[str, UploadFile]] = []
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name == "files" and isinstance(value, UploadFile):
            files.append((keys.check_path(value.filename or "", "file name"), value))
        elif name == "tags":
            fields.setdefault(name, []).append(value)
        else:
            fields[name] = value if isinstance(value, str) else value.filename
    return files, check_model(RunForm, fields)


async def _contents(files: Sequence[tuple[str, UploadFile]]) -> AsyncIterator[tuple[str, bytes]]:
    for path, file in files:
        yield path, await file.read()


async def _one(path: str, data: bytes) -> AsyncIterator[tuple[str, bytes]]:
    yield path, data
