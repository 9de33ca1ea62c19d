"""Folders that a run can't read, and one that is large. What else can be wrong: `test_commands`."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.bad_input.ground import census, give_up_power
from tests.acceptance.processes import Site, open_site

pytestmark = pytest.mark.slow

USAGE = 2
MANY = 100_000
CONFIG = """
version: "1.0"
name: docs
entry: theirs
routes:
  theirs:
    external: true
"""


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as made:
        (made.folder / "docs.yaml").write_text(CONFIG)
        (made.folder / "pages").mkdir()
        made.cli("config", "apply", "docs.yaml")
        yield made


@pytest.fixture
def powerless(site: Site) -> Site:
    """The site of a user who is not above permissions: oneself, or nobody when one is root."""
    give_up_power(site)
    if os.geteuid() == 0:
        for path in (site.home, *site.home.rglob("*")):
            os.chown(path, 65534, 65534)
    return site


@pytest.mark.parametrize("harm", ["a file", "a folder in it", "the folder", "the folder above"])
def test_what_can_not_be_read_is_named_and_nothing_is_left(powerless: Site, harm: str):
    site = powerless
    place = {
        "a file": "pages/b.txt",
        "a folder in it": "pages/sub",
        "the folder": "pages",
        "the folder above": "above",
    }[harm]
    (site.folder / "pages/sub").mkdir()
    (site.folder / "above/pages").mkdir(parents=True)
    for name in ("pages/a.txt", "pages/b.txt", "pages/sub/c.txt", "above/pages/a.txt"):
        (site.folder / name).write_text("x")
    (site.folder / place).chmod(0)
    before = census(site.home)
    body = site.cli("run", "docs", "above/pages" if place == "above" else "pages", code=USAGE)
    assert body["error_code"] == "usage"
    for word in ("can't read", place, "Permission denied"):
        assert word in body["detail"]
    (site.folder / place).chmod(0o755)
    assert census(site.home) == before


def test_a_hundred_thousand_files_are_run_and_a_server_says_how_many_it_takes():
    shared = Path("/dev/shm")
    with open_site() as site, tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as pages:
        (site.folder / "docs.yaml").write_text(CONFIG)
        for n in range(MANY):
            os.close(os.open(f"{pages}/{n:06}.txt", os.O_WRONLY | os.O_CREAT))
        site.serve()
        site.apply(CONFIG)
        before = census(site.home)
        body = site.cli("run", "docs", pages, "--server", site.url, code=USAGE)
        for word in ("100,000 input files", "at most 10,000", "several runs", "--tag"):
            assert word in body["detail"]
        assert census(site.home) == before

        began = time.monotonic()
        run = site.cli("run", "docs", pages)
        assert run["counts"] == {
            "pending": 0,
            "completed": MANY,
            "failed": 0,
            "cancelled": 0,
            "total": MANY,
        }
        assert run["status"] == "completed"
        [stage] = site.get(f"/executions/{run['execution_id']}/stages")["items"]
        assert (stage["stage"], stage["objects"]) == ("input", MANY)
        print(f"{MANY} files in {time.monotonic() - began:.0f} s")
