"""Describe JSON schemas in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Link = Callable[[str], str]

_FORMATS = {"uuid": "UUID", "date-time": "time", "binary": "file", "path": "path", "uri": "URL"}


def name_of(schema: Mapping[str, Any]) -> str | None:
    """Return the name of the schema that `$ref` points to, or None."""
    reference = schema.get("$ref")
    return reference.rpartition("/")[2] if reference else None


def kind(schema: Mapping[str, Any], link: Link = lambda name: name) -> str:
    """Describe a type and its bounds.

    Args:
        link: returns the text for a reference to another schema, by its name.
    """
    if name := name_of(schema):
        return link(name)
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(kind(option, link) for option in options))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    match schema.get("type"):
        case "array":
            most = f", at most {schema['maxItems']:,}" if "maxItems" in schema else ""
            return f"list of {kind(schema.get('items', {}), link)}{most}"
        case "string":
            return _text(schema)
        case "integer" | "number" as numbers:
            return ("whole number" if numbers == "integer" else "number") + _span(schema)
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "object":
            inner = schema.get("additionalProperties")
            return f"object of {kind(inner, link)}" if isinstance(inner, dict) and inner else "object"
        case _:
            return "any JSON"


def _text(schema: Mapping[str, Any]) -> str:
    if known := _FORMATS.get(schema.get("format", "")):
        return known
    if schema.get("contentMediaType") or schema.get("format") == "binary":
        return "file"
    low, high = schema.get("minLength", 0), schema.get("maxLength")
    if high is not None:
        return f"text, {f'{low} to ' if low else 'at most '}{high:,} characters"
    return "text, not empty" if low else "text"


def _span(schema: Mapping[str, Any]) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high = schema.get("maximum")
    if above is not None:
        return f", above {_number(above)}" + (f", at most {_number(high)}" if high is not None else "")
    if low is not None and high is not None:
        return f", {_number(low)} to {_number(high)}"
    if low is not None:
        return f", at least {_number(low)}"
    return f", at most {_number(high)}" if high is not None else ""


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() else f"{value:g}"


def default(schema: Mapping[str, Any], *, required: bool) -> str:
    """Return the default value as text, or `required`."""
    if required:
        return "required"
    value = schema.get("default")
    return "" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"
