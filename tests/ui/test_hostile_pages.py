"""No page of a hostile object contains its markup, and its bytes have headers that run nothing."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from playhead.ids import uuid7
from playhead.ports.store import Blob
from playhead.web.page import url
from playhead.web.render import POLICY
from tests.ui.hostile import EVIL, OBJECTS, Hostile
from tests.ui.site import Site

VIEWS = ("text", "rendered", "bytes")
FROM_THE_PAGE = {"htmx-config", "viewport", None}
LOADED = ("/assets/", "/objects/raw?")


class Page(HTMLParser):
    """What a page loads, and the attributes of its elements that may run code."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.faults += [f"<{tag} {name}>" for name in values if name.startswith("on") or name == "style"]
        self.faults += [
            f"<{tag}>" for one in ("object", "embed", "base", "style", "video", "audio") if tag == one
        ]
        if tag == "meta" and values.get("name") not in FROM_THE_PAGE:
            self.faults.append("<meta>")
        if tag == "iframe" and "sandbox" not in values and "pdf" not in str(values.get("src")):
            self.faults.append("<iframe>")
        if "srcdoc" in values:
            self.faults.append("srcdoc")
        for name in ("src", "href", "data", "action", "formaction"):
            value = values.get(name)
            if value is not None:
                (self.links if tag in ("a", "form") else self.loaded).append(value)


@pytest.fixture
async def stored(site: Site) -> str:
    """Store all hostile objects as another program would, and return their execution."""
    execution = str(uuid7())
    for one in OBJECTS:
        key = f"{execution}/hostile/{one.path}"
        sidecar = {
            "content_type": one.content_type,
            "attributes": {"<script>": "<b>"},
            "source_key": '"><script>1</script>',
            "route": "<img src=x onerror=1>",
            "sha256": "<svg>",
            "created_at": "<svg>",
            "adapters": [{"type": "<script>", "version": "<b>", "code": {"a": "<i>"}}],
        }
        await site.store.write(
            [[Blob(key + ".meta.json", json.dumps(sidecar).encode()), Blob(key, one.data)]]
        )
    return execution


@pytest.mark.parametrize("group", sorted({one.path.split("/")[0] for one in OBJECTS}))
async def test_pages_of_hostile_objects_contain_none_of_their_markup(site: Site, stored: str, group: str):
    for one in (one for one in OBJECTS if one.path.startswith(f"{group}/")):
        for view in VIEWS:
            answer = await site.http.get(url("/objects", key=f"{stored}/hostile/{one.path}", view=view))
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-security-policy"] == POLICY
            page = Page()
            page.feed(answer.text)
            assert page.faults == [], (one.path, view)
            assert all(found.startswith(LOADED) for found in page.loaded), (one.path, page.loaded)
            assert not [to for to in page.links if not to.startswith(("/", "#", EVIL, "?"))], (
                one.path,
                page.links,
            )


async def test_bytes_of_hostile_objects_have_headers_that_run_nothing(site: Site, stored: str):
    for one in OBJECTS:
        answer = await site.http.get(url("/objects/raw", key=f"{stored}/hostile/{one.path}"))
        is_html = "html" in answer.headers["content-type"]
        connecting = (b"<link", b"<iframe")
        assert answer.content == one.data or (is_html and any(name in one.data for name in connecting))
        assert not is_html or not any(name in answer.content for name in connecting)
        _check(answer.headers, one)


def _check(headers: object, one: Hostile) -> None:
    found = dict(headers)  # type: ignore[call-overload]
    policy = found["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"), (
        one.path
    )
    assert not [part for part in policy.split("; ") if "allow-" in part or "http" in part or "script" in part]
    assert found["content-type"] in (
        *("text/html; charset=utf-8", "text/plain; charset=utf-8", "application/octet-stream"),
        *("application/pdf", "image/svg+xml", "image/png"),
    )
    assert all(value.isascii() and value.isprintable() for value in found.values()), one.path
    assert found["x-content-type-options"] == "nosniff"
    assert found["cross-origin-resource-policy"] == "same-origin"
