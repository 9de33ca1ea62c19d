"""What the variables of OpenTelemetry configure. Its library reads all others itself."""

from __future__ import annotations

import os


def wants_traces() -> bool:
    """Whether the variables of OpenTelemetry name a destination for traces."""
    return (
        bool(_of_traces("ENDPOINT"))
        and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        and "none" not in os.environ.get("OTEL_TRACES_EXPORTER", "").lower()
    )


def trace_protocol() -> str:
    """Return the protocol for traces that the variables of OpenTelemetry name."""
    return _of_traces("PROTOCOL") or "http/protobuf"


def _of_traces(name: str) -> str:
    """Return a variable of the OTLP exporter: for traces, else for all signals; empty if not set."""
    found = (os.environ.get(f"OTEL_EXPORTER_OTLP_{of}{name}", "").strip() for of in ("TRACES_", ""))
    return next(filter(None, found), "")
