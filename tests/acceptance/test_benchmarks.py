"""Each benchmark runs in its short form. Its figures mean nothing there."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from array import array
from contextlib import closing
from pathlib import Path

import pytest

from bench.__main__ import PARTS
from bench.peers.check import Differences, differences, expected
from bench.peers.service import vector

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


@pytest.mark.slow
def test_the_index_of_playhead_is_exact_after_each_step_of_the_job_of_the_peers():
    command = [sys.executable, "-m", "bench.peers", "--documents", "20", "--only", "playhead", "--json"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["steps"]
    assert [step["index"] for step in steps] == 6 * [{"missing": 0, "extra": 0, "wrong": 0}]
    texts = {step["name"]: step["texts"] for step in steps}
    assert texts["nothing changed"] == 0
    assert 0 < texts["an edited day"] < texts["first run"] / 2


def test_the_check_of_the_peers_counts_missing_extra_and_wrong_rows(tmp_path: Path):
    texts = {"a.md": "One.\n\nTwo.\n\n| a | table |", "b.md": "Three."}
    rows = [("a.md", "One.", "One."), ("a.md", "Two.", "another"), ("c.md", "Four.", "Four.")]
    with closing(sqlite3.connect(tmp_path / "index.db")) as db, db:
        db.execute("CREATE TABLE chunk (document TEXT, text TEXT, embedding BLOB)")
        for document, text, embedded in rows:
            values = array("f", vector(embedded)).tobytes()
            db.execute("INSERT INTO chunk VALUES (?, ?, ?)", (document, text, values))

    without = differences(tmp_path / "index.db", "cocoindex", expected(texts, tables=False))
    with_tables = differences(tmp_path / "index.db", "cocoindex", expected(texts, tables=True))

    assert without == Differences(missing=1, extra=1, wrong=1)
    assert with_tables == Differences(missing=2, extra=1, wrong=1)
