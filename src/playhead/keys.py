"""The one grammar of keys: `{execution_id}/{stage}/{path}`.

A key is NFC UTF-8 of at most 900 bytes; each segment has 1–200 bytes, is neither `.` nor `..`, holds
no control character and no backslash, and does not end in `.meta.json` (that is the sidecar's name,
so such an output would vanish from every replay).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final
from uuid import UUID

from playhead.errors import BadRequest

SIDECAR_SUFFIX: Final = ".meta.json"
INPUT_STAGE: Final = "input"
MAX_KEY_BYTES: Final = 900
MAX_SEGMENT_BYTES: Final = 200

_PLAIN = re.compile(r"\w(?:[\w~+=,;:!@#$%&()'\- ]++|(?<=[^/.])\.(?=[^/.])|(?<=[^/.])/(?=\w))*+", re.ASCII)
"""A fast yes for what nearly every key looks like; whatever does not match is looked at in full.

Possessive, as there is nothing to go back to: a run of characters is one step, and a no as quick as a yes.
"""
_ASIDE = (SIDECAR_SUFFIX, "/")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\\\\]")

SUFFIX_TYPES: Final = {
    ".html": "text/html",
    ".htm": "text/html",
    ".md": "text/markdown",
    ".txt": "text/plain",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".csv": "text/csv",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
OCTET_STREAM: Final = "application/octet-stream"
TYPE_SUFFIXES: Final = {kind: suffix for suffix, kind in reversed(SUFFIX_TYPES.items())}


def content_type_of(path: str) -> str:
    """The content type that a path's suffix says, `application/octet-stream` where it says none."""
    dot = path.rfind(".")
    return SUFFIX_TYPES.get(path[dot:].lower(), OCTET_STREAM) if dot >= 0 else OCTET_STREAM


def segment_problem(segment: str) -> str | None:
    """Why one segment is outside the grammar, as the end of a sentence; None when it is fine."""
    if not segment:
        return "has an empty segment: it can neither begin nor end with `/`, nor hold `//`"
    if segment in (".", ".."):
        return f"has the segment {segment!r}: name the place itself"
    if _CONTROL.search(segment):
        return "holds a control character or a backslash: leave it out, and join segments by `/`"
    if segment.lower().endswith(SIDECAR_SUFFIX):
        return f"has a segment that ends in {SIDECAR_SUFFIX}, the name of a sidecar: choose another name"
    try:
        size = len(segment.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode: give it in UTF-8"
    if size > MAX_SEGMENT_BYTES:
        return f"has a segment of {size} bytes; at most {MAX_SEGMENT_BYTES} are allowed"
    if not unicodedata.is_normalized("NFC", segment):
        return "is not in Unicode normal form C (NFC): normalize it"
    return None


def problem(path: str, *, room: int = 0) -> str | None:
    """Why a path (or a whole key) is outside the grammar; None when it is fine.

    Args:
        path: segments joined by `/`.
        room: bytes that will stand before it in the whole key.
    """
    size = len(path)
    short = size <= MAX_SEGMENT_BYTES and size + room <= MAX_KEY_BYTES
    if short and _PLAIN.fullmatch(path) and SIDECAR_SUFFIX not in path.lower():
        return None
    for segment in path.split("/"):
        if why := segment_problem(segment):
            return why
    size = len(path.encode()) + room
    if size > MAX_KEY_BYTES:
        return f"makes a key of {size} bytes; at most {MAX_KEY_BYTES} are allowed"
    return None


def check_path(path: str, what: str = "path") -> str:
    """Return a path that came from outside, or say what is wrong with it.

    Raises:
        BadRequest: `invalid_path`.
    """
    if why := problem(path, room=37):
        raise BadRequest("invalid_path", f"{what} {path!r} {why}")
    return path


def object_key(execution_id: UUID | str, stage: str, path: str) -> str:
    """The key of an object; its parts are taken as checked."""
    return f"{execution_id}/{stage}/{path}"


def sidecar_key(key: str) -> str:
    return key + SIDECAR_SUFFIX


def is_sidecar(key: str) -> bool:
    return key.endswith(SIDECAR_SUFFIX)


def is_marker(key: str) -> bool:
    """Whether a key only marks a folder, as consoles of object stores make them."""
    return key.endswith("/")


def is_aside(key: str) -> bool:
    """Whether a key only stands beside objects: a sidecar or a folder marker."""
    return key.endswith(_ASIDE)


def parse_key(key: str) -> tuple[UUID, str] | None:
    """Split a key into its execution and the rest (`stage/path`); None when it can't be one of ours."""
    head, slash, rest = key.partition("/")
    if not slash or "/" not in rest or problem(key):
        return None
    try:
        execution = UUID(head)
    except ValueError:
        return None
    return (execution, rest) if str(execution) == head else None


def stage_of(rest: str, stages: Iterable[str], default: str) -> tuple[str, str]:
    """Split `stage/path` by the declared stage that is a whole-segment prefix of it, else by `default`."""
    for stage in stages:
        if rest.startswith(stage + "/"):
            return stage, rest[len(stage) + 1 :]
    if rest.startswith(default + "/"):
        return default, rest[len(default) + 1 :]
    return default, rest


def _cut(text: str, size: int) -> str:
    """The longest prefix of `text` of at most `size` bytes, never half a character."""
    return text.encode()[: max(size, 0)].decode(errors="ignore")


def renamed(path: str, attempt: int, *, room: int = 0) -> str:
    """The path for other bytes of a bound path: `{stem}~{attempt}{ext}`, cut to the grammar's limits.

    Args:
        path: the path that holds other bytes already.
        attempt: the attempt that makes these.
        room: bytes that stand before the path in the whole key.
    """
    folder, slash, name = path.rpartition("/")
    dot = name.rfind(".")
    stem, ext = (name, "") if dot <= 0 else (name[:dot], name[dot:])
    mark = f"~{attempt}"
    spare = min(MAX_SEGMENT_BYTES, MAX_KEY_BYTES - room - len((folder + slash).encode()))
    stem = _cut(stem, spare - len(mark.encode()) - len(ext.encode()))
    if not stem:
        stem, ext = _cut(name, spare - len(mark.encode())), ""
    return unicodedata.normalize("NFC", f"{folder}{slash}{stem}{mark}{ext}")
