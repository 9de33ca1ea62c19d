"""The manifest of a plan: its objects as pages of lines, their digest, and their comparison with a listing.

A page is the lines `["key",size,"tag"]` of 10,000 objects, fewer on the last page, in the order of their
keys. The digest of a manifest is the sha256 of a head line and of the sha256 of each page in hex. So it
depends on the set of objects alone, and it can be computed and checked page by page: memory holds one page.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from hashlib import sha256
from typing import Final

from playhead.errors import Conflict
from playhead.model import MOST_DIFFERENCES, ChangedObject, ObjectState, PlanDifference
from playhead.ports.catalog.plans import PlanPage

PAGE: Final = 10_000
"""Objects of each page but the last."""
_HEAD: Final = b"playhead-plan-1\n"
_LEVEL: Final = 1
_quoted: Final[Callable[[str], str]] = json.encoder.encode_basestring_ascii


Item = tuple[str, int, str]
"""Key, size and tag of one object; see `model.PlannedObject`. A plain tuple, as there may be millions."""


def row_tag(sha: bytes) -> str:
    """Return the tag of an object with a record. It stays if an attempt writes the same bytes once more."""
    return "r:" + sha.hex()[:32]


def store_tag(tag: str) -> str:
    """Return the tag of an object of another program, from the tag of the store."""
    return "s:" + tag


def pack(no: int, items: Sequence[Item]) -> PlanPage:
    """Return a page with at least one object."""
    text = "".join([f"[{_quoted(key)},{size},{_quoted(tag)}]\n" for key, size, tag in items]).encode()
    digest = sha256(text).digest()
    return PlanPage(no, items[0][0], items[-1][0], len(items), digest, zlib.compress(text, _LEVEL))


def unpack(page: PlanPage) -> list[Item]:
    """Return the objects of a page. Raises `Conflict` (`plan_not_ready`) if the page is damaged."""
    try:
        text = zlib.decompress(page.data)
    except zlib.error:
        text = b""
    if sha256(text).digest() != page.sha256:
        raise Conflict(
            "plan_not_ready", f"page {page.no} of the plan is damaged in the catalog. Make a new plan"
        )
    return [(key, size, tag) for key, size, tag in json.loads(b"[" + text[:-1].replace(b"\n", b",") + b"]")]


class Digest:
    """The digest of a manifest, fed with its pages in their order."""

    def __init__(self) -> None:
        self._hash = sha256(_HEAD)

    def add(self, page: PlanPage) -> None:
        self._hash.update(page.sha256.hex().encode() + b"\n")

    def __str__(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


async def pages_of(listed: AsyncIterator[Sequence[Item]]) -> AsyncIterator[PlanPage]:
    """Yield the pages of a manifest from the pages of a listing, which may have any size.

    A page is packed in a thread, while the next one is listed.
    """
    items: list[Item] = []
    no = 0
    packing: asyncio.Future[PlanPage] | None = None
    async for some in listed:
        items += some
        while len(items) >= PAGE:
            if packing:
                yield await packing
            packing = asyncio.ensure_future(asyncio.to_thread(pack, no, items[:PAGE]))
            no += 1
            del items[:PAGE]
    if packing:
        yield await packing
    if items:
        yield await asyncio.to_thread(pack, no, items)


async def compare(
    planned: AsyncIterator[Sequence[Item]],
    listed: AsyncIterator[Sequence[Item]],
    passed: Callable[[str], Awaitable[None]],
) -> PlanDifference:
    """Compare the pages of a manifest with a new listing. Objects that only the listing has are ignored.

    Both are in the order of their keys. `passed` is called with a key after each page of the listing, as long
    as all objects up to this key are the same in both.
    """
    gone = changed = 0
    first: list[ChangedObject] = []
    ahead: Sequence[Item] | None = await anext(listed, None)
    at = 0
    async for page in planned:
        wanted = {key: (size, tag) for key, size, tag in page}
        last = page[-1][0]
        differing: list[tuple[str, ObjectState | None]] = []
        while ahead is not None:
            for place in range(at, len(ahead)):
                key, size, tag = ahead[place]
                if key > last:
                    at = place
                    break
                found = wanted.get(key)
                if found is None:
                    continue
                if found == (size, tag):
                    del wanted[key]
                else:
                    differing.append((key, ObjectState(size, tag)))
            else:
                is_same = ahead and not (gone or changed or differing)
                if is_same and not (wanted and next(iter(wanted)) <= ahead[-1][0]):
                    await passed(ahead[-1][0])
                ahead, at = await anext(listed, None), 0
                continue
            break
        now = dict(differing)
        changed += len(now)
        gone += len(wanted) - len(now)
        for key, (size, tag) in wanted.items():
            if len(first) == MOST_DIFFERENCES:
                break
            state = now.get(key)
            first.append(ChangedObject(key, "changed" if state else "gone", ObjectState(size, tag), state))
    return PlanDifference(gone, changed, first)
