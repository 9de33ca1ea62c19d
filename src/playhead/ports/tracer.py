"""Distributed traces: how long each operation took, and what caused it.

A span is one timed operation. A span refers to its parent by a `traceparent` (W3C Trace Context), which is
sent with each message and stored with its execution. So all spans of a replay belong to one trace, even if
several processes publish and process it, at different times.

Tracing is off (`OFF`) unless the operator configures an exporter. While it is off, no spans and no
`traceparent` are created. The only cost is the check whether tracing is on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, Protocol, Self

Value = str | int
Kind = Literal["internal", "server", "client", "consumer"]

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


class Span(Protocol):
    """A started operation. All methods are thread-safe. After `end`, they have no effect.

    Used as a context manager, the span ends with the block, and fails if the block raises.

    Attributes:
        traceparent: pass it on as the parent of other spans; None if tracing is off.
    """

    @property
    def traceparent(self) -> str | None: ...

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Add attributes, or replace them."""
        ...

    def rename(self, name: str) -> None:
        """Set the name, if it was not known at the start."""
        ...

    def fail(self, why: str) -> None:
        """Mark the span as failed, with the reason."""
        ...

    def end(self) -> None:
        """End the span now. Calls after the first have no effect."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Make this span the current one of the thread or task, for the length of a block.

        Spans that other libraries start in the block (for example an adapter's HTTP client) become its
        children.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None: ...


class Tracer(Protocol):
    """Starts spans. No method waits for the exporter.

    Attributes:
        on: whether tracing is on. Inner loops check it before they build names and attributes.
    """

    @property
    def on(self) -> bool: ...

    def start(
        self,
        name: str,
        parent: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        kind: Kind = "internal",
    ) -> Span:
        """Start a span.

        Args:
            name: of low cardinality, so without ids.
            parent: the `traceparent` of the parent. None or a malformed value starts a new trace.
            attributes: initial attributes.
            kind: the OpenTelemetry span kind.
        """
        ...

    def current(self) -> str | None:
        """Return the `traceparent` of the current span; None if there is no current span."""
        ...


def trace_of(traceparent: str | None) -> str | None:
    """Return the trace id in a `traceparent`, 32 hexadecimal digits; None if it is malformed."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return found[1] if found else None


def nearest(row: str | None, header: str | None) -> str | None:
    """Return the `traceparent` of the parent span for an attempt.

    The message header is more exact, because the header of a child names the attempt that created it. But a
    message from another program may contain any trace. So the header is used only if its trace is that of
    the execution, or if the execution has none.

    Args:
        row: the execution's `traceparent`, or None.
        header: the `traceparent` in the message's headers, or None.
    """
    trace = trace_of(header)
    return header if trace and (row is None or trace == trace_of(row)) else row


class _NoSpan:
    traceparent: None = None

    def set(self, attributes: Mapping[str, Value]) -> None: ...
    def rename(self, name: str) -> None: ...
    def fail(self, why: str) -> None: ...
    def end(self) -> None: ...

    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None: ...


NO_SPAN: Final[Span] = _NoSpan()


class _Off:
    on: Final = False

    def start(
        self,
        name: str,
        parent: str | None = None,
        attributes: Mapping[str, Value] | None = None,
        kind: Kind = "internal",
    ) -> Span:
        return NO_SPAN

    def current(self) -> str | None:
        return None


OFF: Final[Tracer] = _Off()
"""The tracer for a process that does not trace."""
