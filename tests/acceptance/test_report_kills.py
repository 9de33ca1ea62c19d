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

import httpx
import pytest

from playhead import faults
from tests.acceptance.kills import PIPELINES
from tests.acceptance.processes import Deployment, client, open_deployment
from tests.web import Answer, Web, self_signed

KEY: Final = b"k" * 32
SETTINGS: Final[dict[str, Any]] = {
    "WEBHOOK_PRIVATE_HOSTS": "localhost",
    "WEBHOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode(),
}
WHO: Final = {"worker": PIPELINES["bulk"], "serve": PIPELINES["outside"]}
"""Which process dies: a worker, or a server. A server alone only processes messages of external routes."""
CASES: Final = [
    ("report.bound", "worker"),
    ("report.written", "serve"),
    ("report.stored", "worker"),
    ("webhook.sent", "serve"),
    ("webhook.noted", "worker"),
    *[
        pytest.param(point, who, marks=pytest.mark.full)
        for point, who in (
            *(("report.bound", "serve"), ("report.written", "worker"), ("report.stored", "serve")),
            *(("webhook.sent", "worker"), ("webhook.noted", "serve")),
        )
    ],
]


def test_every_point_of_a_report_and_of_a_webhook_has_a_case() -> None:
    points = {point for point in faults.POINTS if point.startswith(("report.", "webhook."))}
    assert {getattr(case, "values", case) for case in CASES} == {(p, w) for p in points for w in WHO}


class Stand:
    """A deployment without processes, with a run of each pipeline, and a receiver of webhooks."""

    def __init__(self, deployment: Deployment, web: Web) -> None:
        self.deployment = deployment
        self.web = web
        deployment.serve()
        deployment.worker()
        self.runs = {}
        for name, pipeline in WHO.items():
            deployment.apply(pipeline.source)
            self.runs[name] = deployment.run(pipeline.name, pipeline.inputs)
            deployment.ended(self.runs[name])
        deployment.close()

    def replay(self, who: str) -> str:
        """Start a replay with a report and a webhook; return its batch. All of its messages are published."""
        body = {
            "from_execution_id": self.runs[who],
            "from_stage": "input",
            "to_route": WHO[who].entry,
            "report": True,
            "webhook": f"https://localhost:{self.web.port}/{who}",
            "reason": "a test",
        }
        return str(self.deployment.post("/replay", json=body)["replay_batch_id"])

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
def whole_stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    tls, certificate = self_signed(Path(tmp_path_factory.mktemp("tls")))
    with pytest.MonkeyPatch.context() as environment, Web(lambda asked: Answer(204), tls) as web:
        environment.setenv("SSL_CERT_FILE", str(certificate))
        with open_deployment(**SETTINGS, WEBHOOK_HOSTS=f"localhost:{web.port}") as deployment:
            yield Stand(deployment, web)


@pytest.fixture
def stand(whole_stand: Stand) -> Iterator[Stand]:
    yield whole_stand
    whole_stand.deployment.close()
    whole_stand.deployment.forget()


@pytest.mark.slow
@pytest.mark.parametrize(("point", "who"), CASES)
def test_the_report_is_complete_and_each_event_arrives_under_one_id(
    stand: Stand, point: str, who: str
) -> None:
    deployment = stand.deployment
    # `webhook.*` is passed once for the start of the replay, and once for its end.
    fault = f"{point}:2" if point.startswith("webhook") else point
    server = deployment.serve(fault=fault if who == "serve" else "")
    if who == "serve":
        batch = _batch_of(stand, who)
        deployment.struck(server)
    else:
        batch = stand.replay(who)
        deployment.until(lambda: stand.events(batch), "the event of the start")
        deployment.until(
            lambda: {d["state"] for d in deployment.items(f"/replays/{batch}/deliveries")} == {"sent"},
            "the first delivery to be recorded",
        )
        server.kill()
        # The worker sends only the event of the end.
        armed = deployment.worker(fault=point)
        deployment.struck(armed)
    deployment.serve()
    worker = deployment.worker()

    def done() -> bool:
        states = {d["state"] for d in deployment.items(f"/replays/{batch}/deliveries")}
        return states == {"sent"} and deployment.get(f"/replays/{batch}")["report"] == "stored"

    deployment.until(done, "the report and the events", alive=[worker])

    report = deployment.get(f"/replays/{batch}/report")
    inputs = WHO[who].inputs
    lines = stand.lines(batch)
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

    events = stand.events(batch)
    assert set(events) == {"replay.started", "replay.completed"}
    for arrived in events.values():
        assert len(set(arrived)) == 1, "the same event has one id"
    assert {revision for _, revision in events["replay.completed"]} == {1}
    if point == "webhook.sent":
        # The events may be sent at the same time. Then none of the answers was recorded before the kill.
        assert sum(map(len, events.values())) in (3, 4), "one or both of the events have arrived twice"
    for asked in stand.web.asked:
        signed = f"{asked.headers['webhook-id']}.{asked.headers['webhook-timestamp']}.".encode() + asked.body
        expected = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
        assert asked.headers["webhook-signature"] == f"v1,{expected}"
    logs = "".join(process.said for process in deployment.processes)
    assert SETTINGS["WEBHOOK_SECRET"][6:] not in logs


def _batch_of(stand: Stand, who: str) -> str:
    """Start a replay on a server that dies during it, and return its batch."""
    try:
        return stand.replay(who)
    except httpx.TransportError:
        [row] = stand.deployment.rows("SELECT batch FROM executions ORDER BY n DESC LIMIT 1")
        return str(UUID(bytes=row["batch"]))
