"""The input of the demo: pages that every machine has, without information about the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from playhead.demo import pages

SECRET = "s3cret of whoever tries the demo"


def written(folder: Path) -> dict[str, bytes]:
    """All pages, written as the demo does: by another process, with a fixed hash seed."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "playhead.demo.pages", str(folder)],
        env={**os.environ, "PYTHONHASHSEED": "0", "A_PASSWORD": SECRET},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=280,
    )
    return {page.name: page.read_bytes() for page in folder.iterdir()}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return written(tmp_path_factory.mktemp("one"))


def test_there_are_at_least_150_html_pages_each_with_a_title(one: dict[str, bytes]):
    assert len(one) >= 150
    assert all(name.endswith(".html") and b"<title>" in page for name, page in one.items())


@pytest.mark.full
def test_pages_are_the_same_in_every_run(one: dict[str, bytes], tmp_path: Path):
    two = written(tmp_path)
    assert sorted(one) == sorted(two)
    assert [name for name in one if one[name] != two[name]] == []


def test_pages_contain_no_path_of_this_machine(one: dict[str, bytes]):
    library = os.path.dirname(os.__file__).encode()
    assert [name for name, page in one.items() if library in page] == []


def test_pages_contain_no_environment_variables(one: dict[str, bytes]):
    """`os`, `posix` and those that import from them show it as data of the module."""
    assert [name for name, page in one.items() if SECRET.encode() in page or b"A_PASSWORD" in page] == []


@pytest.mark.parametrize("name", ["antigravity", "this", "tkinter", "turtle", "idlelib", "sys", "_thread"])
def test_modules_that_open_windows_or_describe_the_machine_are_omitted(name):
    assert name not in pages.modules()


def test_a_module_that_cannot_be_imported_has_no_page():
    assert pages.page("no_such_module") is None


def test_only_links_to_files_and_addresses_are_removed():
    assert pages.cleaned(
        '<a href="file:/x/csv.py">/x/csv.py</a><br><b>f</b> at 0x7f00 <a href="csv.html">csv</a>'
    ) == ('<b>f</b> <a href="csv.html">csv</a>')
