"""`/metrics`: what a scraper reads, also while backends are unavailable."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from playhead.api.declared_metrics import METRICS
from playhead.errors import broker_unavailable, catalog_unavailable, store_unavailable
from playhead.model import PublishRequest
from playhead.model.access import DAY_SECONDS, KeyRequest
from playhead.ports.broker import Depth
from playhead.reading.newestcode import NewestCode
from playhead.services.metrics import MOST_ROUTES, MetricsService
from tests.api.server import WORDS
from tests.broker_memory import MemoryBroker
from tests.lab import Wrapper
from tests.waiting import until

if TYPE_CHECKING:
    from tests.api.server import Playhead

AWAY = {"store": store_unavailable, "broker": broker_unavailable, "catalog": catalog_unavailable}


class Scrape:
    """The result of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples with at least these labels; None without such a sample."""
        found = [
            s.value
            for s in self.samples
            if s.name == f"playhead_{name}" and labels.items() <= s.labels.items()
        ]
        return sum(found) if found else None


def metrics_of(playhead: Playhead, *, catalog: Any = None, broker: Any = None) -> MetricsService:
    newest = NewestCode(playhead.catalog, {})
    return MetricsService(catalog or playhead.catalog, broker or playhead.broker, playhead.store, newest)


async def scrape(playhead: Playhead, http: httpx.AsyncClient | None = None) -> Scrape:
    began = time.monotonic()
    answer = await (http or playhead.http).get("/metrics")
    assert time.monotonic() - began < 30  # expected: 1.6 s; a bug would wait forever
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/plain")
    return Scrape(answer.text)


async def test_it_prints_exactly_the_declared_metrics(playhead: Playhead):
    index = "  index:\n    adapters: [{type: keep}]\n"
    words = WORDS.replace("{stage: split/words}", "{stage: split/words, to: [index]}")
    await playhead.apply(f"{words}{index}datasets: {{docs: {{}}}}\n")
    run = await playhead.run({"a": b"x"})
    await playhead.services.publish.publish("docs", PublishRequest([UUID(run)]))
    await playhead.catalog.cool_down("words/upper", 60, "429")
    await playhead.services.access.create(KeyRequest("ci", ["run"], seconds=DAY_SECONDS))
    await playhead.services.access.open()
    families = (await scrape(playhead)).families
    ours = {name: family for name, family in families.items() if name.startswith("playhead_")}
    assert {(name, f.type, f.documentation) for name, f in ours.items()} == {
        (metric.name.removesuffix("_total"), metric.kind, metric.help) for metric in METRICS
    }
    for metric in METRICS:
        labels = {label for s in ours[metric.name.removesuffix("_total")].samples for label in s.labels}
        assert labels - {"le"} == set(metric.labels), metric.name


async def test_what_readers_see_is_measured(playhead: Playhead):
    await playhead.apply(WORDS + "datasets: {docs: {}}\n")
    of = {"config": "words", "dataset": "docs"}
    found = await scrape(playhead)
    assert found.value("dataset_objects", **of) == 0
    assert found.value("dataset_stale", **of) is found.value("dataset_age_seconds", **of) is None

    run = await playhead.run({"a": b"x y"})
    await playhead.services.publish.publish("docs", PublishRequest([UUID(run)]))
    found = await scrape(playhead)
    assert (found.value("dataset_objects", **of), found.value("dataset_stale", **of)) == (4, 0)
    age = found.value("dataset_age_seconds", **of)
    assert age is not None
    assert 0 <= age < 3600
    for step in ("resolving", "staging"):
        assert found.value("publication_seconds_count", step=step) == 1

    playhead.load("split", code="sha256:bb")
    assert (await scrape(playhead)).value("dataset_stale", **of) == 1
    playhead.adapters.pop("split")
    assert (await scrape(playhead)).value("dataset_stale", **of) is None


async def test_openmetrics_is_returned_on_request(playhead: Playhead):
    answer = await playhead.http.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text;")
    assert any(family.name == "playhead_messages_completed" for family in openmetrics(answer.text))


async def test_the_numbers_equal_those_of_the_api(playhead: Playhead):
    execution = await playhead.run({"a.md": b"two words", "b.md": b"bad", "c.md": b"x"})
    replay = await playhead.replay(execution, "shouted", "split")
    await playhead.replay(execution, "shouted", "aside")
    await playhead.work()
    now = await scrape(playhead)

    counts: Counter[tuple[str, str]] = Counter()
    for one in await playhead.items("executions"):
        for route in await playhead.items(f"executions/{one['execution_id']}/routes"):
            for state in ("pending", "completed", "failed"):
                counts[route["route"], state] += route["counts"][state]
    assert counts["split", "completed"] == 4
    for name in ("upper", "split", "aside"):
        of = {"config": "words", "route": name}
        assert now.value("messages_completed_total", **of) == counts[name, "completed"]
        assert now.value("messages_dead_total", **of) == counts[name, "failed"]
        assert now.value("messages", **of, state="dead") == counts[name, "failed"]
        assert now.value("messages", **of, state="pending") == counts[name, "pending"]
    assert now.value("attempt_duration_seconds_count", route="upper") == 3
    assert now.value("message_age_seconds_count", route="upper") == 2
    assert replay["objects_published"] == 2
    assert now.value("replay_messages_published_total", route="split") == 2
    assert now.value("replay_messages_published_total") == 4
    for shown in await playhead.items("routes"):
        assert now.value("queue_depth", queue=shown["queue"]) == shown["queue_depth"]
        assert now.value("in_flight", queue=shown["queue"]) == shown["in_flight"]
        assert now.value("workers", queue=shown["queue"]) == shown["workers"]
    assert now.value("queue_depth", route="aside") == 2
    assert now.value("processes", kind="serve") == 1
    assert now.value("build_info", version="1.2.3") == 1


async def test_an_idle_route_is_present_with_zeros(playhead: Playhead):
    now = await scrape(playhead)
    for metric in METRICS:
        if metric.labels[:2] == ("config", "route") and metric.kind != "histogram":
            assert now.value(metric.name.removeprefix("playhead_"), route="split") == 0, metric.name


async def test_a_route_that_has_done_nothing_has_no_histogram(playhead: Playhead):
    await playhead.run({"a": b"bad"})
    now = await scrape(playhead)
    assert now.value("attempt_duration_seconds_count", route="upper") == 1
    assert now.value("message_age_seconds_count", route="upper") is None
    assert now.value("attempt_duration_seconds_count", route="split") is None


async def test_a_scrape_reports_a_bounded_number_of_routes_and_those_with_work_first(playhead: Playhead):
    routes = "".join(f"  r{n}: {{external: true}}\n" for n in range(MOST_ROUTES + 5))
    await playhead.services.configs.apply(f'version: "1.0"\nname: a\nentry: r0\nroutes:\n{routes}')
    await playhead.run({"a": b"two words"})
    now = await scrape(playhead)

    async def is_complete() -> bool:
        nonlocal now
        now = await scrape(playhead)
        return bool(now.value("routes_omitted") and now.value("messages_completed_total", route="upper"))

    await until(is_complete)  # what is read too slowly for one scrape is in the next one
    assert now.value("routes_omitted") == 8
    assert now.value("messages_completed_total", route="upper") == 1
    assert now.value("messages_completed_total", route="aside") is None
    counted = {(s.labels["config"], s.labels["route"]) for s in now.families["playhead_messages"].samples}
    assert len(counted) == MOST_ROUTES


class CountingBroker(MemoryBroker):
    """Counts how many callers ask for a depth at the same time; the queue `stuck` never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.asking = self.most = 0

    async def depth(self, queue: str) -> Depth:
        self.asking += 1
        self.most = max(self.most, self.asking)
        try:
            await asyncio.sleep(60 if queue == "stuck" else 0.001)
            return await super().depth(queue)
        finally:
            self.asking -= 1


