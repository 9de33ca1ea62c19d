"""After a `kill -9` at any point of a replay with `skip`, no effect outside has happened a second time.

The effects are counted outside Playhead: lines that a step adds to a file, and messages in the queue of
another program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.acceptance.processes import Deployment, Process, open_deployment

STEPS: Final = Path(__file__).with_name("mailing_steps.py")
CONFIG: Final = """
version: "1.0"
name: mails
entry: page
error_handling: {max_attempts: 3, retry_delay_seconds: 0.1}
routes:
  page:
    inbound: {concurrency: 2, prefetch: 4}
    adapters: [{type: page}]
    outbound: {stage: pages, to: [title]}
  title:
    inbound: {concurrency: 2, prefetch: 4}
    adapters: [{type: title}]
    outbound: {stage: titles, to: [mail, partner]}
  mail:
    adapters: [{type: mail}]
  partner:
    external: true
"""
INPUTS: Final = {
    f"{number:02d}.txt": f"page {number}{' late' if number % 5 == 0 else ''}".encode() for number in range(20)
} | {"bad.txt": b"bad"}
WORKED: Final = len(INPUTS) - 1
POINTS: Final = ("claimed", "object", "committed", "marked")


class Stand:
    """A deployment in which a run has sent its mails."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.server = deployment.serve()
        self.apply(CONFIG)
        worker = deployment.worker()
        self.run = deployment.run("mails", INPUTS)
        assert deployment.ended(self.run)["status"] == "failed"
        worker.stop()
        assert self.sent() == {self.run: WORKED}
        assert len(deployment.called("mails.partner", self.run)) == WORKED

    def apply(self, source: str) -> Any:
        return self.deployment.apply(source)

    def sent(self) -> dict[str, int]:
        """Number of mails by execution."""
        lines = (self.deployment.data / "mail.log").read_text().splitlines()
        return dict(Counter(line.partition(" ")[0] for line in lines))

    def replay(self, source: str, stage: str, route: str, **fields: Any) -> Any:
        body = {"from_execution_id": source, "from_stage": stage, "to_route": route, **fields}
        return self.deployment.post("/replay", json=body)

    def check(self, execution: str, skipped: int) -> None:
        """Check that a replay has repeated nothing, and shows what it has skipped."""
        assert self.sent() == {self.run: WORKED}
        assert self.deployment.called("mails.partner", execution) == set()
        found = self.deployment.get(f"/executions/{execution}")
        replay = self.deployment.get(f"/replays/{found['replay_batch_id']}")
        assert replay["objects_skipped"] == skipped
        rows = list(self.deployment.items(f"/executions/{execution}/lineage", status="skipped"))
        assert Counter(row["route"] for row in rows) == {"mail": skipped // 2, "partner": skipped // 2}
        for row in rows:
            assert (row["attempts"], row["output_count"]) == (0, 0)
            assert row["skip_reason"] == "the replay does not repeat the effects of this route"


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with open_deployment(adapters=STEPS) as deployment:
        yield Stand(deployment)


@pytest.fixture
def worker(stand: Stand) -> Iterator[list[Process]]:
    """The workers of a test, which end with it."""
    workers: list[Process] = []
    yield workers
    for one in workers:
        one.kill()
    stand.deployment.forget()


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_no_effect_is_repeated_after_a_worker_was_killed(
    stand: Stand, worker: list[Process], point: str
) -> None:
    deployment = stand.deployment
    armed = deployment.worker(fault=f"worker.{point}:7")
    answer = stand.replay(stand.run, "input", "page", effects="skip")
    deployment.struck(armed)
    worker += [deployment.worker(), deployment.worker()]

    assert deployment.ended(answer["execution_id"])["status"] == "failed"

    stand.check(answer["execution_id"], 2 * WORKED)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["replay.created", "replay.published"])
def test_no_effect_is_repeated_after_the_server_was_killed(
    stand: Stand, worker: list[Process], point: str
) -> None:
    deployment = stand.deployment
    stand.server.stop()
    armed = deployment.serve(fault=point)
    with suppress(httpx.TransportError):
        stand.replay(stand.run, "input", "page", effects="skip")
    deployment.struck(armed)
    stand.server = deployment.serve()
    worker.append(deployment.worker())

    [newest, *_] = deployment.items("/replays")

    assert newest["effects"] == {"mail": "skip", "partner": "skip", "*": "skip"}
    assert deployment.ended(newest["execution_id"])["status"] == "failed"
    stand.check(newest["execution_id"], 2 * WORKED)


@pytest.mark.slow
def test_no_effect_is_repeated_by_resends_newer_versions_and_replays_of_the_replay() -> None:
    with open_deployment(adapters=STEPS) as deployment:
        resend_and_replay_again(Stand(deployment))


def resend_and_replay_again(stand: Stand) -> None:
    deployment = stand.deployment
    first = stand.replay(stand.run, "input", "page", effects="skip")["execution_id"]
    newer = CONFIG.replace("type: mail}]", "type: mail}]\n    on_replay: run")
    assert stand.apply(newer)["version"] == 2
    deployment.struck(deployment.worker(fault="worker.committed:9"))
    deployment.worker()
    deployment.ended(first)
    stand.check(first, 2 * WORKED)

    # The dead letter is processed after all.
    (deployment.data / "repaired").touch()
    assert deployment.post("/dead-letters/resend", json={"execution_id": first})["resent"] == 1
    assert deployment.ended(first)["status"] == "completed"
    stand.check(first, 2 * len(INPUTS))

    second = stand.replay(first, "pages", "title")["execution_id"]
    assert deployment.get(f"/executions/{second}")["config_version"] == 2
    deployment.ended(second)
    stand.check(second, 2 * len(INPUTS))
    third = stand.replay(second, "titles", "mail", effects="run")["execution_id"]
    deployment.ended(third)
    assert stand.sent() == {stand.run: WORKED, third: len(INPUTS)}  # the count notices repeated effects


@pytest.mark.slow
def test_effects_that_a_killed_worker_has_found_are_not_repeated_by_one_that_does_not_know_them(
    tmp_path: Path,
) -> None:
    """The adapter declared no effects when the config was applied, and one worker still has that code."""
    harmless = tmp_path / "mailing_steps.py"
    harmless.write_text(STEPS.read_text().replace(', effects="external"', ""))
    with open_deployment(adapters=harmless) as deployment:
        stand = Stand(deployment)
        answer = stand.replay(stand.run, "titles", "mail", effects="skip")
        execution, batch = answer["execution_id"], answer["replay_batch_id"]
        assert deployment.get(f"/replays/{batch}")["effects"] == {"partner": "skip", "*": "skip"}

        # It has recorded the route, and has closed no message yet.
        deployment.struck(deployment.worker(fault="worker.ran", settings={"ADAPTERS": str(STEPS)}))
        deployment.worker()

        assert deployment.ended(execution)["status"] == "completed"
        assert stand.sent() == {stand.run: WORKED}
        shown = deployment.get(f"/replays/{batch}")
        assert shown["effects"] == {"partner": "skip", "mail": "skip", "*": "skip"}
        assert shown["objects_skipped"] == WORKED
