"""The pages of queues, configs and the system."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest

from playhead.envelope import Dispatch, Headers
from playhead.errors import broker_unavailable, catalog_unavailable, store_unavailable
from playhead.ids import uuid7
from playhead.model import RouteStatus, RouteWait
from playhead.web import queues
from playhead.web.queues import row_of
from tests.api.server import WORDS
from tests.ui.site import Site


def a_route(**changed) -> RouteStatus:
    given = {"queue_depth": 0, "in_flight": 0, "dead": 0, "workers": 1, "adapters": ["upper"], **changed}
    return RouteStatus(config="words", route="upper", queue="q", stage=None, to=[], **given)


def test_the_state_of_a_queue_says_why_nothing_happens():
    assert row_of(a_route()).state == "idle"
    assert row_of(a_route(queue_depth=1, in_flight=2)).state == "busy"
    assert row_of(a_route(workers=0)).state == "unattended"
    assert row_of(a_route(adapters=[])).state == "external"
    no_worker = row_of(a_route(queue_depth=12, workers=0))
    assert no_worker.state == "no_worker"
    assert no_worker.sentence.startswith("12 messages wait, and no worker consumes the queue.")
    retrying = row_of(a_route(retrying=2, retry_seconds=59.7))
    assert retrying.state == "retrying"
    assert retrying.sentence == "2 messages wait for the next attempt. The first is due in 60 s."
    waiting = row_of(a_route(queue_depth=12, wait=RouteWait(60.2, "quota used up.", "api")))
    assert (waiting.state, waiting.sentence) == ("waiting", "It waits for another 61 s: quota used up.")
    paused = row_of(a_route(queue_depth=12, wait=RouteWait(None, "repair", "words/upper", is_paused=True)))
    assert (paused.state, paused.sentence) == ("paused", "It is paused: repair")


async def test_queues_are_listed_with_their_numbers(site: Site):
    await wait_in(site, "words.upper", 3)

    page = await site.page("/queues")

    assert "words/<wbr>upper" in page
    assert 'href="/queues/words.upper"' in page
    assert "3 messages wait, and no worker consumes the queue" in page
    view = (await site.twin("/queues"))["view"]
    assert [row["route"]["queue_depth"] for row in view["queues"]] == [3, 0, 0]
    assert (await site.cells("/queues"))["waiting.words.upper"] == "3"


async def test_a_queue_shows_its_first_messages_and_consumes_none(site: Site):
    execution = await wait_in(site, "words.upper", 2)

    page = await site.page("/queues/words.upper")

    assert page.count(f'href="/objects?key={execution}%2Finput%2F') == 2
    assert f'href="/executions/{execution}"' in page
    assert (await site.cells("/queues/words.upper"))["waiting.words.upper"] == "2"
    twin = await site.twin("/queues/words.upper")
    assert len(twin["view"]["messages"]) == 2
    assert twin["api"][0]["path"] == "/api/v1/queues/words.upper/messages?limit=20"


async def test_a_queue_shows_the_old_code_of_its_workers(site: Site):
    await site.consume("words.upper", source=site.changed_file())

    page = await site.page("/queues/words.upper")

    assert re.search(r"upper 1?\S*</span> <span class=\"tag hot\">old code<", page)
    [consumer] = (await site.twin("/queues/words.upper"))["view"]["consumers"]
    assert consumer["outdated"]
    assert [one["type"] for one in consumer["adapters"]] == ["upper"]

    assert (await site.page("/queues")).count("old code") == 1
    assert (await site.twin("/queues"))["view"]["outdated"] == {"words.upper": 1}


async def test_a_route_is_paused_and_resumed_on_the_page_of_its_queue(site: Site):
    await wait_in(site, "words.upper", 2)
    path = "/queues/words.upper"

    answer = await site.send(f"{path}/pause", reason="the provider is down", duration="2h")

    assert (answer.status_code, answer.headers["location"]) == (303, path)
    page = await site.page(path)
    assert re.search(r"It is paused for another 7,\d\d\d s: the provider is down", page)
    assert "words/upper waits, 2 messages in words.upper" in await site.page("/")
    await site.broker.receive("words.upper", 1)
    assert "words/upper waits, 2 messages in words.upper" in await site.page("/"), "a worker tried one"
    await site.send(f"{path}/resume")
    assert "the provider is down" not in await site.page(path)


async def test_a_paused_route_without_messages_has_no_number(site: Site):
    await site.apply()
    await site.send("/queues/words.upper/pause", reason="the provider is down", duration="2h")
    assert re.search(r"words/upper waits\s*</span>", await site.page("/"))


async def test_a_pause_that_is_refused_says_why(site: Site):
    for form, why in (
        ({"reason": "why", "duration": "soon"}, "&#39;soon&#39; is not a duration: write for example 90s"),
        ({"reason": "why", "duration": "999999999w"}, "seconds"),
        ({"reason": "", "duration": ""}, "reason"),
    ):
        answer = await site.send("/queues/words.upper/pause", **form)
        assert answer.status_code == 400
        assert why in answer.text


async def test_a_queue_of_no_config_is_shown_while_it_holds_messages(site: Site):
    assert "no active config has a queue" in await site.page("/queues/old.queue", 404)

    await site.broker.publish(
        [Dispatch(Headers("old.queue", uuid4(), "old", 1, "a"), str(uuid4()), 1, None, "k")]
    )

    assert "No active config has this queue" in await site.page("/queues/old.queue")


async def test_queues_without_a_broker_name_it_and_still_show_the_workers(site: Site):
    await site.consume("words.upper")
    site.broker_outage.error = broker_unavailable("no route to host")

    assert "no route to host" in await site.page("/queues")
    page = await site.page("/queues/words.upper")

    assert "no route to host" in page
    assert "upper" in page
    assert (await site.twin("/queues"))["view"]["queues"]["error_code"] == "broker_unavailable"


async def test_configs_are_listed(site: Site):
    await site.apply(WORDS.replace("name: words", "name: other").replace("queue: elsewhere", "queue: there"))

    page = await site.page("/configs")

    assert page.index('href="/configs/other"') < page.index('href="/configs/words"')
    assert [one["name"] for one in (await site.twin("/configs"))["view"]["configs"]] == ["other", "words"]


async def test_the_system_page_names_what_is_unavailable(site: Site):
    await site.consume("words.upper")
    assert "all backends answer" in await site.page("/system")

    site.store_outage.error = store_unavailable("the disk is gone")
    site.broker_outage.error = broker_unavailable("no route to host")
    page = await site.page("/system")
    assert re.search(r"<br>[\d.,]+ MB", page)
    assert "the disk is gone" in page
    assert "no route to host" in page
    assert "words.upper" in page

    site.catalog_outage.error = catalog_unavailable("the catalog does not answer")
    assert (await site.twin("/system"))["view"]["health"]["catalog"]["status"] == "down"
    assert "the catalog does not answer" in await site.page("/system")


async def test_an_examination_is_made_only_on_request(site: Site):
    assert (await site.twin("/system"))["view"]["examination"] is None

    examined = await site.send("/system")

    assert (examined.status_code, "Examination" in examined.text) == (200, True)
    assert "curl -s -X POST http://" in examined.text
    assert "Examination" not in await site.page("/system?examine=yes")


async def wait_in(site: Site, queue: str, count: int) -> str:
    """Put messages into a queue, which no worker consumes; return their execution."""
    execution = uuid7()
    config, _, route = queue.partition(".")
    headers = Headers(queue, execution, config, 1, route)
    await site.broker.publish(
        [Dispatch(headers, str(uuid7()), 1, None, f"{execution}/input/{n}.txt") for n in range(count)]
    )
    return str(execution)


async def test_a_queue_whose_messages_are_not_processed_comes_first(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(queues, "ROWS", 1)
    assert (await site.twin("/queues"))["view"]["queues"][0]["route"]["queue"] == "words.upper"
    await wait_in(site, "words.split", 3)

    first = await site.twin("/queues")
    second = await site.twin(first["view"]["next_url"])

    names = [[row["route"]["queue"] for row in page["view"]["queues"]] for page in (first, second)]
    assert names == [["words.split", "words.upper"], []]


async def test_a_worker_with_current_code_is_not_marked_after_another_has_started(site: Site):
    await site.consume("words.upper", "words.split", worker="worker-1")
    await site.consume("words.upper", worker="worker-2", source=site.changed_file())

    for path in ("/queues/words.upper", "/system"):
        rows = [
            row for row in (await site.page(path)).split("<tr>") if "worker 1" in row or "worker 2" in row
        ]
        assert [('class="tag hot"' in row) for row in rows] == [False, True], path
        assert "old code" in rows[1]

    assert "a process that misses five heartbeats is not listed" in await site.page("/system")
    assert ">1 with old code<" in await site.page("/queues")
    [need] = (await site.twin("/"))["view"]["needs"]
    assert need["title"] == "1 worker runs old code of steps.py"
    assert "; routes: words/upper. Restart it to load the new code." in need["detail"]
    assert 'href="/system#processes">Open the processes<' in await site.page("/")
