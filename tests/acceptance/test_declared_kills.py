"""After a `kill -9`, a replay has its declaration about the other results, and runs take these over once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from playhead.model import ROW_STATES
from tests.acceptance.pipelines import BULK
from tests.acceptance.processes import open_deployment
from tests.acceptance.stand import Job, Stand, open_stand
from tests.acceptance.test_incremental_kills import Changed

pytestmark = pytest.mark.slow

REASON: Final = "only one was wrong"


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with open_stand(BULK.source + "datasets: {docs: {}}\n", LEASE_SECONDS="5") as stand:
        stand.deployment.cli("publish", "docs", stand.finished("bulk", BULK.inputs))
        yield stand


def test_a_replay_that_was_recorded_has_its_declaration(stand: Stand) -> None:
    """There is no point between the two: they are recorded in one transaction."""
    deployment = stand.deployment
    path = min(BULK.inputs)
    request = (
        "replay",
        "current:docs",
        "input",
        "shout",
        "--path",
        path,
        "--others-valid",
        "--reason",
        REASON,
    )
    stand.strike("cli", "replay.created", Job(request))
    stand.start()

    [declared] = deployment.get("/datasets/docs")["declared_valid"]

    replay = next(deployment.items("/replays"))
    assert declared["replay_batch_id"] == replay["replay_batch_id"]
    assert declared["reason"] == replay["reason"] == REASON
    assert replay["others_valid"] is True


class Fixed(Changed):
    """A route has other settings. A replay has made a part of its results again, and the others are declared
    valid."""

    pipeline = Changed.pipeline + "datasets: {docs: {}}\n"
    replayed = "003"

    def prepare(self) -> None:
        deployment = self.deployment
        deployment.cli("publish", "docs", self.source)
        request = ("replay", "current:docs", "parts", "shout", "--path", self.replayed)
        replay = deployment.cli(*request, "--others-valid", "--reason", REASON)
        self.sources.add(str(replay["execution_id"]))
        deployment.worker()
        running = "SELECT 1 FROM executions WHERE status = 'running'"
        deployment.until(lambda: not deployment.rows(running), "the replay to end")
        self.stand.end()


@pytest.fixture(scope="module")
def fixed() -> Iterator[Fixed]:
    with open_deployment() as deployment:
        yield Fixed(deployment, inputs=30)


def test_an_undisturbed_run_takes_over_both(fixed: Fixed) -> None:
    objects, rows = fixed.undisturbed.objects, fixed.undisturbed.rows
    own = Counter(path.partition("/")[0] for path, (_, is_shared) in objects.items() if not is_shared)
    assert own == {"input": 10, "parts": 30, "lengths": 30, "loud": 30}, "the changed documents alone"
    states = {state for route, state, path in rows if route == "shout" and f"/{fixed.replayed}/" in path}
    assert states == {str(ROW_STATES.index("taken_over"))}


POINTS: Final = ("submit.stored", "submit.sealed", "replay.recorded", "replay.marked", "worker.committed:20")


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_takes_over_both(fixed: Fixed, point: str) -> None:
    name, _, n = point.partition(":")

    assert fixed.picture(fixed.killed(name, int(n or 1))) == fixed.undisturbed
