"""Print what `uv.lock` pins as requirements for pip, each with its hashes.

    python tools/pins.py                            every locked package (a constraints file)
    python tools/pins.py --project --extra s3       what Playhead needs at run time, with one extra
    python tools/pins.py --group dev --group docs   what dependency groups need
    python tools/pins.py --names --group servers    the names in a group, one a line

The list is complete, so pip resolves nothing: `pip install --no-deps --require-hashes -r FILE`. One lock
serves uv and plain pip. Only the standard library is used, as this runs before anything is installed.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

LOCK: Final = Path(__file__).resolve().parent.parent / "uv.lock"
PROJECT: Final = "playhead"

Package = dict[str, Any]
Edge = dict[str, Any]
#: Markers that hold together.
Condition = frozenset[str]


class Lock:
    """A lock file as a graph of packages."""

    def __init__(self, text: str) -> None:
        self.packages: list[Package] = tomllib.loads(text)["package"]
        self.project = next(package for package in self.packages if package["name"] == PROJECT)

    def everything(self) -> Iterator[str]:
        """Yield the requirement of each locked package, except the project."""
        for package in self.packages:
            if package is not self.project:
                yield _requirement(
                    package, " or ".join(map("({})".format, package.get("resolution-markers", [])))
                )

    def group(self, name: str) -> list[Edge]:
        """Return what a dependency group asks for."""
        groups: dict[str, list[Edge]] = self.project["dev-dependencies"]
        if name not in groups:
            raise SystemExit(f"uv.lock has no group {name!r}; it has {', '.join(groups)}")
        return groups[name]

    def extra(self, name: str) -> list[Edge]:
        """Return what an extra of the project asks for."""
        extras: dict[str, list[Edge]] = self.project["optional-dependencies"]
        if name not in extras:
            raise SystemExit(f"uv.lock has no extra {name!r}; it has {', '.join(extras)}")
        return extras[name]

    def closure(self, edges: Iterable[Edge]) -> Iterator[str]:
        """Yield the requirements of these dependencies and of all that they need, in order of name."""
        reached: dict[int, set[Condition]] = {}
        seen: set[tuple[int, str, Condition]] = set()
        waiting: list[tuple[Edge, Condition]] = [(edge, frozenset()) for edge in edges]
        while waiting:
            edge, above = waiting.pop()
            condition = above | {edge["marker"]} if "marker" in edge else above
            for index in self._found(edge):
                package = self.packages[index]
                reached.setdefault(index, set()).add(condition)
                for extra in ("", *edge.get("extra", [])):
                    if (index, extra, condition) not in seen:
                        seen.add((index, extra, condition))
                        needs = package.get("optional-dependencies", {}).get(extra) if extra else None
                        waiting += [(need, condition) for need in needs or package.get("dependencies", [])]
        for index in sorted(reached, key=lambda index: str(self.packages[index]["name"])):
            yield _requirement(self.packages[index], _either(reached[index]))

    def _found(self, edge: Edge) -> list[int]:
        """Where the packages are that an edge means: more than one where the lock has a fork."""
        return [
            index
            for index, package in enumerate(self.packages)
            if package["name"] == edge["name"]
            and package["version"] == edge.get("version", package["version"])
        ]


def _either(conditions: set[Condition]) -> str:
    """The marker that holds where any of these conditions holds; empty where one always does."""
    if frozenset() in conditions:
        return ""
    least = [one for one in conditions if not any(other < one for other in conditions)]
    return " or ".join(
        sorted("(" + " and ".join(f"({marker})" for marker in sorted(one)) + ")" for one in least)
    )


def _requirement(package: Package, marker: str) -> str:
    files = [*([package["sdist"]] if "sdist" in package else []), *package.get("wheels", [])]
    hashes = "".join(f" \\\n    --hash={file['hash']}" for file in files)
    return f"{package['name']}=={package['version']}{f' ; {marker}' if marker else ''}{hashes}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what uv.lock pins as requirements for pip.")
    parser.add_argument("--project", action="store_true", help="what Playhead needs at run time")
    parser.add_argument("--extra", action="append", default=[], help="an extra of Playhead")
    parser.add_argument("--group", action="append", default=[], help="a dependency group")
    parser.add_argument("--only", metavar="NAME", help="of the groups, what this package needs")
    parser.add_argument("--names", action="store_true", help="print the names in the groups instead")
    chosen = parser.parse_args()
    lock = Lock(LOCK.read_text(encoding="utf-8"))
    edges = [edge for name in chosen.group for edge in lock.group(name)]
    if chosen.only:
        edges = [edge for edge in edges if edge["name"] == chosen.only]
    edges += [edge for name in chosen.extra for edge in lock.extra(name)]
    edges += lock.project["dependencies"] if chosen.project else []
    if chosen.names:
        lines: Iterable[str] = (edge["name"] for edge in edges)
    else:
        lines = lock.closure(edges) if edges else lock.everything()
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
