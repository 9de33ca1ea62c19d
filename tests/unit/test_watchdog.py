"""A process whose event loop does not run is ended by its watchdog; a suspended one is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT = 1.0
LONG = 60

PROGRAM = """
import asyncio, logging, re, sys, threading, time
from playhead.watchdog import Watchdog

logging.basicConfig()

async def main(watchdog):
    async def beat():
        while True:
            watchdog.beat()
            await asyncio.sleep(0.05)
    task = asyncio.create_task(beat())
    await asyncio.sleep(0.2)
    print("runs", flush=True)
    %s

watchdog = Watchdog(%s)
asyncio.run(main(watchdog))
watchdog.close()
print("ends", flush=True)
"""
BACKTRACKS = 're.match(r"^(\\w+\\s?)*$", "word " * 16 + "!")'


@contextmanager
def program(body: str) -> Iterator[subprocess.Popen[str]]:
    source = textwrap.dedent(PROGRAM) % (body, LIMIT)
    process = subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "runs\n"
            yield process
        finally:
            process.kill()


def children_of(process: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(stat.parent.name))
    return found


def is_running(process: int) -> bool:
    """Whether a process has not ended. Its parent may be a process that does not wait for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    "body",
    [BACKTRACKS, f"threading.Thread(target=lambda: {BACKTRACKS}).start(); await asyncio.sleep(60)"],
    ids=["in the event loop", "in a thread"],
)
def test_a_regular_expression_that_backtracks_without_end_does_not_keep_its_process_alive(body: str):
    with program(body) as process:
        output, errors = process.communicate(timeout=LONG)
    assert process.returncode == -signal.SIGKILL
    assert output == ""
    assert "worker_frozen" in errors
    assert "re.match" in errors or "in match" in errors, "the traceback shows where it is blocked"


def test_a_process_whose_event_loop_runs_is_left_alone_however_busy_its_threads_are():
    spin = "threading.Thread(target=lambda: all(True for _ in iter(int, 1)), daemon=True).start()"
    body = f"{spin}; {spin}; await asyncio.sleep(2.5)"
    with program(body) as process:
        output, errors = process.communicate(timeout=LONG)
    assert (process.returncode, output, errors) == (0, "ends\n", "")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the state of processes in /proc")
def test_a_suspended_process_is_left_alone_and_its_watchdog_ends_with_it():
    with program("await asyncio.sleep(1)") as process:
        (watchdog,) = children_of(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(2.5 * LIMIT)
        os.kill(process.pid, signal.SIGCONT)
        output, errors = process.communicate(timeout=LONG)
        assert (process.returncode, output, errors) == (0, "ends\n", "")
        assert not Path(f"/proc/{watchdog}").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="lists the processes in /proc")
def test_a_watchdog_ends_with_a_process_that_is_killed():
    with program("await asyncio.sleep(60)") as process:
        (watchdog,) = children_of(process.pid)
        process.kill()
        process.wait(timeout=LONG)
        until = time.monotonic() + LONG
        while is_running(watchdog):
            assert time.monotonic() < until
            time.sleep(0.05)
