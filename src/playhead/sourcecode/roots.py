"""Fingerprints of the source code of adapters, computed from files, without an import.

The files of a root are the file itself, and the modules of the same folder or package that it imports, also
indirectly. Imports are found in the source text, so they count even if a function imports them later. Other
packages, data files, and modules whose name is computed are not covered.

The fingerprint of an adapter covers the parts of these files that can change what it does (`closure`). If
that cannot be determined, it covers the whole files.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from playhead.sourcecode import CoveredFile, WholeFiles
from playhead.sourcecode.closure import Uses, adapters_in
from playhead.sourcecode.parts import absolute_name, constant_module, imports_of, parsed
from playhead.sourcecode.program import Module, Program

PREFIX: Final = "sha256:"
"""How the fingerprint of source code begins. The code of an installed package is its name and version."""
_INSTALLED: Final = ("site-packages", "dist-packages")


class CodeRoot(NamedTuple):
    """Where the code of a file or module begins.

    Attributes:
        source: the absolute path of a file, or the name of a module.
        file: the absolute path of its source.
        base: the folder from which its modules are imported.
        top: the top package or module that its imports must belong to; empty: any in `base`.
    """

    source: str
    file: str
    base: str
    top: str = ""


class AdapterSource(NamedTuple):
    """The code that an adapter uses.

    Attributes:
        code: its fingerprint; empty if the file of the root cannot be read.
        covered: what it covers, by file.
        whole: why it covers whole files; None if it covers the parts that the adapter uses.
    """

    code: str
    covered: tuple[CoveredFile, ...]
    whole: WholeFiles | None = None


class SourceCode(NamedTuple):
    """The code of a root.

    Attributes:
        code: the fingerprint of its whole files; empty if the file of the root cannot be read.
        files: the paths of its files.
        adapters: the code of the adapters that it declares, by type.
        whole: the code of any other adapter that it defines.
    """

    code: str
    files: tuple[str, ...]
    adapters: Mapping[str, AdapterSource]
    whole: AdapterSource

    def of(self, kind: str) -> AdapterSource:
        """Return the code of an adapter."""
        return self.adapters.get(kind, self.whole)


def absolute(path: str | Path) -> Path:
    """Return the absolute path of a source file as it is imported: links in it stay.

    So a package behind a link keeps its name, and a file in a ConfigMap of Kubernetes its path. Only in a
    path with `..`, links are followed, because what `..` means depends on them.
    """
    place = Path(path).absolute()
    return place.resolve() if ".." in place.parts else place


def root_of(entry: str) -> CodeRoot | None:
    """Return the root of `./steps.py` or `package.module`; None if it has no source. Imports nothing."""
    if entry.endswith(".py"):
        file = absolute(entry)
        return CodeRoot(str(file), str(file), str(file.parent)) if file.is_file() else None
    top, *rest = entry.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    if not rest:
        places = [Path(spec.origin)] if spec.origin else []
    else:
        folders = [Path(folder).joinpath(*rest) for folder in spec.submodule_search_locations or ()]
        places = [place for one in folders for place in (one.with_suffix(".py"), one / "__init__.py")]
    for file in (absolute(place) for place in places if place.is_file()):
        levels = len(rest) + (file.name == "__init__.py")
        base = file.parents[levels]
        is_single = not rest and file.name != "__init__.py"
        return CodeRoot(entry, str(file), str(base), "" if is_single and base.name not in _INSTALLED else top)
    return None


def read(root: CodeRoot) -> SourceCode:
    """Return the code of a root as it is on the disk now.

    If the parts that an adapter uses cannot be determined, its fingerprint is that of the whole files: the
    SHA-256 of a list of their hashes.
    """
    base = Path(root.base)
    texts: dict[Path, bytes] = {}
    modules: list[Module] = []
    why: WholeFiles | None = None
    waiting = [Path(root.file), *_parents(base, Path(root.file))]
    while waiting:
        file = waiting.pop()
        if file in texts:
            continue
        try:
            texts[file] = file.read_bytes()
        except OSError:
            if str(file) == root.file:
                return SourceCode("", (root.file,), {}, AdapterSource("", ()))
            continue
        name = file.relative_to(base).as_posix()
        module = _parsed(texts[file], name)
        if module is None:
            why = WholeFiles("not_python", "", name)
            continue
        modules.append(module)
        for one in _imported(module):
            if not root.top or one.split(".")[0] == root.top:
                waiting += _files_of(base, one)
    names = {file.relative_to(base).as_posix(): text for file, text in sorted(texts.items())}
    lines = "".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in names.items())
    code = PREFIX + hashlib.sha256(lines.encode()).hexdigest()
    uses = why or _uses(modules, Path(root.file).name)
    covered = tuple(CoveredFile(name, [], []) for name in names)
    return SourceCode(
        code,
        tuple(map(str, sorted(texts))),
        {} if isinstance(uses, WholeFiles) else {kind: _used(one) for kind, one in uses.items()},
        AdapterSource(code, covered, uses if isinstance(uses, WholeFiles) else WholeFiles("not_found")),
    )


def _used(uses: Uses) -> AdapterSource:
    return AdapterSource(PREFIX + uses.digest, uses.covered)


def _uses(modules: Iterable[Module], file: str) -> Mapping[str, Uses] | WholeFiles:
    """Return the code that each adapter uses, or why that cannot be determined."""
    try:
        program = Program(sorted(modules, key=lambda one: one.file))
        return program.undecided() or adapters_in(program)
    except RecursionError:
        return WholeFiles("not_python", "", file)


def _parsed(text: bytes, file: str) -> Module | None:
    """Return a module; None if it is no Python source, or its syntax is invalid."""
    if not file.endswith(".py"):
        return None
    *folders, name = file.removesuffix(".py").split("/")
    is_package = name == "__init__"
    tree = parsed(text)
    if not isinstance(tree, ast.Module):
        return None
    return Module(".".join([*folders, *([] if is_package else [name])]), file, tree, is_package)


def _parents(base: Path, file: Path) -> list[Path]:
    """Return the `__init__.py` of the packages that contain a file."""
    folders = file.relative_to(base).parents
    return [init for one in folders if one.parts and (init := base / one / "__init__.py").is_file()]


def _imported(module: Module) -> Iterator[str]:
    """Yield the names of the modules that a module may import."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for one in imports_of(node, module.name, is_package=module.is_package):
                yield from (
                    name for name in (one.module, f"{one.module}.{one.attribute}".lstrip(".")) if name
                )
        elif isinstance(node, ast.Call) and (name := constant_module(node)):
            yield absolute_name(name, module.name, is_package=module.is_package)


