"""Print one section of the changelog, as the notes of a release.

    python -m tools.release_notes v0.2.0              the section "## 0.2.0 - 2026-12-01"
    python -m tools.release_notes v0.2.0 --check      the same, and the versions in the tree must agree

The tag has the version that the package, the chart and the changelog name. Otherwise the command exits with
1 and a sentence that says which file differs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_HEADING: Final = re.compile(r"^## +\[?(?P<version>[^\s\]]+)\]?.*$", re.MULTILINE)


class Unreleasable(Exception):
    """The tree does not fit the tag; the text says where."""


def notes(changelog: str, version: str) -> str:
    """Return the body of a version's section, without its heading.

    Raises:
        Unreleasable: there is no such section, or it is empty.
    """
    headings = list(_HEADING.finditer(changelog))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] == version:
            body = changelog[heading.end() : following.start() if following else None]
            # Definitions of links belong to the file, not to its last section.
            body = re.sub(r"^\[[^\]]+\]: .*\n?", "", body, flags=re.MULTILINE).strip()
            if not body:
                raise Unreleasable(f"CHANGELOG.md: the section {heading[0]!r} is empty")
            return body + "\n"
    raise Unreleasable(
        f"CHANGELOG.md has no section '## {version}'. Rename '## Unreleased' and add the date."
    )


def check(version: str, root: Path = ROOT) -> None:
    """Compare the version with those that the package and the chart declare.

    Raises:
        Unreleasable: one of them differs.
    """
    for name, pattern in (
        ("src/playhead/__init__.py", r'^__version__ = "(.+)"$'),
        ("deploy/helm/playhead/Chart.yaml", r"^version: (.+)$"),
        ("deploy/helm/playhead/Chart.yaml", r'^appVersion: "(.+)"$'),
    ):
        found = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        if found is None or found[1] != version:
            declared = found[0] if found else f"no line like {pattern}"
            raise Unreleasable(f"{name}: {declared!r}, but the tag says {version}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.release_notes", description="Print one section of the changelog."
    )
    parser.add_argument("tag", help="the tag or version, such as v0.2.0")
    parser.add_argument("--check", action="store_true", help="also compare the versions in the tree")
    chosen = parser.parse_args(arguments)
    version = chosen.tag.removeprefix("v")
    try:
        if chosen.check:
            check(version)
        sys.stdout.write(notes((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version))
    except Unreleasable as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
