"""`/metrics` and the log of real processes: the numbers of one are those of the API, whoever did the work."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.exactness import exact_site, inputs, pipeline
from tests.acceptance.processes import DEADLINE_SECONDS, STEADY, Process, Site

pytestmark = pytest.mark.slow

SHOUT = pipeline("docs", "slow")
COUNTED = {"completed": "completed", "dead": "failed"}


def metric(site: Site, name: str, **labels: str) -> float:
    """The sum of the samples with these labels, 0 without any."""
    text = httpx.get(f"{site.url}/metrics", timeout=DEADLINE_SECONDS, trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"playhead_{name}" and labels.items() <= sample.labels.items()
    )


def counts(site: Site) -> dict[tuple[str, str], int]:
    """Messages by (route, state) over all executions, as the API shows them."""
    found: Counter[tuple[str, str]] = Counter()
    for execution in site.items("/executions"):
        for route in site.items(f"/executions/{execution['execution_id']}/routes"):
            for state, count in route["counts"].items():
                found[route["route"], state] += count
    return found


def told(process: Process) -> list[dict[str, Any]]:
    """The lines of a log in JSON."""
    return [json.loads(line) for line in process.said.splitlines() if line.startswith("{")]


def deaths(site: Site, process: Process, count: int) -> list[dict[str, Any]]:
    """What a process says of messages that are dead, once it has said so many; they are dead before."""

    def look() -> list[dict[str, Any]]:
        lines = [line for line in told(process) if line["event"] == "message_dead"]
        return lines if len(lines) >= count else []

    return site.until(look, "the dead to be told of")


def agree(site: Site) -> bool:
    """Whether `/metrics` says what the API does. Counters are up to a heartbeat behind."""
    by_rows = counts(site)
    return all(
        metric(site, f"messages_{done}_total", route=route) == by_rows[route, state]
        for route in ("work", "shout", "hand_over")
        for done, state in COUNTED.items()
    )


def test_a_server_tells_the_numbers_of_workers_and_commands_elsewhere_and_of_those_that_are_gone():
    with exact_site(LOG_FORMAT="json", **STEADY) as site:
        server = site.serve()
        worker = site.worker()
        site.apply(SHOUT)
        execution = site.run("docs", inputs(40))
        site.ended(execution)
        over_http = site.replay(execution, "done", "shout")
        by_command = site.cli("replay", execution, "input", "docs/work", "--wait")
        for one in (over_http, by_command):
            site.ended(one["execution_id"])

        site.until(lambda: agree(site), "the metrics to agree with the API", alive=[server, worker])
        assert metric(site, "messages_completed_total", route="hand_over") == 80
        assert metric(site, "replay_messages_published_total", route="shout") == 40
        assert metric(site, "replay_messages_published_total", route="work") == 40
        assert metric(site, "replay_messages_failed_total") == 0
        assert metric(site, "attempt_duration_seconds_count", route="work") == 80
        assert metric(site, "message_age_seconds_count", route="work") == 80
        assert metric(site, "queue_depth", route="hand_over") == 80
        assert metric(site, "workers", route="work") == 1
        assert metric(site, "processes", kind="worker") == 1
        assert metric(site, "http_requests_total", route="/api/v1/replay", status="200") == 1

        # A worker that is told to stop takes nothing away; nor does one that is killed, once it has beaten.
        assert worker.stop() == 0
        assert agree(site)
        assert metric(site, "workers", route="work") == 0
        second = site.worker()
        again = site.replay(execution, "done", "shout")
        site.ended(again["execution_id"])
        site.until(lambda: agree(site), "the second worker to tell", alive=[second])
        second.kill()
        assert agree(site)

        lines = told(server) + told(worker)
        ends = {line["execution_id"]: line for line in lines if line["event"] == "execution_ended"}
        for one in (execution, over_http["execution_id"], by_command["execution_id"]):
            assert ends[one]["status"] == "completed"
        [job] = [line for line in told(server) if line.get("replay_batch_id") == over_http["replay_batch_id"]]
        assert (job["event"], job["objects_published"], job["status"]) == (
            *("job_ended", 40),
            "publishing_complete",
        )


def test_each_outcome_is_one_line_of_the_log_with_its_ids():
    with exact_site(LOG_FORMAT="json", **STEADY) as site:
        server = site.serve()
        worker = site.worker()
        site.apply(pipeline("docs", "slow", attempts=1))
        execution = site.run("docs", {f"{n}.txt": b"\xff not text" for n in range(3)})
        assert site.ended(execution)["counts"]["failed"] == 3

        [config] = [line for line in told(server) if line["event"] == "config_applied"]
        assert (config["config"], config["version"]) == ("docs", 1)
        dead = deaths(site, worker, 3)
        letters = {letter["correlation_id"] for letter in site.items("/dead-letters")}
        assert (len(dead), {line["correlation_id"] for line in dead}) == (3, letters)
        for line in dead:
            assert (line["execution_id"], line["config"], line["route"]) == (execution, "docs", "work")
            assert (line["code"], line["error"]) == ("rejected", "not UTF-8")

        def ends() -> list[dict[str, Any]]:
            return [line for line in told(worker) + told(server) if line["event"] == "execution_ended"]

        [end] = site.until(ends, "the end to be told")
        assert (end["execution_id"], end["status"], end["failed"]) == (execution, "failed", 3)


def test_a_message_that_took_its_worker_along_is_told_and_counted_as_dead():
    with exact_site(LOG_FORMAT="json", **STEADY) as site:
        site.serve()
        first = site.worker()
        site.apply(pipeline("docs", "deadly", attempts=1))
        execution = site.run("docs", {"poison.txt": b"text"})
        site.until(lambda: first.code is not None, "the worker to die")
        second = site.worker()
        assert site.ended(execution)["counts"]["failed"] == 1
        [dead] = deaths(site, second, 1)
        assert (dead["execution_id"], dead["route"], dead["code"]) == (execution, "work", "worker_lost")
        site.until(lambda: agree(site), "the second worker to tell", alive=[second])
        assert metric(site, "messages_dead_total", route="work") == 1
        assert metric(site, "messages", route="work", state="dead") == 1
