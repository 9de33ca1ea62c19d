"""docs/howto/production.md and deploy.md: the documented commands, on real servers.

The three services of compose.yaml run as plain processes with its commands, settings and health check. Only
the addresses are those of the tests' servers.
"""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
import yaml

from tests.acceptance import pages
from tests.deploy.checks import ROOT, status
from tests.servers import need
from tests.servers.process import free_port

# Installing and starting may take long on a slow machine. Each command has its own shorter time limit.
pytestmark = pytest.mark.timeout(1800)

PLACES = ("STORE", "BROKER", "CATALOG")
EXAMPLE = ROOT / "examples" / "01-docs"


def block(page: str, heading: str, language: str, number: int = 0) -> list[str]:
    """Return the lines of a block of this language below a heading of a page, without comments."""
    text = (ROOT / "docs" / "howto" / page).read_text(encoding="utf-8").split(f"\n## {heading}\n", 1)[1]
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    body = [body for name, body in found if name == language][number]
    lines = [re.sub(r"\s+#.*", "", line) for line in body.splitlines()]
    return [line for line in lines if line]


@dataclass
class Deployment:
    """Servers of the tests, with a new database, bucket folder and queue prefix."""

    folder: Path
    settings: dict[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        return pages.environment() | self.settings | more

    def type(self, line: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-euc", line],
            cwd=self.folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            ["playhead", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stderr=(self.folder / f"log-{len(self.running)}").open("wb"),
        )
        self.running.append(process)
        return process


@pytest.fixture
async def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A new installation on the broker of the test's parameter."""
    name = f"deployment_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(need("postgres"))
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    catalog = re.sub(r"/postgres$", f"/{name}", need("postgres"))
    store = need("s3").replace("/tests?", f"/{name}?")
    broker = catalog if request.param == "postgres" else need(request.param)
    made = Deployment(
        tmp_path,
        {
            "PLAYHEAD_STORE": store,
            "PLAYHEAD_BROKER": broker,
            "PLAYHEAD_CATALOG": catalog,
            "PLAYHEAD_QUEUE_PREFIX": f"{name}.",
        },
    )
    yield made
    for process in made.running:
        process.kill()
        process.wait()


def commands_of_the_page() -> list[str]:
    """Return the commands for other backends; the last one runs the demo."""
    told = block("production.md", "On your own services", "sh")
    exported = [line.split("=")[0].removeprefix("export ") for line in told if line.startswith("export ")]
    assert exported == [f"PLAYHEAD_{place}" for place in PLACES]
    typed = [line for line in told if line.startswith("playhead ")]
    assert [line.split()[1] for line in typed] == ["migrate", "doctor", "demo"]
    return typed


@pytest.mark.slow
@pytest.mark.parametrize("deployment", ["nats"], indirect=True)
def test_the_commands_that_prepare_production_backends_need_only_settings(deployment):
    for line in commands_of_the_page()[:-1]:
        assert deployment.type(line)


@pytest.mark.full
@pytest.mark.parametrize("deployment", ["nats", "rabbitmq"], indirect=True)
def test_the_demo_runs_on_production_backends_with_only_settings_changed(deployment):
    *typed, demo = commands_of_the_page()
    for line in typed:
        assert deployment.type(line)
    result = json.loads(deployment.type(f"{demo} --json"))
    assert result["converted_again"] == 0
    assert result["replay"]["objects_published"] == result["pages"] > 150
    assert 0 < result["segments_before"] < result["segments_after"]
    # The home contains only what the adapter stores there.
    assert {path.name for path in (deployment.folder / "demo" / "home").iterdir()} == {"data"}
    listed = json.loads(deployment.type("playhead executions --json"))["items"]
    assert {e["status"] for e in listed} == {"completed"}
    assert [e["kind"] for e in listed] == ["publication", "replay", "publication", "run"]


@pytest.mark.slow
@pytest.mark.parametrize("deployment", ["nats"], indirect=True)
def test_pending_messages_are_processed_through_another_broker_after_a_change_of_the_setting(deployment):
    example(deployment)
    deployment.type("playhead run docs.yaml pages/")
    deployment.type("playhead replay latest input convert")
    assert json.loads(deployment.type("playhead show latest:replay --json"))["counts"]["pending"] == 3
    other = {"PLAYHEAD_BROKER": deployment.settings["PLAYHEAD_CATALOG"]}
    deployment.type("playhead worker --until-idle", **other)
    shown = json.loads(deployment.type("playhead show latest:replay --json", **other))
    assert (shown["status"], shown["counts"]["failed"]) == ("completed", 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "deployment",
    ["nats", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("rabbitmq", "postgres"))],
    indirect=True,
)
def test_the_commands_of_the_page_work_with_the_services_of_the_compose_file(deployment):
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert deployment.start(services["migrate"]["command"]).wait(timeout=300) == 0
    port = free_port()
    server = deployment.start([*services["server"]["command"], "--port", str(port)])
    replicas = services["worker"]["deploy"]["replicas"]
    workers = [deployment.start(services["worker"]["command"]) for _ in range(replicas)]
    assert status(port, "/readyz") == 200
    kind, *check = services["server"]["healthcheck"]["test"]
    assert kind == "CMD"
    asked = [part.replace("127.0.0.1:8080", f"127.0.0.1:{port}") for part in check]
    assert subprocess.run(asked, env=deployment.environment(), check=False).returncode == 0

    change, url, *lines = block("deploy.md", "With Docker Compose", "", 1)
    assert (change, url) == ("cd examples/01-docs", "export PLAYHEAD_SERVER=http://127.0.0.1:8080")
    example(deployment)
    told = {"PLAYHEAD_SERVER": f"http://127.0.0.1:{port}"}
    # Only the server has the settings of the backends; the user's shell has none.
    person = Deployment(deployment.folder, {})
    said = {line: person.type(line, **told) for line in lines}
    assert [line.split()[1] for line in lines] == ["run", "show", "search", "replay", "replays"]
    assert "completed" in said[lines[1]]
    assert "/segments/" in said[lines[2]]
    assert "3 of 3" in said[lines[3]]

    for process in (server, *workers):
        process.send_signal(signal.SIGTERM)
    assert [process.wait(timeout=120) for process in (server, *workers)] == [0, 0, 0]


def example(deployment: Deployment) -> None:
    for name in ("docs.yaml", "pages"):
        subprocess.run(["cp", "-r", str(EXAMPLE / name), str(deployment.folder)], check=True)