async def test_few_queues_are_asked_at_the_same_time_and_a_stuck_one_is_left_out(playhead: Playhead):
    routes = "".join(f"  r{n}: {{external: true}}\n" for n in range(100))
    stuck = "  s: {external: true, inbound: {queue: stuck}}\n"
    await playhead.apply(f'version: "1.0"\nname: a\nentry: r0\nroutes:\n{routes}{stuck}')
    broker = CountingBroker()
    figures = await metrics_of(playhead, broker=broker).collect()
    assert broker.most < 30
    queues = {figure.queue for figure in figures.queues}
    assert len(queues) == 100 + 3
    assert "stuck" not in queues


# -- requests --------------------------------------------------------------------------------------


async def test_requests_are_counted_by_the_template_of_their_path(playhead: Playhead):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(playhead.own_app(), raise_app_exceptions=False),
        base_url="http://playhead",
    ) as http:
        for number in range(3):
            await http.get(f"/api/v1/executions/018f0000-0000-7000-8000-00000000000{number}")
            await http.get(f"/nothing/{number}")
            await http.get(f"/docs-nothing-{number}")
        await http.request("BREW", "/healthz")
        await http.delete("/api/v1/executions/x")
        await http.get("/openapi.json")
        await http.post("/api/v1/configs", content=b"x" * 30_000)
        now = await scrape(playhead, http)

    told = {
        (s.labels["method"], s.labels["route"], s.labels["status"]): s.value
        for s in now.families["playhead_http_requests"].samples
    }
    assert told == {
        ("GET", "/api/v1/executions/{execution_id}", "404"): 3,
        ("GET", "none", "404"): 6,
        ("other", "/healthz", "405"): 1,
        ("DELETE", "/api/v1/executions/{execution_id}", "405"): 1,
        ("GET", "/openapi.json", "200"): 1,
        ("POST", "/api/v1/configs", "413"): 1,
    }
    assert now.value("http_request_duration_seconds_count", route="none") == 6
    assert now.value("http_request_duration_seconds_bucket", route="none", le="+Inf") == 6


