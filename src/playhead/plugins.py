"""Third-party adapters, found by entry point or in the modules and files that an operator names.

No other code is imported or run: a config names loaded adapters, never code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from playhead.errors import CannotStart
from playhead.ports.adapter import AdapterSpec, collect


def load_built_in(modules: Iterable[ModuleType]) -> Mapping[str, AdapterSpec]:
    """Return the built-in adapters by name; no other code is imported."""
    return _by_name([spec for module in modules for spec in collect(module)])


def load(built_in: Iterable[ModuleType], named: Sequence[str]) -> Mapping[str, AdapterSpec]:
    """Return all adapters of this process by name: built-in, from entry points, and from modules.

    Args:
        built_in: Playhead's own modules.
        named: modules or files (`./steps.py`) that the operator named.

    Raises:
        CannotStart: `adapters_invalid`: a module cannot be imported, an entry point has another name
            than its adapter, or two adapters have one name.
    """
    specs = [spec for module in built_in for spec in collect(module)]
    for point in entry_points(group="playhead.adapters"):
        specs += _from_entry_point(point)
    for name in named:
        module = _load_file(Path(name)) if name.endswith(".py") else _import(name)
        found = _collect(module, name)
        if not found:
            raise CannotStart("adapters_invalid", f"PLAYHEAD_ADAPTERS: {name} defines no adapter (@adapter)")
        specs += found
    return _by_name(specs)


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
    try:
        target = point.load()
    except Exception as exc:
        raise CannotStart("adapters_invalid", f"{where} cannot be loaded: {exc}") from exc
    spec = getattr(target, "__playhead_adapter__", None)
    if not isinstance(spec, AdapterSpec):
        raise CannotStart("adapters_invalid", f"{where} is not an adapter: decorate it with @adapter")
    if spec.name != point.name:
        raise CannotStart(
            "adapters_invalid", f"{where}: its decorator has the name {spec.name!r}; both names must be equal"
        )
    return [spec]


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)  # noqa: TID251 - the one place that loads plug-ins
    except Exception as exc:
        raise CannotStart("adapters_invalid", f"PLAYHEAD_ADAPTERS: cannot import {name}: {exc}") from exc


def _load_file(path: Path) -> ModuleType:
    where = path.resolve()
    # The name differs for two files with the same name, and is equal in all processes.
    name = f"playhead_steps_{path.stem}_{hashlib.sha256(str(where).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, where)
    if spec is None or spec.loader is None or not where.is_file():
        raise CannotStart("adapters_invalid", f"PLAYHEAD_ADAPTERS: there is no file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as exc:
        del sys.modules[name]
        raise CannotStart(
            "adapters_invalid", f"PLAYHEAD_ADAPTERS: {path} fails: {type(exc).__name__}: {exc}"
        ) from exc
    return module


def _collect(module: ModuleType, name: str) -> list[AdapterSpec]:
    try:
        return collect(module)
    except (TypeError, ValueError) as exc:
        raise CannotStart("adapters_invalid", f"PLAYHEAD_ADAPTERS: {name}: {exc}") from exc
