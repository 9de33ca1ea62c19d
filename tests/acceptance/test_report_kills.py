"""After a `kill -9` at any point of a report or of a webhook, the report is complete, and each event arrives.

In between, no part of the report is shown. An event may arrive twice, but always under one id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from tests.acceptance.pipelines import PIPELINES
from tests.acceptance.processes import client
from tests.acceptance.stand import Job, Stand, open_stand
from tests.web import Answer, Web, self_signed

KEY: Final = b"k" * 32
SETTINGS: Final[dict[str, Any]] = {
    "WEBHOOK_PRIVATE_HOSTS": "localhost",
    "WEBHOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode(),
}
WHO: Final = {"worker": PIPELINES["bulk"], "serve": PIPELINES["outside"]}
"""Which process dies: a worker, or a server. A server alone only processes messages of external routes."""
FAST: Final = {
    *(("report.bound", "worker"), ("report.written", "serve"), ("report.stored", "worker")),
    *(("webhook.sent", "serve"), ("webhook.noted", "worker")),
}
POINTS: Final = ("report.bound", "report.written", "report.stored", "webhook.sent", "webhook.noted")
CASES: Final = [
    pytest.param(point, who, marks=() if (point, who) in FAST else pytest.mark.full)
    for point in POINTS
    for who in WHO
]


class Reported:
    """A stand with a run of each pipeline, and a receiver of webhooks."""

    def __init__(self, stand: Stand, web: Web) -> None:
        self.stand = stand
        self.deployment = stand.deployment
        self.web = web
        self.runs = {who: stand.finished(one.name, one.inputs) for who, one in WHO.items()}

    def job(self, who: str) -> Job:
        """A replay with a report and a webhook."""
        body = {
            "from_execution_id": self.runs[who],
            "from_stage": "input",
            "to_route": WHO[who].entry,
            "report": True,
            "webhook": f"https://localhost:{self.web.port}/{who}",
            "reason": "a test",
        }
        return Job(path="/replay", body=body)

    def strike(self, point: str, who: str) -> str:
        """Let a process die that replays, and return the batch of the replay."""
        deployment, job = self.deployment, self.job(who)
        if who == "serve":
            # `webhook.*` is passed once for the start of the replay, and once for its end.
            self.stand.strike("serve", f"{point}:2" if point.startswith("webhook") else point, job)
            [row] = deployment.rows("SELECT batch FROM executions ORDER BY n DESC LIMIT 1")
            return str(UUID(bytes=row["batch"]))
        self.stand.end()
        deployment.serve()
        batch = str(deployment.post(job.path, json=job.body)["replay_batch_id"])
        deployment.until(lambda: self.events(batch), "the event of the start")
        deployment.until(lambda: self.is_delivered(batch), "the first delivery to be recorded")
        self.stand.end()
        # The worker sends only the event of the end.
        deployment.struck(deployment.start("worker", fault=point))
        return batch

    def is_delivered(self, batch: str) -> bool:
        return {d["state"] for d in self.deployment.items(f"/replays/{batch}/deliveries")} == {"sent"}

    def events(self, batch: str) -> dict[str, list[tuple[str, int]]]:
        """Return the ids and revisions under which each event of a replay has arrived."""
        found = defaultdict(list)
        for asked in self.web.asked:
            body = json.loads(asked.body)
            if body["data"]["replay_batch_id"] == batch:
                found[body["type"]].append((asked.headers["webhook-id"], body["data"]["revision"]))
        return found

    def lines(self, batch: str) -> list[dict[str, Any]]:
        with client(f"{self.deployment.url}/api/v1") as http:
            answer = http.get(f"/replays/{batch}/report/lines")
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    tls, certificate = self_signed(Path(tmp_path_factory.mktemp("tls")))
    sources = (pipeline.source for pipeline in WHO.values())
    with pytest.MonkeyPatch.context() as environment, Web(lambda asked: Answer(204), tls) as web:
        environment.setenv("SSL_CERT_FILE", str(certificate))
        with open_stand(*sources, **SETTINGS, WEBHOOK_HOSTS=f"localhost:{web.port}") as stand:
            yield Reported(stand, web)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "who"), CASES)
def test_the_report_is_complete_and_each_event_arrives_under_one_id(
    reported: Reported, point: str, who: str
) -> None:
    stand, deployment = reported.stand, reported.deployment
    batch = reported.strike(point, who)
    stand.start()

    def done() -> bool:
        return reported.is_delivered(batch) and deployment.get(f"/replays/{batch}")["report"] == "stored"

    deployment.until(done, "the report and the events", alive=stand.workers)

    report = deployment.get(f"/replays/{batch}/report")
    inputs = WHO[who].inputs
    lines = reported.lines(batch)
    assert report["lines"] == len(lines) == len(inputs)
    assert [line["key"].partition("/input/")[2] for line in lines] == sorted(inputs)
    assert {(line["outcome"], line["work"]) for line in lines} == {("published", "completed")}
    [part] = report["parts"]
    execution = deployment.get(f"/replays/{batch}")["execution_id"]
    listed = deployment.items("/storage/objects", execution_id=execution, stage="_replay")
    assert [one["key"] for one in listed] == [part["key"]]
    assert hashlib.sha256(deployment.stored(execution)[part["key"]]).hexdigest() == part["sha256"]
    if point.startswith("report"):
        epoch = 1 if point == "report.stored" else 2
        assert part["key"].split("/")[3] == f"1.{epoch}"

    events = reported.events(batch)
    assert set(events) == {"replay.started", "replay.completed"}
    for arrived in events.values():
        assert len(set(arrived)) == 1, "the same event has one id"
    assert {revision for _, revision in events["replay.completed"]} == {1}
    if point == "webhook.sent":
        # The events may be sent at the same time. Then none of the answers was recorded before the kill.
        assert sum(map(len, events.values())) in (3, 4), "one or both of the events have arrived twice"
    for asked in reported.web.asked:
        signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
        expected = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
        assert asked.headers["webhook-signature"] == f"v1,{expected}"
    logs = "".join(log.read_text() for log in (deployment.folder / "logs").iterdir())
    assert SETTINGS["WEBHOOK_SECRET"][6:] not in logs
