"""Listings of the store, joined with references to objects of earlier executions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from playhead.ports.catalog.browse import Reference
from playhead.ports.store import Entry
from playhead.reading.listing import with_references

KEYS = st.sets(st.sampled_from(["e/s/a", "e/s/a-b", "e/s/a.md", "e/s/a/x", "e/s/b", "e/s/é", "e/s/𐀀"]))


class References:
    """The part of the catalog that has references."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = sorted(keys, key=str.encode)
        self.read = 0

    async def references(self, prefix: str, *, after: str = "", limit: int) -> list[Reference]:
        found = [key for key in self.keys if key.encode() > after.encode()][:limit]
        self.read += len(found)
        return [Reference(key, f"other/{key}", 1, 0.0) for key in found]


async def pages(keys: Sequence[str], after: str, size: int) -> AsyncIterator[Sequence[Entry]]:
    left = [key for key in sorted(keys, key=str.encode) if key.encode() > after.encode()]
    for at in range(0, len(left), size):
        yield [Entry(key, 1, 0.0) for key in left[at : at + size]]


@pytest.mark.parametrize("size", [1, 2, 100])
@given(stored=KEYS, referred=KEYS, after=st.sampled_from(["", "e/s/a", "e/s/a.md", "e/s/b"]))
async def test_every_key_comes_once_and_in_order(size: int, stored: set[str], referred: set[str], after: str):
    catalog = cast("Any", References(list(referred)))
    listing = pages(list(stored), after, size)

    listed = await _all(with_references(catalog, listing, "e/s", after, size))

    assert all(1 <= len(page) <= size for page in listed)
    found = [one for page in listed for one in page]
    expected = sorted((key for key in stored | referred if key.encode() > after.encode()), key=str.encode)
    assert [one.key for one in found] == expected
    assert {one.key for one in found if isinstance(one, Reference)} == referred & set(expected)


async def test_the_first_page_needs_no_later_references():
    catalog = References([f"e/s/{n:03}" for n in range(100)])

    first = await anext(with_references(cast("Any", catalog), pages(["e/s/999"], "", 3), "e/s", "", 3))

    assert [one.key for one in first] == ["e/s/000", "e/s/001", "e/s/002"]
    assert catalog.read <= 6


async def _all(pages: AsyncIterator[Sequence[Entry | Reference]]) -> list[Sequence[Entry | Reference]]:
    return [page async for page in pages]
