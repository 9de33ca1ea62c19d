"""Generate `configs.md`: every key of a config, and every diagnostic code."""

from __future__ import annotations

from typing import Final

from playhead.config import CODES, declared
from tools.reference import Parts, code, table


def _keys() -> str:
    sections = []
    for place, keys in declared.TABLES:
        heading = f"### `{place}`" if place else "### Top level"
        if place.endswith("<route>.error_handling"):
            same = "The same keys as in [`error_handling`](#error_handling) of the config, as overrides."
            sections.append(f"{heading}\n\n{same}")
            continue
        rows = [(code(key.name), _kind(key), _default(key), key.about) for key in keys]
        sections.append(f"{heading}\n\n{table(('key', 'type', 'default', 'meaning'), rows)}")
    return "\n\n".join(sections)


def _kind(key: declared.Key) -> str:
    if isinstance(key, declared.Real):
        span = (
            f"above {key.low:,g}, at most {key.high:,.0f}"
            if key.above
            else f"{key.low:,g} to {key.high:,.0f}"
        )
        return f"{key.kind}, {span}"
    return f"{key.kind}, {key.low:,} to {key.high:,}" if isinstance(key, declared.Whole) else key.kind


def _default(key: declared.Key) -> str:
    if key.required:
        return "required"
    if key.default or not isinstance(key, declared.Whole | declared.Real):
        return key.default
    return code(f"{key.otherwise:g}")


def _faults() -> str:
    return table(("code", "meaning"), CODES.items())


PARTS: Final[Parts] = {"keys": _keys, "faults": _faults}
