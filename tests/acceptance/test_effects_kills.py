"""After a `kill -9` at any point of a replay with `skip`, no effect outside has happened a second time.

The effects are counted outside Playhead: lines that a step adds to a file, and messages in the queue of
another program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.stand import Job, Stand, Who, open_stand

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
CASES: Final[list[tuple[Who, str]]] = [
    *(("worker", f"worker.{point}:7") for point in ("claimed", "object", "committed", "marked")),
    ("serve", "replay.created"),
    ("serve", "replay.published"),
]


class Mails:
    """A stand in which a run has sent its mails."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.deployment = stand.deployment
        self.run = stand.finished("mails", INPUTS)
        self.check_sent({self.run: WORKED})
        assert len(self.deployment.called("mails.partner", self.run)) == WORKED

    def check_sent(self, wanted: dict[str, int]) -> None:
        """Check the number of mails by execution."""
        lines = (self.deployment.data / "mail.log").read_text().splitlines()
        assert Counter(line.partition(" ")[0] for line in lines) == wanted

    def check(self, execution: str, skipped: int) -> None:
        """Check that a replay has repeated nothing, and shows what it has skipped."""
        self.check_sent({self.run: WORKED})
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
def mails() -> Iterator[Mails]:
    with open_stand(CONFIG, adapters=STEPS) as stand:
        yield Mails(stand)


@pytest.mark.slow
@pytest.mark.parametrize(("who", "fault"), CASES)
def test_no_effect_is_repeated_after_a_kill(mails: Mails, who: Who, fault: str) -> None:
    deployment = mails.deployment
    command = ("replay", mails.run, "input", "page", "--effects", "skip", "--detach")
    body = {"from_execution_id": mails.run, "from_stage": "input", "to_route": "page", "effects": "skip"}
    mails.stand.strike(who, fault, Job(command, "/replay", body))
    mails.stand.start()

    [newest, *_] = deployment.items("/replays")

    assert newest["effects"] == {"mail": "skip", "partner": "skip", "*": "skip"}
    assert deployment.ended(newest["execution_id"])["status"] == "failed"
    mails.check(newest["execution_id"], 2 * WORKED)


@pytest.mark.slow
def test_no_effect_is_repeated_by_resends_newer_versions_and_replays_of_the_replay() -> None:
    with open_stand(CONFIG, adapters=STEPS) as stand:
        resend_and_replay_again(Mails(stand))


def resend_and_replay_again(mails: Mails) -> None:
    deployment = mails.deployment
    command = ("replay", mails.run, "input", "page", "--effects", "skip", "--detach")
    newer = CONFIG.replace("type: mail}]", "type: mail}]\n    on_replay: run")
    assert deployment.apply(newer)["version"] == 2
    first = mails.stand.strike("worker", "worker.committed:9", Job(command))["execution_id"]
    mails.stand.start()
    deployment.ended(first)
    mails.check(first, 2 * WORKED)

    # The dead letter is processed after all.
    (deployment.data / "repaired").touch()
    assert deployment.post("/dead-letters/resend", json={"execution_id": first})["resent"] == 1
    assert deployment.ended(first)["status"] == "completed"
    mails.check(first, 2 * len(INPUTS))

    second = deployment.replay(first, "pages", "title")["execution_id"]
    assert deployment.get(f"/executions/{second}")["config_version"] == 2
    deployment.ended(second)
    mails.check(second, 2 * len(INPUTS))
    third = deployment.replay(second, "titles", "mail", effects="run")["execution_id"]
    deployment.ended(third)
    mails.check_sent({mails.run: WORKED, third: len(INPUTS)})  # the count notices repeated effects


@pytest.mark.slow
def test_effects_that_a_killed_worker_has_found_are_not_repeated_by_one_that_does_not_know_them(
    tmp_path: Path,
) -> None:
    """The adapter declared no effects when the config was applied, and one worker still has that code."""
    harmless = tmp_path / "mailing_steps.py"
    harmless.write_text(STEPS.read_text().replace(', effects="external"', ""))
    with open_stand(CONFIG, adapters=harmless) as stand:
        mails, deployment = Mails(stand), stand.deployment
        command = ("replay", mails.run, "titles", "mail", "--effects", "skip", "--detach")

        # It has recorded the route, and has closed no message yet.
        answer = stand.strike("worker", "worker.ran", Job(command), settings={"ADAPTERS": str(STEPS)})
        stand.start()

        assert deployment.ended(answer["execution_id"])["status"] == "completed"
        mails.check_sent({mails.run: WORKED})
        shown = deployment.get(f"/replays/{answer['replay_batch_id']}")
        assert shown["effects"] == {"partner": "skip", "mail": "skip", "*": "skip"}
        assert shown["objects_skipped"] == WORKED
