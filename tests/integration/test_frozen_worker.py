"""An adapter that never releases the interpreter lock: its message is a dead letter, all others complete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LONG = 240

STEPS = """
import re
from playhead import Item, adapter

@adapter("words")
def words(item: Item) -> str:
    re.match(r"^(\\w+\\s?)*$", item.text)
    return item.text
"""
CONFIG = """
version: "1.0"
name: texts
entry: count
routes:
  count:
    inbound: {concurrency: 2}
    adapters: [{type: words}]
    outbound: {stage: counted}
error_handling: {max_attempts: 3, retry_delay_seconds: 0.1}
"""
POISON = "word " * 16 + "!"
"""On this text the regular expression backtracks without end."""

WORKERS = """
import sys
from playhead.settings import load_settings
from playhead.workers import work

if __name__ == "__main__":
    sys.exit(work(load_settings(), routes=(), processes=2, until_idle=%s, frozen_seconds=4))
"""


class Home:
    """An embedded installation with one run: a text that freezes its worker, and harmless ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "steps.py").write_text(STEPS)
        (folder / "texts.yaml").write_text(CONFIG)
        inputs = folder / "texts"
        inputs.mkdir()
        for n in range(30):
            (inputs / f"{n:02}.txt").write_text(POISON if n == 7 else "harmless")
        self.environment = os.environ | {
            "PLAYHEAD_HOME": str(folder / "home"),
            "PLAYHEAD_ADAPTERS": str(folder / "steps.py"),
            "PLAYHEAD_HEARTBEAT_SECONDS": "0.2",
        }
        self.playhead("config", "apply", str(folder / "texts.yaml"))
        self.run = self.playhead("run", "texts", str(inputs), "--detach", "--json")["execution_id"]

    def playhead(self, *arguments: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, "-m", "playhead", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=True,
        )
        found: dict[str, object] = json.loads(done.stdout) if "--json" in arguments else {}
        return found

    @contextmanager
    def workers(self, *, until_idle: bool) -> Iterator[subprocess.Popen[str]]:
        program = self.folder / "workers.py"
        program.write_text(WORKERS % until_idle)
        process = subprocess.Popen(
            [sys.executable, str(program)], env=self.environment, stderr=subprocess.PIPE, text=True
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.slow
def test_a_message_that_freezes_its_worker_is_a_dead_letter_and_stops_no_other_message(home: Home):
    """One such message stopped every worker of an installation, one after the other, without a log line."""
    with home.workers(until_idle=True) as workers:
        _, log = workers.communicate(timeout=LONG)

    assert workers.returncode == 0
    execution = home.playhead("show", str(home.run), "--json")
    assert execution["counts"] == {"pending": 0, "completed": 29, "failed": 1, "cancelled": 0, "total": 30}
    assert "worker_lost" in log
    assert "worker_frozen" in log
    assert "steps.py" in log, "the traceback names the adapter's file"


@pytest.mark.slow
def test_workers_that_are_frozen_end_soon_after_sigterm_and_after_their_parent_is_killed(home: Home):
    for number in (signal.SIGTERM, signal.SIGKILL):
        with home.workers(until_idle=False) as workers:
            assert workers.stderr
            assert any("worker_frozen" in line for line in workers.stderr), "a worker was frozen"
            workers.send_signal(number)
            workers.communicate(timeout=LONG)  # the pipe is closed when every worker has ended