def _files_of(base: Path, name: str) -> Iterator[Path]:
    """Yield the source files that an import of a module executes."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        place = base.joinpath(*parts[:length])
        for file in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
            if file.is_file():
                yield file


class CodeReader:
    """Reads the code of roots. Reads files again only if their size or time has changed."""

    def __init__(self) -> None:
        self._seen: dict[CodeRoot, tuple[SourceCode, list[object]]] = {}

    def read(self, root: CodeRoot) -> SourceCode:
        """Return the code of a root now."""
        known = self._seen.get(root)
        if known is None or known[1] != _stamps(known[0].files):
            # The stamps are taken first: a change during the read is then noticed at the next look.
            files = (known[0] if known else read(root)).files
            stamps, found = _stamps(files), read(root)
            self._seen[root] = known = found, stamps if found.files == files else []
        return known[0]


class CodeWatch:
    """Notices changes of the files of roots, also changes that no adapter uses."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Watch files and modules as they are now. Files that do not exist yet are watched too."""
        roots = []
        for entry in entries:
            found = root_of(entry)
            if found is None and entry.endswith(".py"):
                file = absolute(entry)
                found = CodeRoot(str(file), str(file), str(file.parent))
            if found is not None:
                roots.append(found)
        self._reader = CodeReader()
        self._before = {root: self._reader.read(root).code for root in roots}

    def changed(self) -> set[str]:
        """Return the sources whose files have changed."""
        return {root.source for root, code in self._before.items() if self._reader.read(root).code != code}


def _stamps(files: Iterable[str]) -> list[object]:
    stamps: list[object] = []
    for file in files:
        try:
            about = Path(file).stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((about.st_mtime_ns, about.st_size, about.st_ino))
    return stamps
