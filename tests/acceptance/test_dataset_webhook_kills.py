"""After a `kill -9` right after a change of a dataset, its webhook still receives the event of the change.

An event may arrive twice, but always under one id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest

from tests.acceptance.kills import PIPELINES
from tests.acceptance.processes import Deployment, open_deployment
from tests.web import Answer, Web

pytestmark = pytest.mark.slow

BULK: Final = PIPELINES["bulk"]
CONFIG: Final = (
    BULK.source.replace("{stage: loud}", "{stage: loud, to: [index]}")
    + """\
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
datasets: {docs: {webhook: "URL"}}
"""
)
SETTINGS: Final[dict[str, Any]] = {
    "WEBHOOK_PRIVATE_HOSTS": "localhost",
    "WEBHOOK_SECRET": "whsec_" + "A" * 32,
    "LEASE_SECONDS": "5",
}
CASES: Final = {
    "publication.decided": "dataset.published",
    "publication.rolled_back": "dataset.rolled_back",
    "publication.refused": "dataset.refused",
    "sink.lag_reported": "dataset.sink_lagging",
}


class Stand:
    """A deployment with two publications, no process, and a receiver of webhooks."""

    def __init__(self, deployment: Deployment, web: Web) -> None:
        self.deployment = deployment
        self.web = web
        server = deployment.serve()
        worker = deployment.worker()
        deployment.apply(CONFIG.replace("URL", f"http://localhost:{web.port}/"))
        self.run = deployment.run("bulk", BULK.inputs)
        self.small = deployment.run("bulk", dict([*BULK.inputs.items()][:1]))
        for execution in (self.run, self.small):
            deployment.ended(execution)
        for _ in range(2):
            deployment.cli("publish", "docs", self.run)
        deployment.until(lambda: len(web.asked) == 2 or None, "the events of two publications")
        server.stop()
        worker.stop()
        deployment.forget()
        web.asked.clear()

    def strike(self, point: str) -> None:
        """Change the dataset in a process that dies at the point."""
        deployment = self.deployment
        if point == "sink.lag_reported":
            index = deployment.home / "data" / "search.db"
            index.rename(index.with_name("away"))
            index.mkdir()
            deployment.cli("rollback", "docs", "--to", "1")
            with closing(sqlite3.connect(deployment.home / "playhead.db")) as con, con:
                con.execute("UPDATE switches SET at = at - 120")
            deployment.struck(deployment.serve(fault=point))
            index.rmdir()
            index.with_name("away").rename(index)
        else:
            command = {
                "publication.decided": ("publish", "docs", self.run),
                "publication.rolled_back": ("rollback", "docs", "--to", "1"),
                "publication.refused": ("publish", "docs", self.small),
            }[point]
            deployment.struck(deployment.start(*command, fault=point))
        deployment.forget()


@pytest.fixture
def stand() -> Iterator[Stand]:
    with (
        Web(lambda asked: Answer(204)) as web,
        open_deployment(**SETTINGS, WEBHOOK_HOSTS=f"localhost:{web.port}") as deployment,
    ):
        yield Stand(deployment, web)


@pytest.mark.parametrize("point", CASES)
def test_the_event_of_a_change_arrives_although_its_process_was_killed(stand: Stand, point: str) -> None:
    stand.strike(point)
    already = {json.loads(asked.body)["type"] for asked in stand.web.asked}
    stand.deployment.serve()

    def events() -> list[Any]:
        return [asked for asked in stand.web.asked if json.loads(asked.body)["type"] == CASES[point]]

    stand.deployment.until(lambda: events() or None, f"the event {CASES[point]}")
    assert CASES[point] not in already, "the killed process has not sent it"
    assert len({asked.headers["webhook-id"] for asked in events()}) == 1
    found = stand.deployment.get("/datasets/docs")
    assert (found["draft"], found["seq"]) == (None, {"dataset.refused": 2}.get(CASES[point], 3))
