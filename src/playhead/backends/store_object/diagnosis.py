"""The checks of a bucket for `playhead doctor`: permissions, the order of listings, the clock."""

from __future__ import annotations

import time
from contextlib import suppress
from statistics import median
from typing import Final

from playhead.backends.store_object.address import Address, Client
from playhead.backends.store_object.failures import Failure, attempt, missing, translate
from playhead.errors import PlayheadError, store_unavailable
from playhead.ports.diagnosis import Finding

_TRIPS: Final = 5
_SLOW_SECONDS: Final = 0.25
_SKEW_SECONDS: Final = 60.0
_BODY: Final = b"playhead doctor"
_NAMES: Final = ("a-b", "a.md", "a/x", "a0")
"""In byte order. A walk from folder to folder would return `a/x` first or last."""


async def diagnose(client: Client, at: Address, probe: str) -> list[Finding]:
    """Run all checks with objects below the key `probe`, and remove the objects.

    Faults are returned as findings, never raised.
    """
    found: list[Finding] = []
    what = "reach"
    try:
        started = time.perf_counter()
        await _listed(client, at, probe)
        ms = (time.perf_counter() - started) * 1000
        found.append(Finding(what, "ok", f"{at} lists its keys ({ms:.0f} ms, with connecting)"))
        what = "rights"
        try:
            found += await _objects(client, at, probe)
            try:
                await client.delete_async(probe)
            except Failure:
                found.append(_not_removable(probe))
            else:
                what = "order"
                found.append(await _order(client, at, probe))
        finally:
            for key in (probe, *(f"{probe}/{name}" for name in _NAMES)):
                with suppress(*Failure):
                    await client.delete_async(key)
    except PlayheadError as exc:
        happened, _, fix = exc.detail.rpartition("; ")
        found.append(Finding(what, "failed", happened or exc.detail, fix if happened else ""))
    return found


async def _listed(client: Client, at: Address, prefix: str, offset: str | None = None) -> list[str]:
    listing = client.list(prefix, offset=offset).collect_async()
    return [meta["path"] for meta in await attempt("list", at, listing)]


async def _objects(client: Client, at: Address, probe: str) -> list[Finding]:
    """Write an object and read it. Raises the error of a refused request."""
    before = time.time()
    await attempt("write", at, client.put_async(probe, _BODY))
    after = time.time()
    got = await attempt("read", at, client.get_async(probe))
    if bytes(await attempt("read", at, got.bytes_async())) != _BODY:
        raise store_unavailable(
            f"an object in {at} was read with other bytes than were written; "
            "remove the cache or proxy in between, and connect to the store itself"
        )
    try:
        await client.head_async(f"{probe}-absent")
    except Failure as exc:
        if not missing(exc):
            raise store_unavailable(
                f"the store reports a missing object as forbidden: {translate(exc, 'list', at).detail}; "
                f"allow s3:ListBucket on arn:aws:s3:::{at.bucket}, without conditions"
            ) from exc
    trips: list[float] = []
    for _ in range(_TRIPS):
        started = time.perf_counter()
        await attempt("read", at, client.head_async(probe))
        trips.append(time.perf_counter() - started)
    # Stores report the time in whole seconds.
    stored = got.meta["last_modified"].timestamp()
    skew = max(stored - after, before - 1 - stored, 0.0)
    return [
        Finding("rights", "ok", "list, write and read are allowed"),
        _clock(at, skew),
        _round_trip(median(trips)),
    ]


def _clock(at: Address, skew: float) -> Finding:
    if skew <= _SKEW_SECONDS:
        return Finding("clock", "ok", f"within {max(skew, 1.0):.0f} s of the store's clock")
    detail = f"the clocks of {at} and this machine differ by {skew:.0f} s; at 900 s S3 refuses requests"
    return Finding("clock", "warning", detail, "set this machine's clock (NTP)")


def _round_trip(seconds: float) -> Finding:
    if seconds <= _SLOW_SECONDS:
        return Finding("round trip", "ok", f"{seconds * 1000:.1f} ms")
    detail = f"{seconds * 1000:.0f} ms; each message takes two writes and a read, one after another"
    return Finding("round trip", "warning", detail, "run the workers in the region of the bucket")


def _not_removable(probe: str) -> Finding:
    return Finding(
        "rights",
        "warning",
        f"deletion is refused, so {probe} remains, and the order of listings was not checked",
        "work deletes nothing; for all checks allow s3:DeleteObject on _doctor/*",
    )


async def _order(client: Client, at: Address, probe: str) -> Finding:
    keys = [f"{probe}/{name}" for name in _NAMES]
    for key in reversed(keys):
        await attempt("write", at, client.put_async(key, b"x"))
    if await _listed(client, at, probe) == keys and await _listed(client, at, probe, keys[1]) == keys[2:]:
        return Finding("order", "ok", "listings are in byte order and can resume after any key")
    return Finding(
        "order",
        "failed",
        f"a listing of {', '.join(_NAMES)} is incomplete, not in byte order, or does not resume after a key: "
        "a replay that resumes would lose or repeat objects",
        "use a store that implements the order and start-after of ListObjectsV2",
    )
