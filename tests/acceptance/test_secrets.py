"""Secrets of configs: only the process that runs a step has their values, and no other place shows them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.processes import Deployment, DeploymentFailed, client, open_deployment

STEPS = Path(__file__).with_name("secret_steps.py")
SECRET = "s3cret-of-this-test"

CONFIG = """
version: "1.0"
name: docs
entry: ask
error_handling: {max_attempts: 1}
routes:
  ask:
    adapters:
      - type: call
        config:
          key: ${file:SECRETS/key}
          header: "Bearer ${env:TOKEN_OF_TEST}"
          options: {"list": ["a", "${env:TOKEN_OF_TEST}"]}
    outbound: {stage: answers, to: [plain]}
  plain:
    adapters: [{type: passthrough}]
    outbound: {stage: kept}
"""


@contextmanager
def deployment(secrets: Path) -> Iterator[Deployment]:
    with open_deployment(ADAPTERS=str(STEPS), LOG_LEVEL="debug", LOG_FORMAT="json") as deployment:
        yield deployment


def find_no_secret(deployment: Deployment) -> None:
    """Search all files of the deployment: catalog, objects, sidecars, logs."""
    files = [file for file in deployment.folder.rglob("*") if file.is_file()]
    assert {"playhead.db"} <= {file.name for file in files}
    for file in files:
        assert SECRET.encode() not in file.read_bytes(), f"the secret is in {file}"


def check_logged(said: str) -> None:
    assert "request with key=***" in said
    assert "calling with Bearer ***" in said
    assert "background failure with ***" in said
    assert "failure at the end of a connection with ***" in said
    assert "UserWarning: the key *** is old" in said


def answers(deployment: Deployment, execution: str) -> Iterator[str]:
    """Every answer of the API that could show a config, a message or an error."""
    with client(deployment.url) as http:
        dead = http.get("/api/v1/dead-letters").json()["items"]
        assert len(dead) == 2
        paths = [f"dead-letters/{letter['correlation_id']}" for letter in dead]
        paths += ["dead-letters", "configs", "configs/docs", "configs/docs/versions", "routes", "adapters"]
        paths += [f"executions/{execution}", f"executions/{execution}/lineage", "system/health"]
        for path in paths:
            answer = http.get(f"/api/v1/{path}")
            assert answer.status_code == 200, path
            yield answer.text
        yield http.get("/metrics").text


@pytest.mark.slow
def test_no_file_log_line_or_answer_contains_a_secret_and_a_worker_waits_for_a_missing_one(tmp_path: Path):
    config = CONFIG.replace("SECRETS", str(tmp_path))
    allowed = {"SECRETS_DIR": str(tmp_path), "SECRETS_ENV": "TOKEN_OF_*"}
    with deployment(tmp_path) as site:
        site.environment = {**site.environment, "TOKEN_OF_TEST": SECRET}
        site.serve()  # a server that may read no secret
        applied = site.apply(config)
        assert [(w["code"], w["severity"]) for w in applied["warnings"]] == [("W105", "warning")] * 3
        execution = site.run("docs", {"a.txt": b"a", "fail.txt": b"f", "reject.txt": b"r"})

        # A worker that lacks the file reports the queue, and releases its messages.
        idle = site.start("worker", "--until-idle", settings=allowed)
        site.until(lambda: idle.code is not None, "the worker without the file to end")
        assert idle.code == 1
        assert idle.said.count('"event": "route_waits"') == 1
        assert "work_left" in idle.said
        assert f"${{file:{tmp_path}/key}} cannot be read: No such file" in idle.said
        waiting = site.get(f"/executions/{execution}")
        assert waiting["status"] == "running"
        assert waiting["counts"]["failed"] == 0

        # A worker that runs picks up a file that appears.
        worker = site.worker(settings=allowed)
        site.until(lambda: "route_waits" in worker.said, "the worker to report the missing file")
        waits = f"lacks a secret: ${{file:{tmp_path}/key}} cannot be read"
        site.until(
            lambda: any(waits in one["wait"]["reason"] for one in site.items("/routes") if one["wait"]),
            "the routes to show the reason",
        )
        (tmp_path / "key").write_text(SECRET + "\n")
        ended = site.ended(execution)
        assert (ended["counts"]["completed"], ended["counts"]["failed"]) == (2, 2)
        assert site.stored(execution)[f"{execution}/answers/a.txt"] == f"{len(SECRET)} True".encode()

        for answer in answers(site, execution):
            assert SECRET not in answer
        dead = {letter["error_code"]: letter for letter in site.items("/dead-letters")}
        assert dead["rejected"]["error"] == "the service refused Bearer ***"
        assert dead["adapter_error"]["error"] == "ValueError: cannot call with '***'"
        letter = site.get(f"/dead-letters/{dead['adapter_error']['correlation_id']}")
        assert "https://user:***@service/" in letter["traceback"]
        assert "options: {'list': ['a', '***']}" in letter["traceback"]
        assert "${env:TOKEN_OF_TEST}" in site.get("/configs/docs")["source"]
        worker.stop()
        check_logged(worker.said)
        assert "cannot close the connection of ***" in worker.said
        find_no_secret(site)


@pytest.mark.slow
def test_playhead_run_resolves_secrets_in_its_own_worker(tmp_path: Path):
    (tmp_path / "key").write_text(SECRET)
    with deployment(tmp_path) as site:
        site.environment = {**site.environment, "TOKEN_OF_TEST": SECRET}
        (site.folder / "docs.yaml").write_text(CONFIG.replace("SECRETS", str(tmp_path)))
        (site.folder / "a.txt").write_text("a")
        waits = site.start("run", "docs.yaml", "a.txt", "--json")
        site.until(lambda: "route_waits" in waits.said, "the run to report the secret")
        assert "is not allowed: PLAYHEAD_SECRETS_DIR" in waits.said
        waits.kill()
        done = site.start(
            "run",
            "docs.yaml",
            "a.txt",
            "--json",
            stdout=subprocess.PIPE,
            settings={"SECRETS_DIR": str(tmp_path), "SECRETS_ENV": "TOKEN_OF_TEST"},
        )
        out, _ = done.popen.communicate(timeout=60)
        assert done.code == 0, done.said
        assert SECRET.encode() not in out
        find_no_secret(site)


@pytest.mark.slow
def test_the_log_lines_of_a_step_in_a_child_process_contain_no_secret(tmp_path: Path):
    (tmp_path / "key").write_text(SECRET)
    with deployment(tmp_path) as site:
        config = CONFIG.replace("SECRETS", str(tmp_path)).replace(
            "type: call", "type: call\n        isolation: process"
        )
        (site.folder / "docs.yaml").write_text(config)
        (site.folder / "a.txt").write_text("a")
        site.environment = {**site.environment, "TOKEN_OF_TEST": SECRET}
        allowed = {"SECRETS_DIR": str(tmp_path), "SECRETS_ENV": "TOKEN_OF_TEST"}
        run = site.start("run", "docs.yaml", "a.txt", "--json", settings=allowed)
        assert run.popen.wait(timeout=60) == 0, run.said
        check_logged(run.said)
        find_no_secret(site)


@pytest.mark.slow
def test_a_config_over_http_reads_nothing_that_the_operator_does_not_allow(tmp_path: Path):
    folder = tmp_path / "allowed"
    folder.mkdir()
    (tmp_path / "outside").write_text(SECRET)
    (folder / "link").symlink_to(tmp_path / "outside")
    with deployment(tmp_path) as site:
        site.environment = {**site.environment, "TOKEN_OF_TEST": SECRET}
        allowed = {"SECRETS_DIR": str(folder), "SECRETS_ENV": "OTHER_*"}
        site.serve("--workers", "1", settings=allowed)
        references = (f"${{file:{folder}/link}}", f"${{file:{tmp_path}/outside}}", "${env:TOKEN_OF_TEST}")
        for n, reference in enumerate(references):
            config = f"""
version: "1.0"
name: docs{n}
entry: ask
routes: {{ask: {{adapters: [{{type: call, config: {{key: "{reference}"}}}}], outbound: {{stage: answers}}}}}}
"""
            site.apply(config)
            site.run(f"docs{n}", {"a.txt": b"a"})
        server = site.processes[-1]
        site.until(lambda: server.said.count("route_waits") >= 3, "the worker to report each")
        with pytest.raises(DeploymentFailed, match="E206"):
            site.apply(config.replace(reference, f"${{file:{folder}/../outside}}"))
        for execution in site.items("/executions"):
            counts = site.get(f"/executions/{execution['execution_id']}")["counts"]
            assert counts["failed"] == counts["completed"] == 0
        site.processes[-1].stop()
        find_no_secret(site)
