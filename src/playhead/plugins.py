"""Third-party adapters, found by entry point or in the modules and files that an operator names.

No other code is imported or run: a config names loaded adapters, never code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from playhead import __version__
from playhead.errors import CannotStart
from playhead.ports.adapter import AdapterSpec, collect
from playhead.sourcecode import roots


class _FromSource(SourceFileLoader):
    """Compiles the source of a module and reads no `.pyc` file.

    Python compares only the size and time of a source with those in the `.pyc`. So it may run code that the
    fingerprint of the source does not describe.
    """

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _CoveredCode:
    """Finds the modules that a fingerprint covers, and loads them from source."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._names: set[str] = set()

    def read(self, root: roots.CodeRoot) -> roots.SourceCode:
        """Return the code of a root. From now on, its modules are loaded from source."""
        found = roots.read(root)
        for file in map(Path, found.files):
            self._files.add(str(file))
            self._names.add(file.parent.name if file.name == "__init__.py" else file.stem)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        return found

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.rpartition(".")[2] not in self._names:
            return None
        others = (one for one in sys.meta_path if one is not self)
        spec = next((found for one in others if (found := one.find_spec(name, path, target))), None)
        if spec and spec.origin and type(spec.loader) is SourceFileLoader:
            file = str(roots.absolute(spec.origin))
            if file in self._files:
                spec.loader = _FromSource(name, file)
        return spec


_COVERED: Final = _CoveredCode()


def load_built_in(modules: Iterable[ModuleType]) -> Mapping[str, AdapterSpec]:
    """Return the built-in adapters by name; no other code is imported."""
    return _by_name(_built_in(modules))


def _built_in(modules: Iterable[ModuleType]) -> list[AdapterSpec]:
    code = f"playhead {__version__}"
    return [replace(spec, code=code, source="playhead") for module in modules for spec in collect(module)]


def load(built_in: Iterable[ModuleType], named: Sequence[str]) -> Mapping[str, AdapterSpec]:
    """Return all adapters of this process by name: built-in, from entry points, and from modules.

    Args:
        built_in: Playhead's own modules.
        named: modules or files (`./steps.py`) that the operator named.

    Raises:
        CannotStart: `adapters_invalid`: a module cannot be imported, an entry point has another name
            than its adapter, or two adapters have one name.
    """
    specs = _built_in(built_in)
    for point in entry_points(group="playhead.adapters"):
        specs += _from_entry_point(point)
    for name in named:
        root = roots.root_of(name)
        # Before the import: if the file changes meanwhile, it is noticed as changed.
        read = _COVERED.read(root) if root else None
        module = _load_file(Path(name), root, read) if name.endswith(".py") else _import(name)
        found = _collect(module, name)
        if not found:
            raise CannotStart("adapters_invalid", f"setting adapters: {name} defines no adapter (@adapter)")
        # A module that was loaded before keeps the code that it had then.
        code: roots.SourceCode | None = vars(module).setdefault("__playhead_code__", read)
        source = root.source if root else name
        specs += [_with_code(spec, code, source) for spec in found]
    return _by_name(specs)


def code_roots(named: Sequence[str]) -> list[roots.CodeRoot]:
    """Return where the code of all adapters begins, except that of installed packages. Imports nothing."""
    found = [roots.root_of(name) for name in _sources(named)]
    return list(dict.fromkeys(root for root in found if root))


def watch(named: Sequence[str]) -> roots.CodeWatch:
    """Watch the files of all adapters, except those of installed packages. Imports nothing."""
    return roots.CodeWatch(_sources(named))


def _sources(named: Sequence[str]) -> list[str]:
    points = entry_points(group="playhead.adapters")
    return [*(point.module for point in points if _is_editable(point.dist)), *named]


def _by_name(specs: Iterable[AdapterSpec]) -> Mapping[str, AdapterSpec]:
    by_name: dict[str, AdapterSpec] = {}
    for spec in specs:
        if other := by_name.get(spec.name):
            raise CannotStart(
                "adapters_invalid",
                f"two adapters are named {spec.name!r}: {other.origin} and {spec.origin}; rename one",
            )
        by_name[spec.name] = spec
    return by_name


