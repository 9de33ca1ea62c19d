"""What the fingerprints of adapters cover. `roots` computes them, and loads more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class CoveredFile:
    """What the fingerprint of an adapter covers of a file. Without names and lines, it is the whole file.

    Attributes:
        file: its path, relative to the folder from which its modules are imported.
        names: functions, classes and other names that the file defines at module level.
        lines: where other statements begin.
    """

    file: str
    names: list[str]
    lines: list[int]


@dataclass(frozen=True, slots=True)
class WholeFiles:
    """Why the fingerprint of an adapter covers whole files, and where.

    Attributes:
        why: `reflection`: the code uses `name`, which reaches names that are not in the text.
            `computed_import`: it computes the name of a module. `star_import`: it imports all names of its
            module `name`. `module_getattr`: a module defines `__getattr__`. `not_found`: no
            `@adapter("TYPE")` at module level declares the adapter. `not_python`: the file is not valid
            Python source, or it is nested too deeply.
        name: what is used or imported; may be empty.
        file: the file; empty for `not_found`.
        line: its line, or 0.
    """

    why: Literal["reflection", "computed_import", "star_import", "module_getattr", "not_found", "not_python"]
    name: str = ""
    file: str = ""
    line: int = 0
