"""Random histories: each publication has exactly the content that its definition says.

The definition is computed from lineage, objects and sidecars over HTTP alone. `make faults
ARGS="--publications histories"` prints how often each thing happened.
"""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from tests.integration import publication_definition
from tests.integration.publication_histories import played
from tests.servers import need
from tests.servers.schema import emptied_schema

FEW = int(os.environ.get("PLAYHEAD_TEST_HISTORIES", "8"))
MANY = 200


def _seeds(few: int) -> list[object]:
    return [seed if seed < few else pytest.param(seed, marks=pytest.mark.full) for seed in range(MANY)]


def test_the_definition_shares_no_code_with_playhead() -> None:
    tree = ast.parse(Path(publication_definition.__file__).read_text())
    plain = {alias.name for one in ast.walk(tree) if isinstance(one, ast.Import) for alias in one.names}
    named = {one.module or "." for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
    assert {one.partition(".")[0] for one in plain | named} <= sys.stdlib_module_names


@pytest.mark.parametrize("seed", _seeds(FEW))
async def test_each_publication_is_what_its_definition_says(tmp_path: Path, seed: int) -> None:
    assert not (await played(tmp_path / "home", seed)).differences


@pytest.mark.parametrize("seed", _seeds(FEW // 8))
async def test_each_publication_is_what_its_definition_says_on_servers(tmp_path: Path, seed: int) -> None:
    broker, prefix = need("nats"), f"histories{seed}."
    async with emptied_schema() as url:
        history = await played(tmp_path / "home", seed, catalog=url, broker=broker, queue_prefix=prefix)
    assert not history.differences
