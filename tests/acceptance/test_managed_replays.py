"""Managed replays in real processes: clients that leave or lose answers, pauses, and what a watcher sees."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.exactness import lay_out
from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, Process, open_deployment
from tests.servers.process import free_port

pytestmark = pytest.mark.slow

CONFIG = """
version: "1.0"
name: docs
entry: work
routes:
  work:
    adapters: [{type: passthrough}]
    outbound: {stage: done}
"""
REPLAY = ("latest:docs", "input", "work")
COUNT = 6


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A run has ended, and no process is running."""
    with open_deployment() as deployment:
        (deployment.folder / "docs.yaml").write_text(CONFIG)
        lay_out(deployment, {f"{n}.txt": b"text" for n in range(COUNT)})
        deployment.cli("run", "docs.yaml", "pages")
        yield deployment


def until_idle(deployment: Deployment) -> Process:
    worker = deployment.worker("--until-idle")
    assert worker.popen.wait(DEADLINE_SECONDS) == 0
    return worker


def replay_of(deployment: Deployment) -> Any:
    return deployment.cli("replays", "show", "latest")


def ended(process: Process) -> tuple[int, Any]:
    out, _ = process.popen.communicate(timeout=DEADLINE_SECONDS)
    assert process.code is not None
    return process.code, json.loads(out)


def started(deployment: Deployment, *options: str, **settings: str) -> Process:
    """Start `playhead replay` and return when it publishes."""
    process = deployment.start(
        *("replay", *REPLAY, *options, "--json"), stdout=subprocess.PIPE, settings=settings
    )
    deployment.until(
        lambda: deployment.rows("SELECT 1 FROM jobs WHERE state = 'publishing' AND watermark > 0"),
        "the replay to begin",
        alive=[process],
    )
    return process


# -- clients -----------------------------------------------------------------------------------------


def test_a_command_whose_answer_is_lost_gets_it_from_the_next_server(deployment: Deployment):
    """The server is killed while the command waits, and started again. There is one replay."""
    # Not an ephemeral port: without a listener, another process could get it.
    port = ("--port", str(free_port()))
    server = deployment.serve(*port)
    command = started(deployment, "--rate", "1", "--server", deployment.url)
    server.kill()
    deployment.serve(*port)
    deployment.worker()
    code, answer = ended(command)
    assert (code, answer["status"], answer["objects_published"]) == (0, "publishing_complete", COUNT)
    assert [one["replay_batch_id"] for one in deployment.items("/replays")] == [answer["replay_batch_id"]]


def test_ctrl_c_releases_the_replay_and_prints_how_to_watch_it(deployment: Deployment):
    # A process that waited for the lease to expire would fail the test with a time-out.
    command = started(deployment, "--rate", "0.5", LEASE_SECONDS="300")
    command.popen.send_signal(signal.SIGINT)
    code, error = ended(command)
    assert (code, error["error_code"]) == (130, "interrupted")
    left = replay_of(deployment)
    assert f"playhead replays watch {left['replay_batch_id']}" in error["detail"]
    assert (left["state"], left["waits_for"]) == ("publishing", "process")
    deployment.cli("replays", "pace", "latest", "--none")
    until_idle(deployment)
    assert replay_of(deployment)["status"] == "publishing_complete"


# -- pauses ------------------------------------------------------------------------------------------


def test_a_command_ends_when_its_replay_is_paused_even_if_it_would_wait_for_the_messages(
    deployment: Deployment,
):
    command = started(deployment, "--rate", "0.5", "--wait")
    paused = deployment.cli("replays", "pause", "latest")
    code, answer = ended(command)
    assert (code, answer["status"]) == (3, "partial_failure")
    assert answer["errors"][0].startswith("paused: continue with POST /api/v1/replays/")
    assert answer["objects_published"] == paused["objects_published"] < COUNT
    assert "execution" not in answer


def test_a_watcher_follows_a_replay_of_other_processes_through_a_pause_to_its_end(deployment: Deployment):
    deployment.cli("replay", *REPLAY, "--rate", "0.5", "--detach")
    watcher = deployment.start("replays", "watch", "--json", stdout=subprocess.PIPE)
    deployment.until(lambda: "No process publishes it now" in watcher.said, "the watcher to say so")
    deployment.worker()
    deployment.until(lambda: replay_of(deployment)["objects_published"], "the replay to begin")
    deployment.cli("replays", "pause", "latest")
    deployment.until(lambda: "paused: " in watcher.said, "the watcher to show the pause")
    assert watcher.code is None
    deployment.cli("replays", "pace", "latest", "--none")
    deployment.cli("replays", "resume", "latest")
    code, found = ended(watcher)
    assert (code, found["state"], found["execution"]["status"]) == (0, "publishing_complete", "completed")
    assert found["work"] == {"pending": 0, "completed": COUNT, "failed": 0, "cancelled": 0}


@pytest.mark.parametrize("withdraw", [(), ("--withdraw",)], ids=["cancel", "withdraw"])
def test_the_watcher_of_a_cancelled_replay_ends_with_code_3(
    deployment: Deployment, withdraw: tuple[str, ...]
):
    command = started(deployment, "--rate", "0.5")
    watcher = deployment.start("replays", "watch", "--json", stdout=subprocess.PIPE)
    cancelled = deployment.cli("replays", "cancel", "latest", *withdraw)
    assert ended(command)[0] == 3
    until_idle(deployment)
    code, found = ended(watcher)
    assert (code, found["state"]) == (3, "cancelled")
    published = cancelled["objects_published"]
    assert found["objects_published"] == published
    assert found["withdrawn"] == (published if withdraw else 0)
    assert found["work"]["completed"] == (0 if withdraw else published)


def test_the_watcher_of_a_replay_with_a_dead_letter_ends_with_code_1(deployment: Deployment):
    (deployment.folder / "docs.yaml").write_text(CONFIG.replace("passthrough", "html_to_markdown"))
    deployment.cli("config", "apply", "docs.yaml")  # this step rejects files that are not HTML
    deployment.cli("replay", *REPLAY, "--detach")
    assert deployment.worker("--until-idle").popen.wait(DEADLINE_SECONDS) == 1
    code, found = ended(deployment.start("replays", "watch", "--json", stdout=subprocess.PIPE))
    assert (code, found["status"], found["execution"]["status"]) == (1, "publishing_complete", "failed")
    assert found["work"]["failed"] == COUNT
