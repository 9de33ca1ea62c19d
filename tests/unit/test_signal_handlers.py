"""Signals that ask a process to stop."""

from __future__ import annotations

import subprocess
import sys

import pytest

FLOODED = """
import asyncio, os, signal
from playhead.workers import on_signals

async def main():
    stop = asyncio.Event()
    on_signals(stop)
    loop = asyncio.get_running_loop()
    for _ in range(20_000):  # each writes a byte to the pipe that wakes the loop
        loop.call_soon_threadsafe(int)
    os.kill(os.getpid(), signal.{name})
    await asyncio.wait_for(stop.wait(), 20)

asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_is_not_lost_when_the_wakeup_pipe_of_the_loop_is_full(name: str):
    done = subprocess.run(
        [sys.executable, "-c", FLOODED.replace("{name}", name)], capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
