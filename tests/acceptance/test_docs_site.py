"""The documentation site builds without warnings, and loads nothing from other machines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.acceptance.pages import ROOT, documents
from tests.servers import Missing, absent

pytestmark = pytest.mark.slow


class _Read(HTMLParser):
    """Collects what a page of HTML loads, what it links to, and its anchors."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places.add(given.get("id") or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        else:
            self.fetched += [given[name] or "" for name in ("src", "href", "data", "srcset") if name in given]


def read(page: Path) -> _Read:
    found = _Read()
    found.feed(page.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sphinx = shutil.which("sphinx-build", path=sysconfig.get_path("scripts"))
    if sphinx is None:
        absent(Missing("docs", "sphinx is not installed", "make docs"))
    folder = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        [sphinx, "-q", "-W", "--keep-going", "-c", "docs", "-d", folder / "doctrees", ".", folder / "html"],
        cwd=ROOT,
        # No process listens on this proxy, so a build step that uses the network fails.
        env={**os.environ, **dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder / "html"


def test_every_document_is_a_page_in_the_table_of_contents(site):
    contents = read(site / "index.html").links
    for document in documents():
        page = document.removesuffix("md") + "html"
        assert (site / page).exists(), document
        assert document == "README.md" or page in contents, document


def test_no_page_loads_anything_from_another_host(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    elsewhere = {
        (page.name, url)
        for page in pages
        for url in read(page).fetched
        if urlsplit(url).netloc or url.startswith("//")
    }
    assert elsewhere == set()
    for sheet in (*site.rglob("*.css"), *site.rglob("*.js")):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//|\bimport\(|fetch\(\s*['\"]https?:", text), (
            sheet
        )


def test_every_link_within_the_site_points_at_an_anchor(site):
    places = {page: read(page) for page in site.rglob("*.html")}
    for page, found in places.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), f"{page.name}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in places[target].places, f"{page.name}: {link}"
