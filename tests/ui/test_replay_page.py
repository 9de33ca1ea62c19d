"""The page that counts and starts a replay."""

from __future__ import annotations

import html
import re
from typing import Any
from uuid import UUID

import httpx
import pytest

from playhead.errors import broker_unavailable, store_unavailable
from playhead.ids import uuid7
from playhead.model import LoadedAdapter, LoadedCode, PublishRequest
from playhead.ports.catalog.upkeep import Process
from tests.api.server import WORDS
from tests.ui.site import HOST, Site, joined

TWO = {"a.txt": b"one two", "b.txt": b"three"}


def field(page: str, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return found[1]


BOX_CHECKED = 'name="require_code" value="1" checked'


async def counted(site: Site, source: str, stage: str = "shouted", route: str = "split", **more: str) -> str:
    """Return the path of the page with the plan."""
    query = httpx.QueryParams(
        {"from_execution_id": source, "from_stage": stage, "to_route": route, "count": "1", **more}
    )
    answer = await site.http.get(f"/replay?{query}")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def press(site: Site, path: str, **changed: str) -> httpx.Response:
    """Press "Replay" on the page with a plan."""
    page = await site.page(path)
    fields = dict(httpx.URL(path).params) | {
        name: field(page, name) for name in ("from_execution_id", "plan_id", "key")
    }
    return await site.send("/replay", **(fields | changed))


async def plans(site: Site) -> list[dict[str, Any]]:
    return await site.items("replay/plans")


async def test_the_button_holds_the_number_of_objects(site: Site):
    source = await site.run(TWO)

    path = await counted(site, source)
    page = await site.page(path)

    assert re.search(r'<button[^>]* id="replay-button">.*Replay 2 objects</button>', page)
    assert source in page
    assert "a.md" in page
    twin = await site.twin(path)
    assert twin["view"]["plan"]["objects"] == 2
    assert twin["view"]["can_replay"] is True
    assert [call["path"] for call in twin["api"][:2]] == ["/api/v1/replay/plan", "/api/v1/replay"]


async def test_reading_a_page_makes_no_second_plan(site: Site):
    source = await site.run(TWO)
    path = await counted(site, source)

    await site.page(path)
    await site.twin(path)
    assert await site.cells(path) == {"objects": "2"}

    assert len(await plans(site)) == 1


async def test_a_link_without_a_route_counts_if_one_route_follows_the_stage(site: Site):
    source = await site.run(TWO)

    answer = await site.http.get(f"/replay?from_execution_id={source}&from_stage=shouted")

    assert "to_route=split" in answer.headers["location"]
    again = await site.http.get(f"/replay?from_execution_id={source}&from_stage=shouted")
    assert again.headers["location"] == answer.headers["location"]


async def test_a_page_without_a_stage_makes_no_plan(site: Site):
    source = await site.run(TWO)

    page = await site.page("/replay?from_execution_id=latest")

    assert source in page
    assert "shouted: 2 objects" in page
    assert "disabled" in re.search(r'<button[^>]* id="replay-button"[^>]*>', page)[0]  # type: ignore[index]
    assert await plans(site) == []
    assert "Recent executions" in await site.page("/replay")


async def test_replay_starts_a_replay_and_shows_its_progress(site: Site):
    source = await site.run(TWO)
    path = await counted(site, source)

    limits = {"canary": "2", "max_failed": "1", "canary_seed": "3", "pause_if": "0.5", "of_last": "2"}
    answer = await press(
        site, path, reason="new split", pace="rate", pace_value="1000", priority="bulk", **limits
    )

    assert answer.status_code == 303, answer.text
    [batch] = await site.items("replays")
    assert answer.headers["location"] == f"/replays/{batch['replay_batch_id']}"
    await site.replay_when(batch["replay_batch_id"], lambda shown: shown["objects_found"] == 2)
    assert (batch["reason"], batch["pace"]) == ("new split", {"rate": 1000.0})
    assert batch["canary"] == {"objects": 2, "max_failed": 1, "seed": 3}
    assert batch["pause_if"] == {"failed": 0.5, "of_last": 2}
    assert batch["priority"] == "bulk"


async def test_a_second_press_starts_no_second_replay(site: Site):
    source = await site.run(TWO)
    path = await counted(site, source)
    key = str(uuid7())

    first = await press(site, path, key=key)
    second = await press(site, path, key=key)

    assert first.headers["location"] == second.headers["location"]
    assert len(await site.items("replays")) == 1
    assert "A replay was started from this plan" in await site.page(path)


async def test_a_form_that_has_changed_since_is_not_replayed(site: Site):
    source = await site.run(TWO)
    path = await counted(site, source)

    answer = await press(site, path, from_path="a.txt")

    assert answer.status_code == 400
    assert "plan_mismatch" in joined(answer.text)
    assert 'value="a.txt"' in joined(answer.text)  # the form is kept
    assert await site.items("replays") == []


async def test_without_a_plan_nothing_is_replayed(site: Site):
    source = await site.run(TWO)

    answer = await site.send("/replay", from_execution_id=source, from_stage="shouted", to_route="split")

    assert answer.status_code == 409
    assert "count the objects first" in joined(answer.text)


async def test_an_object_that_is_gone_is_named(site: Site):
    source = await site.run(TWO)
    path = await counted(site, source)
    await site.store.delete([f"{source}/shouted/a.md"])

    answer = await press(site, path)

    assert answer.status_code == 409
    assert "plan_changed" in joined(answer.text)
    assert f"{source}/shouted/a.md"[37:] in joined(answer.text)
    assert "gone" in joined(answer.text)
    assert 'id="replay-button" disabled' in joined(answer.text)


async def test_filters_are_kept_and_select(site: Site):
    source = await site.run(TWO)

    path = await counted(site, source, include="*.md\nc.*", exclude="b.*", modified_after="-7d", limit="5")
    page = await site.page(path)

    assert "Replay 1 object<" in page
    assert ">*.md\nc.*</textarea>" in page
    assert re.search(r'name="modified_after"[^>]*value="20\d\d-', page), "the time that the plan has fixed"
    assert "1 not selected" in page
    assert (await press(site, path)).status_code == 303


async def test_a_selection_without_a_match_is_a_message_and_keeps_the_form(site: Site):
    source = await site.run(TWO)

    page = await site.page(
        f"/replay?from_execution_id={source}&from_stage=shouted&to_route=split&include=z*", 400
    )

    assert "selection_empty" in page
    assert ">z*</textarea>" in page
    missing = f"/replay?from_execution_id={source}&from_stage=shouted&to_route=split&from_path=zzz"
    assert "no_objects" in await site.page(missing, 404)
    assert "is not a time" in await site.page(
        f"/replay?from_execution_id={source}&from_stage=shouted&to_route=split&modified_after=soon", 400
    )


async def test_the_difference_of_the_configs_is_shown(site: Site):
    source = await site.run(TWO)
    await site.apply(WORDS.replace("adapters: [{type: split}]", "adapters: [{type: split}, {type: upper}]"))

    page = await site.page(await counted(site, source))

    assert '<tr class="add">' in page
    assert "1 line added, 1 removed since words version 1" in page
    assert "words version 2 will run" in page


async def test_external_routes_offer_run_skip_and_refuse(site: Site):
    await site.apply(WORDS.replace("stage: split/words}", "stage: split/words, to: [aside]}"))
    source = await site.run(TWO)

    path = await counted(site, source)
    page = await site.page(path)
    for policy in ("run", "skip", "refuse"):
        assert f'name="effects.aside" value="{policy}"' in page
    refused = await site.page(await counted(site, source, **{"effects.aside": "refuse"}))
    skipped = await counted(site, source, **{"effects.aside": "skip"})

    assert "The replay would be refused" in refused
    assert 'id="replay-button" disabled' in refused
    assert (await press(site, skipped)).status_code == 303
    [batch] = await site.items("replays")
    assert batch["effects"] == {"aside": "skip"}


async def test_workers_with_different_code_are_named_and_none_of_them_is_called_old(site: Site):
    source = await site.run(TWO)
    for name, version in (("old", "1"), ("new", "2")):
        adapter = LoadedAdapter("split", version, f"sha256:{name}", "/x/steps.py")
        await site.catalog.heartbeat(
            Process(f"worker-{name}", "worker", f"{name}-host", 1),
            ["words.split"],
            loaded=LoadedCode("1.2.3", (adapter,)),
        )

    path = await counted(site, source)
    page = await site.page(path)

    assert "<b>Workers have loaded different code of adapter split</b>" in page
    assert "worker 1 on old-host, worker 1 on new-host; adapters: split." in page
    assert "old code" not in page
    [warning] = (await site.twin(path))["view"]["warnings"]
    assert "its version is still" in warning
    assert "The code of adapter split has changed, but its version is still" in page


async def test_workers_with_the_same_old_code_are_one_warning(site: Site):
    source = await site.run(TWO)
    for worker in ("worker-1", "worker-2"):
        await site.consume("words.upper", "words.split", worker=worker, source=site.changed_file())

    page = await site.page(await counted(site, source, "input", "upper"))

    assert "<b>2 workers run old code of steps.py</b>" in page
    assert f"<small>worker 1 on {HOST}, worker 2 on {HOST}; adapters: split, upper. Restart them" in page
    assert "has changed since it was loaded" not in page


async def test_numbers_of_the_form_say_what_they_count(site: Site):
    source = await site.run({**TWO, "c.txt": b"bad"})
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split", "pace": {"rate": 0.01}}
    answer = await site.http.post("/api/v1/replay", json=body, headers={"Prefer": "respond-async"})
    batch = answer.json()["replay_batch_id"]
    found = await site.replay_when(batch, lambda shown: shown["objects_found"] == 2)
    await site.services.control.pause(UUID(batch))

    failed = await site.page(await counted(site, source, "input", "upper", only="failed"))
    one = await site.page(await counted(site, source, include="a.*"))
    repeated = await site.page(await counted(site, source))

    assert "<small>2 succeeded</small>" in failed
    # The numbers are those of the object, not of the source. The object that failed led to nothing yet.
    assert re.findall(r'<span class="soft">([\w ]*)</span>', one) == ["1 message"]
    assert re.findall(r'<span class="soft">([\w ]*)</span>', failed) == ["1 message", ""]
    published = found["objects_published"]
    assert published < 2
    assert f">{published} of 2 objects</a> of this stage" in repeated


async def test_the_id_of_a_plan_leads_to_its_form(site: Site):
    source = await site.run(TWO)
    path = await counted(site, source, include="a.*", limit="3")
    plan_id = httpx.URL(path).params["plan_id"]

    page = await site.http.get(f"/replay?plan_id={plan_id}", follow_redirects=True)

    assert "Replay 1 object<" in page.text
    assert ">a.*</textarea>" in page.text


async def test_a_store_that_is_unavailable_is_named_and_the_form_is_kept(site: Site):
    source = await site.run(TWO)
    site.store_outage.error = store_unavailable("the disk does not answer")

    page = await site.page(
        f"/replay?from_execution_id={source}&from_stage=shouted&to_route=split&from_path=a.md", 503
    )

    assert "the disk does not answer" in page
    assert 'value="a.md"' in page


async def outdate(site: Site) -> None:
    """Send the heartbeat of a worker with another version of the code."""
    adapter = LoadedAdapter("split", "1", "sha256:old", "/x/steps.py")
    await site.catalog.heartbeat(
        Process("worker-old", "worker", "here", 1),
        ["words.split"],
        loaded=LoadedCode("1.2.3", (adapter,), ("split",)),
    )


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_replay_is_refused_while_a_worker_has_old_code_unless_the_form_allows_it(
    site: Site, when: str
):
    source = await site.run(TWO)
    if when == "before":
        await outdate(site)
    path = await counted(site, source)
    assert (BOX_CHECKED in await site.page(path)) == (when == "before")
    await outdate(site)  # after the page was loaded

    answer = await press(site, path, reason="careful", **({"require_code": "1"} if when == "before" else {}))

    assert answer.status_code == 409
    assert "code_differs" in joined(answer.text)
    assert BOX_CHECKED in joined(answer.text)
    assert 'value="careful"' in joined(answer.text)
    assert 'id="replay-button" data-waits-for-code disabled>' in joined(answer.text)
    # The browser shows the URL of the request, which leads back to the plan.
    [action] = re.findall(r'id="replay-form" [^>]*action="([^"]*)"', answer.text)
    assert "Replay 2 objects" in await site.page(html.unescape(action))
    assert await site.items("replays") == []
    allowed = await site.page(f"{path}&require_code=0")
    assert BOX_CHECKED not in allowed
    assert 'id="replay-button" data-waits-for-code>' in allowed
    assert (await press(site, path, require_code="0")).status_code == 303


@pytest.mark.parametrize(
    "changed",
    [
        {"modified_after": "-1h"},
        {"modified_after": ""},
        {"in_replay": str(uuid7())},
        {"limit": "4"},
        {"effects.split": "skip"},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_a_form_that_differs_from_its_plan_replays_nothing(site: Site, changed: dict[str, str]):
    source = await site.run(TWO)
    path = await counted(site, source, modified_after="-7d", limit="5")

    answer = await press(site, path, **changed)

    assert answer.status_code == 400, answer.text
    assert "nothing was replayed" in joined(answer.text)
    assert await site.items("replays") == []


async def test_numbers_may_be_written_with_separators(site: Site):
    source = await site.run(TWO)

    path = await counted(site, source, limit="1,000", config_version="01")

    assert "Replay 2 objects" in await site.page(path)
    assert (await press(site, path)).status_code == 303


async def test_a_link_of_another_site_makes_no_plan(site: Site):
    source = await site.run(TWO)
    path = f"/replay?from_execution_id={source}&from_stage=shouted&to_route=split&count=1"

    for address in (path, path.replace("/replay?", "/replay.json?")):
        answer = await site.http.get(address, headers={"Sec-Fetch-Site": "cross-site"})

        assert answer.status_code == 200
    assert await site.items("replay/plans") == []


PUBLISH = 'name="publish" value="1"'


async def test_the_result_is_published_if_the_form_asks_for_it(site: Site):
    await site.apply(WORDS + "datasets: {docs: {}}\n")
    source = await site.run(TWO)
    await site.services.publish.publish("docs", PublishRequest([UUID(source)]))

    path = await counted(site, source, publish="1")
    page, twin = await site.page(path), await site.twin(path)
    answer = await press(site, path, publish="1")
    batch = answer.headers["location"]
    waiting = await site.page(batch)
    await site.work()
    await site.services.publish.finish_automatic()

    assert f"{PUBLISH} checked" in page
    assert "Publish the result in docs <" in page
    assert "--publish" in twin["view"]["command"]
    assert twin["api"][1]["body"]["publish"] is True
    assert ">in docs, when all messages have ended</a>" in waiting
    assert ">as 2 of docs</a>" in await site.page(batch)
    assert (await site.get("datasets/docs"))["current"] == 2


async def test_the_box_for_earlier_results_is_a_field_of_the_replay(site: Site):
    source = await site.run(TWO)

    path = await counted(site, source, reuse="1")
    page, twin = await site.page(path), await site.twin(path)
    await press(site, path, reuse="1")
    await site.work()

    assert 'name="reuse" value="1" checked' in page
    assert "--reuse" in twin["view"]["command"]
    assert twin["api"][1]["body"]["reuse"] is True
    [replay] = [one for one in await site.items("executions") if one["kind"] == "replay"]
    assert replay["counts"]["taken_over"] == replay["counts"]["total"]


async def test_without_the_box_nothing_is_published(site: Site):
    await site.apply(WORDS + "datasets: {docs: {}}\n")
    source = await site.run(TWO)

    path = await counted(site, source)
    page = await site.page(path)
    assert (await press(site, path)).status_code == 303

    assert PUBLISH in page
    assert f"{PUBLISH} checked" not in page
    [batch] = await site.items("replays")
    assert batch["publications"] == []


async def test_the_box_is_shown_only_if_the_route_reaches_a_dataset(site: Site):
    source = await site.run(TWO)
    assert PUBLISH not in await site.page(await counted(site, source))

    await site.apply(WORDS + "datasets: {first: {routes: [upper]}}\n")
    path = await counted(site, source, publish="1")
    assert PUBLISH not in await site.page(path)
    assert "--publish" not in (await site.twin(path))["view"]["command"]

    await site.apply(WORDS + "datasets: {first: {routes: [upper]}, second: {routes: [split]}}\n")
    assert "Publish the result in second <" in await site.page(await counted(site, source))
    both = await site.page(await counted(site, source, stage="input", route="upper"))
    assert "Publish the result in first, second <" in both


FORKED = """
version: "1.0"
name: forked
entry: read
error_handling: {max_attempts: 1}
routes:
  read:
    adapters: [{type: split}]
    outbound: {stage: texts, to: [quiet, upper]}
  quiet:
    adapters: [{type: split}]
    outbound: {stage: quiet}
  upper:
    adapters: [{type: upper}]
    outbound: {stage: shouted}
"""


@pytest.mark.parametrize(("text", "route"), [(b"bad", "upper"), (b"good", "quiet")], ids=["failed", "whole"])
async def test_a_stage_that_feeds_several_routes_is_counted_for_the_one_that_failed(
    site: Site, text: bytes, route: str
):
    await site.apply(FORKED)
    source = await site.run({"a.txt": text}, config="forked")

    answer = await site.http.get(f"/replay?from_execution_id={source}&from_stage=texts")

    assert answer.status_code == 303, answer.text
    page = await site.page(answer.headers["location"])
    assert f'<option value="{route}" selected>' in page
    assert "Replay 1 object" in page
    assert f"In a run, the stage also feeds {'quiet' if route == 'upper' else 'upper'}." in page


async def test_the_button_is_disabled_while_a_backend_is_unavailable(site: Site):
    path = await counted(site, await site.run(TWO))
    assert 'id="replay-button">' in await site.page(path)

    site.broker_outage.error = broker_unavailable("no route to host")

    page = await site.page(path)
    assert 'id="replay-button" disabled>' in page
    assert "is unavailable, so the replay would be refused" in page
    assert "no route to host" in page
