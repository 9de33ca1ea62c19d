"""After a `kill -9`, a replay has its declaration about the other results, and runs take these over once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.acceptance.pipelines import BULK
from tests.acceptance.stand import Job, Stand, open_stand

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
