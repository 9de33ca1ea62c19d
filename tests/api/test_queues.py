"""Queues over HTTP: messages are peeked at, and received by a client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from playhead.errors import broker_unavailable

if TYPE_CHECKING:
    from tests.api.server import Playhead

QUEUE = "queues/elsewhere"


@pytest.fixture
async def wanted(playhead: Playhead) -> list[dict[str, str]]:
    """Return the payloads in the queue `elsewhere`."""
    execution = await playhead.run({"a.md": b"x", "b.md": b"y"})
    await playhead.replay(execution, "shouted", "aside")
    return [{"object_key": f"{execution}/shouted/{name}.md"} for name in ("a", "b")]


def payloads(page: Any) -> list[Any]:
    return [message["payload"] for message in page["items"]]


async def test_peeked_messages_stay_in_the_queue(playhead: Playhead, wanted: list[dict[str, str]]):
    for _ in range(2):
        page = await playhead.get(f"{QUEUE}/messages")
        assert payloads(page) == wanted
        assert page["items"][0]["headers"]["route"] == "aside"
    assert payloads(await playhead.get(f"{QUEUE}/messages", limit=1)) == wanted[:1]
    assert await playhead.get("queues/never.was/messages") == {"items": [], "next_cursor": None}


async def test_received_messages_are_hidden_until_they_are_acknowledged(
    playhead: Playhead, wanted: list[dict[str, str]]
):
    first = await playhead.post(f"{QUEUE}/take", {})
    assert payloads(first) == wanted[:1]
    rest = await playhead.post(f"{QUEUE}/take", {"limit": 10})
    assert payloads(rest) == wanted[1:]
    assert await playhead.post(f"{QUEUE}/take", {"limit": 10}) == {"items": [], "receipt": None}
    assert sum(await playhead.broker.depth("elsewhere")) == 2
    for taken in (first, rest):
        assert await playhead.post(f"{QUEUE}/remove", {"receipt": taken["receipt"]}) == {"removed": 1}
    assert sum(await playhead.broker.depth("elsewhere")) == 0


async def test_a_receipt_is_valid_once_and_only_on_its_server(
    playhead: Playhead, wanted: list[dict[str, str]]
):
    taken = await playhead.post(f"{QUEUE}/take", {"limit": 2})
    await playhead.post(f"{QUEUE}/remove", {"receipt": taken["receipt"]})
    for receipt in (taken["receipt"], "of-another"):
        answer = await playhead.post(f"{QUEUE}/remove", {"receipt": receipt}, 404)
        assert answer["error_code"] == "receipt_not_found"


async def test_a_receipt_can_be_retried_after_the_broker_was_unavailable(
    playhead: Playhead, wanted: list[dict[str, str]]
):
    taken = await playhead.post(f"{QUEUE}/take", {"limit": 2})
    playhead.broker_outage.error = broker_unavailable("gone")
    await playhead.post(f"{QUEUE}/remove", {"receipt": taken["receipt"]}, 503)
    playhead.broker_outage.error = None
    assert await playhead.post(f"{QUEUE}/remove", {"receipt": taken["receipt"]}) == {"removed": 2}


# -- pauses ----------------------------------------------------------------------------------------


async def test_a_pause_is_shown_until_the_route_is_resumed(playhead: Playhead):
    reason = {"reason": "the provider is down"}

    async def wait() -> Any:
        return next(one["wait"] for one in await playhead.items("routes") if one["route"] == "split")

    answer = await playhead.http.post("/api/v1/routes/words/split/pause", json=reason)

    shown = {"seconds": None, "key": "words/split", "is_paused": True} | reason
    assert (answer.status_code, answer.json()["wait"]) == (200, shown)
    assert await wait() == shown
    answer = await playhead.http.post("/api/v1/routes/words/split/resume")
    assert (answer.status_code, answer.json()["wait"], await wait()) == (200, None, None)


async def test_only_routes_of_active_configs_that_playhead_consumes_are_paused(playhead: Playhead):
    body = {"reason": "why", "seconds": 60}

    async def refused(route: str, **changed: object) -> tuple[int, str]:
        answer = await playhead.http.post(f"/api/v1/routes/{route}/pause", json=body | changed)
        return answer.status_code, answer.json().get("error_code", "")

    assert await refused("words/aside") == (409, "route_external")
    assert await refused("words/nowhere") == (404, "route_not_found")
    assert await refused("none/split") == (404, "config_not_found")
    assert (await refused("words/split", seconds=0))[0] == 422
    assert (await refused("words/split", reason=""))[0] == 422
