"""The servers of the tests leave nothing behind, and a missing one is reported.

The tests of the backends kill, stop, pause and restart them, and cut their connections.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import program
from tests.servers import SERVERS, DidNotStart, Missing, absent, need, need_fresh, required
from tests.servers.process import alive, free_port, greeting

LASTING = ["postgres", "nats", "s3", "rabbitmq"]


@pytest.mark.slow
@pytest.mark.parametrize("name", LASTING)
def test_no_process_and_no_file_survives_the_tests_even_after_sigkill(name):
    try:
        with SERVERS[name]() as own:
            own.prepare()
    except Missing as exc:
        absent(exc)
    script = f"""
import os, sys, time
from tests.servers import begin_run, fresh
os.environ.pop("PLAYHEAD_TEST_RUN", None)
begin_run()
own = fresh({name!r})
own.pause()
print(own.folder, os.environ["PLAYHEAD_TEST_RUN"], *own.processes(), flush=True)
time.sleep(600)
"""
    tests = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert tests.stdout is not None
    folder, run, *pids = tests.stdout.readline().split()
    assert Path(folder).exists()
    assert Path(run).exists()
    tests.send_signal(signal.SIGKILL)
    tests.wait()
    tests.stdout.close()
    deadline = time.monotonic() + 60.0
    while (left := _left(pids, folder, run)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def test_processes_share_a_server_that_outlives_the_one_that_started_it(tmp_path):
    need("nats")
    os.mkfifo(tmp_path / "alive")
    run = os.open(tmp_path / "alive", os.O_RDWR)
    script = f"""
from pathlib import Path
from tests.servers import shared
print(shared("nats", Path({str(tmp_path)!r})))
"""
    urls = [
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for _ in range(2)
    ]
    assert urls[0] == urls[1]
    assert _listens(urls[0])
    os.close(run)
    while _listens(urls[0]):
        time.sleep(0.01)


def _listens(url: str) -> bool:
    try:
        return bool(greeting(urlsplit(url).port or 0))
    except OSError:
        return False


def _left(pids: list[str], *folders: str) -> list[str]:
    return [pid for pid in pids if alive(int(pid))] + [one for one in folders if Path(one).exists()]


def test_a_server_that_does_not_start_reports_why():
    need("nats")
    with pytest.raises(DidNotStart, match="no-such-file"):
        need_fresh("nats", "-c", "/no-such-file")


def test_concurrent_processes_get_distinct_free_ports():
    script = "from tests.servers.process import free_port; print([free_port() for _ in range(200)])"
    mine = {free_port() for _ in range(200)}
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    theirs = json.loads(told.stdout)
    assert len(mine) == len(set(theirs)) == 200
    assert mine.isdisjoint(theirs)


# -- missing servers -------------------------------------------------------------------------------


def run(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run two tests that need a missing server."""
    (folder / "test_it.py").write_text(
        "from tests.servers import Missing, absent\n"
        "def test_a(): absent(Missing('nats', 'not found', 'get one'))\n"
        "def test_b(): absent(Missing('nats', 'not found', 'get one'))\n"
    )
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.conftest",
            "-c",
            os.devnull,
            "--rootdir",
            folder,
            folder,
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={k: v for k, v in os.environ.items() if k != "PLAYHEAD_TEST_REQUIRE"}
        | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        | env,
    )


def test_tests_without_their_server_are_skipped_and_the_server_is_listed_once(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 skipped" in done.stdout
    assert done.stdout.count("nats: not found; get one (tests skipped: 2)") == 1


def test_tests_without_a_required_server_fail(tmp_path):
    done = run(tmp_path, PLAYHEAD_TEST_REQUIRE="postgres, nats")
    assert done.returncode == 1
    assert "2 failed" in done.stdout
    assert "nats: not found; get one" in done.stdout


def test_an_unknown_required_server_is_an_error(monkeypatch):
    monkeypatch.setenv("PLAYHEAD_TEST_REQUIRE", "postgres,natz")
    with pytest.raises(pytest.UsageError, match="natz"):
        required()


def test_a_command_whose_sender_was_killed_harms_no_other_command(tmp_path: Path):
    for sent in (b"", (1000).to_bytes(8, "big") + b"{"):
        with socket.socket(socket.AF_UNIX) as channel:
            channel.connect(str(program._address()))
            channel.sendall(sent)
    assert program.run(["--version"], cwd=tmp_path, env=os.environ).returncode == 0
