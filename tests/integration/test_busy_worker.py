"""A worker whose steps all compute in Python: its heartbeat stays young, and no message is taken from it."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from subprocess import DEVNULL

import pytest

from tests import program

LONG = 120.0
WATCHED_SECONDS = 8.0
BEAT = 1.0

STEPS = """
import time
from playhead import Item, adapter

@adapter("compute")
def compute(item: Item) -> str:
    until = time.thread_time() + 1.5
    while time.thread_time() < until:
        sum(range(100))
    return item.text
"""
CONFIG = """
version: "1.0"
name: numbers
entry: compute
routes:
  compute:
    inbound: {concurrency: 128}
    adapters: [{type: compute}]
    outbound: {stage: computed}
"""


@pytest.mark.slow
def test_the_heartbeat_of_a_worker_does_not_wait_for_steps_that_compute(tmp_path: Path):
    """128 such steps kept a worker from its heartbeat for 115 s, and its messages were processed again."""
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "numbers.yaml").write_text(CONFIG)
    (tmp_path / "inputs").mkdir()
    for n in range(128):
        (tmp_path / "inputs" / f"{n}.txt").write_text("x")
    home = tmp_path / "home"
    environment = os.environ | {
        "PLAYHEAD_HOME": str(home),
        "PLAYHEAD_ADAPTERS": str(tmp_path / "steps.py"),
        "PLAYHEAD_HEARTBEAT_SECONDS": str(BEAT),
    }

    for command in (
        ("config", "apply", str(tmp_path / "numbers.yaml")),
        ("run", "numbers", str(tmp_path / "inputs"), "--detach"),
    ):
        assert program.run(command, cwd=tmp_path, env=environment).returncode == 0

    ages: list[float] = []
    worker = program.start(["worker"], cwd=tmp_path, env=environment, stdout=DEVNULL, stderr=DEVNULL)
    with closing(sqlite3.connect(f"file:{home}/playhead.db?mode=ro", uri=True, timeout=30)) as catalog:
        try:
            until = time.monotonic() + LONG
            while catalog.execute("SELECT count(*) FROM messages WHERE state = 1").fetchone() != (128,):
                assert time.monotonic() < until, "all messages are running"
                time.sleep(0.05)
            until = time.monotonic() + WATCHED_SECONDS
            while time.monotonic() < until:
                ((beat,),) = catalog.execute("SELECT heartbeat_at FROM processes").fetchall()
                ages.append(time.time() - beat)
                time.sleep(0.05)
        finally:
            worker.kill()
            worker.wait()

    assert max(ages) < 5 * BEAT
