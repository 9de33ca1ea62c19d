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

from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.shell import Shell

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


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, {"steps.py": STEPS, "mine.yaml": CONFIG, "a.txt": "one", "b.txt": "two"})


def test_a_config_whose_adapters_are_not_loaded_says_how_to_load_them(shell):
    shell.env["PLAYHEAD_ADAPTERS"] = ""
    code, out, _ = shell("config", "validate", "mine.yaml")
    assert code == 1
    assert "E201" in out
    assert "PLAYHEAD_ADAPTERS=./steps.py" in out


def test_a_run_by_name_without_its_adapters_is_refused_instead_of_waiting_for_ever(shell):
    assert shell("config", "apply", "mine.yaml")[0] == 0
    shell.env["PLAYHEAD_ADAPTERS"] = ""
    code, out, err = shell("run", "mine", "a.txt")
    assert (code, out) == (1, "")
    assert "PLAYHEAD_ADAPTERS" in err
    assert "--detach" in err
    assert "doze" in err
    assert shell("executions", "--json")[1].count("execution_id") == 0, "nothing was begun"
    assert shell("run", "mine", "a.txt", "--detach")[0] == 0


def test_the_first_key_names_its_catalog_because_another_folder_has_another_one(shell):
    del shell.env["PLAYHEAD_HOME"]
    _, key, err = shell("keys", "create", "root", "--role", "admin")
    assert f"first key of the catalog {shell.folder}/.playhead/playhead.db:" in err
    assert key.strip() not in err
    shell.env["PLAYHEAD_CATALOG"] = f"sqlite:///{shell.folder}/other.db?x=secret"
    code, _, err = shell("keys", "create", "root", "--role", "admin")
    assert (code, f"sqlite:///{shell.folder}/other.db:" in err, "secret" in err) == (0, True, False), err


def test_a_run_on_a_damaged_catalog_ends_and_says_what_to_do(shell):
    assert shell("config", "apply", "mine.yaml")[0] == 0
    file = shell.folder / "home" / "playhead.db"
    con = sqlite3.connect(file)
    (page,) = con.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    (size,) = con.execute("PRAGMA page_size").fetchone()
    con.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    con.close()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xff" * size)

    code, _, err = shell("run", "mine", "a.txt")

    assert code == 5
    assert "Error (catalog_damaged)" in err
    assert "restore the file from a backup" in err
    code, out, _ = shell("doctor")
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


def test_an_error_of_the_adapters_does_not_blame_a_variable_that_is_not_set(shell):
    del shell.env["PLAYHEAD_ADAPTERS"]
    (shell.folder / "playhead.toml").write_text('adapters = ["./stesp.py"]\n')
    code, _, err = shell("config", "apply", "mine.yaml")
    assert code == 2
    assert "setting adapters: there is no file stesp.py" in err


def test_taking_from_a_queue_of_workers_says_that_they_get_it_again(shell):
    assert shell("run", "mine.yaml", "a.txt", "--detach")[0] == 0
    assert "workers process mine/first" in shell("queues", "mine.first", "--take", "1")[2]
    assert "workers" not in shell("queues", "mine.theirs", "--take", "1")[2]


def test_a_signal_that_comes_twice_at_once_as_from_timeout_lets_a_worker_finish(shell):
    assert shell("run", "mine.yaml", "a.txt", "b.txt", "--detach")[0] == 0
    worker = shell.start("worker")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not all((shell.folder / f"{name}.txt.begun").exists() for name in "ab"):
        assert worker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=DEADLINE_SECONDS)
    assert worker.returncode == 0
    (stopped,) = (line for line in said.splitlines() if "worker_stopped" in line)
    assert "attempts_ended=2" in stopped
