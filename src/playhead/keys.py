"""The grammar of object keys: `{execution_id}/{stage}/{path}`.

A key is UTF-8 in normal form C (NFC), at most 900 bytes long. Each segment:

- has 1 to 200 bytes, and is not `.` or `..`;
- contains no control character and no backslash;
- does not end in `.meta.json`. That is the suffix of sidecars, so a replay would not list the object.
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
REPLAY_STAGE: Final = "_replay"
"""Stage of what Playhead writes about a replay, such as its report. Listed only if it is named."""
MAX_KEY_BYTES: Final = 900
MAX_SEGMENT_BYTES: Final = 200

_COMMON = re.compile(r"\w(?:[\w~+=,;:!@#$%&()'\- ]++|(?<=[^/.])\.(?=[^/.])|(?<=[^/.])/(?=\w))*+", re.ASCII)
"""Matches most valid keys in one step. A key that does not match is checked segment by segment.

The quantifiers are possessive: without backtracking, a mismatch is as fast as a match.
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
    """Return the content type of a path's suffix; `application/octet-stream` for an unknown suffix."""
    dot = path.rfind(".")
    return SUFFIX_TYPES.get(path[dot:].lower(), OCTET_STREAM) if dot >= 0 else OCTET_STREAM


def bare(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def stem(path: str, content_type: str) -> str:
    """Return a path without its suffix, if the suffix belongs to its content type.

    >>> stem("guide/page.htm", "text/html"), stem("v1.2", "text/html")
    ('guide/page', 'v1.2')
    """
    dot = path.rfind(".")
    if dot > path.rfind("/") + 1 and SUFFIX_TYPES.get(path[dot:].lower()) == bare(content_type):
        return path[:dot]
    return path


def is_utf8(text: str) -> bool:
    """Whether text can be encoded as UTF-8. A file name or an argument of other bytes cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def segment_problem(segment: str) -> str | None:
    """Return why a segment is invalid, as the predicate of a sentence; None if it is valid."""
    if not segment:
        return "has an empty segment: remove `/` at the beginning and the end, and replace `//` by `/`"
    if segment in (".", ".."):
        return f"has the segment {segment!r}: use a path without `.` and `..`"
    if _CONTROL.search(segment):
        return "contains a control character or a backslash: remove it, and separate segments with `/`"
    if segment.lower().endswith(SIDECAR_SUFFIX):
        return f"has a segment that ends in {SIDECAR_SUFFIX}, the name of a sidecar: choose another name"
    try:
        size = len(segment.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode: encode it as UTF-8"
    if size > MAX_SEGMENT_BYTES:
        return f"has a segment of {size} bytes; at most {MAX_SEGMENT_BYTES} are allowed"
    if not unicodedata.is_normalized("NFC", segment):
        return "is not in Unicode normal form C (NFC): normalize it"
    return None


def problem(path: str, *, room: int = 0) -> str | None:
    """Return why a path (or a whole key) is invalid; None if it is valid.

    Args:
        path: segments separated by `/`.
        room: number of bytes before the path in the whole key.
    """
    size = len(path)
    short = size <= MAX_SEGMENT_BYTES and size + room <= MAX_KEY_BYTES
    if short and _COMMON.fullmatch(path) and SIDECAR_SUFFIX not in path.lower():
        return None
    for segment in path.split("/"):
        if why := segment_problem(segment):
            return why
    size = len(path.encode()) + room
    if size > MAX_KEY_BYTES:
        return f"results in a key of {size} bytes; at most {MAX_KEY_BYTES} are allowed"
    return None


def check_path(path: str, what: str = "path") -> str:
    """Return a path from a user if it is valid.

    Raises:
        BadRequest: `invalid_path`; with the reason.
    """
    if why := problem(path, room=37):
        raise BadRequest("invalid_path", f"{what} {path!r} {why}")
    return path


def path_of(key: str, stage: str) -> str:
    """The path of an object: what follows its execution and its stage in the key."""
    head = key.find("/") + 1
    return key[head + len(stage) + 1 :] if key.startswith(stage + "/", head) else key[head:]


def object_key(execution_id: UUID | str, stage: str, path: str) -> str:
    """Return the key of an object. The parts must be valid; they are not checked."""
    return f"{execution_id}/{stage}/{path}"


def sidecar_key(key: str) -> str:
    return key + SIDECAR_SUFFIX


def object_of(key: str) -> str:
    """Return the key of the object that a sidecar belongs to; any other key is returned unchanged."""
    return key.removesuffix(SIDECAR_SUFFIX)


def is_sidecar(key: str) -> bool:
    return key.endswith(SIDECAR_SUFFIX)


def is_aside(key: str) -> bool:
    """Whether a key is not an object of a stage.

    It is a sidecar, or a folder marker: an empty object that consoles of object stores create.
    """
    return key.endswith(_ASIDE)


def parse_key(key: str) -> tuple[UUID, str] | None:
    """Split a key into its execution and the rest (`stage/path`); None if it is not a valid Playhead key."""
    head, slash, rest = key.partition("/")
    if not slash or "/" not in rest or problem(key):
        return None
    try:
        execution = UUID(head)
    except ValueError:
        return None
    return (execution, rest) if str(execution) == head else None


def owner_of(key: str) -> UUID:
    """Return the execution of a key that begins with one."""
    return UUID(key.partition("/")[0])


def stage_of(rest: str, stages: Iterable[str], default: str) -> tuple[str, str]:
    """Split `stage/path` into stage and path.

    The stage is the first of `stages` that is a prefix of whole segments, else `default`.
    """
    for stage in stages:
        if rest.startswith(stage + "/"):
            return stage, rest[len(stage) + 1 :]
    if rest.startswith(default + "/"):
        return default, rest[len(default) + 1 :]
    return default, rest


def _cut(text: str, size: int) -> str:
    """Return the longest prefix of `text` that has at most `size` bytes and ends with a whole character."""
    return text.encode()[: max(size, 0)].decode(errors="ignore")


def renamed(path: str, attempt: int, *, room: int = 0) -> str:
    """Return a new path for an output whose path already has different content: `{stem}~{attempt}{ext}`.

    The name is shortened to the limits of the grammar.

    Args:
        path: the path that exists with different content.
        attempt: the number of the attempt that produced the new content.
        room: number of bytes before the path in the whole key.
    """
    folder, slash, name = path.rpartition("/")
    dot = name.rfind(".")
    stem, ext = (name, "") if dot <= 0 else (name[:dot], name[dot:])
    spare = min(MAX_SEGMENT_BYTES, MAX_KEY_BYTES - room - len((folder + slash).encode()))
    new = path
    for mark in (f"~{attempt}", f"~{attempt}~"):
        short = _cut(stem, spare - len(mark.encode()) - len(ext.encode()))
        new = f"{short}{mark}{ext}" if short else _cut(name, spare - len(mark.encode())) + mark
        new = unicodedata.normalize("NFC", f"{folder}{slash}{new}")
        if new != path:  # equal if a name of the full length already ends in the mark
            break
    return new
