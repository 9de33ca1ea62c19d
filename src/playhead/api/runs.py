"""Runs: send inputs to a config."""

from __future__ import annotations

import errno
import json
import tempfile
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
from playhead.errors import BadRequest, StoreFull, TooLarge, store_unavailable
from playhead.model import Execution
from playhead.services.submit import MAX_UPLOAD_FILES

router = APIRouter(prefix="/api/v1/configs", tags=["configs"])

MULTIPART: Final = "multipart/form-data"

_form = RunForm.model_json_schema()
_form["properties"] = {
    "files": {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "description": (
            f"At most {MAX_UPLOAD_FILES}; a file's name is its path under `input`, and may hold `/`."
        ),
    },
    **_form["properties"],
}
_form["required"] = ["files"]
_body: dict[str, Any] = {
    # Read for every request. Said here because openapi-python-client (its issue 1451) writes a function that
    # can't be imported for an operation with two kinds of body and no optional parameter.
    "parameters": [
        {
            "name": "X-Correlation-ID",
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": "An id of yours for this request; it comes back in the answer's header.",
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
        return await request.form(max_files=MAX_UPLOAD_FILES)
    except HTTPException as exc:
        if exc.detail.startswith("Too many files"):
            raise TooLarge(
                f"a run takes at most {MAX_UPLOAD_FILES} files; make it several runs of one tag"
            ) from exc
        raise
    except OSError as exc:
        # What is sent is kept in a temporary file until all of it is there.
        place = tempfile.gettempdir()
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"{place} has no room for the upload: make room there, or set TMPDIR") from exc
        raise store_unavailable(f"the upload can't be kept in {place}: {exc.strerror}; set TMPDIR") from exc


def _parts(form: FormData) -> tuple[list[tuple[str, UploadFile]], RunForm]:
    """Split a form into checked paths with their files, and the rest.

    Raises:
        BadRequest: `invalid_path`. All names are looked at before anything is stored.
        RequestValidationError: a part that is not known, or not of its kind.
    """
    files: list[tuple[str, UploadFile]] = []
    seen: set[str] = set()
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name == "files" and isinstance(value, UploadFile):
            path = keys.check_path(_name_of(value), "file name")
            if path in seen:
                raise BadRequest("invalid_path", f"two files have the name {path!r}: give each its own")
            seen.add(path)
            files.append((path, value))
        elif name == "tags":
            fields.setdefault(name, []).append(value)
        else:
            fields[name] = value if isinstance(value, str) else value.filename
    return files, check_model(RunForm, fields)


def _name_of(file: UploadFile) -> str:
    """A file's name. What is not UTF-8 the framework reads as Latin-1, which is a name that nobody gave."""
    raw = next((value for name, value in file.headers.raw if name == b"content-disposition"), b"")
    try:
        raw.decode()
    except UnicodeDecodeError as exc:
        raise BadRequest("invalid_path", f"the file name {file.filename!r} is not UTF-8: send it so") from exc
    return file.filename or ""


async def _contents(files: Sequence[tuple[str, UploadFile]]) -> AsyncIterator[tuple[str, bytes]]:
    for path, file in files:
        yield path, await file.read()


async def _one(path: str, data: bytes) -> AsyncIterator[tuple[str, bytes]]:
    yield path, data
