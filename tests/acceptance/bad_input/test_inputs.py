"""Folders that a run can't read, and one that is large. What else can be wrong: `test_commands`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from playhead.services.submit import MAX_UPLOAD_FILES
from tests.acceptance.bad_input.ground import census, give_up_power
from tests.acceptance.processes import Deployment, open_deployment
from tests.counted import counts

pytestmark = pytest.mark.slow

USAGE = 2
CONFIG = """
version: "1.0"
name: docs
entry: theirs
routes:
  theirs:
    external: true
"""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with open_deployment() as made:
        (made.folder / "docs.yaml").write_text(CONFIG)
        (made.folder / "pages").mkdir()
        made.cli("config", "apply", "docs.yaml")
        yield made


@pytest.fixture
def powerless(deployment: Deployment) -> Deployment:
    """The deployment of an unprivileged user: the current one, or another if that is root."""
    give_up_power(deployment)
    if os.geteuid() == 0:
        for path in (deployment.home, *deployment.home.rglob("*")):
            os.chown(path, 65534, 65534)
    return deployment


@pytest.mark.parametrize("harm", ["a file", "a folder in it", "the folder", "the folder above"])
def test_what_can_not_be_read_is_named_and_nothing_is_left(powerless: Deployment, harm: str):
    deployment = powerless
    place = {
        "a file": "pages/b.txt",
        "a folder in it": "pages/sub",
        "the folder": "pages",
        "the folder above": "above",
    }[harm]
    (deployment.folder / "pages/sub").mkdir()
    (deployment.folder / "above/pages").mkdir(parents=True)
    for name in ("pages/a.txt", "pages/b.txt", "pages/sub/c.txt", "above/pages/a.txt"):
        (deployment.folder / name).write_text("x")
    (deployment.folder / place).chmod(0)
    before = census(deployment.home)
    body = deployment.cli("run", "docs", "above/pages" if place == "above" else "pages", code=USAGE)
    assert body["error_code"] == "usage"
    for word in ("cannot read", place, "Permission denied"):
        assert word in body["detail"]
    (deployment.folder / place).chmod(0o755)
    assert census(deployment.home) == before


@pytest.mark.parametrize("many", [12_000, pytest.param(100_000, marks=pytest.mark.full)])
def test_a_command_runs_many_files_and_a_server_reports_how_many_it_accepts(many: int):
    shared = Path("/dev/shm")
    with (
        open_deployment() as deployment,
        tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as pages,
    ):
        (deployment.folder / "docs.yaml").write_text(CONFIG)
        for n in range(many):
            os.close(os.open(f"{pages}/{n:06}.txt", os.O_WRONLY | os.O_CREAT))
        deployment.serve()
        deployment.apply(CONFIG)
        before = census(deployment.home)
        body = deployment.cli("run", "docs", pages, "--server", deployment.url, code=USAGE)
        for word in (f"{many:,} inputs", f"at most {MAX_UPLOAD_FILES:,}", "several runs", "--tag"):
            assert word in body["detail"]
        assert census(deployment.home) == before

        run = deployment.cli("run", "docs", pages)
        assert run["counts"] == counts(completed=many)
        assert run["status"] == "completed"
        [stage] = deployment.get(f"/executions/{run['execution_id']}/stages")["items"]
        assert (stage["stage"], stage["objects"]) == ("input", many)
