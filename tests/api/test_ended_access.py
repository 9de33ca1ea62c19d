"""Event streams end when their caller may not read them any more. Other responses finish."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from playhead.api import lasting
from playhead.api.errors import STATUS
from playhead.cookies import LOOPBACK_COOKIE
from playhead.credentials import hash_of
from playhead.errors import broker_unavailable, catalog_unavailable
from playhead.ids import uuid7
from playhead.model.access import SCOPES, Caller, KeyRequest, Scope, whole
from playhead.ports.catalog.access import SessionRecord
from playhead.web.app import create_pages
from tests.api.server import new_app
from tests.api.test_watching import begun
from tests.asgi import client

if TYPE_CHECKING:
    from tests.api.server import Playhead

STREAM = {"Accept": "text/event-stream"}
Headers = dict[str, str]


@pytest.fixture
async def http(playhead: Playhead):
    pages = create_pages(playhead.services, version="1", status=STATUS)
    async with client(new_app(playhead.services, pages=pages.app)) as opened:
        yield opened


async def key(playhead: Playhead, *scopes: Scope, seconds: float | None = None) -> Headers:
    made = await playhead.services.access.create(KeyRequest("k", list(scopes or SCOPES), seconds=seconds))
    await playhead.services.identity.beat()
    return {"Authorization": f"Bearer {made.key}"}


def session(token: str) -> Headers:
    return {"Cookie": f"{LOOPBACK_COOKIE.name}={token}"}


async def oidc(playhead: Playhead, token: str, *scopes: Scope) -> None:
    record = SessionRecord(hash_of(token), "s", None, "ada", "Ada", scopes, None, 3600, None, None)
    await playhead.catalog.create_session(record, replaces=None)


async def ended(
    http: httpx.AsyncClient,
    playhead: Playhead,
    path: str,
    headers: Headers,
    happens: Callable[[], Awaitable[object]],
) -> str:
    """Return what a stream has sent until it ended because of what happens."""
    reading = asyncio.create_task(http.get(path, headers=headers | STREAM))
    while not playhead.services.watch._watched:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert not reading.done()
    await happens()
    await playhead.services.identity.beat()
    async with asyncio.timeout(2):
        return (await reading).text


@pytest.fixture
async def execution(playhead: Playhead) -> str:
    return await begun(playhead)


@pytest.mark.parametrize("path", ["/api/v1/executions/{}/events", "/executions/{}.live"])
async def test_a_revoked_key_ends_the_streams_of_the_api_and_of_pages(
    playhead: Playhead, http: httpx.AsyncClient, execution: str, path: str
):
    headers, path = await key(playhead), path.format(execution)
    body = await ended(http, playhead, path, headers, lambda: playhead.services.access.revoke("k"))
    assert "event: " in body
    assert "event: end" not in body
    again = await http.get(path, headers=headers | STREAM)
    assert (again.status_code, again.json()["error_code"]) == (401, "key_invalid")


async def test_a_logout_ends_the_streams_of_its_session_alone(
    playhead: Playhead, http: httpx.AsyncClient, execution: str
):
    await key(playhead)
    [stored] = await playhead.services.access.keys()
    caller = Caller("key", stored.id, "k", whole(SCOPES))
    access, path = playhead.services.access, f"/api/v1/executions/{execution}/events"
    one = await access.log_in(caller, old=None, address=None, browser=None)
    other = await access.log_in(caller, old=None, address=None, browser=None)
    reading = asyncio.create_task(http.get(path, headers=session(other)))

    await ended(http, playhead, path, session(one), lambda: access.log_out(one))

    await asyncio.sleep(2 * lasting.CHECK_SECONDS)
    assert not reading.done()
    reading.cancel()


async def test_smaller_scopes_end_a_stream(playhead: Playhead, http: httpx.AsyncClient, execution: str):
    await key(playhead)
    await oidc(playhead, "token", "read", "operate")

    async def shrink() -> None:
        await playhead.services.access.log_out("token")
        await oidc(playhead, "token", "read")

    await ended(http, playhead, f"/executions/{execution}.live", session("token"), shrink)


async def test_an_expired_key_ends_a_stream(playhead: Playhead, http: httpx.AsyncClient, execution: str):
    await key(playhead)
    made = await playhead.services.access.create(KeyRequest("short", ["read"], seconds=1))
    headers = {"Authorization": f"Bearer {made.key}"}
    async with asyncio.timeout(4):
        body = (await http.get(f"/api/v1/executions/{execution}/events", headers=headers)).text
    assert "event: end" not in body


async def test_a_server_that_needs_a_key_from_now_on_ends_the_streams_without_one(
    playhead: Playhead, http: httpx.AsyncClient, execution: str
):
    path = f"/executions/{execution}.live"
    await ended(http, playhead, path, {}, lambda: playhead.services.access.create(KeyRequest("k", ["read"])))
    assert (await http.get(path, headers=STREAM)).status_code == 401


async def test_a_stream_is_no_use_of_its_session(playhead: Playhead, http: httpx.AsyncClient, execution: str):
    await key(playhead)
    await oidc(playhead, "token", "read")
    identity = playhead.services.identity
    path = f"/executions/{execution}.live"

    async def end() -> None:
        identity._noted.clear()
        identity._seen.clear()
        await asyncio.sleep(2 * lasting.CHECK_SECONDS)
        assert not identity._seen
        await playhead.services.access.log_out("token")

    await ended(http, playhead, path, session("token"), end)


async def test_an_unavailable_catalog_ends_no_stream(
    playhead: Playhead, http: httpx.AsyncClient, execution: str
):
    headers = await key(playhead)

    async def restart() -> None:
        await playhead.looked()
        playhead.catalog_outage.error = catalog_unavailable("gone")
        playhead.services.identity._kept.clear()
        await asyncio.sleep(2 * lasting.CHECK_SECONDS)
        playhead.catalog_outage.error = None
        assert len(playhead.services.watch._watched) == 1
        await playhead.services.access.revoke("k")

    path = f"/api/v1/executions/{execution}/events"
    assert "catalog_unavailable: gone" in await ended(http, playhead, path, headers, restart)


async def test_a_waiting_replay_outlives_its_key(playhead: Playhead, http: httpx.AsyncClient):
    source = await playhead.run({"a": b"one two"})
    headers = await key(playhead)
    body = {"from_execution_id": source, "from_stage": "shouted", "to_route": "split"}
    playhead.publish_outage.error = broker_unavailable("not now")
    waiting = asyncio.create_task(http.post("/api/v1/replay", json=body, headers=headers))
    while not (replays := (await http.get("/api/v1/replays", headers=headers)).json()["items"]):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await playhead.services.access.revoke("k")
    await playhead.services.identity.beat()
    assert (await http.get("/api/v1/me", headers=headers)).status_code == 401
    await asyncio.sleep(2 * lasting.CHECK_SECONDS)
    assert not waiting.done()

    playhead.publish_outage.error = None

    answer = await waiting
    assert answer.status_code == 200, answer.text
    assert answer.json()["replay_batch_id"] == replays[0]["replay_batch_id"]


@pytest.mark.parametrize("kind", ["text/markdown", "text/event-stream"])
async def test_a_download_that_has_begun_outlives_its_key(
    playhead: Playhead, http: httpx.AsyncClient, execution: str, kind: str
):
    name = f"{uuid7()}/pages/a"
    await playhead.put(name, b"x" * 1000)
    await playhead.put(f"{name}.meta.json", json.dumps({"content_type": kind}).encode())
    headers, path = await key(playhead), "/api/v1/storage/objects/content"
    has_begun, goes_on = asyncio.Event(), asyncio.Event()

    app = new_app(playhead.services)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        async def send_slowly(message: Any) -> None:
            await send(message)
            has_begun.set()
            await goes_on.wait()

        await app(scope, receive, send_slowly)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(slow), base_url="http://playhead"
    ) as slow_http:
        loading = asyncio.create_task(slow_http.get(path, params={"key": name}, headers=headers))
        await has_begun.wait()
        # A stream that began later is ended, so the download would have been ended before.
        stream = f"/api/v1/executions/{execution}/events"
        await ended(http, playhead, stream, headers, lambda: playhead.services.access.revoke("k"))
        assert (await http.get(path, params={"key": name}, headers=headers)).status_code == 401
        assert not loading.done()

        goes_on.set()

        answer = await loading
    assert (answer.status_code, answer.content) == (200, b"x" * 1000)
    assert answer.headers["Content-Type"] == kind


def test_there_are_no_websockets():
    from fastapi.routing import APIWebSocketRoute

    from playhead.api.app import ROUTERS

    assert not [
        route for router in ROUTERS for route in router.routes if isinstance(route, APIWebSocketRoute)
    ]
