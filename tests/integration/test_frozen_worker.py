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

from tests import program
from tests.counted import counts

LONG = 240

STEPS = """
import ctypes, signal
from playhead import Item, adapter

@adapter("words")
def words(item: Item) -> str:
    if item.text == "freeze":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})  # it would end the sleep
        ctypes.PyDLL(None).sleep(600)  # keeps the interpreter lock, and uses no processor
    return item.text
"""
CONFIG = """
version: "1.0"
name: texts
entry: count
routes:
  count:
    inbound: {concurrency: 1, prefetch: 1}
    adapters: [{type: words}]
    outbound: {stage: counted}
error_handling: {max_attempts: %s, retry_delay_seconds: 0.1}
"""
WORKERS = """
import sys
from playhead.settings import load_settings
from playhead.workers import work

if __name__ == "__main__":
    sys.exit(work(load_settings(), routes=(), processes=2, until_idle=%s, frozen_seconds=4))
"""


class Home:
    """An embedded installation with one run: texts that freeze their worker, and harmless ones."""

    def __init__(self, folder: Path, *, attempts: int) -> None:
        self.folder = folder
        (folder / "steps.py").write_text(STEPS)
        (folder / "texts.yaml").write_text(CONFIG % attempts)
        inputs = folder / "texts"
        inputs.mkdir()
        for n in range(10):
            (inputs / f"{n:02}.txt").write_text("freeze" if n in (3, 4) else "harmless")
        self.environment = os.environ | {
            "PLAYHEAD_HOME": str(folder / "home"),
            "PLAYHEAD_ADAPTERS": str(folder / "steps.py"),
            "PLAYHEAD_HEARTBEAT_SECONDS": "0.2",
            "PLAYHEAD_VISIBILITY_SECONDS": "5",
        }
        self.playhead("config", "apply", str(folder / "texts.yaml"))
        self.run = self.playhead("run", "texts", str(inputs), "--detach", "--json")["execution_id"]

    def playhead(self, *arguments: str) -> dict[str, object]:
        done = program.run(arguments, cwd=self.folder, env=self.environment)
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout) if "--json" in arguments else {}
        return found

    @contextmanager
    def workers(self, *, until_idle: bool) -> Iterator[subprocess.Popen[str]]:
        script = self.folder / "workers.py"
        script.write_text(WORKERS % until_idle)
        process = subprocess.Popen(
            [sys.executable, str(script)], env=self.environment, stderr=subprocess.PIPE, text=True
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.mark.slow
def test_messages_that_freeze_their_workers_are_dead_letters_and_stop_no_other_message(tmp_path: Path):
    """One such message stopped every worker of an installation, one after the other, without a log line."""
    home = Home(tmp_path, attempts=1)
    with home.workers(until_idle=True) as workers:
        _, log = workers.communicate(timeout=LONG)

    assert workers.returncode == 1  # messages died
    execution = home.playhead("show", str(home.run), "--json")
    assert execution["counts"] == counts(completed=8, failed=2)
    assert "worker_lost" in log
    assert "worker_frozen" in log
    assert "steps.py" in log, "the traceback names the adapter's file"


@pytest.mark.slow
def test_workers_that_are_frozen_end_soon_after_sigterm_and_after_their_parent_is_killed(tmp_path: Path):
    home = Home(tmp_path, attempts=3)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with home.workers(until_idle=False) as workers:
            assert workers.stderr
            assert any("worker_frozen" in line for line in workers.stderr), "a worker was frozen"
            workers.send_signal(number)
            workers.communicate(timeout=LONG)  # the pipe is closed when every worker has ended
