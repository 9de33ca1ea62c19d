"""Replays with a canary in real processes, which are killed at each step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, open_deployment

pytestmark = pytest.mark.slow

CONFIG = """
version: "1.0"
name: docs
entry: convert
routes:
  convert:
    adapters: [{type: html_to_markdown}]
    outbound: {stage: markdown, to: [keep]}
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: done}
"""
COUNT, CANARY, BAD = 12, 4, 2
PAGE = b"<h1>Page</h1><p>Text.</p>"
POINTS = (
    "replay.allowed:1",
    "replay.marked:1",
    "replay.decided",
    "replay.published:2",
)


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """Of the inputs of a run, the first two cannot be converted. No process is running."""
    with open_deployment(HEARTBEAT_SECONDS="0.2", LEASE_SECONDS="1") as deployment:
        deployment.serve()
        deployment.worker()
        deployment.apply(CONFIG)
        inputs = {f"{n:02}.{'pdf' if n < BAD else 'html'}": PAGE for n in range(COUNT)}
        deployment.ended(deployment.run("docs", inputs))
        deployment.close()
        yield deployment


def detach(deployment: Deployment, *options: str) -> str:
    replay = deployment.cli("replay", "latest:docs", "input", "convert", "--detach", *options)
    return str(replay["execution_id"])


def processed(deployment: Deployment) -> Any:
    """Wait until the replay and all of its messages have ended, and return it.

    After a kill, the messages may end before the next owner of the replay has marked them.
    """

    def look() -> Any:
        if deployment.rows("SELECT 1 FROM messages WHERE state IN (0, 1, 2)"):
            return None  # a command takes longer than a read
        found = deployment.cli("replays", "show", "latest")
        return found if found["status"] and not found["work"]["pending"] else None

    return deployment.until(look, "the replay and its messages to end")


def check_order(deployment: Deployment, execution: str) -> None:
    """Check by rows that no message behind the canary started before all below the canary had ended."""
    of = "execution = (SELECT n FROM executions WHERE hex(id) = ?)"
    identity = execution.replace("-", "").upper()
    # Children of the canary have a parent in it; the others descend from later roots.
    canary = f"SELECT n FROM messages WHERE {of} AND ordinal <= {CANARY}"
    [(ended,)] = deployment.rows(
        f"SELECT max(ended_at) FROM messages WHERE n IN ({canary}) OR parent IN ({canary})",
        identity,
        identity,
    )
    [(started,)] = deployment.rows(
        f"SELECT min(started_at) FROM messages WHERE {of} AND ordinal > {CANARY}", identity
    )
    assert started >= ended


@pytest.mark.parametrize("point", POINTS)
def test_a_replay_whose_worker_is_killed_continues_behind_its_canary(deployment: Deployment, point: str):
    execution = detach(deployment, "--canary", str(CANARY), "--max-failed", "0.5")
    deployment.struck(deployment.start("worker", fault=point))
    deployment.worker()

    ended = processed(deployment)

    assert (ended["state"], ended["objects_published"]) == ("publishing_complete", COUNT)
    check_order(deployment, execution)


def test_a_failed_canary_pauses_the_replay_also_after_kills_and_a_resume_continues(deployment: Deployment):
    execution = detach(deployment, "--canary", str(CANARY), "--max-failed", "1")
    deployment.struck(deployment.start("worker", fault="replay.decided"))
    until_idle = deployment.worker("--until-idle")

    assert until_idle.popen.wait(DEADLINE_SECONDS) == 0
    paused = deployment.cli("replays", "show", "latest")
    assert (paused["state"], paused["paused_by"], paused["objects_published"]) == ("paused", "canary", CANARY)
    assert paused["errors"][0].startswith(f"paused: {BAD} of {CANARY} canary objects failed; POST ")
    assert paused["work"]["failed"] == BAD

    deployment.cli("replays", "resume", "latest")
    deployment.worker()
    ended = processed(deployment)
    assert (ended["state"], ended["objects_published"]) == ("publishing_complete", COUNT)
    check_order(deployment, execution)
