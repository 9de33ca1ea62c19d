"""The page on using the API from Python: its code runs as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import Deployment, open_deployment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/howto/python-client.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NOTEBOOK, PLAIN, GENERATED = [body for language, body in BLOCKS if language == "python"]
(SHELL,) = [body for language, body in BLOCKS if not language]
THERE = "http://127.0.0.1:8080"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with open_deployment() as made:
        made.serve()
        made.worker()
        yield made


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_notebook_reads_the_run_of_the_quickstart(tmp_path: Path):
    folder = tmp_path / "docs"
    shutil.copytree(ROOT / "examples/01-docs", folder, ignore=shutil.ignore_patterns(".playhead"))
    run(folder, sys.executable, "-m", "playhead", "run", "docs.yaml", "pages/")
    lines = run(folder / "pages", sys.executable, "-c", NOTEBOOK).splitlines()
    assert re.fullmatch(r"\S+ completed \d+ messages", lines[0])
    assert re.fullmatch(r"\d+ segments; the first:", lines[1])
    assert re.fullmatch(r"-1 convert took \S+/input/\S+\.html", lines[-3])
    assert re.fullmatch(r"0 segment took \S+/markdown_converted/\S+\.md", lines[-2])
    assert lines[-1] == "3 messages published"


def test_the_whole_flow_in_plain_httpx(deployment: Deployment, tmp_path: Path):
    folder = tmp_path / "docs"
    shutil.copytree(ROOT / "examples/01-docs", folder, ignore=shutil.ignore_patterns(".playhead"))
    said = run(folder, sys.executable, "-c", PLAIN.replace(THERE, deployment.url))
    lines = said.splitlines()
    assert lines[:2] == ["run completed", "replay publishing_complete completed"]
    assert re.fullmatch(r"\d+ segments; the first:", lines[2])
    assert re.fullmatch(r"-1 convert took \S+/input/\S+\.html", lines[-2])
    assert re.fullmatch(r"0 segment took \S+/markdown_converted/\S+\.md", lines[-1])
    assert len(PLAIN.splitlines()) < 60


def test_what_is_wrong_is_said_and_ends_it(deployment: Deployment, tmp_path: Path):
    (tmp_path / "docs.yaml").write_text("nonsense: true\n")
    done = subprocess.run(
        [sys.executable, "-c", PLAIN.replace(THERE, deployment.url)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "config_invalid" in done.stderr
    assert "Traceback" not in done.stderr
