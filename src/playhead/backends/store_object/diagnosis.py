"""What `doctor` looks at in a bucket: each right as work will need it, the order of listings, the clock."""

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
"""In byte order; a walk from folder to folder would give `a/x` first or last."""

T = TypeVar("T")


class _Refused(Exception):
    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix


async def diagnose(client: Client, at: Address, probe: str) -> list[Finding]:
    """Try everything below the key `probe`, and remove it again.

    Never raises for what it finds.
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
                f"what was written to {at} is not what is read back",
                "is there a cache or a proxy in between? Go to the store itself",
            )
        await _absent(client, at, f"{probe}-absent")
        stored = got.meta["last_modified"].timestamp()
        trips = [await _timed(lambda: _try("read", at, client.head_async(probe))) for _ in range(_TRIPS)]
    except _Refused:
        await _quietly(client, probe)
        raise
    found.append(Finding("rights", "ok", "list, write and read are allowed"))
    # Stores tell the time in whole seconds.
    skew = max(stored - after, before - 1 - stored, 0.0)
    if skew > _SKEW_SECONDS:
        found.append(
            Finding(
                "clock",
                "warning",
                f"the clock of {at} and this machine's are {skew:.0f} s apart; from 900 s on S3 refuses all",
                "set this machine's clock (NTP)",
            )
        )
    else:
        found.append(Finding("clock", "ok", f"it agrees with the store's to within {max(skew, 1.0):.0f} s"))
    trip = median(trips)
    if trip > _SLOW_SECONDS:
        found.append(
            Finding(
                "round trip",
                "warning",
                f"{trip * 1000:.0f} ms; a message takes two writes and a read, one after another",
                "run the workers in the region of the bucket",
            )
        )
    else:
        found.append(Finding("round trip", "ok", f"{trip * 1000:.1f} ms"))


async def _absent(client: Client, at: Address, key: str) -> None:
    """See that a missing object is said to be missing: work must tell that from what it may not see."""
    try:
        await client.head_async(key)
    except Failure as exc:
        if not missing(exc):
            detail = translate(exc, "list", at).detail
            raise _Refused(
                f"an object that is not there is refused rather than said to be missing: {detail}",
                f"allow s3:ListBucket on arn:aws:s3:::{at.bucket}, without a condition if it has one",
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
                    f"removing is refused, so {probe} stays, and the order of listings was not looked at",
                    "work never removes anything; for a whole check allow s3:DeleteObject on _doctor/* alone",
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
        found.append(Finding("order", "ok", "listings are in byte order and go on after any key"))
        return
    if sorted(seen) != keys:
        detail = f"of {len(keys)} objects just written, a listing gives {len(seen)}"
    elif seen != keys:
        detail = "listings are not in the byte order of keys"
    else:
        detail = "a listing does not go on after the key that it is told to"
    found.append(
        Finding(
            "order",
            "failed",
            f"{detail}: a replay that is taken up again would lose or double objects",
            "take a store that keeps S3's order of ListObjectsV2 and its start-after",
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
