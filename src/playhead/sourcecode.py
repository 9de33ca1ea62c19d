"""Fingerprints of the source code of adapters, computed from files, without an import.

The code of a file or module is the file itself, and the modules of the same folder or package that it
imports, also indirectly. Imports are found in the source text, so they count even if a function imports them
later. Other packages, data files, and modules whose name is computed are not covered.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

PREFIX: Final = "sha256:"
"""How the fingerprint of source code begins. The code of an installed package is its name and version."""
_IMPORTERS: Final = ("import_module", "__import__")
"""Functions that import the module that their first argument names."""
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


class SourceCode(NamedTuple):
    """The code of a root: its fingerprint, and the files that it covers. Empty if the file cannot be read."""

    code: str
    files: tuple[str, ...] = ()


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

    The fingerprint of a single file is the SHA-256 of the file, as `sha256sum` prints it. That of several
    files is the SHA-256 of a list of their hashes.
    """
    base = Path(root.base)
    digests: dict[Path, str] = {}
    waiting = [Path(root.file), *_parents(base, Path(root.file))]
    while waiting:
        file = waiting.pop()
        if file in digests:
            continue
        try:
            text = file.read_bytes()
        except OSError:
            if str(file) == root.file:
                return SourceCode("", (root.file,))
            continue
        digests[file] = hashlib.sha256(text).hexdigest()
        if file.suffix == ".py":
            for name in _imported(text, _module_of(base, file), is_package=file.name == "__init__.py"):
                if not root.top or name.split(".")[0] == root.top:
                    waiting += _files_of(base, name)
    files = sorted(digests)
    if len(files) == 1:
        return SourceCode(PREFIX + digests[files[0]], (root.file,))
    lines = "".join(f"{digests[file]}  {file.relative_to(base).as_posix()}\n" for file in files)
    return SourceCode(PREFIX + hashlib.sha256(lines.encode()).hexdigest(), tuple(map(str, files)))


def _parents(base: Path, file: Path) -> list[Path]:
    """Return the `__init__.py` of the packages that contain a file."""
    folders = file.relative_to(base).parents
    return [init for one in folders if one.parts and (init := base / one / "__init__.py").is_file()]


def _module_of(base: Path, file: Path) -> list[str]:
    """Return the parts of the name of a module; for a package, those of the package."""
    parts = list(file.relative_to(base).with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def _imported(text: bytes, module: list[str], *, is_package: bool) -> Iterator[str]:
    """Yield the names of the modules that a source text may import."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module.split(".") if node.module else []
            if node.level:
                up = node.level - is_package
                origin = module[: len(module) - up] + origin
            name = ".".join(origin)
            if name:
                yield name
            yield from (f"{name}.{alias.name}" if name else alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and _name_of(node.func) in _IMPORTERS and node.args:
            named = node.args[0]
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                level = len(named.value) - len(rest := named.value.lstrip("."))
                origin = module[: len(module) - (level - is_package)] if level else []
                if all(part.isidentifier() for part in rest.split(".")):
                    yield ".".join([*origin, rest])


def _name_of(function: ast.expr) -> str:
    return getattr(function, "attr", "") or getattr(function, "id", "")


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

    def code(self, root: CodeRoot) -> str:
        """Return the fingerprint of a root now; empty if its file cannot be read."""
        known = self._seen.get(root)
        if known is None or known[1] != _stamps(known[0].files):
            # The stamps are taken first: a change during the read is then noticed at the next look.
            files = (known[0] if known else read(root)).files
            stamps, found = _stamps(files), read(root)
            self._seen[root] = known = found, stamps if found.files == files else []
        return known[0].code


class CodeWatch:
    """Notices when the code of roots on the disk is no longer the code that was loaded.

    Args:
        loaded: the fingerprint of each root when it was loaded.
    """

    def __init__(self, loaded: Mapping[CodeRoot, str]) -> None:
        self._loaded = dict(loaded)
        self._reader = CodeReader()

    @classmethod
    def of(cls, entries: Iterable[str]) -> CodeWatch:
        """Watch the code of files and modules as it is now. Files that do not exist yet are watched too."""
        roots = []
        for entry in entries:
            found = root_of(entry)
            if found is None and entry.endswith(".py"):
                file = absolute(entry)
                found = CodeRoot(str(file), str(file), str(file.parent))
            if found is not None:
                roots.append(found)
        return cls({root: read(root).code for root in roots})

    def changed(self) -> set[str]:
        """Return the sources whose code has changed."""
        return {root.source for root, loaded in self._loaded.items() if self._reader.code(root) != loaded}


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
