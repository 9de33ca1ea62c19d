"""What the package needs and contains is what its metadata lists."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imported() -> Iterator[str]:
    """Yield the top-level packages that the source imports."""
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def test_the_list_of_contained_software_has_the_hash_of_each_file_of_other_projects():
    listed = json.loads((ROOT / "sbom.cdx.json").read_text("utf-8"))
    files = [file for component in listed["components"] for file in component["components"]]
    source = ROOT / "src/playhead"
    contained = [
        *source.glob("**/*.min.js"),
        *source.glob("**/swagger-ui/*.js"),
        *source.glob("**/swagger-ui/*.css"),
    ]
    assert {file["name"]: file["hashes"][0]["content"] for file in files} == {
        f"playhead/{file.relative_to(source)}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in contained
    }


def test_each_requirement_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    named = {re.split(r"[\[<>=]", one)[0] for one in (*project["dependencies"], *chain(*extras))}
    providers = packages_distributions()
    used = {found.lower().replace("_", "-") for one in set(imported()) for found in providers.get(one, ())}
    assert named - {"playhead"} <= used
