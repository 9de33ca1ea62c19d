"""Generate `adapters.md`: the built-in adapters, run on items of all types to find what they accept."""

from __future__ import annotations

import inspect
import tempfile
import typing
from collections.abc import Iterator
from typing import Any, Final

from playhead import Item, Reject
from playhead.bootstrap import load_adapters
from playhead.keys import OCTET_STREAM, SUFFIX_TYPES
from playhead.ports.adapter import AdapterSpec
from playhead.settings import Settings
from playhead.testing import run_adapter
from tools.reference import Parts, code, table
from tools.reference.schema import default, kind

#: Values for the required settings of an adapter when it is run here.
_TRIED_WITH: Final = {"path": "search.db"}

#: What an adapter accepts, if its content type does not decide, or if it needs a server.
_ACCEPTS: Final = {
    "csv_split": "CSV of any content type",
    "embed_text": "UTF-8 text of any content type",
    "http_request": "any item",
    "jsonl_split": "JSON Lines of any content type",
    "postgres_vectors": "a JSON object with a vector, of any content type",
    "sqlite_vectors": "a JSON object with a vector, of any content type",
}

_RETURNS: Final = {"http_request": "one object of the content type of the response"}


def _adapters() -> str:
    return "\n\n".join(_section(spec) for spec in load_adapters(Settings()).values() if _is_built_in(spec))


def _is_built_in(spec: AdapterSpec) -> bool:
    return spec.target.__module__.startswith("playhead.adapters.")


def _section(spec: AdapterSpec) -> str:
    facts = [
        ("accepts", _ACCEPTS.get(spec.name) or _accepted(spec)),
        ("returns", _RETURNS.get(spec.name) or _returned(spec)),
        *([("batches", f"up to {spec.batch:,} items per call")] if spec.batch else []),
        ("version", code(spec.version)),
        ("[effects](../howto/own-adapter.md#output)", code(spec.effects)),
    ]
    return f"## {spec.name}\n\n{spec.doc}\n\n{table(('', ''), facts)}\n\n{_config(spec)}"


def _config(spec: AdapterSpec) -> str:
    if spec.config_model is None:
        return "This adapter has no settings."
    schema = spec.config_model.model_json_schema()
    required = schema.get("required", ())
    rows = [
        (code(name), kind(field), default(field, required=name in required), field.get("description"))
        for name, field in schema["properties"].items()
    ]
    return table(("`config`", "type", "default", "meaning"), rows)


def _accepted(spec: AdapterSpec) -> str:
    kinds = dict.fromkeys((*SUFFIX_TYPES.values(), OCTET_STREAM))
    accepted = [content_type for content_type in kinds if _accepts(spec, content_type)]
    if accepted != [*kinds]:
        return ", ".join(map(code, accepted))
    return "any item" if _accepts(spec, OCTET_STREAM, b"\xff") else "UTF-8 text of any content type"


def _accepts(spec: AdapterSpec, content_type: str, data: bytes = b"text") -> bool:
    schema: dict[str, Any] = spec.config_model.model_json_schema() if spec.config_model else {}
    config = {name: _TRIED_WITH[name] for name in schema.get("required", ())}
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_adapter(spec.target, Item("item", data, content_type), config, data_dir=folder)
        except Reject:
            return False
    return True


def _returned(spec: AdapterSpec) -> str:
    target: Any = spec.target
    step = target.__call__ if spec.is_class else target
    annotation = typing.get_type_hints(step).get("return")
    if spec.batch:  # a list with one result per item
        (annotation,) = typing.get_args(annotation)
    if {*(typing.get_args(annotation) or [annotation])} <= {None, type(None), Reject}:
        return "no output"
    many = typing.get_origin(annotation) in (Iterator, list) or inspect.isgeneratorfunction(step)
    of = f" of type {code(spec.produces)}" if spec.produces else " of the same content type as the item"
    return ("a folder of objects" if many else "one object") + of


PARTS: Final[Parts] = {"adapters": _adapters}
