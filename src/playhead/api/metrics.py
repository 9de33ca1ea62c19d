"""`/metrics` for Prometheus: the deployment, and the requests to this server."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playhead import events
from playhead.api.answers import correlation_id
from playhead.api.asking import Asked, operations
from playhead.api.declared_metrics import METRICS
from playhead.api.lasting import is_stream
from playhead.counters import AGE_BOUNDS, ATTEMPT_BOUNDS, Histogram
from playhead.model import Dataset
from playhead.services.metrics import PUBLICATION_BOUNDS, Figures, Rows

NOWHERE: Final = "none"
"""The label `route` of all URLs that do not exist, as their number is unlimited."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HTTP_BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_GONE: Final = 499
"""The status that nginx also uses if the client disconnected before the response."""
_STATES: Final = ("pending", "running", "retry", "dead")

Labels = TypeVar("Labels", bound=tuple[str, ...])

router = operations(tags=["system"])


_BY_NAME: Final = {metric.name.removeprefix("playhead_"): metric for metric in METRICS}
_COUNTED: Final = {
    "messages_completed_total": ("completed",),
    "messages_failed_total": ("retried", "dead"),
    "messages_retried_total": ("retried",),
    "messages_dead_total": ("dead",),
    "messages_released_total": ("released",),
    "messages_rate_limited_total": ("rate_limited",),
    "replay_messages_published_total": ("replay_published",),
    "replay_messages_failed_total": ("replay_failed",),
}
"""The fields of `counters.RouteCounters` that each counter sums."""
_MEASURED: Final = {
    "attempt_duration_seconds": ("attempt_seconds", ATTEMPT_BOUNDS),
    "message_age_seconds": ("age_seconds", AGE_BOUNDS),
}


# -- requests --------------------------------------------------------------------------------------


class Requests:
    """The requests to this server. Every server counts its own, because every server is scraped."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, str, str]] = Counter()
        self.seconds: dict[tuple[str, str], Histogram] = {}

    def answer(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request. `seconds` is None for streams, and if the client disconnected."""
        self.answered[method, route, str(status)] += 1
        if seconds is not None:
            found = self.seconds.get((method, route))
            if found is None:
                found = self.seconds[method, route] = Histogram(_HTTP_BOUNDS)
            found.add(seconds)


class Measured:
    """Counts each request under the template of its route, never its path.

    Args:
        app: the wrapped app.
        requests: the counters.
        template: returns the template for a path, for requests that are refused before they are routed.
    """

    def __init__(self, app: ASGIApp, *, requests: Requests, template: Callable[[str], str | None]) -> None:
        self._app = app
        self._requests = requests
        self._template = template

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0
        streams = False

        async def send_seen(message: Message) -> None:
            nonlocal status, streams
            if message["type"] == "http.response.start":
                status = message["status"]
                streams = is_stream(message)
            await send(message)

        try:
            await self._app(scope, receive, send_seen)
        finally:
            took = time.perf_counter() - began
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = self._route(scope)
            self._requests.answer(method, route, status or _GONE, took if status and not streams else None)
            events.emit(
                events.REQUEST_ANSWERED,
                correlation_id=correlation_id(scope),
                method=method,
                route=route,
                status=status or _GONE,
                seconds=round(took, 4),
            )

    def _route(self, scope: Scope) -> str:
        found = getattr(scope.get("route"), "path", None) or scope.get("root_path")
        return found or self._template(scope["path"]) or NOWHERE


# -- printing --------------------------------------------------------------------------------------


