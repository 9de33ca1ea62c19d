"""Listing rate of a bucket. Baseline: the list stream of the bare client, which reads page after page."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from obstore.store import S3Store

from bench.deployments import ServerMissing, Testbed
from bench.figures import Figure, median, middle, middle_ratio, not_measured
from bench.homes import STAGE, lay_out
from bench.machine import report
from bench.processor import Spending
from playhead.backends.store_object import ObjectStore
from playhead.ids import uuid7
from tests.servers import Server, s3
from tests.servers.s3_arithmetic import Arithmetic

_TARGET = 0.9
_PAGE = 2000
"""Keys that a replay requests per page."""
_LATENCY_SECONDS = 0.03
_ENGINE_KEYS = 10_000

_Count = Callable[[str, str], Coroutine[None, None, tuple[int, float]]]


class _Bucket(NamedTuple):
    """A bucket to list: its server, the URL of the store, and the number of keys below a prefix."""

    name: str
    server: Server
    url: str
    prefix: str
    keys: int


def measure(testbed: Testbed, *, keys: int, rounds: int) -> list[Figure]:
    """List 10,000 keys of a local server, and `keys` keys of a server with the latency of a cloud."""
    figures = []
    try:
        near = testbed.server("s3")
    except ServerMissing as exc:
        figures.append(not_measured(f"listing of {_ENGINE_KEYS:,} keys from rclone", str(exc)))
    else:
        # rclone stores each object as a file. Half of the keys are sidecars.
        bucket = near.folder / "data" / s3.BUCKET
        execution = lay_out(bucket / "listing", _ENGINE_KEYS // 2)
        where = near.url.replace("/tests?", "/listing?")
        figures.append(
            _interleaved(_Bucket("rclone", near, where, f"{execution}/{STAGE}", _ENGINE_KEYS), rounds)
        )
    for layout, latency in (("flat", 0.0), ("flat", _LATENCY_SECONDS), ("folders", _LATENCY_SECONDS)):
        prefix = f"{uuid7()}/{STAGE}"
        with arithmetic(keys, layout, prefix, latency) as server:
            name = f"a server that computes its keys, {layout}" + (
                f", {latency * 1000:.0f} ms latency" if latency else ""
            )
            figures.append(_interleaved(_Bucket(name, server, server.url, prefix, keys), rounds))
    return figures


@contextmanager
def arithmetic(keys: int, layout: str, prefix: str, latency: float = 0.0) -> Iterator[Server]:
    """Start an S3 server that computes the `keys` keys of its bucket on request."""
    os.environ["AWS_ACCESS_KEY_ID"] = s3.KEY
    os.environ["AWS_SECRET_ACCESS_KEY"] = s3.SECRET
    options = {"keys": keys, "layout": layout, "prefix": prefix, "latency": latency}
    words = itertools.chain.from_iterable((f"--{name}", str(value)) for name, value in options.items())
    with Arithmetic(*words) as server:
        server.start()
        yield server


def _interleaved(bucket: _Bucket, rounds: int) -> Figure:
    ours: list[float] = []
    bare: list[float] = []
    costs: list[dict[str, float]] = []
    _time(bucket, _bare)  # the first listing fills the cache of the server
    for n in range(rounds):
        for count, into in ((_bare, bare), (_ours, ours)) if n % 2 == 0 else ((_ours, ours), (_bare, bare)):
            spending = Spending(lambda: {"s3": bucket.server.processes()})
            into.append(bucket.keys / _time(bucket, count))
            if into is ours:
                costs.append({k: s / bucket.keys * 1e6 for k, s in spending.so_far().items()})
        report(f"  listing, {bucket.name} {n + 1}/{rounds}: {ours[-1]:,.0f}/s, obstore {bare[-1]:,.0f}/s")
    ratio = middle_ratio(ours, bare)
    return Figure(
        f"listing of {bucket.keys:,} keys, {bucket.name}",
        median(ours),
        "/s",
        rounds=ours,
        baseline=f"obstore, page after page: {median(bare):,.0f}/s",
        ratio=ratio,
        target=f"at least {_TARGET:g} of the bare client",
        passes=ratio >= _TARGET,
        cost=middle(costs),
    )


def _time(bucket: _Bucket, count: _Count) -> float:
    """Return the seconds from the request of the listing to its end."""
    found, took = asyncio.run(count(bucket.url, bucket.prefix))
    if found != bucket.keys:
        raise RuntimeError(f"{found} of {bucket.keys} keys were listed")
    return took


async def _ours(url: str, prefix: str) -> tuple[int, float]:
    store = ObjectStore(url, max_object_bytes=1 << 20)
    try:
        began, found = time.perf_counter(), 0
        async for page in store.list(prefix, page=_PAGE):
            found += len(page)
        return found, time.perf_counter() - began
    finally:
        await store.close()


async def _bare(url: str, prefix: str) -> tuple[int, float]:
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        endpoint=options["endpoint"][0],
        region=options["region"][0],
        client_options={"allow_http": True},
        virtual_hosted_style_request=False,
    )
    began, found = time.perf_counter(), 0
    async for metas in store.list(prefix, chunk_size=1000):
        found += len(metas)
    return found, time.perf_counter() - began
