"""What all pages have in common."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from playhead.errors import catalog_unavailable
from playhead.web.app import PAGES
from playhead.web.render import POLICY, STATIC, duration, size
from tests.ui.site import Site


async def test_a_page_has_the_policy_a_twin_and_links_to_its_assets(site: Site):
    execution = await site.run({"a.txt": b"one two"})

    answer = await site.http.get("/")

    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["referrer-policy"] == "same-origin"
    assert execution in answer.text
    twin = await site.twin("/")
    assert twin["view"]["executions"][0]["execution_id"] == execution
    assert twin["api"][0]["path"].startswith("/api/v1/")
    for asset in re.findall(r'(?:src|href)="(/assets/[^"]+)"', answer.text):
        found = await site.http.get(asset)
        assert found.status_code == 200
        assert "immutable" in found.headers["cache-control"]


async def test_an_unknown_page_is_a_page_and_an_unknown_url_of_the_api_is_json(site: Site):
    assert "there is no page /nothing" in await site.page("/nothing", 404)
    assert (await site.http.get("/nothing.json")).json()["error_code"] == "not_found"
    assert (await site.http.get("/api/v1/nothing")).json()["error_code"] == "not_found"


async def test_a_page_that_cannot_be_read_names_the_backend(site: Site):
    site.catalog_outage.error = catalog_unavailable("the catalog does not answer")

    assert "the catalog does not answer" in await site.page("/configs", 503)
    assert "Keys" in await site.page("/help")


async def test_a_bug_shows_no_traceback(site: Site):
    site.catalog_outage.error = ZeroDivisionError("secret")  # type: ignore[assignment]

    page = await site.page("/", 500)

    assert "secret" not in page
    assert "Traceback" not in page


async def test_live_numbers_are_also_json(site: Site):
    execution = await site.run({"a.txt": b"one two"})

    assert (await site.cells("/"))[f"done.{execution}"] == "2"


@pytest.mark.parametrize("page", [page for page in PAGES if "{" not in page.path], ids=lambda page: page.path)
async def test_no_page_has_an_inline_style_or_script(site: Site, page):
    answer = await site.http.get(page.path)

    if answer.status_code == 200:
        assert " style=" not in answer.text
        assert not re.search(r"<script(?![^>]* src=)", answer.text)
        assert not re.search(r"\son[a-z]+=", answer.text)


def test_htmx_is_the_release_that_the_docs_name():
    """htmx.org 4.0.1 of the npm registry, `dist/htmx.min.js`."""
    found = sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest()

    assert found == "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (9_800_000, "9.8 MB"), (168_000_000, "168 MB"), (1_000_000, "1.0 MB")],
)
def test_sizes(value, text):
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.041, "41 ms"), (2.1, "2.1 s"), (372, "6 m 12 s"), (11_100, "3 h 05 m"), (None, "–")],
)
def test_durations(value, text):
    assert duration(value) == text


@pytest.mark.parametrize(
    "address",
    [
        "/executions?since=x",
        "/executions?until=9999-12-31T23:59:59-14:00",
        "/executions.json?since=2026-01-01",
        "/configs/words?version=0000000000000000001999999999999999999999",
        "/dead-letters?resent=99999999999999999999999999999999",
    ],
)
async def test_a_bad_parameter_is_a_bad_request(site: Site, address: str):
    assert (await site.http.get(address)).status_code == 400


async def test_a_form_that_cannot_be_read_is_a_bad_request(site: Site):
    many = await site.send("/dead-letters/resend", **{f"n{n}": "x" for n in range(2001)})
    assert (many.status_code, "Too many fields" in many.text) == (400, True)
    time = await site.send("/dead-letters/resend", group="0" * 12, failed_before="2026-01-01")
    assert (time.status_code, "failed_before" in time.text) == (400, True)
