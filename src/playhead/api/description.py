"""`/openapi.json`: what the framework writes, with names that a client can bear and a word on each field.

The framework names operations by function, path and method, calls every page `Page`, and leaves bodies
that a router describes by hand without a name; a generator makes bad names of that, or gives up. Of a
dataclass it tells the docstring as a whole, and nothing of it at the fields that it is about; and that a
field named `…_at` is a time, it can't know.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

from fastapi import FastAPI
from fastapi.routing import APIRoute

_ATTRIBUTES: Final = re.compile(r"\n\nAttributes:\n((?: .*(?:\n|$))+)")
_FIELDS: Final = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {5,}.+)*)", re.MULTILINE)
_PAGE: Final = re.compile(r"Page_(\w+)_")
_SCHEMAS: Final = "#/components/schemas/"


def operation_id(route: APIRoute) -> str:
    """The id of an operation: the name of its function. It is part of the interface, as a URL is."""
    return route.name


class DescribedApp(FastAPI):
    """An app whose description has a name for every body and every page: `ExecutionPage`, and says of every
    field of a dataclass what the docstring says of it.

    Attributes:
        operations: those whose answers are described; the framework's own list of them has no fixed shape.
    """

    operations: Iterable[APIRoute] = ()

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            made = super().openapi()
            schemas: dict[str, Any] = made["components"]["schemas"]
            for content in _bodies(made["paths"]):
                inline = content["schema"]
                if "properties" in inline:
                    schemas[inline["title"]] = inline
                    content["schema"] = {"$ref": _SCHEMAS + inline["title"]}
            for kind in _dataclasses_of(self.operations):
                _tell_fields(kind, schemas)
            for name in list(schemas):
                if page := _PAGE.fullmatch(name):
                    schemas[f"{page[1]}Page"] = schemas.pop(name) | {"title": f"{page[1]}Page"}
            made["components"]["schemas"] = dict(sorted(schemas.items()))
            self.openapi_schema = _with_new_names(made)
        return self.openapi_schema


def _dataclasses_of(operations: Iterable[APIRoute]) -> set[type]:
    """The dataclasses that operations answer with, and those within them."""
    found: set[type] = set()
    left: list[Any] = []
    for operation in operations:
        left += [operation.response_model, *(body.get("model") for body in operation.responses.values())]
    while left:
        kind = left.pop()
        left += get_args(kind)
        kind = get_origin(kind) or kind
        if isinstance(kind, type) and kind not in found and kind.__module__.startswith("playhead."):
            found.add(kind)
            left += get_type_hints(kind).values()
    return {kind for kind in found if is_dataclass(kind)}


def _tell_fields(kind: type, schemas: dict[str, Any]) -> None:
    """Put what a docstring says of each field at the field, and leave it out of what is said of the whole."""
    lines: dict[str, str] = {}
    for known in reversed(kind.__mro__):
        if section := _ATTRIBUTES.search(inspect.cleandoc(known.__doc__ or "")):
            for names, text in _FIELDS.findall(section[1]):
                lines |= dict.fromkeys(names.split(", "), _for_readers_of_json(text))
    for name, schema in schemas.items():
        if kind.__name__ in (name, _PAGE.sub("Page", name)):
            schema["description"] = _ATTRIBUTES.sub("", schema.get("description", ""))
            for field, shown in schema["properties"].items():
                if field in lines:
                    shown["description"] = lines[field]
                if field.endswith("_at"):
                    _tell_time(shown)


def _tell_time(shown: dict[str, Any]) -> None:
    """Say that a string is a time, so that a generated client makes one of it."""
    for kind in shown.get("anyOf", [shown]):
        if kind["type"] == "string":
            kind["format"] = "date-time"


def _for_readers_of_json(text: str) -> str:
    """A line on a field as a sentence, in which Python's `None` is JSON's `null`."""
    said = re.sub(r"\bNone\b", "null", " ".join(text.split()))
    return said[0].upper() + said[1:]


def _bodies(paths: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        content
        for operations in paths.values()
        for operation in operations.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]


def _with_new_names(value: Any) -> Any:
    """A description whose references name pages as their schemas are named now."""
    if isinstance(value, dict):
        return {key: _with_new_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_new_names(item) for item in value]
    if isinstance(value, str) and value.startswith(_SCHEMAS):
        return _SCHEMAS + _PAGE.sub(r"\1Page", value.removeprefix(_SCHEMAS))
    return value
