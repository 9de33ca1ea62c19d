"""The names that are local to functions, classes and comprehensions."""

from __future__ import annotations

import ast
from typing import Final, NamedTuple

_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Scope(NamedTuple):
    """Attributes:
    local: names that are not those of the module.
    itself: the parameter that is the instance, in a method.
    type: the parameter that is a class, in a class method.
    in_function: the code runs when a function is called.
    in_class: the statements are those of a class.
    rebinding: names declared `global`.
    """

    local: frozenset[str] = frozenset()
    itself: str = ""
    type: str = "cls"
    in_function: bool = False
    in_class: bool = False
    rebinding: frozenset[str] = frozenset()

    @property
    def at_module(self) -> bool:
        return not self.in_function and not self.in_class


class Local:
    """The names that the statements of a function bind, without those of functions in it."""

    def __init__(self) -> None:
        self.bound: set[str] = set()
        self.bound_otherwise: set[str] = set()
        self.imported: set[str] = set()
        self.rebinding: set[str] = set()
        self.outer: set[str] = set()

    def collect(self, node: ast.AST, *, in_comprehension: bool = False) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._bind(node.name)
                return
            case ast.Lambda():
                return
            case ast.Import() | ast.ImportFrom():
                names = {one.asname or one.name.split(".")[0] for one in node.names}
                self.imported |= names
                self.bound |= names
            case ast.Global():
                self.rebinding |= set(node.names)
            case ast.Nonlocal():
                self.outer |= set(node.names)
            case ast.Name() if not isinstance(node.ctx, ast.Load) and not in_comprehension:
                self._bind(node.id)
            case ast.NamedExpr() if in_comprehension:
                self._bind(node.target.id)
            case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar() if node.name:
                self._bind(node.name)
            case ast.MatchMapping() if node.rest:
                self._bind(node.rest)
            case _:
                pass
        inner = in_comprehension or isinstance(node, _COMPREHENSIONS)
        for one in ast.iter_child_nodes(node):
            self.collect(one, in_comprehension=inner)

    def _bind(self, name: str) -> None:
        self.bound.add(name)
        self.bound_otherwise.add(name)


def all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    found = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return found + [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
