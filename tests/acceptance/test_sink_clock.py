"""A clock that was ahead and is corrected: the sinks still keep the rows of the newest execution."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.acceptance.shell import Shell

CONFIG = """
version: "1.0"
name: docs
entry: index
routes:
  index: {adapters: [{type: sqlite_vectors, config: {path: vectors.db}}]}
"""


def rows(shell: Shell) -> list[tuple[str, str]]:
    file = shell.folder / "home" / "data" / "vectors.db"
    return sqlite3.connect(file).execute("SELECT text, execution_id FROM vector").fetchall()


@pytest.mark.slow
def test_a_run_and_a_replay_after_a_correction_of_the_clock_replace_earlier_rows(tmp_path: Path):
    shell = Shell(tmp_path, {"docs.yaml": CONFIG})
    del shell.env["PLAYHEAD_ADAPTERS"]

    def run(text: str) -> str:
        (tmp_path / "a.json").write_text(json.dumps({"text": text, "vector": [1, 2]}))
        identity: str = shell.json("run", "docs.yaml", "a.json")["execution_id"]
        return identity

    shell.env["PLAYHEAD_CLOCK_SHIFT_SECONDS"] = "3600"
    ahead = run("first")
    assert rows(shell) == [("first", ahead)]
    del shell.env["PLAYHEAD_CLOCK_SHIFT_SECONDS"]
    corrected = run("second")
    assert rows(shell) == [("second", corrected)]
    replay = shell.json("replay", ahead, "input", "index")["execution_id"]
    shell("worker", "--until-idle")
    assert rows(shell) == [("first", replay)]
