"""Who changed what, and why, where people look."""

from __future__ import annotations

from tests.ui.site import Site, text_of


async def test_a_form_records_its_reason_and_the_pages_show_it(site: Site):
    source = await site.run({"a.txt": b"one"})
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split", "pace": {"rate": 0.01}}
    answer = await site.http.post("/api/v1/replay", json=body, headers={"Prefer": "respond-async"})
    replay = answer.json()

    await site.send(f"/replays/{replay['replay_batch_id']}/cancel", why="wrong splitter")

    page = await site.page(f"/replays/{replay['replay_batch_id']}")
    text = text_of(page[page.index('id="history"') :])
    assert "replay.cancel" in text
    assert "wrong splitter" in text
    twin = (await site.twin(f"/replays/{replay['replay_batch_id']}"))["view"]
    assert [one["action"] for one in twin["history"]] == ["replay.cancel", "replay.start"]
    assert twin["replay"]["requested_by"]["name"] == "local"
    assert "address" not in twin["history"][0], "everyone who may read sees it"
    of_run = (await site.twin(f"/executions/{source}"))["view"]["history"]
    assert [one["outcome"] for one in of_run] == ["done", "intended"]
    assert "By" in text_of(await site.page("/replays"))
