"""Listings without the catalog, from stores with and without an order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from playhead.ids import uuid7
from playhead.model import Execution, StoredObject
from playhead.ports.store import Blob, Entry
from playhead.reading.listing import Listing
from tests.catalog_memory import MemoryCatalog
from tests.store_memory import MemoryStore

EXECUTION = uuid7()


class UnorderedStore(MemoryStore):
    """A store that returns its pages, and the keys of each page, in reverse order."""

    ordered = False

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        pages = [entries async for entries in super().list(prefix, after=after, sizes=sizes, page=page)]
        for entries in reversed(pages):
            yield list(reversed(entries))


@pytest.fixture(params=[MemoryStore, UnorderedStore])
async def listing(request: pytest.FixtureRequest) -> Listing:
    store: MemoryStore = request.param()
    names = ("s/a-b", "s/a", "s/a/x", "s/é", "s/ﬀ", "s/𝄞", "t/y", "t/y.meta.json", "t/", "stray", "tt/z")
    await store.write([[Blob(f"{EXECUTION}/{name}", name.encode())] for name in names])
    return Listing(MemoryCatalog(), store)


async def _adopted(listing: Listing) -> Execution:
    found = await listing.adoptable(EXECUTION)
    assert found
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_pages_follow_each_other_in_byte_order(listing: Listing, limit: int):
    execution = await _adopted(listing)
    found: list[StoredObject] = []
    more = True
    while more:
        items, more = await listing.objects(
            execution, None, None, after=found[-1].key if found else "", limit=limit
        )
        assert len(items) <= limit
        found += items
    keys = [item.key for item in found]
    assert keys == sorted(keys, key=str.encode)
    assert [(item.stage, item.path) for item in found] == [
        *(("s", path) for path in ("a", "a-b", "a/x", "é", "ﬀ", "𝄞")),
        ("t", "y"),
        ("tt", "z"),
    ]


async def test_stages_of_an_adopted_execution_are_its_first_segments(listing: Listing):
    stages = await listing.stages(await _adopted(listing))
    assert [(s.stage, s.objects, s.bytes) for s in stages] == [("s", 6, 28), ("t", 1, 3), ("tt", 1, 4)]
    assert (stages[0].first_key, stages[0].last_key) == (f"{EXECUTION}/s/a", f"{EXECUTION}/s/𝄞")


async def test_an_execution_without_objects_is_not_adopted(listing: Listing):
    assert await listing.adoptable(uuid7()) is None
