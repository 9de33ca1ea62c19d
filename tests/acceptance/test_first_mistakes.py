"""Mistakes of new users and the errors that they get: real processes on a new home."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import program
from tests.acceptance.processes import DEADLINE_SECONDS
from tests.program import Program

pytestmark = pytest.mark.slow

STEPS = """
import time
from pathlib import Path
from playhead import Item, adapter


@adapter("doze")
def doze(item: Item) -> bytes:
    Path(f"{item.path}.begun").touch()
    time.sleep(2)
    return item.data
"""

CONFIG = """
version: "1.0"
name: mine
entry: first
routes:
  first:
    adapters: [{type: doze}]
    outbound: {stage: dozed, to: [theirs]}
  theirs:
    external: true
"""


class Folder:
    """A folder in which somebody calls `playhead`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name, text in {"steps.py": STEPS, "mine.yaml": CONFIG, "a.txt": "one", "b.txt": "two"}.items():
            (path / name).write_text(text, encoding="utf-8")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("PLAYHEAD_")}

    def start(self, *arguments: str, adapters: str = "./steps.py") -> Program:
        return program.start(arguments, cwd=self.path, env=self.env | {"PLAYHEAD_ADAPTERS": adapters})

    def __call__(self, *arguments: str, adapters: str = "./steps.py") -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        process = self.start(*arguments, adapters=adapters)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_config_whose_adapters_are_not_loaded_says_how_to_load_them(folder):
    code, out, _ = folder("config", "validate", "mine.yaml", adapters="")
    assert code == 1
    assert "E201" in out
    assert "PLAYHEAD_ADAPTERS=./steps.py" in out


def test_a_run_by_name_without_its_adapters_is_refused_instead_of_waiting_for_ever(folder):
    assert folder("config", "apply", "mine.yaml")[0] == 0
    code, out, err = folder("run", "mine", "a.txt", adapters="")
    assert (code, out) == (1, "")
    assert "PLAYHEAD_ADAPTERS" in err
    assert "--detach" in err
    assert "doze" in err
    assert folder("executions", "--json")[1].count("execution_id") == 0, "nothing was begun"
    assert folder("run", "mine", "a.txt", "--detach", adapters="")[0] == 0


def test_a_run_on_a_damaged_catalog_ends_and_says_what_to_do(folder):
    assert folder("config", "apply", "mine.yaml")[0] == 0
    file = folder.path / ".playhead" / "playhead.db"
    con = sqlite3.connect(file)
    (page,) = con.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    (size,) = con.execute("PRAGMA page_size").fetchone()
    con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    con.close()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xff" * size)

    code, _, err = folder("run", "mine", "a.txt")

    assert code == 5
    assert "Error (catalog_damaged)" in err
    assert "restore the file from a backup" in err
    code, out, _ = folder("doctor")
    assert code == 1
    assert "playhead.db is damaged" in out


@pytest.mark.parametrize("buffering", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", [("errors",), ("errors", "--json")], ids=["text", "json"])
def test_a_full_disk_below_stdout_is_not_reported_as_a_bug(words, buffering, tmp_path: Path):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "playhead", *words],
            cwd=tmp_path,
            env={**os.environ, **buffering},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (1, "Error: cannot write to stdout: No space left on device\n")


def test_peeking_at_a_queue_without_a_producer_says_so(folder):
    assert folder("config", "apply", "mine.yaml")[0] == 0
    code, _, err = folder("queues", "mine.frist")
    assert code == 0
    assert "No route of an active config has a queue mine.frist" in err


def test_taking_from_a_queue_of_workers_says_that_they_get_it_again(folder):
    assert folder("run", "mine.yaml", "a.txt", "--detach")[0] == 0
    assert "workers process mine/first" in folder("queues", "mine.first", "--take", "1")[2]
    assert "workers" not in folder("queues", "mine.theirs", "--take", "1")[2]


def test_a_signal_that_comes_twice_at_once_as_from_timeout_lets_a_worker_finish(folder):
    assert folder("run", "mine.yaml", "a.txt", "b.txt", "--detach")[0] == 0
    worker = folder.start("worker")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not all((folder.path / f"{name}.txt.begun").exists() for name in "ab"):
        assert worker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=DEADLINE_SECONDS)
    assert worker.returncode == 0
    assert "worker_stopped attempts_ended=2" in said
