"""Traces of real processes in a collector: a replay is one trace across all its processes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from playhead.extras import install_command
from tests.acceptance.collector import Collector, open_collector
from tests.acceptance.processes import (
    DEADLINE_SECONDS,
    STEADY,
    Deployment,
    Process,
    open_deployment,
    stopwatch,
)

pytestmark = pytest.mark.slow

STEPS = Path(__file__).with_name("traced_steps.py")
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
PIPELINE = """
version: "1.0"
name: docs
entry: cut
routes:
  cut:
    adapters: [{type: halves}]
    outbound: {stage: halves, to: [pass, hand_over]}
  pass:
    adapters: [{type: slowly}]
    outbound: {stage: passed}
  hand_over:
    external: true
"""
SHOUTING = PIPELINE.replace("halves}", "shout}").replace("slowly", "shout")
INPUTS = {"a.txt": b"a", "late.txt": b"late", "bad.txt": b"bad"}


@contextmanager
def traced_deployment(collector: Collector, **variables: str) -> Iterator[Deployment]:
    with open_deployment(adapters=STEPS, LOG_FORMAT="json", **STEADY) as deployment:
        deployment.environment = {**deployment.environment, **collector.settings, **variables}
        yield deployment


def stopped(deployment: Deployment, *processes: Process) -> None:
    """Stop processes as an operator does; what they have not sent yet they send then."""
    for process in processes:
        assert process.stop() == 0, process.said


def queued(deployment: Deployment, queue: str, execution: str) -> list[dict[str, str]]:
    """The headers of an execution's messages in a queue."""
    found = deployment.cli("queues", queue, "--peek", "100")["items"]
    return [m["headers"] for m in found if m["headers"]["execution_id"] == execution]


