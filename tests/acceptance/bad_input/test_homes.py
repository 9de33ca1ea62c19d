"""Homes and ports that a process can't have, and two servers that share one home."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.acceptance.bad_input.ground import census, give_up_power
from tests.acceptance.ledger import Ledger
from tests.acceptance.processes import DEADLINE_SECONDS, STEPS, Deployment, Process, open_deployment

pytestmark = pytest.mark.slow

FAILED, USAGE, UNREACHABLE = 1, 2, 5
COMMANDS = ("executions", "run docs.yaml docs.yaml", "worker --until-idle", "serve --port 0", "migrate")
SOME = ("run docs.yaml docs.yaml", "serve --port 0")
"""A command and a process that stays: all open their home in one place."""
DOCS = """
version: "1.0"
name: docs
entry: shout
routes:
  shout:
    adapters: [{type: shout}]
    outbound: {stage: shouted}
  theirs:
    external: true
"""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with open_deployment(adapters=STEPS) as made:
        (made.folder / "docs.yaml").write_text(DOCS)
        yield made


def refused(deployment: Deployment, code: int, error: str, words: tuple[str, ...], *commands: str) -> None:
    """Start commands together; each must end so."""
    started: list[Process] = [
        deployment.start(*command.split(), "--json", stdout=subprocess.PIPE) for command in commands
    ]
    for process in started:
        out, _ = process.popen.communicate(timeout=2 * DEADLINE_SECONDS)
        body = json.loads(out)
        assert (process.code, body["error_code"]) == (code, error), (process.name, body)
        assert not [word for word in words if word not in body["detail"]], body["detail"]
        assert f"Error ({error})" in process.said
        assert "Traceback" not in process.said


def test_a_home_below_a_file_can_not_be_made(deployment: Deployment):
    (deployment.folder / "home").write_text("")
    words = ("cannot create", str(deployment.folder / "home"), "PLAYHEAD_HOME")
    refused(deployment, UNREACHABLE, "home_unwritable", words, *SOME)
    assert (deployment.folder / "home").read_text() == ""


def test_a_home_of_another_user_says_that_it_must_be_writable(deployment: Deployment):
    deployment.cli("config", "apply", "docs.yaml")
    give_up_power(deployment)
    for path in (*deployment.home.rglob("*"), deployment.home):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = census(deployment.home)
    started = [
        deployment.start(*command.split(), "--json", stdout=subprocess.PIPE) for command in COMMANDS[:-1]
    ]
    for process in started:
        out, _ = process.popen.communicate(timeout=2 * DEADLINE_SECONDS)
        body = json.loads(out)
        # What SQLite can still read, it reads; then it is the objects that can't be written.
        assert process.code == UNREACHABLE
        assert body["error_code"] in ("home_unwritable", "store_unavailable")
        assert str(deployment.home) in body["detail"]
        assert re.search("be writable by this user|must be able to read and write", body["detail"]), body
    assert census(deployment.home) == before
    for path in (deployment.home, *deployment.home.rglob("*")):
        path.chmod(0o700)


def test_a_catalog_of_a_newer_version_is_left_alone(deployment: Deployment):
    deployment.cli("config", "apply", "docs.yaml")
    with closing(sqlite3.connect(deployment.home / "playhead.db")) as con:
        con.execute("PRAGMA user_version = 9999")
    before = census(deployment.home)
    words = ("playhead.db", "newer Playhead", "schema 9999", "Install the newer version")
    refused(deployment, UNREACHABLE, "catalog_newer", words, *COMMANDS)
    assert census(deployment.home) == before
    with closing(sqlite3.connect(deployment.home / "playhead.db")) as con:
        assert con.execute("PRAGMA user_version").fetchone() == (9999,)


def test_a_file_that_is_no_catalog_is_left_alone(deployment: Deployment):
    deployment.home.mkdir()
    (deployment.home / "playhead.db").write_bytes(b"my own notes " * 1000)
    words = ("cannot open", "playhead.db", "not a database", "another PLAYHEAD_HOME")
    refused(deployment, UNREACHABLE, "home_unwritable", words, *SOME)
    assert (deployment.home / "playhead.db").read_bytes() == b"my own notes " * 1000


def test_an_unusable_port_or_host_is_reported_with_advice(deployment: Deployment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = (f"127.0.0.1:{port}", "in use", "--port", "0 selects a free port")
        refused(deployment, FAILED, "port_in_use", words, f"serve --port {port}")
    refused(deployment, FAILED, "port_in_use", ("192.0.2.1",), "serve --host 192.0.2.1 --port 0 --insecure")
    assert not deployment.home.exists(), "nothing was begun"
    refused(deployment, USAGE, "setup_invalid", ("--insecure",), "serve --host 0.0.0.0 --port 0")


def test_two_servers_of_one_home_both_take_replays_and_show_the_same(deployment: Deployment):
    urls = []
    for _ in range(2):
        deployment.serve()
        urls.append(deployment.url)
    deployment.apply(DOCS)
    source = deployment.run("docs", {f"{n:03}.txt": b"page %d" % n for n in range(150)})
    workers = [deployment.worker(), deployment.worker()]
    deployment.ended(source)

    def replay(n: int) -> str:
        here = Deployment(deployment.folder, deployment.environment, url=urls[n % 2])
        answer = here.replay(source, "input", ("shout", "theirs")[n // 2 % 2])
        assert (answer["objects_published"], answer["status"]) == (150, "publishing_complete")
        return str(answer["execution_id"])

    with ThreadPoolExecutor(8) as pool:
        replays = list(pool.map(replay, range(8)))
    for execution in replays:
        deployment.ended(execution)
    for n, execution in enumerate(replays):
        findings = Ledger(deployment, execution, source=source).audit(route=("shout", "theirs")[n // 2 % 2])
        assert findings.exact, str(findings)
    for path in ("/executions", "/replays"):
        seen = []
        for url in urls:
            deployment.url = url
            seen.append(list(deployment.items(path)))
        assert seen[0] == seen[1]
        assert {item["execution_id"] for item in seen[0]} >= set(replays)
    assert [worker.stop() for worker in workers] == [0, 0]
