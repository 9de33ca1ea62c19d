"""SIGTERM, Ctrl-C and a lost parent: running messages are finished, the others continue elsewhere at once.

Where it matters the deployment's times are so long that a test fails if anybody has to wait for one of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance.exactness import (
    PATIENT,
    audited,
    by_hand,
    exact_deployment,
    inputs,
    lay_out,
    pipeline,
    roots,
    strangers,
)
from tests.acceptance.ledger import Ledger
from tests.acceptance.processes import Deployment, Process

pytestmark = pytest.mark.slow

SOON = 40.0
"""Seconds: far above what it takes on a busy machine, far below the times of `PATIENT`."""

MANY = 15_000
IS_BEING_PUBLISHED = "SELECT 1 FROM jobs WHERE state = 'publishing' AND ordinals BETWEEN 1000 AND 12000"
"""A job in the middle of its objects."""

BOTH = pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.full),
    ],
)


def ends(deployment: Deployment, process: Process) -> int:
    """The exit code of a process that is to end by itself now."""
    try:
        return process.popen.wait(SOON)
    except subprocess.TimeoutExpired:
        raise deployment.failed(f"{process.name} does not end") from None


def members(deployment: Deployment, count: int) -> list[int]:
    """Wait for this number of worker processes, all of one crew, and return them."""

    def look() -> list[int]:
        found = deployment.rows("SELECT pid FROM processes WHERE kind = 'worker'")
        return [row["pid"] for row in found] if len(found) == count else []

    return deployment.until(look, f"{count} workers")


def are_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def is_at_work(deployment: Deployment) -> bool:
    """Whether some is done, and some is left."""
    [counts] = deployment.rows("SELECT count(*) FILTER (WHERE state = 3) done, count(*) total FROM messages")
    return bool(20 < counts["done"] < counts["total"] - 20)


def finish(deployment: Deployment, execution: str) -> None:
    """See that nothing was left in the middle, and that a new worker finishes the execution at once."""
    assert not deployment.rows("SELECT 1 FROM messages WHERE state = 1"), (
        "a message is still claimed, but all workers have stopped"
    )
    notes = Counter(n.what for n in Ledger(deployment, execution).notes)
    assert notes["started"] == notes["finished"], "work was cut off"
    deployment.worker()
    deployment.ended(execution, seconds=SOON)
    audited(deployment, execution)


# -- the processes that stay -----------------------------------------------------------------------


@BOTH
def test_a_worker_that_is_told_to_stop_finishes_what_runs_and_leaves_the_rest(number: signal.Signals) -> None:
    with exact_deployment(**PATIENT) as deployment:
        worker, _ = deployment.start("worker"), deployment.serve()
        deployment.apply(pipeline("slow", "slow", "seconds: 0.05", inbound="concurrency: 4, prefetch: 64"))
        execution = deployment.run("slow", inputs(150))
        deployment.until(lambda: is_at_work(deployment), "the work to have begun", alive=[worker])
        worker.popen.send_signal(number)
        assert ends(deployment, worker) == 0
        assert deployment.get(f"/executions/{execution}")["counts"]["pending"]
        finish(deployment, execution)


@BOTH
def test_a_server_that_is_told_to_stop_takes_its_workers_with_it(number: signal.Signals) -> None:
    with exact_deployment(**PATIENT) as deployment:
        server = deployment.serve("--workers", "2")
        deployment.apply(pipeline("slow", "slow", "seconds: 0.05", inbound="concurrency: 4, prefetch: 64"))
        execution = deployment.run("slow", inputs(200))
        crew = members(deployment, 2)
        deployment.until(lambda: is_at_work(deployment), "the work to have begun", alive=[server])
        server.popen.send_signal(number)
        assert ends(deployment, server) == 0
        assert are_gone(crew)
        assert not deployment.rows("SELECT 1 FROM processes"), "somebody left without a word"
        deployment.serve()
        finish(deployment, execution)


def test_ctrl_c_in_a_terminal_stops_a_crew_as_cleanly_as_its_parent() -> None:
    with exact_deployment(**PATIENT) as deployment:
        deployment.serve()
        deployment.apply(pipeline("slow", "slow", "seconds: 0.1", inbound="concurrency: 4, prefetch: 64"))
        execution = deployment.run("slow", inputs(200))
        parent = deployment.start("worker", "--processes", "2")
        crew = members(deployment, 2)
        deployment.until(lambda: is_at_work(deployment), "the work to have begun", alive=[parent])
        # A terminal sends it to all processes of the group at once.
        for pid in (*crew, parent.popen.pid):
            os.kill(pid, signal.SIGINT)
        assert ends(deployment, parent) == 0
        assert are_gone(crew)
        finish(deployment, execution)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("worker", "--processes", "2"), id="worker"),
        pytest.param(("serve", "--port", "0", "--workers", "2"), id="serve", marks=pytest.mark.full),
    ],
)
def test_a_crew_does_not_outlive_a_parent_that_is_killed(arguments: tuple[str, ...]) -> None:
    with exact_deployment() as deployment:
        deployment.serve()
        deployment.apply(pipeline("slow", "slow", "seconds: 0.02"))
        execution = deployment.run("slow", inputs(200))
        parent = deployment.start(*arguments)
        crew = members(deployment, 2)
        deployment.until(lambda: is_at_work(deployment), "the work to have begun", alive=[parent])
        parent.kill()
        deployment.until(lambda: are_gone(crew), "the crew to end", seconds=SOON)
        finish(deployment, execution)


# -- one-shot commands -----------------------------------------------------------------------------


def test_a_run_stopped_by_ctrl_c_is_finished_by_the_next_worker() -> None:
    with exact_deployment(**PATIENT) as deployment:
        deployment.serve()
        deployment.apply(pipeline("slow", "slow", "seconds: 0.05", inbound="concurrency: 4, prefetch: 64"))
        lay_out(deployment, inputs(150))
        command = deployment.start("run", "slow", "pages")
        [shown] = deployment.until(
            lambda: list(deployment.items("/executions")), "the run to begin", alive=[command]
        )
        execution = shown["execution_id"]
        deployment.until(lambda: is_at_work(deployment), "the work to have begun", alive=[command])
        command.popen.send_signal(signal.SIGINT)
        assert ends(deployment, command) == 130
        assert f"playhead cancel {execution}" in command.said
        assert deployment.get(f"/executions/{execution}")["status"] == "running"
        assert not deployment.rows("SELECT 1 FROM messages WHERE state = 1"), (
            "a message is still claimed, but all workers have stopped"
        )
        began = time.monotonic()
        worker = deployment.start("worker", "--until-idle")
        assert ends(deployment, worker) == 0
        assert time.monotonic() - began < SOON
        assert deployment.ended(execution)["status"] == "completed"
        audited(deployment, execution)


def test_a_run_stopped_by_ctrl_c_before_all_is_stored_runs_nothing() -> None:
    with exact_deployment(**PATIENT) as deployment:
        deployment.start("worker")
        deployment.serve()
        deployment.apply(pipeline("slow", "slow"))
        lay_out(deployment, inputs(6000))
        command = deployment.start("run", "slow", "pages")
        deployment.until(
            lambda: deployment.rows("SELECT 1 FROM jobs WHERE state = 'uploading'"),
            "the upload",
            alive=[command],
        )
        command.popen.send_signal(signal.SIGINT)
        assert ends(deployment, command) == 130
        [shown] = deployment.items("/executions")
        ended = deployment.ended(shown["execution_id"], seconds=SOON)
        assert ended["status"] in ("failed", "cancelled")
        assert ended["counts"]["total"] == 0
        assert roots(deployment, ended["execution_id"]) == []


def test_a_replay_stopped_by_ctrl_c_goes_on_in_the_next_worker() -> None:
    with exact_deployment(**PATIENT) as deployment:
        deployment.serve()
        deployment.apply(pipeline("take", "slow"))
        source = strangers(deployment, (f"{n // 1000:03d}/{n:05d}.txt" for n in range(MANY)))
        command = deployment.start("replay", source, "found", "take/hand_over", "--wait")
        with by_hand(deployment, when=IS_BEING_PUBLISHED):
            command.popen.send_signal(signal.SIGINT)
            time.sleep(0.2)  # for Python to hear of it before the command can be done
        assert ends(deployment, command) == 130
        assert "continues" in command.said
        worker = deployment.start("worker", "--until-idle")
        assert ends(deployment, worker) == 0
        [replay] = deployment.items("/replays")
        assert (replay["status"], replay["objects_published"]) == ("publishing_complete", MANY)
        recorded = roots(deployment, replay["execution_id"])
        assert len(recorded) == len(set(recorded)) == MANY
