"""`/metrics` and the log of real processes: each server has the numbers of the whole deployment."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.exactness import exact_deployment, inputs, pipeline
from tests.acceptance.processes import DEADLINE_SECONDS, STEADY, Deployment, Process

pytestmark = pytest.mark.slow

SHOUT = pipeline("docs", "slow")
COUNTED = {"completed": "completed", "dead": "failed"}


def metric(deployment: Deployment, name: str, **labels: str) -> float:
    """The sum of the samples with these labels, 0 without any."""
    text = httpx.get(f"{deployment.url}/metrics", timeout=DEADLINE_SECONDS, trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"playhead_{name}" and labels.items() <= sample.labels.items()
    )


def counts(deployment: Deployment) -> dict[tuple[str, str], int]:
    """Messages by (route, state) over all executions, as the API shows them."""
    found: Counter[tuple[str, str]] = Counter()
    for execution in deployment.items("/executions"):
        for route in deployment.items(f"/executions/{execution['execution_id']}/routes"):
            for state, count in route["counts"].items():
                found[route["route"], state] += count
    return found


def told(process: Process) -> list[dict[str, Any]]:
    """The lines of a log in JSON."""
    return [json.loads(line) for line in process.said.splitlines() if line.startswith("{")]


def deaths(deployment: Deployment, process: Process, count: int) -> list[dict[str, Any]]:
    """Wait until a process has logged this number of dead letters; return the lines."""

    def look() -> list[dict[str, Any]]:
        lines = [line for line in told(process) if line["event"] == "message_dead"]
        return lines if len(lines) >= count else []

    return deployment.until(look, "the log lines of dead letters")


def agree(deployment: Deployment) -> bool:
    """Whether `/metrics` says what the API does. Counters are up to a heartbeat behind."""
    by_rows = counts(deployment)
    return all(
        metric(deployment, f"messages_{done}_total", route=route) == by_rows[route, state]
        for route in ("work", "shout", "hand_over")
        for done, state in COUNTED.items()
    )


def test_a_server_tells_the_numbers_of_workers_and_commands_elsewhere_and_of_those_that_are_gone():
    with exact_deployment(LOG_FORMAT="json", **STEADY) as deployment:
        server = deployment.serve()
        worker = deployment.worker()
        deployment.apply(SHOUT)
        execution = deployment.run("docs", inputs(40))
        deployment.ended(execution)
        over_http = deployment.replay(execution, "done", "shout")
        by_command = deployment.cli("replay", execution, "input", "docs/work", "--wait")
        for one in (over_http, by_command):
            deployment.ended(one["execution_id"])

        deployment.until(
            lambda: agree(deployment), "the metrics to agree with the API", alive=[server, worker]
        )
        assert metric(deployment, "messages_completed_total", route="hand_over") == 80
        assert metric(deployment, "replay_messages_published_total", route="shout") == 40
        assert metric(deployment, "replay_messages_published_total", route="work") == 40
        assert metric(deployment, "replay_messages_failed_total") == 0
        assert metric(deployment, "attempt_duration_seconds_count", route="work") == 80
        assert metric(deployment, "message_age_seconds_count", route="work") == 80
        assert metric(deployment, "queue_depth", route="hand_over") == 80
        assert metric(deployment, "workers", route="work") == 1
        assert metric(deployment, "processes", kind="worker") == 1
        assert metric(deployment, "http_requests_total", route="/api/v1/replay", status="200") == 1

        # A worker that is told to stop takes nothing away; nor does one that is killed, once it has beaten.
        assert worker.stop() == 0
        assert agree(deployment)
        assert metric(deployment, "workers", route="work") == 0
        second = deployment.worker()
        again = deployment.replay(execution, "done", "shout")
        deployment.ended(again["execution_id"])
        deployment.until(lambda: agree(deployment), "the second worker to tell", alive=[second])
        second.kill()
        assert agree(deployment)

        lines = told(server) + told(worker)
        ends = {line["execution_id"]: line for line in lines if line["event"] == "execution_ended"}
        for one in (execution, over_http["execution_id"], by_command["execution_id"]):
            assert ends[one]["status"] == "completed"
        about = [line for line in told(server) if line.get("replay_batch_id") == over_http["replay_batch_id"]]
        [job] = [line for line in about if line["event"] != "audit"]
        assert (job["event"], job["objects_published"], job["status"]) == (
            *("job_ended", 40),
            "publishing_complete",
        )


def test_each_outcome_is_one_line_of_the_log_with_its_ids():
    with exact_deployment(LOG_FORMAT="json", **STEADY) as deployment:
        server = deployment.serve()
        worker = deployment.worker()
        deployment.apply(pipeline("docs", "slow", attempts=1))
        execution = deployment.run("docs", {f"{n}.txt": b"\xff not text" for n in range(3)})
        assert deployment.ended(execution)["counts"]["failed"] == 3

        [config] = [line for line in told(server) if line["event"] == "config_applied"]
        assert (config["config"], config["version"]) == ("docs", 1)
        dead = deaths(deployment, worker, 3)
        letters = {letter["correlation_id"] for letter in deployment.items("/dead-letters")}
        assert (len(dead), {line["correlation_id"] for line in dead}) == (3, letters)
        for line in dead:
            assert (line["execution_id"], line["config"], line["route"]) == (execution, "docs", "work")
            assert (line["code"], line["error"]) == ("rejected", "not UTF-8")

        def ends() -> list[dict[str, Any]]:
            return [line for line in told(worker) + told(server) if line["event"] == "execution_ended"]

        [end] = deployment.until(ends, "the log line of the end")
        assert (end["execution_id"], end["status"], end["failed"]) == (execution, "failed", 3)
