"""Open the tracer of this process, or log why tracing is off although it is configured."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from playhead import __version__, events
from playhead.extras import install_command
from playhead.ports.tracer import OFF, Tracer, trace_of
from playhead.settings.traces import trace_protocol, wants_traces

if TYPE_CHECKING:
    from playhead.backends.tracer_otel import OtelTracer

_PROTOCOL: Final = "http/protobuf"


@asynccontextmanager
async def open_tracer(process: str) -> AsyncIterator[Tracer]:
    """Yield the tracer; `OFF` unless the operator has configured an exporter.

    If tracing is configured but cannot start, a warning is logged, and the process runs without tracing.

    Args:
        process: the unique id of this process.
    """
    tracer = _start(process) if wants_traces() else None
    if tracer is None:
        yield OFF
        return
    try:
        with _trace_ids_in_logs(tracer):
            yield tracer
    finally:
        await tracer.close()


def _start(process: str) -> OtelTracer | None:
    if (protocol := trace_protocol()) != _PROTOCOL:
        _log_off(
            f"the protocol {protocol} is not supported: set OTEL_EXPORTER_OTLP_TRACES_PROTOCOL={_PROTOCOL}"
        )
        return None
    try:
        from playhead.backends.tracer_otel import OtelTracer
    except ImportError as exc:
        _log_off(f"a library is not installed ({exc}). Run: {install_command('otel')}")
        return None
    try:
        return OtelTracer(version=__version__, process=process)
    except Exception as exc:  # the SDK documents no exceptions for invalid settings
        _log_off(f"OpenTelemetry rejects its settings (OTEL_*): {exc}")
        return None


def _log_off(why: str) -> None:
    events.emit(events.TRACES_OFF, detail=f"tracing is configured (OTEL_*) but off: {why}")


class _TraceIds(logging.Filter):
    """Adds the id of the current trace to each log record."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def filter(self, record: logging.LogRecord) -> bool:
        record.trace_id = trace_of(self._tracer.current())
        return True


@contextmanager
def _trace_ids_in_logs(tracer: Tracer) -> Iterator[None]:
    handlers, trace_ids = list(logging.getLogger().handlers), _TraceIds(tracer)
    for handler in handlers:
        handler.addFilter(trace_ids)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(trace_ids)
