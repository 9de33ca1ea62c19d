"""Finds the parts of a source file, and what each of them mentions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

from playhead.sourcecode import known
from playhead.sourcecode.parts import (
    Declared,
    Import,
    Mention,
    Mode,
    Part,
    absolute_name,
    chain_of,
    constant_module,
    imports_of,
    is_importer,
    parsed,
)
from playhead.sourcecode.scopes import Local, Scope, all_arguments

_TYPE_METHODS: Final = ("__new__", "__init_subclass__", "__class_getitem__")

_AT_MODULE: Final = Scope()


def parts_of(tree: ast.Module, module: str, file: str, *, is_package: bool) -> list[Part]:
    """Return the parts of a module. What runs only as a script is left out."""
    found: list[Part] = []
    names = Local()
    names.collect(tree)
    readers = known.READERS - names.bound
    for node in _statements(tree.body):
        part = Part(module, file, len(found), node)
        _Visitor(part, readers, is_package=is_package).statement(node)
        if not found and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            part.binds["__doc__"] = [node.value]
        found.append(part)
    return found


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (ast.copy_location(ast.Import([one]), node) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (
                ast.copy_location(ast.ImportFrom(node.module, [one], node.level), node) for one in node.names
            )
        elif not _is_script(node):
            yield node


def _is_script(node: ast.stmt) -> bool:
    """Whether this is `if __name__ == "__main__":`."""
    return (
        isinstance(node, ast.If)
        and not node.orelse
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
        and isinstance(node.test.ops[0], ast.Eq)
        and len(node.test.ops) == 1
        and isinstance(node.test.comparators[0], ast.Constant)
        and node.test.comparators[0].value == "__main__"
    )


class _Visitor:
    """Fills a part."""

    def __init__(self, part: Part, readers: frozenset[str], *, is_package: bool) -> None:
        self._part = part
        self._readers = readers
        self._is_package = is_package

    def statement(self, node: ast.AST, scope: Scope = _AT_MODULE) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._bind(node.name, node, scope)
                self._function(node, scope)
            case ast.ClassDef():
                self._bind(node.name, node, scope)
                self._class(node, scope)
            case ast.Import() | ast.ImportFrom():
                self._import(node, scope)
            case ast.Assign():
                for target in node.targets:
                    self._target(target, node.value, scope)
                self.expression(node.value, "bare", scope)
            case ast.AnnAssign():
                self._annotation(node.annotation, scope)
                if node.value is not None:
                    self._target(node.target, node.value, scope)
                    self.expression(node.value, "bare", scope)
                elif not isinstance(node.target, ast.Name):
                    self._target(node.target, None, scope)
            case ast.AugAssign():
                self._target(node.target, node.value, scope)
                if isinstance(node.target, ast.Name):
                    self._name(node.target, (), "store", scope)
                self.expression(node.value, "read", scope)
            case ast.For() | ast.AsyncFor():
                self._target(node.target, None, scope)
                self.expression(node.iter, "read", scope)
                self._each([*node.body, *node.orelse], scope)
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self.expression(item.context_expr, "bare", scope)
                    if item.optional_vars is not None:
                        self._target(item.optional_vars, None, scope)
                self._each(node.body, scope)
            case ast.Delete():
                for deleted in node.targets:
                    self._target(deleted, None, scope)
            case ast.If() | ast.While():
                self.expression(node.test, "read", scope)
                self._each([*node.body, *node.orelse], scope)
            case ast.ExceptHandler():
                if node.name:
                    self._bind(node.name, None, scope)
                if node.type is not None:
                    self.expression(node.type, "read", scope)
                self._each(node.body, scope)
            case ast.MatchAs() | ast.MatchStar() | ast.MatchMapping():
                if name := node.rest if isinstance(node, ast.MatchMapping) else node.name:
                    self._bind(name, None, scope)
                self._each(ast.iter_child_nodes(node), scope)
            case ast.MatchClass() | ast.MatchValue():
                self.expression(node.cls if isinstance(node, ast.MatchClass) else node.value, "read", scope)
                self._each(
                    (one for one in ast.iter_child_nodes(node) if not isinstance(one, ast.expr)), scope
                )
            case ast.expr():
                self.expression(node, "bare", scope)
            case _ if type(node).__name__ == "TypeAlias":
                alias = node.name  # type: ignore[attr-defined]
                self._bind(alias.id, None, scope)
                self._annotation(node.value, scope)  # type: ignore[attr-defined]
            case _:
                self._each(ast.iter_child_nodes(node), scope)

    def _each(self, nodes: Iterable[ast.AST], scope: Scope) -> None:
        for node in nodes:
            self.statement(node, scope)

    # -- names that are bound ----------------------------------------------------------------------

    def _bind(self, name: str, value: ast.AST | None, scope: Scope) -> None:
        if scope.at_module:
            self._part.binds.setdefault(name, []).append(value)
        elif name in scope.rebinding:
            self._part.rebinds.add(name)

    def _target(self, target: ast.expr, value: ast.expr | None, scope: Scope) -> None:
        match target:
            case ast.Name():
                self._bind(target.id, value, scope)
            case ast.Tuple() | ast.List():
                values: list[ast.expr | None] = [None] * len(target.elts)
                if isinstance(value, ast.Tuple) and len(value.elts) == len(values):
                    values = [None if isinstance(one, ast.Starred) else one for one in value.elts]
                for one, its in zip(target.elts, values, strict=True):
                    self._target(one, its, scope)
            case ast.Starred():
                self._target(target.value, None, scope)
            case _:
                self.expression(target, "store", scope)

    def _import(self, node: ast.Import | ast.ImportFrom, scope: Scope) -> None:
        found = list(imports_of(node, self._part.module, is_package=self._is_package))
        if scope.at_module:
            self._part.imports += found
        else:
            self._part.inner_imports += found
        for one in found:
            self._bind(one.name, node, scope)

    # -- definitions -------------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        decorators = {chain[0] for one in node.decorator_list if (chain := chain_of(one))}
        for one in node.decorator_list:
            self.expression(one, "call", scope)
        self._arguments(node.args, scope)
        if node.returns is not None:
            self._annotation(node.returns, scope)
        self._each(getattr(node, "type_params", ()), scope)
        first = next((one.arg for one in [*node.args.posonlyargs, *node.args.args]), "")
        if scope.in_class and "staticmethod" not in decorators:
            is_type = "classmethod" in decorators or node.name in _TYPE_METHODS or first == "cls"
            scope = scope._replace(itself="" if is_type else first, type=first if is_type else "cls")
        self._each(node.body, self._inside(node.args, node.body, scope))

    def _arguments(self, arguments: ast.arguments, scope: Scope) -> None:
        for default in [*arguments.defaults, *arguments.kw_defaults]:
            if default is not None:
                self.expression(default, "bare", scope)
        for one in all_arguments(arguments):
            if one.annotation is not None:
                self._annotation(one.annotation, scope)

    def _inside(self, arguments: ast.arguments, body: Iterable[ast.AST], scope: Scope) -> Scope:
        """Return the scope of a function's body."""
        names = Local()
        for node in body:
            names.collect(node)
        local = {one.arg for one in all_arguments(arguments)} | (names.bound - names.rebinding - names.outer)
        return scope._replace(
            # A name that is imported here is looked up in the imports of the part.
            local=((scope.local - names.rebinding) | local) - (names.imported - names.bound_otherwise),
            in_function=True,
            in_class=False,
            rebinding=frozenset(names.rebinding),
            itself="" if scope.itself in local and not scope.in_class else scope.itself,
        )

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        for one in node.decorator_list:
            self.expression(one, "call", scope)
        for base in node.bases:
            self.expression(base, "read", scope)
        for keyword in node.keywords:
            self.expression(keyword.value, "read", scope)
        self._each(getattr(node, "type_params", ()), scope)
        names = Local()
        for statement in node.body:
            names.collect(statement)
        self._each(node.body, scope._replace(in_class=True, rebinding=frozenset(names.rebinding)))

    def _annotation(self, node: ast.expr, scope: Scope) -> None:
        """Visit an annotation, also those parts of it that are in strings."""
        self.expression(node, "read", scope)
        for one in ast.walk(node):
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                self._text(one.value, scope)

    def _text(self, text: str, scope: Scope) -> None:
        inner = parsed(text.strip(), "eval")
        if inner is None:
            return  # such as the words in `Annotated[str, "a title"]`
        for one in ast.walk(inner):
            if chain := chain_of(one):
                self._part.mentions.setdefault(Mention(*chain, "read"), getattr(one, "lineno", 0))

    # -- expressions -------------------------------------------------------------------------------

    def expression(self, node: ast.AST, mode: Mode, scope: Scope) -> None:
        match node:
            case ast.Name() | ast.Attribute():
                self._chain(node, mode, scope)
            case ast.Call():
                self._call(node, scope)
            case ast.Subscript():
                self.expression(node.value, "store" if mode == "store" else "read", scope)
                self.expression(node.slice, "bare", scope)
                if scope.at_module:
                    self._strings(node.slice, scope)
            case ast.BoolOp() | ast.IfExp():
                for value in node.values if isinstance(node, ast.BoolOp) else (node.body, node.orelse):
                    self.expression(value, mode, scope)
                if isinstance(node, ast.IfExp):
                    self.expression(node.test, "read", scope)
            case ast.BinOp() | ast.UnaryOp() | ast.Compare() | ast.FormattedValue() | ast.YieldFrom():
                for one in ast.iter_child_nodes(node):
                    self.expression(one, "read", scope)
            case ast.Starred():
                self.expression(node.value, "read", scope)
            case ast.Dict():
                for key, value in zip(node.keys, node.values, strict=True):
                    if key is not None:
                        self.expression(key, "bare", scope)
                    self.expression(value, "bare" if key is not None else "read", scope)
            case ast.NamedExpr():
                self._target(node.target, node.value, scope)
                self.expression(node.value, "bare", scope)
            case ast.Lambda():
                self._arguments(node.args, scope)
                self.expression(node.body, "bare", self._inside(node.args, [node.body], scope))
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, scope)
            case _:
                for one in ast.iter_child_nodes(node):
                    self.expression(one, "bare", scope)

    def _strings(self, node: ast.AST, scope: Scope) -> None:
        """Visit the strings of `list["Page"]` and `TypeVar("T", bound="Page")`, which may name types."""
        for one in ast.walk(node):
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                self._text(one.value, scope)

    def _chain(self, node: ast.Name | ast.Attribute, mode: Mode, scope: Scope) -> None:
        if not isinstance(node.ctx, ast.Load):
            mode = "store"
        attributes: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            attributes.append(inner.attr)
            inner = inner.value
        attributes.reverse()
        for one in known.REFLECTING.intersection(attributes):
            self._reflect(one, node)
        if isinstance(inner, ast.Name):
            self._name(inner, tuple(attributes), mode, scope)
            return
        if mode == "store":
            self._part.stores = True
            self._part.stores_on_types |= _reaches_type(inner) or "__class__" in attributes
        if "__dict__" in attributes:
            self._part.stores = self._part.stores_on_types = True
        self.expression(inner, "store" if mode == "store" else "bare", scope)

    def _reflect(self, name: str, node: ast.expr) -> None:
        self._part.reflection = self._part.reflection or (name, node.lineno)

    def _name(self, node: ast.Name, attributes: tuple[str, ...], mode: Mode, scope: Scope) -> None:
        if node.id not in scope.local:
            self._part.mentions.setdefault(Mention(node.id, attributes, mode), node.lineno)
            return
        if node.id == scope.itself and len(attributes) == 1:
            return
        if "__dict__" in attributes or (mode == "store" and attributes):
            self._part.stores = True
        if "__class__" in attributes or (node.id == scope.type and attributes) or "__dict__" in attributes:
            self._part.stores_on_types |= mode == "store" or "__dict__" in attributes

    def _call(self, node: ast.Call, scope: Scope) -> None:
        function = chain_of(node.func)
        self._special(node, function, scope)
        self.expression(node.func, "call", scope)
        reads = isinstance(node.func, ast.Name) and node.func.id in self._readers - scope.local
        if isinstance(node.func, ast.Attribute):
            is_text = isinstance(node.func.value, ast.Constant | ast.JoinedStr)
            reads = node.func.attr == "translate" or (node.func.attr == "join" and is_text)
        # `max(words, others)` returns one of them, and `dict(words=words)` contains it.
        returns_one = function is not None and function[0] in ("max", "min") and len(node.args) > 1
        for one in node.args:
            self.expression(one, "read" if reads and not returns_one else "bare", scope)
        for keyword in node.keywords:
            is_read = keyword.arg is None or (reads and keyword.arg == "key")
            self.expression(keyword.value, "read" if is_read else "bare", scope)

    def _special(self, node: ast.Call, function: tuple[str, tuple[str, ...]] | None, scope: Scope) -> None:
        """Note calls that import, set attributes, list names, or declare an adapter."""
        name = getattr(node.func, "attr", "") or getattr(node.func, "id", "")
        first = node.args[0] if node.args else None
        if is_importer(node):
            if named := constant_module(node):
                module = absolute_name(named, self._part.module, is_package=self._is_package)
                self._part.inner_imports.append(Import("", module, None))
            else:
                self._part.computed_import = self._part.computed_import or node.lineno
        elif name in ("setattr", "delattr", "__setattr__", "__delattr__", "vars") and not (
            isinstance(first, ast.Name) and first.id == scope.itself
        ):
            self._part.stores = self._part.stores_on_types = True
        if name in ("vars", "locals", "dir") and first is None and not scope.in_function:
            self._reflect(f"{name}()", node)
        if name in ("TypeVar", "cast", "ForwardRef", "NewType"):
            self._strings(node, scope)
        if function is not None and not scope.in_function:
            named_by = [one.value for one in node.keywords if one.arg == "name"] + node.args[:1]
            value = named_by[0] if named_by else None
            kind = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
            self._part.declared.append(Declared(Mention(*function, "call"), kind))

    def _comprehension(self, node: ast.AST, scope: Scope) -> None:
        local = Local()
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
        for one in generators:
            local.collect(one.target)
        self.expression(generators[0].iter, "read", scope)
        inner = scope._replace(local=scope.local | local.bound)
        for number, one in enumerate(generators):
            if number:
                self.expression(one.iter, "read", inner)
            for test in one.ifs:
                self.expression(test, "read", inner)
        parts = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)  # type: ignore[attr-defined]
        for part in parts:
            self.expression(part, "bare", inner)


def _reaches_type(node: ast.AST) -> bool:
    return any(
        (isinstance(one, ast.Name) and one.id in ("type", "getattr"))
        or (isinstance(one, ast.Attribute) and one.attr in ("__class__", "__dict__"))
        for one in ast.walk(node)
    )
