"""Records of JSON Lines, and the paths that their fields name."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from playhead.keys import problem

MARK: Final = b"\xef\xbb\xbf"
"""The byte order mark at the start of some files."""
MISSING: Final = object()


def decoded(line: bytes) -> Any:
    """Return the JSON value of a line. Raises `ValueError` with the reason."""
    try:
        return json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except json.JSONDecodeError as exc:
        raise ValueError(f"not JSON: {exc.msg}, column {exc.colno}") from exc
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"not JSON: {exc}") from exc


def path_in(fields: Any, field: str) -> str:
    """Return the path that a field of a record names, with the suffix `.json`.

    Raises:
        ValueError: the record has no such field, or its value cannot be a path; with the reason.
    """
    value = lookup(fields, field)
    if value is MISSING:
        raise ValueError(f"it has no field {field!r}, the path_field")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"its field {field!r}, the path_field, is neither text nor a whole number")
    name = unicodedata.normalize("NFC", str(value).removesuffix(".json")) + ".json"
    if why := problem(name):
        raise ValueError(f"its path {name!r} {why}")
    return name


def lookup(fields: Any, name: str) -> Any:
    """Return the value of a field, or `MISSING`. A name with dots is a field, or a way through objects."""
    if isinstance(fields, Mapping):
        if name in fields:
            return fields[name]
        head, dot, rest = name.partition(".")
        if dot and head in fields:
            return lookup(fields[head], rest)
    return MISSING
