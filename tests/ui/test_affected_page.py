"""The page of what a version of an adapter, or a worker, has made, and the links to it."""

from __future__ import annotations

import asyncio
import html
import re

import httpx

from playhead.services.affected import AffectedService
from tests.ui.site import HOST, Site, text_of

FILES = {"a.md": b"one two", "b.md": b"bad"}


async def test_each_line_leads_to_its_objects_and_to_their_replay(site: Site):
    run = await site.run(FILES)

    page = await site.page("/affected?adapter=upper@1")
    [row] = (await site.twin("/affected?adapter=upper@1"))["view"]["rows"]

    assert (row["route"]["execution_id"], row["route"]["results"]) == (run, 1)
    assert row["command"] == f"playhead replay {run} input words/upper --made-by upper=1"
    assert html.escape(row["objects_url"]) in page
    messages = (await site.twin(row["objects_url"]))["view"]["content"]["messages"]
    assert [one["input_key"] for one in messages] == [f"{run}/input/a.md"]
    form = await site.http.get(row["replay_url"], follow_redirects=True)
    assert "Replay 1 object<" in form.text


async def test_the_page_does_not_wait_for_the_messages_and_gets_them_later(site: Site):
    run = await site.run(FILES)
    gate = site.slow("made_in", lambda catalog: {"affected": AffectedService(catalog, site.rt.environment)})
    path = "/affected?adapter=upper@1"

    page = await site.page(path)
    assert "0 executions are read so far" in text_of(page)
    assert "data-live-url" in page
    gate.set()
    async with asyncio.timeout(30):
        while "read so far" in (page := await site.page(path)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert run[-8:] in page
    assert "data-live-url" not in page
    assert "; as of <time" in page, "the list may be older than the request"


async def test_without_a_name_or_with_a_wrong_one_the_page_asks_for_it(site: Site):
    assert "Name an adapter with its version" in await site.page("/affected")
    assert "write chunk@2" in await site.page("/affected?adapter=chunk")
    assert "No result of it in executions since -1h" in await site.page("/affected?adapter=chunk@9&since=-1h")


async def test_processes_and_warnings_about_old_code_lead_to_what_they_made(site: Site):
    await site.consume("words.upper", worker="worker-1", source=site.changed_file())

    assert "/affected?worker=worker-1" in await site.page("/system")
    for worker, name in (("worker-1", f"worker 1 on {HOST}"), ("worker-2", "worker-2")):
        page = await site.page(f"/affected?worker={worker}")
        assert f"Affected by {name}What" in text_of(page)
        assert '<a href="/system">System</a>' in page.split("<h1>")[0]
    home = html.unescape(await site.page("/"))
    hrefs = [httpx.URL(one) for one in re.findall(r'href="(/affected[^"]+)"', home)]
    code = site.adapters["split"].code
    assert f"split@{code}" in [dict(one.params).get("adapter") for one in hrefs]
