"""The pictures of `make screenshots`."""

from __future__ import annotations

from pathlib import Path

from tests.browser.chromium import Visitor
from tests.browser.demo import Demo
from tests.browser.examples import URLS
from tests.browser.screenshots import DOCS, PHONE, write


def test_a_page_is_written_as_a_picture(demo: Demo, visitor: Visitor, tmp_path: Path):
    write(visitor, demo, ["home"], "light", tmp_path)

    assert (tmp_path / "home-light.png").read_bytes().startswith(b"\x89PNG")


def test_the_pictures_of_the_documentation_are_of_pages():
    assert {*DOCS, *PHONE} <= set(URLS)
