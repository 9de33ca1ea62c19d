"""Traces: which work took how long, and because of what.

A span is a piece of work. Spans of one trace name one another by `traceparent` (W3C Trace Context), which
travels with a message and is kept with its execution: so a replay is one trace, whichever processes publish
and work it, and whenever.

Off (`OFF`) unless the operator names where traces go. Then there is no span, no `traceparent`, and no cost
but the question whether it is on.
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
    """A piece of work that was begun. All of it may be used from any thread; once ended, nothing changes it.

    As a context manager it ends with its block, failed if that raised.

    Attributes:
        traceparent: what names it to others; None when traces are off.
    """

    @property
    def traceparent(self) -> str | None: ...

    def set(self, attributes: Mapping[str, Value]) -> None:
        """Say more about it."""
        ...

    def rename(self, name: str) -> None:
        """Give it the name that was not known when it began."""
        ...

    def fail(self, why: str) -> None:
        """Say that it failed."""
        ...

    def end(self) -> None:
        """Say that it is over, now. Only the first time counts."""
        ...

    def current(self) -> AbstractContextManager[object]:
        """Make it the current span of this thread or task for a block, so that what others measure there
        (an adapter's HTTP client, say) is found below it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, exc: BaseException | None, tb: object) -> None: ...


class Tracer(Protocol):
    """Begins spans. Nothing it does waits for those who collect them.

    Attributes:
        on: whether anybody wants traces. Inner loops ask before they put anything together.
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
        """Begin a span.

        Args:
            name: few differ, so no ids are in it.
            parent: the `traceparent` it belongs under. None, or one that is not well formed: a new trace.
            attributes: what it is about.
            kind: on which side of a call it is.
        """
        ...

    def current(self) -> str | None:
        """Return the `traceparent` of the current span; None without any."""
        ...


def trace_of(traceparent: str | None) -> str | None:
    """The trace that a `traceparent` belongs to, 32 hexadecimal digits; None when it is not well formed."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    return found[1] if found else None


def nearest(row: str | None, header: str | None) -> str | None:
    """The span that work belongs under: that of its message's header if the row knows that trace, else the
    row's. The header of a child names the attempt that made it; that of a stranger may name anything.

    Args:
        row: the execution's `traceparent`; None: it has none, and any that is well formed will do.
        header: the message's.
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
"""No traces."""
