"""The timeline of an execution: routes as rows, time as columns."""

from __future__ import annotations

import asyncio
import html
import re

from playhead.services.activity import ActivityService
from tests.ui.site import Site


async def test_each_route_has_a_row_with_its_columns_and_numbers(site: Site):
    run = await site.run({"a.md": b"one two", "b.md": b"bad", "c.md": b"three"})

    page = await site.page(f"/executions/{run}?tab=timeline")
    tab = (await site.twin(f"/executions/{run}?tab=timeline"))["view"]["content"]

    rows = {row["route"]: row for row in tab["rows"]}
    counts = {one["route"]: one["counts"] for one in (await site.get(f"executions/{run}/dag"))["routes"]}
    assert list(rows) == ["upper", "split"], "in the order of the pipeline; no worker ends external messages"
    for name, row in rows.items():
        total = counts[name]["completed"] + counts[name]["failed"]
        assert (row["messages"], row["failed"]) == (total, counts[name]["failed"])
        assert max(one["failed"] + one["done"] for one in row["columns"]) == tab["height"]
        assert all(0 <= one["x"] < tab["width"] for one in row["columns"])
    assert tab["every"] == 1
    drawn = [(one["done"], one["failed"]) for row in tab["rows"] for one in row["columns"]]
    assert len(re.findall(r'<rect class="x"', page)) == sum(failed > 0 for _, failed in drawn)
    assert len(re.findall(r'<rect class="a"', page)) == sum(done > 0 for done, _ in drawn)


async def test_an_execution_whose_messages_no_worker_has_ended_says_so(site: Site):
    answer = await site.http.post("/api/v1/configs/words/run", files=[("files", ("a.md", b"one"))])
    run = answer.json()["execution_id"]

    assert "No worker has ended a message." in await site.page(f"/executions/{run}?tab=timeline")


async def test_the_tab_does_not_wait_for_the_messages_and_gets_them_later(site: Site):
    run = await site.run({"a.md": b"one two"})
    gate = site.slow("timeline", lambda catalog: {"activity": ActivityService(catalog)})
    path = f"/executions/{run}?tab=timeline"

    page = await site.page(path)
    assert "The timeline appears here." in page
    [live] = re.findall(r'data-live-url="([^"]+)"', page)
    drawn = (await site.http.get(html.unescape(live))).json()["shape"]
    gate.set()
    async with asyncio.timeout(30):
        while (await site.http.get(html.unescape(live))).json()["shape"] == drawn:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    page = await site.page(path)
    assert "Most a second" in page
    assert "data-live-url" not in page
