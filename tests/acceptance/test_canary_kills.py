"""Replays with a canary in real processes, which are killed at each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.acceptance.processes import DEADLINE_SECONDS, Deployment
from tests.acceptance.stand import Job, Stand, open_stand

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
POINTS = ("replay.allowed:1", "replay.marked:1", "replay.decided", "replay.published:2")


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """A stand with a run. Its first two inputs cannot be converted."""
    with open_stand(CONFIG, HEARTBEAT_SECONDS="0.2") as stand:
        stand.finished("docs", {f"{n:02}.{'pdf' if n < BAD else 'html'}": PAGE for n in range(COUNT)})
        yield stand


def job(*options: str) -> Job:
    return Job(("replay", "latest:docs", "input", "convert", "--detach", *options))


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


def check_end(deployment: Deployment, execution: str) -> None:
    """Check the end, and that no message behind the canary started before all below the canary had ended."""
    ended = processed(deployment)
    assert (ended["state"], ended["objects_published"]) == ("publishing_complete", COUNT)
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


@pytest.mark.parametrize(
    ("point", "guard"),
    [*((point, ()) for point in POINTS), ("replay.decided:2", ("--pause-if", "failed>1", "--of-last", "3"))],
)
def test_a_replay_whose_worker_is_killed_continues_behind_its_canary(
    stand: Stand, point: str, guard: Sequence[str]
):
    replay = stand.strike("worker", point, job("--canary", str(CANARY), "--max-failed", "0.5", *guard))
    stand.deployment.worker()

    check_end(stand.deployment, replay["execution_id"])


def test_a_failed_canary_pauses_the_replay_also_after_kills_and_a_resume_continues(stand: Stand):
    deployment = stand.deployment
    replay = stand.strike("worker", "replay.decided", job("--canary", str(CANARY), "--max-failed", "1"))
    until_idle = deployment.worker("--until-idle")

    assert until_idle.popen.wait(DEADLINE_SECONDS) == 0
    paused = deployment.cli("replays", "show", "latest")
    assert (paused["state"], paused["paused_by"], paused["objects_published"]) == ("paused", "canary", CANARY)
    assert paused["errors"][0].startswith(f"paused: {BAD} of {CANARY} canary objects failed; POST ")
    assert paused["work"]["failed"] == BAD

    deployment.cli("replays", "resume", "latest")
    deployment.worker()
    check_end(deployment, replay["execution_id"])
