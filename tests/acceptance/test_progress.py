"""What commands that wait show, when workers are missing, and the exit code after messages died."""

from __future__ import annotations

import os
import pty
from pathlib import Path
from subprocess import DEVNULL

import pytest

from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.shell import Shell

CONFIG = """
version: "1.0"
name: docs
entry: first
error_handling: {max_attempts: 1}
routes:
  first:
    adapters: [{type: slow}]
    outbound: {stage: firsts, to: [second]}
  second:
    adapters: [{type: slow}]
    outbound: {stage: seconds}
"""
STEPS = """
import time
from playhead import adapter

@adapter("slow")
def slow(item):
    time.sleep(0.3)
    if item.text == "bad":
        raise ValueError("this is bad")
    return item.text
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A run of ten pages that was submitted and not processed."""
    pages = {f"pages/{number}.txt": "good" for number in range(10)}
    shell = Shell(tmp_path, {"docs.yaml": CONFIG, "steps.py": STEPS, "bad/x.txt": "bad", **pages})
    shell.json("run", "docs.yaml", "pages", "--detach")
    return shell


def on_a_terminal(shell: Shell, *arguments: str) -> tuple[int, str]:
    """Return the exit code of a command, and what it writes to a terminal as stderr."""
    ours, theirs = pty.openpty()
    shell.env |= {"TERM": "xterm", "COLUMNS": "100"}
    process = shell.start(*arguments, stdout=DEVNULL, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # how Linux reports that the other end is closed
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    return process.wait(DEADLINE_SECONDS), said.decode()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_worker_shows_its_progress_on_a_terminal(shell: Shell, processes: str):
    code, said = on_a_terminal(shell, "worker", "--until-idle", "--processes", processes)
    assert code == 0
    assert "Working" in said
    assert "/20" in said
    assert "worker_stopped" in said
    assert "Traceback" not in said


def test_without_a_terminal_a_worker_writes_log_lines_only(shell: Shell):
    code, _, err = shell("worker", "--until-idle")
    assert code == 0
    assert "Working" not in err
    assert "dead=0" in err


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_worker_until_idle_after_messages_died_is_exit_code_1(shell: Shell, processes: str):
    shell.json("run", "docs.yaml", "bad", "--detach")
    (shell.folder / "docs.yaml").write_text(CONFIG)
    code, _, err = shell("worker", "--until-idle", "--processes", processes)
    assert code == 1
    assert "dead=1" in err
    assert shell("worker", "--until-idle")[0] == 0


def test_the_progress_of_a_replay_is_shown_on_a_terminal(shell: Shell):
    with shell.worker():
        code, said = on_a_terminal(shell, "replay", "latest", "input", "second", "--rate", "20", "--wait")
        assert code == 0
        assert "Publishing" in said
        assert "at most 20/s" in said
        code, said = on_a_terminal(shell, "replays", "watch")
    assert code == 0
    assert "Published" in said
    assert "10/10" in said
    assert "Working" in said
    assert "Traceback" not in said


def test_waiting_for_a_replay_reports_missing_workers_after_some_seconds(shell: Shell):
    with shell.worker():
        assert shell("replay", "latest", "input", "second", "--wait")[0] == 0
    process = shell.start("replay", "latest", "input", "first", "--wait")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line == "No worker consumes docs.first now; start one: playhead worker --until-idle\n"
    with shell.worker():
        out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0
    assert "No worker" not in err
    assert "20 done, 0 failed" in out