async def test_a_stream_is_counted_and_not_timed(playhead: Playhead):
    execution = await playhead.run({"a": b"x"})
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(playhead.own_app()), base_url="http://playhead"
    ) as http:
        await http.get(f"/api/v1/executions/{execution}/events")
        now = await scrape(playhead, http)
    route = "/api/v1/executions/{execution_id}/events"
    assert now.value("http_requests_total", route=route, status="200") == 1
    assert now.value("http_request_duration_seconds_count", route=route) is None


# -- unavailable backends --------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["store", "broker", "catalog"])
async def test_an_unavailable_backend_is_reported_and_the_other_metrics_are_complete(
    playhead: Playhead, port: str
):
    await playhead.run({"a": b"x"})
    await scrape(playhead)
    getattr(playhead, f"{port}_outage").error = AWAY[port]("it is unavailable")
    now = await scrape(playhead)
    assert {s.labels["port"]: s.value for s in now.families["playhead_backend_up"].samples} == {
        other: float(other != port) for other in ("store", "broker", "catalog")
    }
    assert (now.value("messages_completed_total") is None) == (port == "catalog")
    assert (now.value("queue_depth") is None) == (port in ("broker", "catalog"))
    getattr(playhead, f"{port}_outage").error = None
    assert (await scrape(playhead)).value("backend_up") == 3


async def test_a_backend_that_hangs_is_down_and_does_not_delay_the_scrape(playhead: Playhead):
    await scrape(playhead)
    slow = playhead.catalog_outage
    slow.gate = asyncio.Event()
    now = await scrape(playhead)
    assert now.value("backend_up", port="catalog") == 0
    assert now.value("backend_up", port="broker") == 1
    # The queues are known from the scrape before, so their depths are still reported.
    assert now.value("queue_depth", route="upper") == 0
    asked = slow.asked
    await scrape(playhead)
    assert slow.asked == asked, "a question that is not answered is not asked again"
    slow.gate.set()
    await asyncio.sleep(0.05)
    assert (await scrape(playhead)).value("backend_up", port="catalog") == 1


async def test_concurrent_scrapes_share_their_queries(playhead: Playhead):
    service = metrics_of(playhead)
    slow = playhead.store_outage
    slow.gate, before = asyncio.Event(), slow.asked
    scrapes = [asyncio.create_task(service.collect()) for _ in range(5)]
    for _ in range(100):  # turns of the event loop: each has started its queries by then
        await asyncio.sleep(0)
    slow.gate.set()
    assert [(await one).up["store"] for one in scrapes] == [True] * 5
    assert slow.asked == before + 1


class Broken(Wrapper):
    """A catalog with an unexpected error."""

    async def open_by_route(self) -> None:
        raise RuntimeError("unforeseen")


async def test_an_unexpected_error_omits_only_the_metrics_that_it_affects(
    playhead: Playhead, caplog: pytest.LogCaptureFixture
):
    catalog = cast(Any, Broken(playhead.catalog))
    metrics = metrics_of(playhead, catalog=catalog)
    playhead.app.state.services = replace(playhead.services, metrics=metrics)
    now = await scrape(playhead)
    assert (now.value("messages"), now.value("backend_up", port="catalog")) == (None, 1)
    assert "loop_failed" in [record.message for record in caplog.records]


async def test_the_openapi_description_has_the_path(playhead: Playhead):
    described = json.loads((await playhead.http.get("/openapi.json")).text)["paths"]["/metrics"]["get"]
    assert set(described["responses"]["200"]["content"]) == {"text/plain", "application/openmetrics-text"}
