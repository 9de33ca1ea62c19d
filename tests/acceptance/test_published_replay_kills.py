"""After a `kill -9` of any process of a replay that is to be published, it is published once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.acceptance.kills import PIPELINES
from tests.acceptance.processes import Deployment, open_deployment

pytestmark = pytest.mark.slow

BULK: Final = PIPELINES["bulk"]
CASES: Final = {
    "replay.created": "command",
    "replay.published": "command",
    "publication.begun": "worker",
    "publication.decided": "worker",
}
"""The point, and which process dies there: the command that replays, or the worker that publishes."""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with open_deployment(LEASE_SECONDS="5") as made:
        server, worker = made.serve(), made.worker()
        made.apply(BULK.source + "datasets: {docs: {}}\n")
        run = made.run("bulk", BULK.inputs)
        made.ended(run)
        made.cli("publish", "docs", run)
        server.stop()
        worker.stop()
        made.forget()
        yield made


@pytest.mark.parametrize("point", CASES)
def test_a_replay_is_published_once_although_a_process_was_killed(deployment: Deployment, point: str) -> None:
    request = ("replay", "current:docs", "input", "shout", "--publish", "--reason", "a fix")
    if CASES[point] == "command":
        deployment.struck(deployment.start(*request, fault=point))
    else:
        deployment.cli(*request)
        deployment.struck(deployment.worker(fault=point))
    deployment.forget()
    deployment.serve()
    deployment.worker()

    def found() -> Any:
        [replay] = deployment.items("/replays")
        [one] = replay["publications"]
        return one if one["state"] == "published" else None

    assert deployment.until(found, "the publication of the replay")["n"] == 2
    publications = list(deployment.items("/datasets/docs/publications", all=1))
    assert [(one["n"], one["state"], one["reason"]) for one in publications] == [
        (2, "published", "a fix"),
        (1, "published", None),
    ]
