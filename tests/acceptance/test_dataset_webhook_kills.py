"""After a `kill -9` right after a change of a dataset, its webhook still receives the event of the change.

An event may arrive twice, but always under one id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.acceptance.pipelines import BULK
from tests.acceptance.stand import Job, Stand, open_stand
from tests.web import Answer, Web

pytestmark = pytest.mark.slow

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


@dataclass
class Changed:
    """A stand with two publications of `run`, and a receiver of webhooks. No publication accepts `small`."""

    stand: Stand
    web: Web
    run: str
    small: str

    def events(self, kind: str) -> list[Any]:
        return [asked for asked in self.web.asked if json.loads(asked.body)["type"] == kind]

    def strike(self, point: str) -> None:
        """Change the dataset in a process that dies at the point."""
        deployment = self.stand.deployment
        back = ("rollback", "docs", "--to", "2" if deployment.get("/datasets/docs")["current"] == 1 else "1")
        if point != "sink.lag_reported":
            command = {
                "publication.decided": ("publish", "docs", self.run),
                "publication.rolled_back": back,
                "publication.refused": ("publish", "docs", self.small),
            }[point]
            self.stand.strike("cli", point, Job(command))
            return
        self.stand.end()
        index = deployment.data / "search.db"
        index.rename(index.with_name("away"))
        index.mkdir()
        deployment.cli(*back)
        with closing(sqlite3.connect(deployment.home / "playhead.db")) as con, con:
            con.execute("UPDATE switches SET at = at - 120")
        deployment.struck(deployment.serve(fault=point))
        index.rmdir()
        index.with_name("away").rename(index)


@pytest.fixture(scope="module")
def changed() -> Iterator[Changed]:
    with Web(lambda asked: Answer(204)) as web:
        config = CONFIG.replace("URL", f"http://localhost:{web.port}/")
        with open_stand(config, **SETTINGS, WEBHOOK_HOSTS=f"localhost:{web.port}") as stand:
            run = stand.finished("bulk", BULK.inputs)
            small = stand.finished("bulk", dict([*BULK.inputs.items()][:1]))
            for _ in range(2):
                stand.deployment.cli("publish", "docs", run)
            stand.deployment.until(lambda: len(web.asked) == 2 or None, "the events of two publications")
            yield Changed(stand, web, run, small)


@pytest.mark.parametrize("point", CASES)
def test_the_event_of_a_change_arrives_although_its_process_was_killed(changed: Changed, point: str) -> None:
    deployment, kind = changed.stand.deployment, CASES[point]
    before = deployment.get("/datasets/docs")["seq"]
    changed.web.asked.clear()
    changed.strike(point)
    assert not changed.events(kind), "the killed process has not sent it"
    deployment.serve()

    deployment.until(lambda: changed.events(kind) or None, f"the event {kind}")
    assert len({asked.headers["webhook-id"] for asked in changed.events(kind)}) == 1
    found = deployment.get("/datasets/docs")
    assert (found["draft"], found["seq"]) == (None, before + (kind != "dataset.refused"))
