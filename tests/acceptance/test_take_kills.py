"""After a `kill -9` while messages of a queue are taken or removed, the audit shows what may have happened.

The queue is outside the catalog, so no transaction has both. `intended` is recorded before messages are
removed, and `done` after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import httpx
import pytest

from tests.acceptance.pipelines import PIPELINES
from tests.acceptance.stand import Stand, open_stand

pytestmark = pytest.mark.slow

QUEUE: Final = "outside.hand_over"
INPUTS: Final = {"a.txt": b"a", "b.txt": b"b"}
TAKEN: Final = ("queue.take", "done")
CASES: Final = {
    "take.received": ([], len(INPUTS)),
    "take.intended": ([TAKEN, ("queue.remove", "intended")], len(INPUTS)),
    "take.removed": ([TAKEN, ("queue.remove", "intended")], 0),
}
"""For each point: the rows of the audit, and the number of messages that are still in the queue."""
WHOLE: Final = [TAKEN, ("queue.remove", "intended"), ("queue.remove", "done")]


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with open_stand(PIPELINES["outside"].source, workers=0) as stand:
        yield stand


def rows(stand: Stand) -> list[tuple[str, str]]:
    """Return the action and the outcome of each row about the queue."""
    found = stand.deployment.rows("SELECT action, outcome FROM audit WHERE object = ? ORDER BY n", QUEUE)
    return [(row["action"], row["outcome"]) for row in found]


def take_and_remove(stand: Stand) -> int:
    """Return the number of messages that were taken and removed."""
    taken = stand.deployment.post(f"/queues/{QUEUE}/take", json={"limit": 10})
    if not taken["receipt"]:
        return 0
    body = {"receipt": taken["receipt"]}
    return int(stand.deployment.post(f"/queues/{QUEUE}/remove", json=body)["removed"])


@pytest.mark.parametrize("point", CASES)
def test_a_removal_that_was_killed_is_recorded_as_intended(stand: Stand, point: str):
    deployment, before = stand.deployment, len(rows(stand))
    stand.end()
    armed = deployment.serve(fault=point)
    execution = deployment.run("outside", INPUTS)
    deployment.until(
        lambda: len(deployment.called(QUEUE, execution)) == len(INPUTS), "the messages to be in the queue"
    )

    with pytest.raises(httpx.TransportError):
        take_and_remove(stand)

    deployment.struck(armed)
    recorded, left = CASES[point]
    assert rows(stand)[before:] == recorded
    assert len(deployment.called(QUEUE, execution)) == left
    if left:
        deployment.serve()
        removed = deployment.until(lambda: take_and_remove(stand), "the messages to be delivered again")
        assert removed == left
        assert rows(stand)[before:] == [*recorded, *WHOLE]
