"""Generate `python.md`: `playhead.connect` and the client, from signatures and docstrings."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from typing import Any, Final

from playhead.client import Client, connect
from tools.reference import Parts

_SECTION: Final = re.compile(r"^(Args|Raises):\n((?: {4}.*\n?)+)", re.M)
_ENTRY: Final = re.compile(r"^ {4}(\w+): ((?:.|\n {5,})+)", re.M)
_JSON: Final = {"null": "None", "true": "True", "false": "False"}


def _value(default: object) -> str:
    """Return a default value as Python code, with double quotes."""
    text = json.dumps(default)
    return _JSON.get(text, text)


def _connect() -> str:
    return _described("connect", connect)


def _methods() -> str:
    methods = {name: method for name, method in vars(Client).items() if not name.startswith("_")}
    return "\n\n".join(f"### {name}\n\n{_described(name, method)}" for name, method in methods.items())


def _described(name: str, function: Callable[..., Any]) -> str:
    doc = inspect.getdoc(function) or ""
    parts = [f"```python\n{_signature(name, function)}\n```", _SECTION.sub("", doc).strip(), _entries(doc)]
    return "\n\n".join(filter(None, parts))


def _signature(name: str, function: Callable[..., Any]) -> str:
    # An async method has the same signature in both forms.
    signature = inspect.signature(function)
    shown: list[str] = []
    for one in signature.parameters.values():
        if one.name == "self":
            continue
        if one.kind is one.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        stars = "**" if one.kind is one.VAR_KEYWORD else ""
        default = "" if one.default is one.empty else f" = {_value(one.default)}"
        shown.append(f"{stars}{one.name}: {one.annotation}{default}")
    end = f") -> {signature.return_annotation}: ..."
    line = f"def {name}({', '.join(shown)}{end}"
    if len(line) <= 100:
        return line
    return "\n".join([f"def {name}(", *(f"    {one}," for one in shown), end])


def _entries(doc: str) -> str:
    """Return the arguments and errors of a docstring as a list."""
    return "\n".join(
        f"- {'' if section[1] == 'Args' else 'Raises '}`{entry[1]}`: {' '.join(entry[2].split())}"
        for section in _SECTION.finditer(doc + "\n")
        for entry in _ENTRY.finditer(section[2])
    )


PARTS: Final[Parts] = {"connect": _connect, "methods": _methods}