class Page:
    """One scrape, as a collector for the encoders of prometheus_client."""

    def __init__(
        self, figures: Figures, requests: Requests, version: str, process: CollectorRegistry
    ) -> None:
        self._figures = figures
        # Copied: `collect` runs in a thread, while requests are counted.
        self._answered = dict(requests.answered)
        self._seconds = {labels: [found.sum, *found.counts] for labels, found in requests.seconds.items()}
        self._version = version
        self._process = process

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, including those without a value."""
        figures = self._figures
        yield _gauge("build_info", {(self._version,): 1})
        yield _gauge("backend_up", {(port,): int(up) for port, up in figures.up.items()})
        yield from self._deployment()
        yield _counter("http_requests_total", self._answered)
        yield _histogram("http_request_duration_seconds", _HTTP_BOUNDS, self._seconds)
        yield from self._process.collect()

    def _deployment(self) -> Iterator[Metric]:
        figures = self._figures
        queues, rows = figures.queues, figures.rows
        named = {(one.config, one.route, one.queue): one for one in queues}
        yield _gauge("processes", {(kind,): count for kind, count in rows.processes.items()} if rows else {})
        yield _gauge("routes_omitted", {(): figures.omitted})
        yield _gauge("workers", {of: rows.workers.get(of[-1], 0) for of in named} if rows else {})
        yield _gauge("queue_depth", {of: one.depth for of, one in named.items()})
        yield _gauge("in_flight", {of: one.in_flight for of, one in named.items()})
        yield _gauge(
            "cooldown_seconds", {(key,): left for key, left in rows.cooldowns.items()} if rows else {}
        )
        yield _gauge("key_seconds", {(name,): left for name, left in rows.keys.items()} if rows else {})
        yield from _of_datasets(rows.datasets if rows else ())
        yield from _of_publications(rows)
        done = rows.done if rows else {}
        # Routes without work are reported with zeros, so that `increase()` includes their first failure.
        routes = figures.routes if rows else ()
        messages: dict[tuple[str, ...], int] = {(*of, state): 0 for of in routes for state in _STATES}
        for of, count in rows.messages.items() if rows else ():
            if of in messages:
                messages[of] = count
        yield _gauge("messages", messages)
        for name, parts in _COUNTED.items():
            yield _counter(name, {of: sum(_sum(done.get(of, {}), parts)) for of in routes})
        for name, (part, bounds) in _MEASURED.items():
            # Histograms are most of a scrape's bytes: only routes that have measured something have one.
            measured = {of: numbers for of in routes if any(numbers := done.get(of, {}).get(part, ()))}
            yield _histogram(name, bounds, measured)


def _of_datasets(datasets: Sequence[Dataset]) -> Iterator[Metric]:
    named = {(one.config, one.name): one for one in datasets}
    yield _gauge("dataset_publication", {of: one.current or 0 for of, one in named.items()})
    yield _gauge("dataset_seq", {of: one.seq for of, one in named.items()})
    held = {of: int(one.held and one.publish == "automatic") for of, one in named.items()}
    yield _gauge("dataset_held", held)
    yield _gauge("dataset_unpublished", {of: len(one.unpublished) for of, one in named.items()})
    lags = {(*of, sink.route): sink.lag_seconds for of, one in named.items() for sink in one.sinks}
    yield _gauge("sink_lag_seconds", lags)


def _of_publications(rows: Rows | None) -> Iterator[Metric]:
    objects = {(one.config, one.name): 0 for one in rows.datasets} if rows else {}
    shown = {(one.config, one.dataset): one for one in rows.shown} if rows else {}
    yield _gauge("dataset_objects", objects | {of: one.objects for of, one in shown.items()})
    stale = {of: one.stale for of, one in shown.items() if one.stale is not None}
    yield _gauge("dataset_stale", stale)
    yield _gauge("dataset_age_seconds", {of: one.age_seconds for of, one in shown.items()})
    steps = {(step,): [one.sum, *one.counts] for step, one in rows.publications.items()} if rows else {}
    yield _histogram("publication_seconds", PUBLICATION_BOUNDS, steps)


def _sum(numbers: Mapping[str, Sequence[float]], names: Iterable[str]) -> Iterator[float]:
    return (numbers[name][0] for name in names if name in numbers)


def _gauge(name: str, values: Mapping[Labels, float]) -> Metric:
    declared = _BY_NAME[name]
    family = GaugeMetricFamily(declared.name, declared.help, labels=declared.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _counter(name: str, values: Mapping[Labels, float]) -> Metric:
    declared = _BY_NAME[name]
    family = CounterMetricFamily(declared.name, declared.help, labels=declared.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(name: str, bounds: Sequence[float], values: Mapping[Labels, Sequence[float]]) -> Metric:
    """`values`: the sum, then the count of each interval (not cumulative)."""
    declared = _BY_NAME[name]
    family = HistogramMetricFamily(declared.name, declared.help, labels=declared.labels)
    for labels, (total, *counts) in values.items():
        below: list[tuple[str, float]] = []
        so_far = 0.0
        for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
            so_far += count
            below.append((bound, so_far))
        family.add_metric(labels, below, total)
    return family


_TEXTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The text format of Prometheus, or OpenMetrics if `Accept` asks for it.",
        "content": {
            kind: {"schema": {"type": "string"}} for kind in ("text/plain", "application/openmetrics-text")
        },
    }
}


@router.get("/metrics", scope="metrics", response_class=Response, responses=_TEXTS)
async def get_metrics(request: Request, asked: Asked) -> Response:
    """Return the metrics of the deployment. Always 200, within 2 seconds, without unavailable backends."""
    state = request.app.state
    page = Page(await asked.metrics.collect(), state.requests, request.app.version, state.process)
    encode, kind = choose_encoder(request.headers.get("accept", ""))
    # In a thread: a large page takes a second of processor time, and other requests must not wait for it.
    return Response(await asyncio.to_thread(encode, page), headers={"Content-Type": kind})


def process_figures() -> CollectorRegistry:
    """Return processor time, memory and open files of this process, under Prometheus' usual names."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
