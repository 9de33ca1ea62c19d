"""The checks of a bucket for `playhead doctor`: permissions, the order of listings, the clock."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Final, TypeVar

from playhead.backends.store_object.address import Address, Client
from playhead.backends.store_object.failures import Failure, missing, translate
from playhead.ports.diagnosis import Finding

_TRIPS: Final = 5
_SLOW_SECONDS: Final = 0.25
_SKEW_SECONDS: Final = 60.0
_BODY: Final = b"playhead doctor"
_NAMES: Final = ("a-b", "a.md", "a/x", "a0")
"""In byte order. A walk from folder to folder would return `a/x` first or last."""

T = TypeVar("T")


class _Refused(Exception):
    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix


async def diagnose(client: Client, at: Address, probe: str) -> list[Finding]:
    """Run all checks with objects below the key `probe`, and remove the objects.

    Faults are returned as findings, never raised.
    """
    found: list[Finding] = []
    try:
        await _reach(client, at, found)
        await _write(client, at, probe, found)
    except _Refused as exc:
        found.append(Finding("reach" if not found else "rights", "failed", exc.detail, exc.fix))
        return found
    removable = await _remove(client, at, probe, found)
    if removable:
        try:
            await _order(client, at, probe, found)
        except _Refused as exc:
            found.append(Finding("order", "failed", exc.detail, exc.fix))
        for name in _NAMES:
            await _quietly(client, f"{probe}/{name}")
    return found


async def _try(verb: str, at: Address, request: Awaitable[T]) -> T:
    try:
        return await request
    except Failure as exc:
        detail = translate(exc, verb, at).detail
        happened, _, fix = detail.rpartition("; ")
        raise _Refused(happened or detail, fix if happened else "") from exc


async def _listed(client: Client, at: Address, prefix: str, offset: str | None = None) -> list[str]:
    return [
        meta["path"] for meta in await _try("list", at, client.list(prefix, offset=offset).collect_async())
    ]


async def _reach(client: Client, at: Address, found: list[Finding]) -> None:
    started = time.perf_counter()
    await _listed(client, at, "_doctor/reach")
    took = (time.perf_counter() - started) * 1000
    found.append(Finding("reach", "ok", f"{at} lists its keys ({took:.0f} ms, with connecting)"))


async def _write(client: Client, at: Address, probe: str, found: list[Finding]) -> None:
    before = time.time()
    await _try("write", at, client.put_async(probe, _BODY))
    after = time.time()
    try:
        got = await _try("read", at, client.get_async(probe))
        held = bytes(await _try("read", at, got.bytes_async()))
        if held != _BODY:
            raise _Refused(
                f"an object in {at} was read with other bytes than were written",
                "remove the cache or proxy in between, and connect to the store itself",
            )
        await _absent(client, at, f"{probe}-absent")
        stored = got.meta["last_modified"].timestamp()
        trips = [await _timed(lambda: _try("read", at, client.head_async(probe))) for _ in range(_TRIPS)]
    except _Refused:
        await _quietly(client, probe)
        raise
    found.append(Finding("rights", "ok", "list, write and read are allowed"))
    # Stores report the time in whole seconds.
    skew = max(stored - after, before - 1 - stored, 0.0)
    if skew > _SKEW_SECONDS:
        found.append(
            Finding(
                "clock",
                "warning",
                f"the clocks of {at} and this machine differ by {skew:.0f} s; at 900 s S3 refuses requests",
                "set this machine's clock (NTP)",
            )
        )
    else:
        found.append(Finding("clock", "ok", f"within {max(skew, 1.0):.0f} s of the store's clock"))
    trip = median(trips)
    if trip > _SLOW_SECONDS:
        found.append(
            Finding(
                "round trip",
                "warning",
                f"{trip * 1000:.0f} ms; each message takes two writes and a read, one after another",
                "run the workers in the region of the bucket",
            )
        )
    else:
        found.append(Finding("round trip", "ok", f"{trip * 1000:.1f} ms"))


async def _absent(client: Client, at: Address, key: str) -> None:
    """Check that the store reports a missing object as missing, not as forbidden."""
    try:
        await client.head_async(key)
    except Failure as exc:
        if not missing(exc):
            detail = translate(exc, "list", at).detail
            raise _Refused(
                f"the store reports a missing object as forbidden: {detail}",
                f"allow s3:ListBucket on arn:aws:s3:::{at.bucket}, without conditions",
            ) from exc


async def _remove(client: Client, at: Address, probe: str, found: list[Finding]) -> bool:
    try:
        await client.delete_async(probe)
    except Failure as exc:
        if not missing(exc):
            found.append(
                Finding(
                    "rights",
                    "warning",
                    f"deletion is refused, so {probe} remains, and the order of listings was not checked",
                    "work deletes nothing; for all checks allow s3:DeleteObject on _doctor/*",
                )
            )
            return False
    return True


async def _order(client: Client, at: Address, probe: str, found: list[Finding]) -> None:
    for name in reversed(_NAMES):
        await _try("write", at, client.put_async(f"{probe}/{name}", b"x"))
    keys = [f"{probe}/{name}" for name in _NAMES]
    seen = await _listed(client, at, probe)
    later = await _listed(client, at, probe, keys[1])
    if seen == keys and later == keys[2:]:
        found.append(Finding("order", "ok", "listings are in byte order and can resume after any key"))
        return
    if sorted(seen) != keys:
        detail = f"a listing returned {len(seen)} of {len(keys)} objects that were just written"
    elif seen != keys:
        detail = "listings are not in the byte order of keys"
    else:
        detail = "a listing does not resume after the given key"
    found.append(
        Finding(
            "order",
            "failed",
            f"{detail}: a replay that resumes would lose or repeat objects",
            "use a store that implements the order and start-after of ListObjectsV2",
        )
    )


async def _quietly(client: Client, key: str) -> None:
    try:
        await client.delete_async(key)
    except Failure:
        pass


async def _timed(call: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await call()
    return time.perf_counter() - started
