"""The timeline of an execution: routes as rows, time as columns."""

from __future__ import annotations

import re

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
