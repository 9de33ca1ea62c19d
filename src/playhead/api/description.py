"""`/openapi.json`: the framework's description, with usable names and a description of each field.

The framework names operations by function, path and method, calls every page `Page`, and does not name
bodies that a router describes itself. Client generators derive bad names from this, or fail. The framework
also copies the docstring of a dataclass as a whole, without descriptions of the fields. It cannot know that
a field named `…_at`, `…_until`, `…_after` or `…_before` is a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import is_dataclass
from typing import Any, Final, get_args, get_origin, get_type_hints

from fastapi import FastAPI
from fastapi.routing import APIRoute

from playhead.api.schemas import for_readers_of_json
from playhead.limits import descriptions, without_attributes

_PAGE: Final = re.compile(r"Page_(\w+)_")
_SCHEMAS: Final = "#/components/schemas/"


def operation_id(route: APIRoute) -> str:
    """Return the id of an operation: the name of its function. Like a URL, it is part of the interface."""
    return route.name


class DescribedApp(FastAPI):
    """An app whose description names every body and every page (`ExecutionPage`), and describes every field.

    Attributes:
        operations: operations whose responses are described.
    """

    operations: Iterable[APIRoute] = ()

    def openapi(self) -> dict[str, Any]:
        """Return the description, which is built once."""
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
    """Return the dataclasses of the responses of operations, and those that they contain."""
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
    """Move the `Attributes` of a docstring to the fields that they describe."""
    lines = {name: for_readers_of_json(text) for name, text in descriptions(kind).items()}
    for name, schema in schemas.items():
        if kind.__name__ in (name, _PAGE.sub("Page", name)):
            schema["description"] = without_attributes(schema.get("description", ""))
            for field, shown in schema["properties"].items():
                if field in lines:
                    shown["description"] = lines[field]
                if field == "at" or field.endswith(("_at", "_until", "_after", "_before", "as_of")):
                    _tell_time(shown)


def _tell_time(shown: dict[str, Any]) -> None:
    """Mark a string as a time, so that generated clients parse it."""
    for kind in shown.get("anyOf", [shown]):
        if kind["type"] == "string":
            kind["format"] = "date-time"


def _bodies(paths: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        content
        for operations in paths.values()
        for operation in operations.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]


def _with_new_names(value: Any) -> Any:
    """Return the description with references to the new names of pages."""
    if isinstance(value, dict):
        return {key: _with_new_names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_new_names(item) for item in value]
    if isinstance(value, str) and value.startswith(_SCHEMAS):
        return _SCHEMAS + _PAGE.sub(r"\1Page", value.removeprefix(_SCHEMAS))
    return value
