"""A text of a syntax tree that is the same in all versions of Python, without positions and comments."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

_IGNORED: Final = ("ctx", "kind", "type_comment", "type_ignores")


def canonical(node: ast.AST) -> str:
    """Return the text of a tree. Fields without a value are left out, so new versions may add fields."""
    texts: list[str] = []
    _write(node, texts)
    return "".join(texts)


def _write(value: object, texts: list[str]) -> None:
    if isinstance(value, ast.JoinedStr):
        value = ast.JoinedStr(list(_joined(value.values)))
    if isinstance(value, ast.Constant):
        _write_constant(value.value, texts)
    elif isinstance(value, ast.AST):
        texts.append(f"{type(value).__name__}(")
        for name in _fields(value._fields):
            content = getattr(value, name, None)
            if content is not None and content != []:
                texts.append(f"{name}=")
                _write(content, texts)
        texts.append(")")
    elif isinstance(value, list):
        texts.append("[")
        for one in value:
            _write(one, texts)
            texts.append(",")
        texts.append("]")
    else:
        _write_constant(value, texts)


@cache
def _fields(names: tuple[str, ...]) -> list[str]:
    return sorted(set(names).difference(_IGNORED))


def _write_constant(value: object, texts: list[str]) -> None:
    # Decimal digits have a limit. Which characters `repr` escapes depends on the version.
    text = f"{value:x}" if isinstance(value, int) else ascii(value)
    texts.append(f"{type(value).__name__}:{text},")


def _joined(values: Iterable[ast.expr]) -> Iterator[ast.expr]:
    """Yield the parts of an f-string. Versions differ in where they split its text."""
    text = ""
    for one in values:
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            text += one.value
        else:
            if text:
                yield ast.Constant(text)
            text = ""
            yield one
    if text:
        yield ast.Constant(text)
