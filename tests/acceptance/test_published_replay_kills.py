"""After a `kill -9` of any process of a replay that is to be published, it is published once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.acceptance.pipelines import BULK
from tests.acceptance.stand import Job, Stand, Who, open_stand

pytestmark = pytest.mark.slow

CASES: Final[list[tuple[str, Who]]] = [
    ("replay.created", "cli"),
    ("replay.published", "cli"),
    ("publication.begun", "worker"),
    ("publication.decided", "worker"),
]
"""The point, and the process that dies there: the command that replays, or the worker that publishes."""


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with open_stand(BULK.source + "datasets: {docs: {}}\n", LEASE_SECONDS="5") as stand:
        stand.deployment.cli("publish", "docs", stand.finished("bulk", BULK.inputs))
        yield stand


@pytest.mark.parametrize(("point", "who"), CASES)
def test_a_replay_is_published_once_although_a_process_was_killed(stand: Stand, point: str, who: Who) -> None:
    deployment = stand.deployment
    before = deployment.get("/datasets/docs")["current"]
    reason = f"a fix, {point}"
    request = ("replay", "current:docs", "input", "shout", "--publish", "--reason", reason)
    stand.strike(who, point, Job(request))
    stand.start()

    def found() -> Any:
        [one] = next(deployment.items("/replays"))["publications"]
        return one if one["state"] == "published" else None

    assert deployment.until(found, "the publication of the replay")["n"] == before + 1
    [newest, earlier, *_] = deployment.items("/datasets/docs/publications", all=1)
    assert (newest["n"], newest["state"], newest["reason"]) == (before + 1, "published", reason)
    assert (earlier["n"], earlier["state"]) == (before, "published")