def _from_entry_point(point: Any) -> list[AdapterSpec]:
    where = f"entry point {point.name} = {point.value}"
    root = roots.root_of(point.module) if _is_editable(point.dist) else None
    code = _COVERED.read(root) if root else None
    try:
        target = point.load()
    except Exception as exc:
        raise CannotStart("adapters_invalid", f"{where} cannot be loaded: {_described(exc)}") from exc
    spec = getattr(target, "__playhead_adapter__", None)
    if not isinstance(spec, AdapterSpec):
        raise CannotStart("adapters_invalid", f"{where} is not an adapter: decorate it with @adapter")
    if spec.name != point.name:
        raise CannotStart(
            "adapters_invalid", f"{where}: its decorator has the name {spec.name!r}; both names must be equal"
        )
    if root:
        return [_with_code(spec, code, root.source)]
    return [replace(spec, code=f"{point.dist.name} {point.dist.version}", source=point.dist.name)]


def _with_code(spec: AdapterSpec, code: roots.SourceCode | None, source: str) -> AdapterSpec:
    if code is None:
        return replace(spec, source=source)
    used = code.of(spec.name)
    return replace(spec, code=used.code, covers=used.covered, whole=used.whole, source=source)


def _is_editable(package: Any) -> bool:
    """Whether a package runs from its source folder, so that its version does not identify its code."""
    about = json.loads(package.read_text("direct_url.json") or "{}")
    return bool(about.get("dir_info", {}).get("editable"))


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)  # noqa: TID251 - the one place that loads plug-ins
    except Exception as exc:
        detail = f"setting adapters: cannot import {name}: {_described(exc)}"
        raise CannotStart("adapters_invalid", detail) from exc


def _load_file(path: Path, root: roots.CodeRoot | None, code: roots.SourceCode | None) -> ModuleType:
    where = roots.absolute(path)
    # The name differs for two files with the same name, and is equal in all processes.
    name = f"playhead_steps_{path.stem}_{hashlib.sha256(str(where).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, where, loader=_FromSource(name, str(where)))
    if root is None or code is None or spec is None or spec.loader is None:
        raise CannotStart("adapters_invalid", f"setting adapters: there is no file {path}")
    # A file may import its neighbours. They come last: a `queue.py` must not replace that of Python.
    if root.base not in sys.path:
        sys.path.append(root.base)
    _check_neighbours(path, root, code)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as exc:
        del sys.modules[name]
        raise CannotStart("adapters_invalid", f"setting adapters: {path} fails: {_described(exc)}") from exc
    return module


def _check_neighbours(path: Path, root: roots.CodeRoot, code: roots.SourceCode) -> None:
    """Check that each module of the code is the one that Python imports under its name."""
    base = Path(root.base)
    files = [Path(file).relative_to(base) for file in code.files if file != root.file]
    for top in sorted({file.parts[0].removesuffix(".py") for file in files}):
        spec = importlib.util.find_spec(top)
        if spec is None:
            continue  # its import fails, with a traceback
        found = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        own = [base / f"{top}.py", base / top / "__init__.py", base / top]
        if not {Path(place).resolve() for place in found} & {place.resolve() for place in own}:
            raise CannotStart(
                "adapters_invalid",
                f"{path} imports {top}, which is in its folder, but Python finds another {top} first "
                f"({', '.join(found)}): rename the one in {base}",
            )


def _described(error: Exception) -> str:
    """Return an error of an import, with the last line outside of libraries that ran before it."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return text  # it contains the line
    folders = [sysconfig.get_path(one) for one in ("stdlib", "purelib", "platlib")]
    libraries = (*folders, str(Path(__file__).parent), "<frozen ")
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if not one.filename.startswith(libraries)]
    return f"{text} ({own[-1].filename}, line {own[-1].lineno})" if own else text


def _collect(module: ModuleType, name: str) -> list[AdapterSpec]:
    try:
        return collect(module)
    except (TypeError, ValueError) as exc:
        raise CannotStart("adapters_invalid", f"setting adapters: {name}: {exc}") from exc
