"""`playhead demo` as a new user starts it, and what it prints."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import resources
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from playhead.demo.processes import Child, DemoFailed, Playground, playground
from playhead.demo.tour import Tour
from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.test_security_secrets import NOWHERE, PLAIN, find_no_secret
from tests.waiting import eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-docs"


def demo(folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "playhead", "demo", "--dir", str(folder), "--json"],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that still run on the demo's home."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return [line for line in lines if f"--home {folder}/home" in line]


@pytest.mark.slow
def test_the_demo_converts_no_page_twice_and_leaves_no_process_and_no_secret(tmp_path):
    others = {"PLAYHEAD_STORE": "file:///nowhere", "PLAYHEAD_HOME": "/nowhere"}
    secrets = {
        "PLAYHEAD_CATALOG": f"postgresql://u:{PLAIN}@{NOWHERE}/db",
        "AWS_SECRET_ACCESS_KEY": PLAIN,
    }
    running = demo(tmp_path / "demo", **others, **secrets)
    out, err = running.communicate(timeout=240)
    assert running.returncode == 0, err

    figures = json.loads(out)
    assert sorted(figures) == sorted(
        [
            *("execution_id", "pages", "segments_before", "segments_after", "converted_again", "replay"),
            *("publications", "seconds"),
        ]
    )
    assert figures["pages"] >= 150
    assert figures["converted_again"] == 0
    assert figures["segments_after"] > figures["segments_before"] > figures["pages"]
    assert figures["replay"]["from_execution_id"] == figures["execution_id"]
    assert figures["replay"]["status"] == "publishing_complete"
    assert figures["replay"]["objects_found"] == figures["replay"]["objects_published"] == figures["pages"]

    assert figures["publications"] == [1, 2]

    assert "POST /api/v1/replay" in err
    assert f"{figures['execution_id']}/input/" in err, "lineage reaches the HTML page"
    assert left_behind(tmp_path / "demo") == []
    find_no_secret("playhead demo", out + err)
    for path in (tmp_path / "demo").rglob("*"):
        if path.is_file():
            find_no_secret(str(path), path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_stopping_the_demo_stops_its_server_and_its_worker(tmp_path, number):
    running = demo(tmp_path / "demo")
    eventually(lambda: len(left_behind(tmp_path / "demo")) >= 2)
    running.send_signal(number)
    out, err = running.communicate(timeout=2 * DEADLINE_SECONDS)
    assert running.returncode == 130, err
    assert json.loads(out)["error_code"] == "interrupted"
    assert left_behind(tmp_path / "demo") == []


def test_the_next_commands_of_a_demo_on_other_backends_read_the_same_catalog(tmp_path):
    """After a demo on PostgreSQL, they read the home, which had no execution."""
    text = io.StringIO()
    environment = {"PLAYHEAD_CATALOG": "postgresql://user:secret@db/one", "PATH": "/bin"}
    at = Playground("http://127.0.0.1:1", tmp_path / "home", [], environment)

    Tour(tmp_path, at, Console(file=text, soft_wrap=True)).next_steps("none", {"replay_batch_id": "none"})

    lines = [line.strip() for line in text.getvalue().splitlines()]
    exported, shown = (next(line for line in lines if words in line) for words in ("export ", " show latest"))
    assert exported == "export PLAYHEAD_CATALOG=postgresql://db/one  # with its user and password"
    assert lines.index(exported) < lines.index(shown)
    assert f"--home {tmp_path / 'home'}" in shown


def test_a_dead_process_is_reported_with_its_last_log_lines(tmp_path):
    log = tmp_path / "worker.log"
    with log.open("w") as sink:
        process = subprocess.Popen(["sh", "-c", "echo no such step >&2; kill -9 $$"], stderr=sink)
    process.wait()

    with pytest.raises(DemoFailed, match=r"(?s)worker ended with code -9.*\n  no such step"):
        Child("worker", process, log).check()


class Cut(BaseHTTPRequestHandler):
    """Shows a running execution. The stream of its events is cut after the first one."""

    def do_GET(self) -> None:
        is_stream = self.path.endswith("/events")
        state = json.dumps({"status": "running", "counts": {"total": 1, "pending": 1}, "routes": []})
        body = f"data: {state}\n\n" if is_stream else state
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + is_stream))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("program", "said"), [("false", "server ended with code 1"), ("cat", "run the demo again")]
)
def test_a_server_that_cuts_the_stream_of_events_is_reported(tmp_path, program, said):
    log = tmp_path / "server.log"
    log.touch()
    with (
        HTTPServer(("127.0.0.1", 0), Cut) as server,
        subprocess.Popen([program], stdin=subprocess.PIPE) as process,
    ):
        if program == "false":
            process.wait()
        Thread(target=server.serve_forever, daemon=True).start()
        at = Playground(
            f"http://127.0.0.1:{server.server_port}", tmp_path, [Child("server", process, log)], {}
        )
        with pytest.raises(DemoFailed, match=said):
            Tour(tmp_path, at, Console(file=io.StringIO()))._watch("one")
        server.shutdown()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DemoFailed, match=r"cannot create .*file/logs"), playground(tmp_path / "file"):
        pass


def test_the_example_is_the_config_of_the_demo():
    packaged = resources.files("playhead.demo").joinpath("docs.yaml").read_text(encoding="utf-8")
    assert (EXAMPLE / "docs.yaml").read_text(encoding="utf-8") == packaged
