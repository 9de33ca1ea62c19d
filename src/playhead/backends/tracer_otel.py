"""Tracing with OpenTelemetry: spans are sent in the background to a collector over OTLP/HTTP.

The SDK reads its own settings (`OTEL_*`): address, interval, sampling and limits. Ended spans wait in a
queue of this process. If the queue is full, or the collector is unavailable for too long, spans are
dropped. Work continues.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from typing import Final, Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from playhead.ports.tracer import Kind, Span, Value

_CLOSE_SECONDS: Final = 2.0
"""For the last spans of a process. Orchestrators wait much longer before they kill a process."""
_SAY_AGAIN_SECONDS: Final = 60.0
_MOST_SAID: Final = 1000
_HEADER: Final = "traceparent"
_W3C: Final = TraceContextTextMapPropagator()


class _Seldom(logging.Filter):
    """Passes one record per minute. The exporter logs an unavailable collector with every batch."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _SAY_AGAIN_SECONDS
        return True


class OtelSpan:
    """A span of the SDK as a `ports.tracer.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        return _traceparent(self._span.get_span_context())

    def set(self, attributes: Mapping[str, Value]) -> None:
        # The SDK warns about changes after the end. They are normal here, after a client disconnects.
        if self._span.is_recording():
            self._span.set_attributes(attributes)

    def rename(self, name: str) -> None:
        if self._span.is_recording():
            self._span.update_name(name)

    def fail(self, why: str) -> None:
        if self._span.is_recording():
            # Text that is not UTF-8 (a file name, for example) would make the exporter drop the whole batch.
            said = why[:_MOST_SAID].encode("utf-8", "backslashreplace").decode()
            self._span.set_status(Status(StatusCode.ERROR, said))

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()

    def current(self) -> AbstractContextManager[object]:
        return trace.use_span(self._span, record_exception=False, set_status_on_exception=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None:
        if exc is not None:
            self.fail(f"{type(exc).__name__}: {exc}")
        self.end()


class OtelTracer:
    """Starts spans and exports them.

    Args:
        version: version of Playhead.
        process: unique id of this process.
    """

    on: Final = True

    def __init__(self, *, version: str, process: str) -> None:
        logging.getLogger(trace_exporter.__name__).addFilter(_Seldom())
        self._exporter = trace_exporter.OTLPSpanExporter()
        self._provider = TracerProvider(resource=_resource(version, process), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            # No other provider is set, so spans of adapters are exported as well.
            trace.set_tracer_provider(self._provider)
        self._tracer = self._provider.get_tracer("playhead", version)

    def start(
        self,
        name: str,
        parent: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        kind: Kind = "internal",
    ) -> Span:
        # An empty context instead of the current one: the parent is always given explicitly.
        above = _W3C.extract({_HEADER: parent}, Context()) if parent else Context()
        return OtelSpan(self._tracer.start_span(name, above, SpanKind[kind.upper()], attributes))

    def current(self) -> str | None:
        return _traceparent(trace.get_current_span().get_span_context())

    async def close(self) -> None:
        """Export the remaining spans, for at most two seconds. Spans that remain then are lost."""
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(closed.set)

        # In a daemon thread: a request to a collector that hangs cannot be cancelled.
        threading.Thread(target=close, name="playhead-traces", daemon=True).start()
        try:
            await asyncio.wait_for(closed.wait(), _CLOSE_SECONDS)
        except TimeoutError:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # stops its retries


def _traceparent(context: SpanContext) -> str | None:
    if not context.is_valid:
        return None
    return (
        f"00-{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}"
        f"-{context.trace_flags:02x}"
    )


def _resource(version: str, process: str) -> Resource:
    """Describe this process. A service name set by the operator has priority."""
    found = Resource.create({SERVICE_VERSION: version, SERVICE_INSTANCE_ID: process})
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        found = found.merge(Resource({SERVICE_NAME: "playhead"}))
    return found
