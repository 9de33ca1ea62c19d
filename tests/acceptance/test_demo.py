"""`playhead demo` as a stranger starts it, and what it claims: a replay runs nothing before its stage."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from rich.console import Console

from playhead.demo.pages import write
from playhead.demo.processes import DemoFailed, Playground, playground
from playhead.demo.tour import Tour
from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.test_security_secrets import NOWHERE, PLAIN, find_no_secret
from tests.servers.schema import schema
from tests.waiting import eventually

PAGES = ["abc", "calendar", "csv", "difflib", "filecmp", "json"]
EXAMPLE = Path(__file__).parents[2] / "examples" / "01-docs"

BROKEN_LIBRARY = '''
"""Stands before the real one on the path of a worker: it can be imported, and converts nothing."""
class ConversionOptions:
    def __init__(self, **options): ...

def convert(html, options=None):
    raise RuntimeError("broken after the first run")
'''


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


@pytest.fixture
def pages(tmp_path: Path) -> list[Path]:
    write(tmp_path / "pages", PAGES)
    return sorted((tmp_path / "pages").iterdir())


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
        ["execution_id", "pages", "segments_before", "segments_after", "converted_again", "replay", "seconds"]
    )
    assert figures["pages"] >= 150
    assert figures["converted_again"] == 0
    assert figures["segments_after"] > figures["segments_before"] > figures["pages"]
    assert figures["replay"]["from_execution_id"] == figures["execution_id"]
    assert figures["replay"]["status"] == "publishing_complete"
    assert figures["replay"]["objects_found"] == figures["replay"]["objects_published"] == figures["pages"]

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


@pytest.fixture
def broken(tmp_path: Path) -> dict[str, str]:
    """An environment in which `html_to_markdown` fails on every page."""
    library = tmp_path / "broken" / "html_to_markdown"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text(BROKEN_LIBRARY, encoding="utf-8")
    return {"PYTHONPATH": str(library.parent)}


def quiet(folder: Path, at: Playground) -> Tour:
    return Tour(folder, at, Console(file=io.StringIO()))


@pytest.mark.slow
def test_a_replay_succeeds_though_the_adapter_before_its_stage_is_broken_now(tmp_path, pages, broken):
    folder = tmp_path / "demo"
    with playground(folder) as at:
        first = quiet(folder, at).first_run(pages)

    with playground(folder, environment=broken) as at:
        tour = quiet(folder, at)
        answer = tour.replay(first)
        again = answer["execution_id"]
        assert answer["objects_published"] == len(pages)
        assert tour.conversions(first, again) == 0
        assert tour.stored(again, "segments") > tour.stored(first, "segments") > 0
        chain = tour.trace(tour.ask(again)["key"])
        assert [link["via"] for link in chain] == ["self", "replay"]
        assert chain[-1]["input_key"] == f"{first}/input/difflib.html"

        # And broken it is: the same page, from its input on, fails.
        request = {"from_execution_id": first, "from_stage": "input", "from_path": "csv.html"}
        failing = tour.api.post("/replay", json={**request, "to_route": "convert"})["execution_id"]

        def states() -> Iterator[str]:
            return (row["status"] for row in tour.api.items(f"/executions/{failing}/lineage"))

        eventually(lambda: list(states()) == ["retry"])
        tour.api.post(f"/executions/{failing}/cancel")


@pytest.mark.slow
async def test_the_next_commands_of_a_demo_on_other_backends_read_the_same_catalog(tmp_path, pages):
    """After a demo on PostgreSQL, they read the home, which had no execution."""
    text = io.StringIO()
    async with schema() as catalog:
        with playground(tmp_path / "demo", environment={"PLAYHEAD_CATALOG": catalog}) as at:
            tour = Tour(tmp_path / "demo", at, Console(file=text, soft_wrap=True))
            execution = tour.first_run(pages)
            tour.next_steps(execution, {"replay_batch_id": "none"})
        commands = text.getvalue().partition("Next ")[2]
        exported = re.search(r"export PLAYHEAD_CATALOG=(\S+)  # with its user and password$", commands, re.M)
        assert exported
        typed = commands.replace(exported[1], shlex.quote(catalog))  # as the comment asks
        _, _, typed = typed.partition("\n")
        shown = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-euc", typed.partition(" show latest")[0] + " show latest --json"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["execution_id"] == execution


@pytest.mark.slow
def test_a_dead_worker_is_reported_with_its_last_log_lines(tmp_path):
    with pytest.raises(DemoFailed, match="worker ended with code -9"), playground(tmp_path / "demo") as at:  # noqa: PT012
        worker = next(child for child in at.children if child.name == "worker")
        worker.process.kill()
        worker.process.wait()
        at.check()
    assert left_behind(tmp_path / "demo") == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DemoFailed, match=r"cannot create .*file/logs"), playground(tmp_path / "file"):
        pass


def test_the_example_is_the_config_of_the_demo():
    packaged = resources.files("playhead.demo").joinpath("docs.yaml").read_text(encoding="utf-8")
    assert (EXAMPLE / "docs.yaml").read_text(encoding="utf-8") == packaged
