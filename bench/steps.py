"""Adapters with a known cost."""

from __future__ import annotations

import asyncio
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus

from playhead import Item, Output, RateLimited, Retry, adapter

BUSY_MILLISECONDS = 2
LONG_MILLISECONDS = 20


@adapter("busy")
def busy(item: Item) -> Output:
    """Return the item unchanged after two milliseconds of processor time of this thread.

    The work is pure Python, so only one thread of a worker runs at a time, as with most adapters.
    """
    _compute(BUSY_MILLISECONDS)
    return item.derive(item.data)


@adapter("busy_20")
def busy_20(item: Item) -> Output:
    """The same, for 20 milliseconds."""
    _compute(LONG_MILLISECONDS)
    return item.derive(item.data)


def _compute(milliseconds: int) -> None:
    until = time.thread_time() + milliseconds / 1000
    while time.thread_time() < until:
        sum(range(200))


@adapter("wait_2")
def wait_2(item: Item) -> Output:
    """Return the item unchanged after a wait of 2 ms, which uses no processor time."""
    time.sleep(0.002)
    return item.derive(item.data)


@adapter("async_wait_2")
async def async_wait_2(item: Item) -> Output:
    """Return the item unchanged after 2 ms, during which the event loop is free."""
    await asyncio.sleep(0.002)
    return item.derive(item.data)


@adapter("async_wait_50")
async def async_wait_50(item: Item) -> Output:
    """Return the item unchanged after 50 ms, during which the event loop is free."""
    await asyncio.sleep(0.05)
    return item.derive(item.data)


@adapter("halves", produces="text/plain")
def halves(item: Item) -> list[str]:
    """Return the two halves of a text."""
    middle = len(item.text) // 2
    return [item.text[:middle], item.text[middle:]]


def _call_api(data: bytes) -> str:
    """Call the API of the benchmark, whose address is in the environment."""
    try:
        with urllib.request.urlopen(os.environ["BENCH_API"], data=data, timeout=60) as answer:
            return bytes(answer.read()).decode()
    except urllib.error.HTTPError as exc:
        if exc.code == HTTPStatus.TOO_MANY_REQUESTS:
            raise RateLimited("429", after=float(exc.headers["Retry-After"])) from exc
        raise


@adapter("api")
def api(item: Item) -> str:
    """Call an API for one item."""
    return _call_api(item.data)


@adapter("api_retry")
def api_retry(item: Item) -> str:
    """The same, for an adapter that does not know `RateLimited`."""
    try:
        return _call_api(item.data)
    except RateLimited as exc:
        raise Retry("429", after=exc.after) from exc


@adapter("api_batch", batch=100)
def api_batch(items: Sequence[Item]) -> list[str]:
    """Call an API for up to 100 items at once."""
    return _call_api(b"\n".join(item.data for item in items)).split("\n")
