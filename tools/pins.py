"""Print what `uv.lock` pins, as lines for pip: `pip install --constraint <(python tools/pins.py) .`

One lock for uv and for plain pip, and nobody needs uv to get the locked set. With `--group NAME` the
requirements of that dependency group of `pyproject.toml` are printed instead (pip learnt `--group` in
25.1; a Python of 3.11 brings an older one).
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def constraints() -> list[str]:
    """`name==version` of every locked package but the project, and for which Pythons if not for all."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    return [_pin(package) for package in lock["package"] if "registry" in package["source"]]


def _pin(package: dict[str, Any]) -> str:
    pin = f"{package['name']}=={package['version']}"
    markers = package.get("resolution-markers", [])
    return f"{pin} ; {' or '.join(f'({m})' for m in markers)}" if markers else pin


def group(name: str) -> list[str]:
    """The requirements of one dependency group."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["dependency-groups"][name])


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what uv.lock pins, as lines for pip.")
    parser.add_argument("--group", metavar="NAME", help="print the requirements of this group instead")
    chosen = parser.parse_args().group
    sys.stdout.write("\n".join(group(chosen) if chosen else constraints()) + "\n")


if __name__ == "__main__":
    main()
