"""Listing a bucket: ours beside the bare client's own stream, one page after another."""

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

from bench.figures import Figure, absent, median, middle, middle_ratio
from bench.homes import STAGE, lay_out
from bench.machine import say
from bench.processor import Spending
from bench.sites import Absent, Stand
from playhead.backends.store_object import ObjectStore
from playhead.ids import uuid7
from tests.servers import Server, s3
from tests.servers.s3_arithmetic import Arithmetic

_TARGET = 0.9
_PAGE = 2000
"""Keys that a replay asks for at once."""
_LATENCY_SECONDS = 0.03
_ENGINE_KEYS = 10_000

_Count = Callable[[str, str], Coroutine[None, None, tuple[int, float]]]


class _Bucket(NamedTuple):
    """Something to list: a server, the URL of the store, and how many keys there are below a prefix."""

    name: str
    server: Server
    url: str
    prefix: str
    keys: int


def measure(stand: Stand, *, keys: int, rounds: int) -> list[Figure]:
    """List `keys` keys of a server that is as far away as a cloud's, and 10,000 of one that is near."""
    figures = []
    try:
        near = stand.server("s3")
    except Absent as exc:
        figures.append(absent(f"listing of {_ENGINE_KEYS:,} keys from rclone", str(exc)))
    else:
        # An object is a file of its folder, and half of the keys are sidecars.
        bucket = near.folder / "data" / s3.BUCKET
        execution = lay_out(bucket / "listing", _ENGINE_KEYS // 2)
        where = near.url.replace("/tests?", "/listing?")
        figures.append(
            _by_turns(_Bucket("rclone", near, where, f"{execution}/{STAGE}", _ENGINE_KEYS), rounds)
        )
    for layout, latency in (("flat", 0.0), ("flat", _LATENCY_SECONDS), ("folders", _LATENCY_SECONDS)):
        prefix = f"{uuid7()}/{STAGE}"
        with arithmetic(keys, layout, prefix, latency) as server:
            name = f"a computed bucket, {layout}" + (f", {latency * 1000:.0f} ms away" if latency else "")
            figures.append(_by_turns(_Bucket(name, server, server.url, prefix, keys), rounds))
    return figures


@contextmanager
def arithmetic(keys: int, layout: str, prefix: str, latency: float = 0.0) -> Iterator[Server]:
    """A server whose bucket holds `keys` keys that are computed when they are asked for."""
    os.environ["AWS_ACCESS_KEY_ID"] = s3.KEY
    os.environ["AWS_SECRET_ACCESS_KEY"] = s3.SECRET
    options = {"keys": keys, "layout": layout, "prefix": prefix, "latency": latency}
    words = itertools.chain.from_iterable((f"--{name}", str(value)) for name, value in options.items())
    with Arithmetic(*words) as server:
        server.start()
        yield server


def _by_turns(bucket: _Bucket, rounds: int) -> Figure:
    ours: list[float] = []
    bare: list[float] = []
    costs: list[dict[str, float]] = []
    _time(bucket, _bare)  # the first one waits for what all others find in the server's memory
    for n in range(rounds):
        for count, into in ((_bare, bare), (_ours, ours)) if n % 2 == 0 else ((_ours, ours), (_bare, bare)):
            spending = Spending(lambda: {"s3": bucket.server.processes()})
            into.append(bucket.keys / _time(bucket, count))
            if into is ours:
                costs.append({k: s / bucket.keys * 1e6 for k, s in spending.so_far().items()})
        say(f"  listing, {bucket.name} {n + 1}/{rounds}: {ours[-1]:,.0f}/s, obstore {bare[-1]:,.0f}/s")
    ratio = middle_ratio(ours, bare)
    return Figure(
        f"listing of {bucket.keys:,} keys, {bucket.name}",
        median(ours),
        "/s",
        rounds=ours,
        beside=f"obstore, page after page: {median(bare):,.0f}/s",
        ratio=ratio,
        target=f"at least {_TARGET:g} of the bare client",
        passes=ratio >= _TARGET,
        cost=middle(costs),
    )


def _time(bucket: _Bucket, count: _Count) -> float:
    """Seconds from asking for the listing to its end."""
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
