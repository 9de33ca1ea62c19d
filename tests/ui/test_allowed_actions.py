"""Buttons, forms and links that the caller may not use are not drawn."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html import unescape
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from playhead.model.access import SCOPES, KeyRequest, Scope
from playhead.services.identity import IdentityService
from playhead.web.allowed import needs_of
from playhead.web.app import ACTIONS, PAGES, RAW
from tests.ui.site import Site, joined, text_of
from tests.ui.test_dataset_pages import DATASET, published

_LINK = re.compile(r'<a [^>]*?href="([^"]+)"')
_FORM = re.compile(r'<form [^>]*?method="post" action="([^"]+)"')
_GET_FORM = re.compile(r'<form (?![^>]*method="post")[^>]*?action="([^"]+)"')
_NOT_PAGES = ("/assets/", "/api/", "/docs", "/metrics", "/objects/raw")


@dataclass
class Crawl:
    """What the pages of a caller lead to.

    Attributes:
        refused: links and forms that the server would refuse, each with its page.
        forms: URLs to which forms are sent.
        lacking: what pages name as missing.
    """

    refused: list[str] = field(default_factory=list)
    forms: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    pages: int = 0


async def crawl(http: httpx.AsyncClient, scopes: frozenset[str], alike_pages: int = 1) -> Crawl:
    """Open all pages that can be reached from the first one, of each kind some."""
    needs, found = needs_of(PAGES, ACTIONS, RAW), Crawl()
    waiting = ["/", "/system", "/replays", "/affected?adapter=upper@1"]
    seen: set[str] = set()
    alike: Counter[str] = Counter()
    while waiting:
        url = waiting.pop(0)
        parts = urlsplit(url)
        kind = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|=[^&]*", "*", parts.path + "?" + parts.query)
        if url in seen or alike[kind] >= alike_pages or parts.netloc or parts.path.startswith(_NOT_PAGES):
            continue
        seen.add(url)
        alike[kind] += 1
        answer = await http.get(url)
        if answer.status_code == 403:
            found.refused.append(url)
        waiting += [answer.headers["location"]] if answer.is_redirect else []
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        found.pages += 1
        page = joined(answer.text)
        for action in map(unescape, _FORM.findall(page)):
            path = urlsplit(action).path
            need = needs("POST", path)
            assert need, action
            found.forms.add(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "{id}", path))
            if need not in ("any", "public", *scopes):
                found.refused.append(f"{url}: POST {action}")
        found.lacking |= set(re.findall(r'<span class="tag lacks">.*?</svg>(.*?)</span>', page))
        for href in map(unescape, [*_LINK.findall(page), *_GET_FORM.findall(page)]):
            waiting.append(urljoin(url, href).partition("#")[0])
    return found


@pytest.fixture
async def site(site: Site) -> Site:
    """A deployment with all that has buttons."""
    await site.apply(DATASET)
    first = await site.run({"a": b"x y", "bad": b"bad"})
    second = await site.run({"a": b"x z", "bad 2": b"bad 2", "bad 3": b"bad 3"})
    await published(site, first, acknowledge="yes", allow_failed="yes", reason="r")
    await published(site, second, acknowledge="yes", allow_failed="yes", reason="r")
    await site.replay(first, "shouted", "split")
    await site.work()
    await site.consume("words.upper", "words.split")
    return site


async def headers(site: Site, *scopes: Scope, configs: list[str] | None = None) -> dict[str, str]:
    made = await site.services.access.create(KeyRequest("ada", list(scopes), configs))
    await site.services.identity.beat()
    return {"Authorization": f"Bearer {made.key}"}


async def test_a_viewer_gets_no_form_and_no_link_that_is_refused(site: Site):
    site.http.headers.update(await headers(site, "read"))

    found = await crawl(site.http, frozenset({"read", "metrics"}), 2)

    assert found.refused == []
    assert found.forms == set()
    assert found.pages > 40
    assert {
        f"needs the scope {scope}" for scope in ("run", "replay", "operate", "apply", "prune")
    } <= found.lacking


async def test_an_administrator_finds_the_forms(site: Site):
    site.http.headers.update(await headers(site, *SCOPES))

    found = await crawl(site.http, frozenset(SCOPES))

    assert found.refused == []
    assert found.lacking == set()
    assert {
        "/access",
        "/apply",
        "/causes/{id}/acknowledge",
        "/dead-letters/resend/plan",
        "/dead-letters/{id}/resend",
        "/executions/{id}/pin",
        "/prune",
        "/queues/words.upper/pause",
        "/replay",
        "/run",
        "/system",
    } <= {re.sub(r"/[0-9a-f]{12}/", "/{id}/", one) for one in found.forms}


async def test_a_key_of_other_configs_gets_no_button_for_this_one(site: Site):
    site.http.headers.update(await headers(site, *SCOPES, configs=["other"]))

    found = await crawl(site.http, frozenset(SCOPES))

    assert "ada may only change other" in found.lacking
    assert not {one for one in found.forms if "/queues/" in one or "/datasets/" in one or "/pin" in one}
    page = await site.page("/queues/words.upper")
    assert "ada may only change other" in text_of(page)
    assert "Pause…" not in page


async def test_a_server_that_allows_no_change_draws_no_button_and_names_no_scope(site: Site):
    made = await headers(site, *SCOPES)
    identity = IdentityService(site.catalog, beat_seconds=60, read_only=True)
    object.__setattr__(site.services, "identity", identity)
    site.http.headers.update(made)

    found = await crawl(site.http, frozenset({"read", "metrics"}))

    assert (found.refused, found.forms, found.lacking) == ([], set(), set())
    assert "read-only" in text_of(await site.page("/"))
    assert "this server allows no change" in await site.page("/run", 403)


async def test_a_missing_scope_is_named_once_on_a_page(site: Site):
    site.http.headers.update(await headers(site, "read"))
    [replay] = await site.items("replays")
    page = await site.page(f"/replays/{replay['replay_batch_id']}")
    assert page.count("needs the scope replay") == 1


def test_every_form_that_changes_something_can_be_found():
    needs = needs_of(PAGES, ACTIONS, RAW)
    for action in ACTIONS:
        path = re.sub(r"\{[^}]+\}", "x", action.path)
        assert needs("POST", path) == action.scope, path


OUT = """
version: "1.0"
name: out
entry: copy
routes:
  copy: {adapters: [{type: upper}], outbound: {stage: copied, to: [send]}}
  send: {inbound: {queue: out.send}, external: true}
"""


@pytest.mark.parametrize(("scopes", "is_offered"), [(("replay",), False), (("replay", "effects"), True)])
async def test_external_effects_are_offered_with_their_scope_alone(
    site: Site, scopes: tuple[Scope, ...], is_offered: bool
):
    await site.apply(OUT)
    source = await site.run({"a.md": b"a"}, config="out")
    site.http.headers.update(await headers(site, *scopes))

    url = f"/replay?from_execution_id={source}&from_stage=input&to_route=out/copy"
    page = joined((await site.http.get(url, follow_redirects=True)).text)

    [run] = re.findall(r'<label([^>]*)><input type="radio" name="effects.send" value="run"([^>]*)>', page)
    assert ("needs the scope effects" in run[0], "disabled" in run[1]) == (not is_offered, not is_offered)


async def test_a_key_of_other_configs_cannot_count_a_replay_into_this_one(site: Site):
    source = await site.run({"a.md": b"a"})
    site.http.headers.update(await headers(site, "replay", configs=["other"]))
    page = await site.page(f"/replay?from_execution_id={source}&from_stage=shouted&to_route=split", 403)
    assert "ada may only change other; this request is about config words" in page
    assert 'id="replay-button" disabled' in page
