"""Stored inputs that disappear between the start of a run and its listing are dead letters, not skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import Deployment, open_deployment
from tests.stored import remove

CONFIG = """
version: "1.0"
name: texts
entry: keep
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: kept}
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    (tmp_path / "texts.yaml").write_text(CONFIG)
    inputs = tmp_path / "texts"
    inputs.mkdir()
    for n in range(12):
        (inputs / f"{n:02}.txt").write_text(str(n))
    with open_deployment() as deployment:
        deployment.cli("config", "apply", str(tmp_path / "texts.yaml"))
        yield deployment


@pytest.fixture
def run(deployment: Deployment, tmp_path: Path) -> str:
    """A run whose inputs are sealed, and not listed because its process was killed."""
    deployment.struck(
        deployment.start("run", "texts", f"{tmp_path}/texts", "--detach", fault="submit.sealed")
    )
    return str(deployment.cli("show", "latest")["execution_id"])


def process(deployment: Deployment, **settings: str) -> None:
    worker = deployment.start("worker", "--until-idle", settings=settings)
    deployment.until(lambda: worker.code is not None, "the worker to end")


def outcome(deployment: Deployment, run: str) -> tuple[str, Counter[str | None]]:
    """Return the status of a run, and the number of its messages by error code."""
    rows = deployment.rows("SELECT error_code FROM messages")
    return deployment.cli("show", run)["status"], Counter(row["error_code"] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["", "replay.listed", "replay.recorded", "replay.marked"])
def test_each_input_that_was_deleted_before_it_was_listed_is_a_dead_letter(
    deployment: Deployment, run: str, fault: str
):
    """Such a run was `completed` without them. Nor does a killed process lose or repeat one."""
    for n in (0, 5, 11):
        remove(deployment.objects, f"{run}/input/{n:02}.txt")
    if fault:
        deployment.struck(deployment.start("worker", "--until-idle", fault=fault))

    process(deployment)

    assert outcome(deployment, run) == ("failed", Counter({None: 9, "object_gone": 3}))


@pytest.mark.slow
def test_a_worker_with_another_store_does_not_complete_a_run_without_its_inputs(
    deployment: Deployment, run: str, tmp_path: Path
):
    """The run was `completed` with 0 messages."""
    (tmp_path / "empty").mkdir()

    process(deployment, STORE=f"file://{tmp_path}/empty")

    assert outcome(deployment, run) == ("failed", Counter({"object_gone": 12}))
    (letter, *_) = deployment.rows("SELECT error FROM messages")
    assert "PLAYHEAD_STORE" in letter["error"]