def test_a_replay_is_one_trace_though_its_publisher_is_killed_and_another_goes_on() -> None:
    with open_collector() as collector, traced_deployment(collector) as deployment:
        worker, first = deployment.worker(), deployment.serve()
        deployment.apply(PIPELINE)
        run = deployment.run("docs", INPUTS)
        assert deployment.ended(run)["status"] == "failed"  # of the one that is bad
        stopped(deployment, worker, first)  # a worker may take the job before the server does
        doomed = deployment.serve(fault="replay.recorded")
        body = {"from_execution_id": run, "from_stage": "input", "to_route": "cut"}
        with suppress(httpx.TransportError):
            deployment.post("/replay", json=body, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
        deployment.struck(doomed)
        second, worker = deployment.serve(), deployment.worker()
        [replay] = [e["execution_id"] for e in deployment.items("/executions", kind="replay")]
        counts = deployment.ended(replay)["counts"]
        handed_over = queued(deployment, "docs.hand_over", replay)
        lineage = {row["correlation_id"]: row for row in deployment.items(f"/executions/{replay}/lineage")}
        stopped(deployment, worker, second)

    trace = collector.of(TRACE)
    work = [s for s in trace if s.name == "work"]
    attempts = {row["correlation_id"]: row["attempts"] for row in lineage.values() if row["attempts"]}
    assert Counter(s["correlation_id"] for s in work) == attempts
    assert counts["total"] == len(attempts) + len(handed_over)
    assert not [s for s in collector.named("work", execution_id=replay) if s.trace != TRACE]
    assert not [s for s in collector.named("work", execution_id=run) if s.trace == TRACE]

    # The successor's span is below the replay span that the killed process began but never sent.
    [replayed] = [s for s in trace if s.name == "replay"]
    assert replayed["execution_id"] == replay
    begun = replayed.parent
    assert begun not in {s.id for s in trace}
    assert [s["messages"] for s in trace if s.name == "publish" and s.parent == replayed.id] == [3]
    # A root's parent is what the row says; a child's is the attempt that made it.
    by_message = {s["correlation_id"]: s for s in work if s.about["playhead.outcome"] == "completed"}
    for span in work:
        parent = lineage[str(span["correlation_id"])]["parent_correlation_id"]
        assert span.parent == (by_message[parent].id if parent else begun)
    # Other programs receive it in the headers.
    makers = {s.id for s in work if s["route"] == "cut"}
    assert len(handed_over) == 4
    assert {h["traceparent"].split("-")[1] for h in handed_over} == {TRACE}
    assert {h["traceparent"].split("-")[2] for h in handed_over} <= makers


def test_an_attempt_says_what_it_was_about_and_how_it_ended() -> None:
    with open_collector() as collector, traced_deployment(collector, OTEL_SERVICE_NAME="ours") as deployment:
        worker, server = deployment.worker(), deployment.serve()
        deployment.apply(PIPELINE)
        run = deployment.run("docs", INPUTS)
        deployment.ended(run)
        deployment.get("/routes")
        httpx.get(f"{deployment.url}/healthz", timeout=DEADLINE_SECONDS, trust_env=False)
        stopped(deployment, worker, server)
        lines = [json.loads(line) for line in worker.said.splitlines() if line.startswith("{")]

    [request] = collector.named("POST /api/v1/configs/{name}/run")
    assert (request.about["http.response.status_code"], request.parent) == (202, "")
    assert len(str(request["correlation_id"])) == 36
    work = collector.named("work", execution_id=run)
    assert {s.trace for s in work} == {request.trace}
    ends = {(s["object_key"], s["attempt"], s["outcome"], s.failed) for s in work if s["route"] == "cut"}
    assert ends == {
        (f"{run}/input/a.txt", 1, "completed", None),
        (f"{run}/input/late.txt", 1, "retry", "retry: not yet"),
        (f"{run}/input/late.txt", 2, "completed", None),
        (f"{run}/input/bad.txt", 1, "dead", "rejected: this is bad"),
    }
    assert {s["config"] for s in work} == {"docs"}
    assert {s["config_version"] for s in work} == {1}
    assert {s.process["service.name"] for s in collector.spans} == {"ours"}
    # What an adapter measures by itself lies below its attempt, in threads and in tasks.
    by_id = {s.id: s for s in collector.spans}
    cuts, waits = collector.named("cut"), collector.named("wait")
    assert [by_id[s.parent]["route"] for s in cuts] == ["cut"] * 2
    assert [by_id[s.parent]["route"] for s in waits] == ["pass"] * 4
    # Lines of its log name its trace, an adapter's own among them.
    [dead] = [line for line in lines if line["event"] == "message_dead"]
    assert dead["trace_id"] == request.trace
    assert {line["trace_id"] for line in lines if line["message"] == "cut"} == {request.trace}
    assert not [s for s in collector.spans if s.about.get("url.path") == "/healthz"]
    assert [s.name for s in collector.spans if s.about.get("url.path") == "/api/v1/routes"] == [
        "GET /api/v1/routes"
    ]


def test_commands_begin_a_trace_here_and_through_a_server() -> None:
    with open_collector() as collector, traced_deployment(collector) as deployment:
        (deployment.folder / "docs.yaml").write_text(PIPELINE)
        (deployment.folder / "a.txt").write_text("a")
        run = deployment.cli("run", "docs.yaml", "a.txt")["execution_id"]
        here = deployment.cli("replay", run, "input", "cut")["execution_id"]
        worker, server = deployment.worker(), deployment.serve()
        there = deployment.cli("replay", run, "input", "cut", "--wait", "--server", deployment.url)[
            "execution_id"
        ]
        deployment.ended(here)
        stopped(deployment, worker, server)

    [ran] = collector.named("playhead run")
    assert {s.trace for s in collector.named("work", execution_id=run)} == {ran.trace}
    [job] = collector.named("run", execution_id=run)
    assert (job.trace, job.parent) == (ran.trace, ran.id)
    commands = {s.id: s for s in collector.named("playhead replay")}
    by_id = {s.id: s for s in collector.spans}
    traces = {}
    for replay in (here, there):
        [span] = collector.named("replay", execution_id=replay)
        above = by_id[span.parent]
        if replay == there:
            assert above.name == "POST /api/v1/replay"
            above = by_id[above.parent]
        assert above.id in commands
        assert len(collector.named("work", execution_id=replay)) == 3
        assert {s.trace for s in collector.named("work", execution_id=replay)} == {above.trace}
        traces[replay] = above.trace
    assert len({ran.trace, *traces.values()}) == 3


@pytest.mark.parametrize(
    "variables",
    [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}],
    ids=["unset", "disabled", "exporter none"],
)
def test_off_there_is_no_header_no_span_and_no_import(variables: dict[str, str]) -> None:
    probe = (
        "import sys, asyncio; from playhead.__main__ import main; code = main(); "
        "print([m for m in sys.modules if m.startswith('opentelemetry.')], file=sys.stderr); sys.exit(code)"
    )
    with open_collector() as collector, open_deployment() as deployment:
        deployment.environment = {
            **deployment.environment,
            **(collector.settings if variables else {}),
            **variables,
        }
        server = deployment.serve()
        deployment.apply(SHOUTING)
        run = deployment.run("docs", {"a.txt": b"a"})
        stopped(deployment, server)
        done = subprocess.run(
            [sys.executable, "-c", probe, "worker", "--until-idle"],
            cwd=deployment.folder,
            env=dict(deployment.environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "[]"
        [headers] = queued(deployment, "docs.hand_over", run)
    assert "traceparent" not in headers
    assert collector.spans == []


def test_a_caller_s_garbage_is_no_trace() -> None:
    garbage = "00-" + "0" * 32 + "-b7ad6b7169203331-01"
    with open_collector() as collector, traced_deployment(collector) as deployment:
        server = deployment.serve()
        for said in (garbage, "", "x" * 5000, f"00-{TRACE}-{CALLER}", "ff" + f"-{TRACE}-{CALLER}-01"):
            headers = {"traceparent": said}
            url = f"{deployment.url}/api/v1/routes"
            asked = httpx.get(url, headers=headers, timeout=DEADLINE_SECONDS, trust_env=False)
            asked.raise_for_status()
        stopped(deployment, server)
    spans = collector.named("GET /api/v1/routes")
    assert [s.parent for s in spans] == [""] * 5
    assert len({s.trace for s in spans}) == 5
    assert TRACE not in {s.trace for s in spans}


@contextmanager
def silent() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def closed() -> Iterator[str]:
    """An address without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("address", [silent, closed])
def test_an_unavailable_collector_delays_neither_work_nor_shutdown(address: Any) -> None:
    with address() as url, traced_deployment(Collector(url)) as deployment:
        worker, server = deployment.worker(), deployment.serve()
        deployment.apply(PIPELINE)
        run = deployment.run("docs", {f"{n}.txt": b"x" for n in range(200)})
        assert deployment.ended(run)["status"] == "completed"
        deployment.replay(run, "input", "cut")
        with stopwatch() as counted:
            for process in (worker, server):
                process.popen.terminate()
            for process in (worker, server):
                assert process.popen.wait(DEADLINE_SECONDS) == 0, process.said
            assert counted() < 7  # two seconds for what is not sent, of the ten that a request may take
        told = [line for line in worker.said.splitlines() if "export" in line.lower()]
        assert len(told) <= 2, "an unavailable collector is logged occasionally, not with every batch"


def test_without_its_library_a_process_says_how_to_install_it_and_works() -> None:
    with open_collector() as collector, traced_deployment(collector) as deployment:
        hidden = deployment.folder / "without" / "opentelemetry"
        hidden.mkdir(parents=True)
        (hidden / "__init__.py").write_text("raise ImportError('No module named opentelemetry')")
        (deployment.folder / "docs.yaml").write_text(
            PIPELINE.replace("halves}", "shout}").replace("slowly", "shout")
        )
        (deployment.folder / "a.txt").write_text("a")
        steps = str(STEPS.with_name("faulty_steps.py"))
        deployment.environment = {
            **deployment.environment,
            "PYTHONPATH": str(hidden.parent),
            "PLAYHEAD_ADAPTERS": steps,
            "PLAYHEAD_LOG_FORMAT": "text",
        }
        # Not a fork: only a new Python reads PYTHONPATH.
        done = subprocess.run(
            [sys.executable, "-m", "playhead", "run", "docs.yaml", "a.txt", "--json"],
            cwd=deployment.folder,
            env=dict(deployment.environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert json.loads(done.stdout)["status"] == "completed"
    assert "traces_off" in done.stderr
    assert install_command("otel") in done.stderr
    assert collector.spans == []


def test_an_unsupported_protocol_is_reported() -> None:
    with (
        open_collector() as collector,
        traced_deployment(collector, OTEL_EXPORTER_OTLP_PROTOCOL="grpc") as deployment,
    ):
        server = deployment.serve()
        stopped(deployment, server)
        assert "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" in server.said
    assert collector.spans == []
