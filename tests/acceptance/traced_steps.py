"""Steps for the tests of traces: one measures itself with OpenTelemetry, as an adapter's own library may."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from opentelemetry import trace

from playhead import Context, Item, Reject, Retry, adapter


@adapter("halves", produces="text/plain")
def halves(item: Item, ctx: Context) -> Iterator[str]:
    """Two outputs; `late` needs two attempts, `bad` is refused."""
    if item.text == "late" and ctx.attempt == 1:
        raise Retry("not yet", after=0.2)
    if item.text == "bad":
        raise Reject("this is bad")
    with trace.get_tracer("halves").start_as_current_span("cut"):
        yield f"first of {item.text}"
        yield f"second of {item.text}"
    ctx.log.warning("cut")


@adapter("slowly", produces="text/plain")
async def slowly(item: Item) -> AsyncIterator[str]:
    """One output, from an event loop."""
    with trace.get_tracer("slowly").start_as_current_span("wait"):
        yield item.text
