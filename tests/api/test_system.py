"""Health, routes, and documentation that needs no internet."""

from __future__ import annotations

import re
from os import getpid
from socket import gethostname
from typing import TYPE_CHECKING

import pytest

from playhead.errors import broker_unavailable, catalog_unavailable, store_unavailable

if TYPE_CHECKING:
    from tests.api.server import Playhead


async def test_health_names_the_backends_and_the_processes(playhead: Playhead):
    health = await playhead.get("system/health")
    assert (health["status"], health["version"]) == ("ok", "1.2.3")
    for port in ("store", "broker", "catalog"):
        assert (health[port]["backend"], health[port]["status"]) == ("memory", "ok")
    assert [(w["kind"], w["host"], w["pid"]) for w in health["workers"]] == [
        ("serve", gethostname(), getpid())
    ]


@pytest.mark.parametrize("port", ["store", "broker", "catalog"])
async def test_with_an_unavailable_backend_it_is_alive_but_not_ready(playhead: Playhead, port: str):
    outage = getattr(playhead, f"{port}_outage")
    outage.error = {
        "store": store_unavailable,
        "broker": broker_unavailable,
        "catalog": catalog_unavailable,
    }[port]("it is unavailable")
    health = await playhead.get("system/health")
    ready = await playhead.http.get("/readyz")
    assert (health["status"], health[port]["status"], health[port]["detail"]) == (
        "degraded",
        "down",
        "it is unavailable",
    )
    assert (ready.status_code, ready.json()) == (503, {"status": "degraded"})  # no host, process or path
    assert (await playhead.http.get("/healthz")).json() == {"status": "ok"}
    outage.error = None
    ready = await playhead.http.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})


async def test_no_read_writes_the_test_data_of_an_examination(playhead: Playhead):
    """A page of another site can make a browser send a GET request."""
    assert (await playhead.http.get("/api/v1/system/doctor")).status_code == 405
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert (await playhead.http.post("/api/v1/system/doctor", headers=foreign)).status_code == 403
    assert (await playhead.http.post("/api/v1/system/doctor")).json()["parts"]


async def test_no_response_of_the_api_may_be_cached(playhead: Playhead):
    for path in ("/api/v1/executions", "/readyz", "/metrics", "/openapi.json", "/api/v1/none"):
        assert (await playhead.http.get(path)).headers["cache-control"] == "no-store"


async def test_routes_show_their_queues_in_pages(playhead: Playhead):
    execution = await playhead.run({"a": b"bad", "b": b"x"})
    await playhead.replay(execution, "shouted", "aside")
    await playhead.replay(execution, "shouted", "split")
    routes = await playhead.items("routes", limit=2)
    assert routes[0] == {
        "config": "words",
        "route": "upper",
        "queue": "words.upper",
        "stage": "shouted",
        "adapters": ["upper"],
        "to": ["split"],
        "queue_depth": 0,
        "in_flight": 0,
        "dead": 1,
        "workers": 0,
        "wait": None,
        "on_replay": "run",
        "retrying": 0,
        "retry_seconds": None,
    }
    assert [(r["route"], r["queue_depth"], r["stage"], r["adapters"]) for r in routes[1:]] == [
        ("split", 1, "split/words", ["split"]),
        ("aside", 1, None, []),
    ]


async def test_routes_of_configs_with_similar_names_are_all_listed(playhead: Playhead):
    for name in ("a", "a-b", "a_b", "a0"):
        own = playhead.config_source.replace("name: words", f"name: {name}")
        await playhead.apply(own.replace("elsewhere", f"{name}.aside"))
    names = {(r["config"], r["route"]) for r in await playhead.items("routes", limit=1)}
    assert names == {(c, r) for c in ("words", "a", "a-b", "a_b", "a0") for r in ("upper", "split", "aside")}


async def test_routes_of_a_deactivated_config_are_not_shown(playhead: Playhead):
    await playhead.post("configs/words/deactivate")
    assert await playhead.items("routes") == []


async def test_the_docs_load_nothing_from_other_hosts(playhead: Playhead):
    page = await playhead.http.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+/", page.text)
    for asset in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
        assert (await playhead.http.get(asset)).status_code == 200, asset
    assert (await playhead.http.get("/openapi.json")).json()["info"]["version"] == "1.2.3"


async def test_pages_of_other_sites_get_no_cors_headers(playhead: Playhead):
    """Without CORS headers, a page of another site can neither read an answer nor send JSON."""
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    preflight = await playhead.http.options("/api/v1/replay", headers=asked)
    answer = await playhead.http.get("/api/v1/executions", headers=asked)
    assert preflight.status_code == 405
    assert not [h for h in (*preflight.headers, *answer.headers) if h.startswith("access-control")]
