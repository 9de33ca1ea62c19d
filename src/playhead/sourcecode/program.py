"""The names of several source files: what they refer to, and what may change it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from playhead.sourcecode import WholeFiles, known
from playhead.sourcecode.parts import Import, Mention, Mode, Part, chain_of
from playhead.sourcecode.values import Kind, Values
from playhead.sourcecode.visitor import parts_of

Use = Mode | Literal["attribute", "bind"]
"""How a value is used. `attribute`: an attribute of it is read. `bind`: its name gets another value."""

_READ_ATTRIBUTES: Final = ("__name__", "__doc__", "__qualname__", "__module__")
_MODULE_ATTRIBUTES: Final = ("__name__", "__doc__", "__file__", "__path__", "__package__")
_EVERY: Final = "*"


class Name(NamedTuple):
    """A name in a module; `*` stands for all of them."""

    module: str
    name: str

    @property
    def is_every(self) -> bool:
        return self.name == _EVERY


class Module(NamedTuple):
    """A source file. `file` is its path relative to the folder from which modules are imported."""

    name: str
    file: str
    tree: ast.Module
    is_package: bool


class Program:
    """The parts of source files."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self.of_module: dict[str, list[Part]] = {}
        self.parts: list[Part] = []
        for module in modules:
            self.parts += parts_of(module.tree, module.name, module.file, is_package=module.is_package)
            self.of_module[module.name] = []
        self._packages = {name[:end] for name in self.of_module for end in _ends(name)}
        self._binders: dict[Name, list[Part]] = defaultdict(list)
        self._imports: dict[Name, list[Import]] = defaultdict(list)
        for part in self.parts:
            self.of_module[part.module].append(part)
            for name in part.binds:
                self._binders[Name(part.module, name)].append(part)
            for one in part.imports:
                self._imports[Name(part.module, one.name)].append(one)
        self._mentioned = {
            module: {one.name for part in own for one in part.mentions}
            for module, own in self.of_module.items()
        }
        self.targets = {part: set(self._targets(part)) for part in self.parts}
        self._mentions: dict[Name, list[tuple[Part, Use]]] = defaultdict(list)
        self._rebinders: dict[Name, list[Part]] = defaultdict(list)
        for part in self.parts:
            for target, use in self.targets[part]:
                self._mentions[target].append((part, use))
                if use == "bind" or target.is_every:
                    self._rebinders[target].append(part)
        self._stores = any(part.stores for part in self.parts)
        self._stores_on_types = any(part.stores_on_types for part in self.parts)
        self._kinds: dict[Name, Kind] = {}
        self.values = Values(self)

    # -- what is where -----------------------------------------------------------------------------

    def binders(self, name: Name) -> list[Part]:
        """Return the parts that bind a name when its module is imported."""
        return self._binders.get(name, [])

    def rebinders(self, name: Name) -> list[Part]:
        """Return the parts that may bind a name to another value later."""
        return [*self._rebinders.get(name, ()), *self._rebinders.get(Name(name.module, _EVERY), ())]

    def mentions(self, name: Name) -> list[tuple[Part, Use]]:
        """Return the parts that use a name."""
        return [*self._mentions.get(name, ()), *self._mentions.get(Name(name.module, _EVERY), ())]

    def is_mentioned_in(self, module: str, name: str) -> bool:
        return name in self._mentioned[module]

    def is_own(self, module: str) -> bool:
        """Whether a module, or a module in it, is covered."""
        return module in self._packages

    def undecided(self) -> WholeFiles | None:
        """Return why the parts that a name reaches cannot be determined; None if they can."""
        for part in self.parts:
            if any(one.attribute == _EVERY and self.is_own(one.module) for one in part.imports):
                return WholeFiles("star_import", part.imports[0].module, part.file, part.node.lineno)
            if "__getattr__" in part.binds:
                return WholeFiles("module_getattr", "__getattr__", part.file, part.node.lineno)
            if part.computed_import:
                return WholeFiles("computed_import", "", part.file, part.computed_import)
            if part.reflection:
                return WholeFiles("reflection", part.reflection[0], part.file, part.reflection[1])
            for mention, line in part.mentions.items():
                path = self.path_of(part, mention) or ""
                names = path.split(".")
                if path and not known.REFLECTION.isdisjoint((names[0], ".".join(names[:2]))):
                    return WholeFiles("reflection", ".".join(names[:2]), part.file, line)
        return None

    # -- what a name refers to ---------------------------------------------------------------------

    def _targets(self, part: Part) -> Iterator[tuple[Name, Use]]:
        for mention in part.mentions:
            yield from self._follow(part, part.module, mention.name, mention.attributes, mention.mode, set())
        for name in part.rebinds:
            yield Name(part.module, name), "bind"
        for one in part.imports:
            if one.attribute is not None and one.module in self.of_module:
                yield from self._follow(None, one.module, one.attribute, (), "read", set())
        for one in part.inner_imports:
            if not one.name:
                yield from self._in_module(one.module, (), "bare", set())

    def _follow(
        self,
        part: Part | None,
        module: str,
        name: str,
        attributes: tuple[str, ...],
        mode: Mode,
        seen: set[Name],
    ) -> Iterator[tuple[Name, Use]]:
        """Yield the names that a chain of names refers to, also through imports.

        Args:
            part: whose own imports are followed too.
            seen: names that were followed before; imports can be circular.
        """
        here = Name(module, name)
        if here in seen:
            return
        seen.add(here)
        yield here, _use(attributes, mode)
        for one in self._imports_of(part, here):
            if one.attribute is None:
                yield from self._in_module(one.module, attributes, mode, seen)
                continue
            if one.module in self.of_module:
                yield from self._follow(None, one.module, one.attribute, attributes, mode, seen)
            if self.is_own(inner := f"{one.module}.{one.attribute}".lstrip(".")):
                yield from self._in_module(inner, attributes, mode, seen)

    def _in_module(
        self, module: str, attributes: tuple[str, ...], mode: Mode, seen: set[Name]
    ) -> Iterator[tuple[Name, Use]]:
        if not self.is_own(module):
            return
        if not attributes:
            for one in self.of_module:
                if one == module or one.startswith(f"{module}."):
                    yield Name(one, _EVERY), "bare"
            return
        first, *rest = attributes
        if self.is_own(inner := f"{module}.{first}"):
            yield from self._in_module(inner, tuple(rest), mode, seen)
        if module in self.of_module:
            if first.startswith("__") and first not in _MODULE_ATTRIBUTES:
                yield Name(module, _EVERY), "bare"
            elif mode == "store" and not rest:
                yield Name(module, first), "bind"
            else:
                yield from self._follow(None, module, first, tuple(rest), mode, seen)

    def _imports_of(self, part: Part | None, name: Name) -> list[Import]:
        inner = [one for one in part.inner_imports if one.name == name.name] if part else []
        return [*self._imports.get(name, ()), *inner]

    def path(self, part: Part, node: ast.AST) -> str | None:
        """See `values.Names`."""
        chain = chain_of(node)
        return self._path(part, part.module, *chain) if chain else None

    def path_of(self, part: Part, mention: Mention) -> str | None:
        """Return the full name of what a mention refers to, if it is outside the covered code."""
        return self._path(part, part.module, mention.name, mention.attributes)

    def _path(
        self, part: Part | None, module: str, name: str, attributes: tuple[str, ...], depth: int = 0
    ) -> str | None:
        here = Name(module, name)
        imports = self._imports_of(part, here)
        if any(not _is_import(value) for one in self.binders(here) for value in one.binds[name]):
            return None
        if not imports:
            return ".".join((name, *attributes))
        one = imports[0]
        if one.attribute is not None and one.module in self.of_module and depth < len(self.of_module):
            return self._path(None, one.module, one.attribute, attributes, depth + 1)
        if self.is_own(one.module) and one.module:
            return None
        return ".".join((one.module, *([one.attribute] if one.attribute else []), *attributes))

    # -- whether it can change ---------------------------------------------------------------------

    def kind(self, part: Part, name: str, attributes: tuple[str, ...]) -> Kind:
        """See `values.Names`."""
        kinds = [Kind.CONSTANT]
        for target, use in self._follow(part, part.module, name, attributes, "bare", set()):
            kind = self.kind_of(target)
            kinds.append(Kind.OBJECT if use == "attribute" and kind is Kind.CONTAINER else kind)
        return max(kinds)

    def is_defined(self, part: Part, name: str) -> bool:
        """See `values.Names`."""
        targets = (one for one, _ in self._follow(part, part.module, name, (), "bare", set()))
        return any(
            one.is_every
            or any(isinstance(value, _CALLABLE) for by in self.binders(one) for value in by.binds[one.name])
            for one in targets
        )

    def kind_of(self, name: Name) -> Kind:
        """Return the kind of the value of a name: `OBJECT` if code may change it."""
        if name.is_every:
            return Kind.OBJECT
        if name not in self._kinds:
            self._kinds[name] = Kind.CONSTANT  # while a name that depends on itself is computed
            self._kinds[name] = min(self._kind_of(name), Kind.OBJECT)
        return self._kinds[name]

    def _kind_of(self, name: Name) -> Kind:
        values = [(part, value) for part in self.binders(name) for value in part.binds[name.name]]
        if not values or all(_is_import(value) for _, value in values):
            return Kind.OBJECT if self._rebinders.get(name) else Kind.CONSTANT
        uses = {use for _, use in self.mentions(name)}
        if self.rebinders(name) or "store" in uses:
            return Kind.OBJECT
        for _, value in values:
            if isinstance(value, ast.ClassDef) and self._stores_on_types:
                return Kind.OBJECT
            if isinstance(value, _CALLABLE):
                is_function = not isinstance(value, ast.ClassDef)
                if (is_function and "attribute" in uses) or (self._stores and "bare" in uses):
                    return Kind.OBJECT
        kind = max(self.values.of(part, value) for part, value in values)
        # What is added to a container may be able to change, and so may what is read from it.
        return Kind.OBJECT if kind is Kind.CONTAINER and uses != {"read"} else kind


_CALLABLE: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def _ends(name: str) -> list[int]:
    """Return the lengths of a dotted name and of the names that contain it."""
    return [*(n for n, letter in enumerate(name) if letter == "."), len(name)]


def _is_import(value: ast.AST | None) -> bool:
    return isinstance(value, ast.Import | ast.ImportFrom)


def _use(attributes: tuple[str, ...], mode: Mode) -> Use:
    """Return how a value is used from which attributes are followed."""
    if not attributes or mode == "store":
        return mode
    if attributes[0] in _READ_ATTRIBUTES:
        return "read"
    if mode == "call" and len(attributes) == 1 and attributes[0] in known.READING_METHODS:
        return "read"
    return "attribute"
