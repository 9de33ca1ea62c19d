"""The form that declares the other results valid, and the pages that show and undo it."""

from __future__ import annotations

import html
import re
from uuid import UUID

from playhead.model import PublishRequest
from tests.ui.site import Site
from tests.ui.test_dataset_pages import DATASET, DOCS, FILES
from tests.ui.test_replay_page import counted, press

BOX = 'name="others_valid" value="1"'
REASON = "only <a> was cut wrong"


async def published(site: Site, execution: str) -> str:
    """Publish an execution; return the id of the publication."""
    found = await site.services.publish.publish("docs", PublishRequest([UUID(execution)]))
    return str(found.execution_id)


async def test_the_others_are_declared_valid_with_a_replay_and_undone_on_the_page_of_the_dataset(site: Site):
    await site.apply(DATASET)
    run = await site.run(FILES)
    current = await published(site, run)
    site.load("split", code="sha256:bb")
    assert BOX not in await site.page(await counted(site, run))

    path = await counted(site, current, from_path="a.md", others_valid="1")
    page, twin = await site.page(path), await site.twin(path)
    assert f"{BOX} checked" in page
    assert "1 object is left out, and its results of the route are declared valid" in page
    assert twin["view"]["plan"]["others_valid"] == 1
    assert twin["api"][0]["body"]["others_valid"] is True
    without = await counted(site, current, from_path="a.md")
    assert "declared valid" not in await site.page(without)

    refused = await press(site, path, others_valid="1")
    assert (refused.status_code, "it needs a reason" in refused.text) == (400, True)
    answer = await press(site, path, others_valid="1", reason=REASON)
    assert answer.status_code == 303, answer.text
    await site.work()
    [replay] = [one for one in await site.items("executions") if one["kind"] == "replay"]
    await published(site, replay["execution_id"])

    page = await site.page(DOCS)
    assert "Differs from the newest code" not in page
    assert "Declared valid" in page
    assert html.escape(REASON) in page
    [one] = (await site.twin(DOCS))["view"]["dataset"]["declared_valid"]
    assert (one["route"], one["from_stage"], one["reason"]) == ("split", "shouted", REASON)

    answer = await site.send("/datasets/docs/forget?config=words", route="split")
    assert (answer.status_code, answer.headers["location"]) == (303, DOCS)
    page = await site.page(DOCS)
    assert ("Declared valid" in page, "Differs from the newest code" in page) == (False, True)
    refused = await site.send("/datasets/docs/forget?config=words", route="split")
    assert "no results of the route" in html.unescape(refused.text)


async def test_the_page_of_a_message_says_that_its_result_was_declared_valid(site: Site):
    await site.apply(DATASET)
    current = await published(site, await site.run(FILES))
    site.load("split", code="sha256:bb")
    body = {"from_execution_id": current, "from_stage": "shouted", "to_route": "split", "from_path": "a.md"}
    await site.post("replay", body | {"others_valid": True, "reason": REASON})
    await site.work()
    sent = [("files", (name, text)) for name, text in FILES.items()]
    answer = await site.http.post("/api/v1/configs/words/run", files=sent, data={"changed_since": "previous"})
    run = answer.json()["execution_id"]
    await site.work()

    [row] = [one for one in await site.items(f"executions/{run}/lineage") if one["declared_valid"]]
    page = await site.page(f"/lineage/{row['correlation_id']}")

    assert row["input_key"].endswith("/shouted/b.md")
    note = re.sub(r"<[^>]+>", "", page)
    assert "Its code was not the newest: it was declared valid with a replay on" in note
    assert html.escape(REASON) in page
