"""Each benchmark runs in its short form. Its figures mean nothing there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import PARTS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [part if part == "scale" else pytest.param(part, marks=pytest.mark.full) for part in PARTS]
)
def test_a_benchmark_runs(part: str):
    command = [sys.executable, "-m", "bench", "--quick", "--no-disk", "--json", "--only", part]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["figures"]
