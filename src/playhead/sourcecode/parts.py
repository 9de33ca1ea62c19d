"""The parts of a source file: its statements at module level, with the names that they bind and mention."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, Literal, NamedTuple

Mode = Literal["read", "call", "bare", "store"]
"""How a name is used. `read`: the use can change the value only if reading changes it. `call`: it is called.
`store`: an attribute or an item of it is set. `bare`: it is passed on, so anything may happen to it."""

_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Mention(NamedTuple):
    """A use of a name of the module, or of a built-in name.

    Attributes:
        attributes: those that are followed from the name: `words`, `clean` in `helpers.words.clean`.
    """

    name: str
    attributes: tuple[str, ...]
    mode: Mode


class Import(NamedTuple):
    """An import: `name` becomes `module`, or `attribute` of it."""

    name: str
    module: str
    attribute: str | None


class Declared(NamedTuple):
    """A call that may be `adapter("title")`. The type is None if it is computed."""

    function: Mention
    type: str | None


@dataclass(eq=False, slots=True)
class Part:
    """A statement of a module; an import of several names is one part for each of them.

    Attributes:
        module: the dotted name of its module.
        position: its place in the file.
        binds: names of the module with their values: an expression, a definition, or None if it is unknown.
        rebinds: names that are bound with `global` in a function.
        imports: imports at module level.
        inner_imports: imports in functions and classes, also with `import_module("x")`, whose name is empty.
        declared: what may declare an adapter, outside of functions.
        stores: it may set attributes of objects that it receives.
        stores_on_types: it may set attributes of classes that it does not name.
        computed_import: the line of an import whose module is computed.
        reflection: what reaches names that are not in the text, and its line.
    """

    module: str
    file: str
    position: int
    node: ast.stmt
    binds: dict[str, list[ast.AST | None]] = field(default_factory=dict)
    rebinds: set[str] = field(default_factory=set)
    mentions: dict[Mention, int] = field(default_factory=dict)
    imports: list[Import] = field(default_factory=list)
    inner_imports: list[Import] = field(default_factory=list)
    declared: list[Declared] = field(default_factory=list)
    stores: bool = False
    stores_on_types: bool = False
    computed_import: int = 0
    reflection: tuple[str, int] | None = None

    @property
    def is_definition(self) -> bool:
        return isinstance(self.node, _DEFINITIONS)


_ONE_AT_A_TIME: Final = Lock()


def parsed(text: str | bytes, mode: Literal["exec", "eval"] = "exec") -> ast.AST | None:
    """Return the tree of a source text; None if its syntax is invalid, or if it is nested too deeply.

    Requests read code in threads, but CPython counts the depth of the tree that it builds for all threads
    together, and a garbage collection may switch to another thread that parses. Then it raises a SystemError
    (python/cpython#106905). So one thread parses at a time.
    """
    try:
        with _ONE_AT_A_TIME:
            return ast.parse(text, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def chain_of(node: ast.AST) -> tuple[str, tuple[str, ...]] | None:
    """Return name and attributes of `name.one.two`; None for any other expression."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, tuple(reversed(attributes))) if isinstance(node, ast.Name) else None


def imports_of(node: ast.Import | ast.ImportFrom, module: str, *, is_package: bool) -> Iterator[Import]:
    """Yield what an import binds in a module."""
    if isinstance(node, ast.Import):
        for one in node.names:
            top = one.name.split(".")[0]
            yield Import(one.asname or top, one.name if one.asname else top, None)
    else:
        origin = absolute_name("." * node.level + (node.module or ""), module, is_package=is_package)
        yield from (Import(one.asname or one.name, origin, one.name) for one in node.names)


def absolute_name(name: str, module: str, *, is_package: bool) -> str:
    """Return the absolute name of a module that may be relative (`.words`) to another."""
    level = len(name) - len(rest := name.lstrip("."))
    parts = module.split(".") if module and level else []
    parts = parts[: max(len(parts) - (level - is_package), 0)] if level else []
    return ".".join([*parts, *([rest] if rest else [])])


def is_importer(call: ast.Call) -> bool:
    """Whether this may be `import_module` or `__import__`."""
    return (getattr(call.func, "attr", "") or getattr(call.func, "id", "")) in ("import_module", "__import__")


def constant_module(call: ast.Call) -> str | None:
    """Return `x` of `import_module("x")`; None if it is computed, or relative to a given package."""
    if is_importer(call) and len(call.args) == 1 and not call.keywords:
        named = getattr(call.args[0], "value", None)
        if isinstance(named, str) and all(one.isidentifier() for one in named.lstrip(".").split(".")):
            return named
    return None
