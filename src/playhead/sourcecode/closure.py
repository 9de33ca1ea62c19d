"""The code that an adapter uses: the parts of its files that can change what it does."""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from playhead.sourcecode import CoveredFile
from playhead.sourcecode.canonical import canonical
from playhead.sourcecode.parts import Part
from playhead.sourcecode.program import Name, Program
from playhead.sourcecode.values import Kind


class Uses(NamedTuple):
    """The code that an adapter uses: the SHA-256 of its canonical form, and where it is."""

    digest: str
    covered: tuple[CoveredFile, ...]


def adapters_in(program: Program) -> dict[str, Uses]:
    """Return the code of each adapter that the files declare."""
    declared: dict[str, list[Part]] = defaultdict(list)
    for part in program.parts:
        for one in part.declared:
            path = program.path_of(part, one.function)
            if one.type is not None and path is not None and path.rpartition(".")[2] == "adapter":
                declared[one.type].append(part)
    if not declared:
        return {}
    always = [part for part in program.parts if _always_counts(program, part)]
    at_import = _Closure(program, is_import=True)
    for part in always:
        at_import.add(part)
    texts: dict[Part, str] = {}
    return {
        kind: _uses(_adapter_parts(program, parts) | at_import.parts, texts)
        for kind, parts in declared.items()
    }


def _always_counts(program: Program, part: Part) -> bool:
    """Whether a part may change something elsewhere when its module is imported."""
    if program.values.has_effect(part):
        return True
    # An import that the module does not use is there for its effect.
    return (
        isinstance(part.node, ast.Import | ast.ImportFrom)
        and not any(program.is_own(one.module) for one in part.imports)
        and not any(program.is_mentioned_in(part.module, one.name) for one in part.imports)
    )


def _adapter_parts(program: Program, declaring: Iterable[Part]) -> set[Part]:
    closure = _Closure(program)
    for part in declaring:
        closure.add(part)
        for name in (Name(part.module, one) for one in part.binds):
            closure.need(name)
            # Such as `title = logged(title)`, also in the package that exports it.
            for other, _ in program.mentions(name):
                if not other.is_definition and not isinstance(other.node, ast.Import | ast.ImportFrom):
                    closure.add(other)
                    for bound in other.binds:
                        closure.need(Name(other.module, bound))
    return closure.parts


class _Closure:
    """Parts, and all parts that they need.

    Args:
        is_import: only what runs when the modules are imported counts. A function that runs later cannot
            change the state that the import finds.
    """

    def __init__(self, program: Program, *, is_import: bool = False) -> None:
        self._program = program
        self._is_import = is_import
        self.parts: set[Part] = set()
        self._names: set[Name] = set()
        self._changing: set[Part] = set()
        self._waiting: list[Part] = []

    def add(self, part: Part) -> None:
        """Add a part, and what it needs."""
        self._add(part)
        self._finish()

    def need(self, name: Name) -> None:
        """Add what binds a name, and what may change its value."""
        self._need(name)
        self._finish()

    def _add(self, part: Part) -> None:
        if part not in self.parts:
            self.parts.add(part)
            self._waiting.append(part)

    def _finish(self) -> None:
        while self._waiting:
            for name, _ in self._program.targets[self._waiting.pop()]:
                self._need(name)

    def _need(self, name: Name) -> None:
        if name in self._names:
            return
        self._names.add(name)
        program = self._program
        if name.is_every:
            for part in program.of_module[name.module]:
                self._add(part)
                for one in part.binds:
                    self._need(Name(name.module, one))
            return
        for part in program.binders(name):
            self._add(part)
        for part in program.rebinders(name):
            self._change(part)
        if program.kind_of(name) is Kind.OBJECT:
            for part in [*program.binders(name), *(part for part, _ in program.mentions(name))]:
                self._change(part)

    def _change(self, part: Part) -> None:
        """Add a part that may change a needed value. The parts that use it decide how, so they count too."""
        changing = [part]
        while changing:
            one = changing.pop()
            if one in self._changing:
                continue
            self._changing.add(one)
            if not self._is_import or self._runs_at_import(one):
                self._add(one)
            for name in one.binds:
                changing += [other for other, _ in self._program.mentions(Name(one.module, name))]

    def _runs_at_import(self, part: Part) -> bool:
        if isinstance(node := part.node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_plain = self._program.values.is_plain_decorator
            return not all(is_plain(part, one, node.returns) for one in node.decorator_list)
        return True


def _uses(parts: Iterable[Part], texts: dict[Part, str]) -> Uses:
    digest = hashlib.sha256()
    names: dict[str, list[str]] = defaultdict(list)
    lines: dict[str, list[int]] = defaultdict(list)
    for part in sorted(parts, key=lambda one: (one.file, one.position)):
        if part not in texts:
            texts[part] = f"{part.file}\n{canonical(part.node)}\n"
        digest.update(texts[part].encode())
        if isinstance(part.node, ast.Import | ast.ImportFrom):
            continue
        names[part.file] += [one for one in part.binds if one not in names[part.file]]
        if not part.binds:
            lines[part.file].append(part.node.lineno)
    files = sorted(names.keys() | lines.keys())
    covered = tuple(CoveredFile(file, names[file], lines[file]) for file in files)
    return Uses(digest.hexdigest(), covered)
