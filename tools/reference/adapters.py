"""`adapters.md`: the adapters that come with Playhead. What they take is found by giving it to them."""

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

#: What a required field of a config is filled with, to try its adapter.
_TRIED_WITH: Final = {"path": "search.db"}


def _adapters() -> str:
    return "\n\n".join(_section(spec) for spec in load_adapters(Settings()).values() if _is_ours(spec))


def _is_ours(spec: AdapterSpec) -> bool:
    return spec.target.__module__.startswith("playhead.adapters.")


def _section(spec: AdapterSpec) -> str:
    facts = [
        ("takes", _taken(spec)),
        ("gives", _given(spec)),
        ("version", code(spec.version)),
        ("effects outside", "yes" if spec.effects == "external" else "none"),
    ]
    return f"## {spec.name}\n\n{spec.doc}\n\n{table(('', ''), facts)}\n\n{_config(spec)}"


def _config(spec: AdapterSpec) -> str:
    if spec.config_model is None:
        return "It has no settings."
    schema = spec.config_model.model_json_schema()
    required = schema.get("required", ())
    rows = [
        (code(name), kind(field), default(field, required=name in required), field.get("description"))
        for name, field in schema["properties"].items()
    ]
    return table(("`config`", "type", "default", "what it is"), rows)


def _taken(spec: AdapterSpec) -> str:
    kinds = dict.fromkeys((*SUFFIX_TYPES.values(), OCTET_STREAM))
    taken = [content_type for content_type in kinds if _takes(spec, content_type)]
    if taken != [*kinds]:
        return ", ".join(map(code, taken))
    return "anything" if _takes(spec, OCTET_STREAM, b"\xff") else "text in UTF-8, of any content type"


def _takes(spec: AdapterSpec, content_type: str, data: bytes = b"text") -> bool:
    schema: dict[str, Any] = spec.config_model.model_json_schema() if spec.config_model else {}
    config = {name: _TRIED_WITH[name] for name in schema.get("required", ())}
    with tempfile.TemporaryDirectory() as folder:
        try:
            run_adapter(spec.target, Item("item", data, content_type), config, data_dir=folder)
        except Reject:
            return False
    return True


def _given(spec: AdapterSpec) -> str:
    target: Any = spec.target
    step = target.__call__ if spec.is_class else target
    gives = typing.get_type_hints(step).get("return")
    if gives in (None, type(None)):
        return "nothing"
    many = typing.get_origin(gives) in (Iterator, list) or inspect.isgeneratorfunction(step)
    of = f" of {code(spec.produces)}" if spec.produces else ", of the content type that came in"
    return ("a folder of objects" if many else "one object") + of


PARTS: Final[Parts] = {"adapters": _adapters}
