"""Traces: whether this process makes them, and what is told where it can't."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from playhead import __version__, events
from playhead.ports.tracer import OFF, Tracer, trace_of
from playhead.settings import trace_protocol, wants_traces

if TYPE_CHECKING:
    from playhead.backends.tracer_otel import OtelTracer

_PROTOCOL: Final = "http/protobuf"


@asynccontextmanager
async def open_tracer(process: str) -> AsyncIterator[Tracer]:
    """Give what begins spans; `OFF` unless the operator says where they go.

    Traces are no reason to stop: where they can't be made, that is logged, and the process works without.

    Args:
        process: what tells this process from others.
    """
    tracer = _made(process) if wants_traces() else None
    if tracer is None:
        yield OFF
        return
    try:
        with _told_in_log_lines(tracer):
            yield tracer
    finally:
        await tracer.close()


def _made(process: str) -> OtelTracer | None:
    if (protocol := trace_protocol()) != _PROTOCOL:
        _tell(
            f"they are sent as {_PROTOCOL}, not as {protocol}: set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL to that"
        )
        return None
    try:
        from playhead.backends.tracer_otel import OtelTracer
    except ImportError as exc:
        _tell(f"they need an extra: pip install 'playhead[otel]' ({exc})")
        return None
    try:
        return OtelTracer(version=__version__, process=process)
    except Exception as exc:  # whatever the SDK makes of its settings
        _tell(f"OpenTelemetry does not start with its settings (OTEL_*): {exc}")
        return None


def _tell(why: str) -> None:
    events.emit(events.TRACES_OFF, logging.WARNING, detail=f"traces are wanted (OTEL_*), but {why}")


class _TraceIds(logging.Filter):
    """Marks each log line with the trace in which it was written."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def filter(self, record: logging.LogRecord) -> bool:
        record.trace_id = trace_of(self._tracer.current())
        return True


@contextmanager
def _told_in_log_lines(tracer: Tracer) -> Iterator[None]:
    handlers, marks = list(logging.getLogger().handlers), _TraceIds(tracer)
    for handler in handlers:
        handler.addFilter(marks)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(marks)
