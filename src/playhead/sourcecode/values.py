"""What values are, as far as the text shows: whether they can change, and what computing them may change."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Protocol

from playhead.sourcecode import known
from playhead.sourcecode.parts import Part, chain_of


class Kind(IntEnum):
    """A kind includes those before it.

    CONSTANT: it cannot change. CONTAINER: a new list, set or dict of constants. OBJECT: it may change, and
    its parts too. EFFECT: computing it calls code that may change anything.
    """

    CONSTANT = 0
    CONTAINER = 1
    OBJECT = 2
    EFFECT = 3


class Names(Protocol):
    """What names refer to."""

    def path(self, part: Part, node: ast.AST) -> str | None:
        """Return the full name (`re.compile`) of a name that is not of the covered code."""
        ...

    def kind(self, part: Part, name: str, attributes: tuple[str, ...]) -> Kind:
        """Return the kind of what a name of a module refers to."""
        ...

    def is_defined(self, part: Part, name: str) -> bool:
        """Whether a name refers to a function, a class or anything else that the covered code defines."""
        ...


class Values:
    """Kinds of expressions, functions and classes."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def of(self, part: Part, node: ast.AST | None, local: Mapping[str, Kind] = {}) -> Kind:
        """Return the kind of a value that a part binds.

        Args:
            local: the variables of comprehensions.
        """
        match node:
            case None:
                return Kind.OBJECT
            case ast.Constant():
                return Kind.CONSTANT
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._function(part, node)
            case ast.ClassDef():
                return self._class(part, node)
            case ast.Import() | ast.ImportFrom():
                return Kind.CONSTANT
            case ast.Name() | ast.Attribute() if chain := chain_of(node):
                if chain[0] not in local:
                    return self._names.kind(part, *chain)
                return local[chain[0]]
            case ast.Attribute():
                return self._unless_container(self.of(part, node.value, local))
            case ast.Subscript():
                index = self.of(part, node.slice, local)
                value = self.of(part, node.value, local)
                if value is Kind.CONTAINER and not isinstance(node.slice, ast.Slice):
                    value = Kind.CONSTANT
                return max(value, _effect(index))
            case ast.JoinedStr() | ast.FormattedValue() | ast.Compare():
                return _effect(self._most(part, ast.iter_child_nodes(node), local))
            case ast.Tuple():
                return self._unless_container(self._most(part, node.elts, local))
            case ast.List() | ast.Set():
                return self._container(self._most(part, node.elts, local))
            case ast.Starred():
                return self._element(part, node.value, local)
            case ast.Dict():
                keys = [one for one in node.keys if one is not None]
                values = [
                    self._element(part, value, local) if key is None else self.of(part, value, local)
                    for key, value in zip(node.keys, node.values, strict=True)
                ]
                return self._container(max([self._most(part, keys, local), *values], default=Kind.CONSTANT))
            case ast.BinOp():
                most = self._most(part, (node.left, node.right), local)
                return Kind.EFFECT if most is Kind.OBJECT else most
            case ast.UnaryOp() | ast.BoolOp() | ast.IfExp() | ast.NamedExpr() | ast.Slice():
                return self._most(
                    part, (one for one in ast.iter_child_nodes(node) if isinstance(one, ast.expr)), local
                )
            case ast.Lambda():
                return self._defaults(part, node.args)
            case ast.ListComp() | ast.SetComp() | ast.DictComp():
                return self._container(self._comprehension(part, node, local))
            case ast.GeneratorExp():
                return max(Kind.OBJECT, self._comprehension(part, node, local))
            case ast.Call():
                return self._call(part, node, local)
            case _:
                return Kind.EFFECT

    def has_effect(self, part: Part) -> bool:
        """Whether a part may change more than the names that it binds, when its module is imported."""
        return self._runs(part, [part.node])

    # -- statements --------------------------------------------------------------------------------

    def _runs(self, part: Part, body: Iterable[ast.stmt]) -> bool:
        return any(self._has_effect(part, one) for one in body)

    def _has_effect(self, part: Part, node: ast.stmt) -> bool:
        match node:
            case ast.Expr():
                return not isinstance(node.value, ast.Constant)
            case ast.Assign():
                return any(map(_sets_other, node.targets)) or self.of(part, node.value) is Kind.EFFECT
            case ast.AnnAssign():
                has_value = node.value is not None and self.of(part, node.value) is Kind.EFFECT
                return _sets_other(node.target) or has_value
            case ast.AugAssign():
                return _sets_other(node.target) or self.of(part, node.value) is Kind.EFFECT
            case ast.Delete():
                return any(map(_sets_other, node.targets))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._defaults(part, node.args) is Kind.EFFECT
            case ast.ClassDef():
                parts = [*node.bases, *(one.value for one in node.keywords)]
                return self._most(part, parts, {}) is Kind.EFFECT or self._runs(part, node.body)
            case ast.If():
                is_harmless = self.of(part, node.test) is not Kind.EFFECT
                return not is_harmless or self._runs(part, [*node.body, *node.orelse])
            case ast.Try():
                handled = [one for handler in node.handlers for one in handler.body]
                return self._runs(part, [*node.body, *handled, *node.orelse, *node.finalbody])
            case ast.ImportFrom():
                return node.module == "__future__" or node.names[0].name == "*"
            case ast.Import() | ast.Pass() | ast.Global():
                return False
            case _:
                return type(node).__name__ != "TypeAlias"

    # -- definitions -------------------------------------------------------------------------------

    def _function(self, part: Part, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Kind:
        if self._defaults(part, node.args) > Kind.CONSTANT:
            return Kind.OBJECT
        is_plain = all(self.is_plain_decorator(part, one, node.returns) for one in node.decorator_list)
        return Kind.CONSTANT if is_plain else Kind.OBJECT

    def _class(self, part: Part, node: ast.ClassDef) -> Kind:
        bases = [chain[0] for one in node.bases if (chain := chain_of(one))]
        metaclasses = [self._names.path(part, one.value) for one in node.keywords if one.arg == "metaclass"]
        is_plain = (
            "type" not in bases
            and all(one in ("abc.ABCMeta", "enum.EnumMeta") for one in metaclasses)
            and all(self.is_plain_decorator(part, one, None) for one in node.decorator_list)
            and all(self._is_constant_member(part, one) for one in node.body)
        )
        return Kind.CONSTANT if is_plain else Kind.OBJECT

    def _is_constant_member(self, part: Part, node: ast.stmt) -> bool:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return self._function(part, node) is Kind.CONSTANT
            case ast.ClassDef():
                return self._class(part, node) is Kind.CONSTANT
            case ast.Assign():
                return self.of(part, node.value) is Kind.CONSTANT
            case ast.AnnAssign():
                return node.value is None or self.of(part, node.value) is Kind.CONSTANT
            case ast.Expr():
                return isinstance(node.value, ast.Constant)
            case ast.Pass() | ast.Import() | ast.ImportFrom():
                return True
            case _:
                return False

    def is_plain_decorator(self, part: Part, node: ast.expr, returns: ast.expr | None) -> bool:
        """Whether what a decorator returns has no state of its own."""
        target = node.func if isinstance(node, ast.Call) else node
        path = self._names.path(part, target) or ""
        if path in known.CACHES:
            # A shared result that can change is state of the function.
            return self._is_constant_type(part, returns)
        if isinstance(target, ast.Attribute) and target.attr in ("setter", "getter", "deleter"):
            return True
        return path in known.PLAIN_DECORATORS or path.rpartition(".")[2] == "adapter"

    def _is_constant_type(self, part: Part, node: ast.expr | None) -> bool:
        match node:
            case ast.Constant(value=None):
                return True
            case ast.BinOp(op=ast.BitOr()):
                return all(self._is_constant_type(part, one) for one in (node.left, node.right))
            case ast.Subscript():
                if self._names.path(part, node.value) in ("tuple", "frozenset"):
                    inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                    return all(
                        self._is_constant_type(part, one)
                        for one in inner
                        if not (isinstance(one, ast.Constant) and one.value is ...)
                    )
                return self._is_constant_type(part, node.value)
            case ast.Name() | ast.Attribute():
                return self._names.path(part, node) in known.CONSTANT_TYPES
            case _:
                return False

    def _defaults(self, part: Part, arguments: ast.arguments) -> Kind:
        found = [one for one in [*arguments.defaults, *arguments.kw_defaults] if one is not None]
        most = self._most(part, found, {})
        return max(most, Kind.OBJECT) if most > Kind.CONSTANT else most

    # -- expressions -------------------------------------------------------------------------------

    def _most(self, part: Part, nodes: Iterable[ast.AST], local: Mapping[str, Kind]) -> Kind:
        return max(
            (self.of(part, one, local) for one in nodes if isinstance(one, ast.expr)), default=Kind.CONSTANT
        )

    def _element(self, part: Part, node: ast.AST, local: Mapping[str, Kind]) -> Kind:
        """Return the kind of what iteration over an expression yields."""
        match node:
            case ast.GeneratorExp():
                return self._comprehension(part, node, local)
            case ast.Call(func=ast.Name(id="enumerate" | "zip" | "reversed"), keywords=[]):
                return max((self._element(part, one, local) for one in node.args), default=Kind.CONSTANT)
            case ast.Call(func=ast.Attribute(value=value, attr=view), args=[]) if view in known.VIEWS:
                return self._element(part, value, local)
        kind = self.of(part, node, local)
        return Kind.CONSTANT if kind is Kind.CONTAINER else kind

    def _comprehension(self, part: Part, node: ast.AST, local: Mapping[str, Kind]) -> Kind:
        """Return the kind of the elements."""
        inner, tests = dict(local), Kind.CONSTANT
        for one in node.generators:  # type: ignore[attr-defined]
            element = self._element(part, one.iter, inner)
            tests = max([tests, _effect(element), *(_effect(self.of(part, test, inner)) for test in one.ifs)])
            inner |= {
                name.id: min(element, Kind.OBJECT)
                for name in ast.walk(one.target)
                if isinstance(name, ast.Name)
            }
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)  # type: ignore[attr-defined]
        return max(tests, self._most(part, parts, inner))

    def _call(self, part: Part, node: ast.Call, local: Mapping[str, Kind]) -> Kind:
        arguments = [*node.args, *(one.value for one in node.keywords)]
        path = self._names.path(part, node.func) if not _is_local(node.func, local) else None
        if path in known.CONSTANT_CALLS | known.CONTAINER_CALLS | known.OBJECT_CALLS or (path or "").endswith(
            ".adapter"
        ):
            assert path
            return self._known_call(part, path, arguments, local)
        if isinstance(node.func, ast.Attribute) and path is None:
            receiver = self.of(part, node.func.value, local)
            most = max([receiver, *(self._element(part, one, local) for one in arguments)])
            if most <= Kind.CONTAINER and not self._calls(part, arguments):
                if node.func.attr in known.CONSTANT_METHODS:
                    return Kind.CONSTANT
                if node.func.attr in known.CONTAINER_METHODS:
                    return Kind.CONTAINER
                if node.func.attr in known.VIEWS | {"get"}:
                    return Kind.OBJECT if node.func.attr in known.VIEWS else Kind.CONSTANT
        return Kind.EFFECT

    def _known_call(
        self, part: Part, path: str, arguments: list[ast.expr], local: Mapping[str, Kind]
    ) -> Kind:
        if path.rpartition(".")[2] in known.DECLARING:
            most = self._most(part, [one for one in arguments if not isinstance(one, ast.Lambda)], local)
        elif self._calls(part, arguments):
            return Kind.EFFECT
        else:
            most = max((self._element(part, one, local) for one in arguments), default=Kind.CONSTANT)
        if most is Kind.EFFECT:
            return most
        if path in known.OBJECT_CALLS:
            return Kind.OBJECT
        if path in known.CONTAINER_CALLS:
            return self._container(most)
        # `tuple([[1]])` has parts that can change; `str(page)` may run code of a class.
        return Kind.CONSTANT if most <= Kind.CONTAINER else Kind.EFFECT

    def _calls(self, part: Part, arguments: Iterable[ast.expr]) -> bool:
        """Whether an argument is a function, which the call may call."""
        chains = [chain_of(one) for one in arguments]
        return any(isinstance(one, ast.Lambda) for one in arguments) or any(
            chain is not None and self._names.is_defined(part, chain[0]) for chain in chains
        )

    @staticmethod
    def _container(elements: Kind) -> Kind:
        return Kind.CONTAINER if elements is Kind.CONSTANT else max(Kind.OBJECT, elements)

    @staticmethod
    def _unless_container(kind: Kind) -> Kind:
        return Kind.OBJECT if kind is Kind.CONTAINER else kind


def _effect(kind: Kind) -> Kind:
    return Kind.EFFECT if kind is Kind.EFFECT else Kind.CONSTANT


def _sets_other(target: ast.expr) -> bool:
    """Whether an assignment sets an attribute or an item."""
    return any(isinstance(one, ast.Attribute | ast.Subscript) for one in ast.walk(target))


def _is_local(node: ast.AST, local: Mapping[str, Kind]) -> bool:
    chain = chain_of(node)
    return chain is not None and chain[0] in local
