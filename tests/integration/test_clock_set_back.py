"""The wall clock is set back while all workers die: an execution of an embedded deployment still ends."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.processes import Deployment, open_deployment

TWO_HOURS = 7200

STEPS = """
import time
from pathlib import Path
from playhead import Context, Item, Retry, adapter

@adapter("slow")
def slow(item: Item, ctx: Context) -> str:
    if ctx.attempt == 1 and item.text == "retry":
        raise Retry("not yet", after=600)
    while not Path(ctx.data_dir, "ready").exists():
        time.sleep(0.05)
    return item.text
"""
CONFIG = """
version: "1.0"
name: texts
entry: wait
routes:
  wait:
    inbound: {concurrency: 3}
    adapters: [{type: slow}]
    outbound: {stage: waited}
"""


def set_clock_back(deployment: Deployment) -> None:
    """Move all recorded times two hours ahead of the clock.

    To the processes that start afterwards this is a clock that was set back by two hours.
    """
    times = [
        ("processes", "heartbeat_at"),
        ("processes", "started_at"),
        ("leases", "until"),
        ("jobs", "lease_until"),
        ("executions", "created_at"),
        ("messages", "not_before"),
        ("messages", "started_at"),
        ("dispatches", "visible_at"),
    ]
    with closing(sqlite3.connect(deployment.home / "playhead.db", timeout=60)) as con, con:
        for table, column in times:
            con.execute(f"UPDATE {table} SET {column} = {column} + ? WHERE {column} > 0", (TWO_HOURS,))


@pytest.mark.slow
def test_an_execution_ends_though_the_clock_was_set_back_and_its_workers_died(tmp_path: Path):
    """It stayed `running`: heartbeats and leases of the dead processes lay in the future for two hours."""
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "texts.yaml").write_text(CONFIG)
    inputs = tmp_path / "texts"
    inputs.mkdir()
    for n in range(24):
        (inputs / f"{n:02}.txt").write_text("retry" if n == 0 else "slow")
    with open_deployment(adapters=tmp_path / "steps.py", VISIBILITY_SECONDS="30") as deployment:
        deployment.cli("config", "apply", str(tmp_path / "texts.yaml"))
        run = deployment.cli("run", "texts", str(inputs), "--detach")["execution_id"]
        workers = [deployment.worker() for _ in range(2)]
        states = "SELECT state, count(*) AS rows FROM messages GROUP BY state ORDER BY state"
        deployment.until(lambda: len(deployment.rows(states)) == 3, "a retry, running and pending rows")
        for worker in workers:
            worker.kill()
        set_clock_back(deployment)
        (deployment.data / "ready").touch()

        deployment.worker()

        def ended() -> bool:
            (found,) = deployment.rows("SELECT status FROM executions")
            return str(found["status"]) == "completed"

        deployment.until(ended, f"execution {run} to end")
