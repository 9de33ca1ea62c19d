"""The manifest of a plan: pages, digest, and the comparison with a listing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, strategies as st

from playhead.errors import Conflict
from playhead.model import MOST_DIFFERENCES, ObjectState, PlanDifference
from playhead.ports.catalog.plans import PlanPage
from playhead.replay import manifest
from playhead.replay.manifest import Digest, Item, compare, pack, pages_of, row_tag, store_tag, unpack


def items(count: int) -> list[Item]:
    return [(f"e/s/{n:07}", n, f"s:{n}") for n in range(count)]


async def cut(found: Sequence[Item], size: int) -> AsyncIterator[Sequence[Item]]:
    for at in range(0, len(found), size):
        yield found[at : at + size]


async def paged(found: Sequence[Item], size: int) -> list[PlanPage]:
    return [page async for page in pages_of(cut(found, size))]


def digest_of(pages: Sequence[PlanPage]) -> str:
    digest = Digest()
    for page in pages:
        digest.add(page)
    return str(digest)


def test_a_page_is_the_text_of_its_objects():
    page = pack(3, [('e/s/"ü\\', 5, 's:"1"'), ("e/t", 0, row_tag(bytes(range(32))))])

    assert (page.no, page.first_key, page.last_key, page.objects) == (3, 'e/s/"ü\\', "e/t", 2)
    text = b'["e/s/\\"\\u00fc\\\\",5,"s:\\"1\\""]\n["e/t",0,"r:000102030405060708090a0b0c0d0e0f"]\n'
    assert page.sha256 == sha256(text).digest()
    assert unpack(page) == [
        ('e/s/"ü\\', 5, 's:"1"'),
        ("e/t", 0, "r:000102030405060708090a0b0c0d0e0f"),
    ]


def test_a_damaged_page_is_not_read():
    page = pack(0, items(2))
    for data in (pack(0, items(3)).data, b"none"):
        with pytest.raises(Conflict, match="damaged"):
            unpack(page._replace(data=data))


@pytest.mark.parametrize("size", [1_000, 7_000, 10_000, 25_001])
async def test_all_pages_except_the_last_have_10_000_objects_however_the_listing_is_cut(size: int):
    found = items(25_001)
    pages = await paged(found, size)

    assert [page.objects for page in pages] == [10_000, 10_000, 5_001]
    assert [page.no for page in pages] == [0, 1, 2]
    assert [one for page in pages for one in unpack(page)] == found
    assert digest_of(pages) == digest_of(await paged(found, 333))


async def test_the_digest_is_that_of_a_head_line_and_of_the_pages():
    pages = await paged(items(10_001), 1_000)
    lines = b"playhead-plan-1\n" + b"".join(page.sha256.hex().encode() + b"\n" for page in pages)
    assert digest_of(pages) == f"sha256:{sha256(lines).hexdigest()}"


async def test_the_digest_differs_if_a_key_a_size_or_a_tag_does():
    one = items(3)
    others = [
        one[:2],
        [*one, ("e/s/x", 1, "s:1")],
        [one[0], (one[1][0], 9, one[1][2]), one[2]],
        [one[0], (*one[1][:2], "s:9"), one[2]],
        [("e/s/-", *one[0][1:]), *one[1:]],
    ]
    assert len({digest_of(await paged(some, 2)) for some in [one, *others]}) == 6


async def test_an_empty_listing_has_no_page():
    assert await paged([], 1) == []


STATES = st.dictionaries(
    st.sampled_from([f"e/s/{name}" for name in "abcdefghij"]),
    st.tuples(st.integers(0, 2), st.sampled_from("xy")),
)


@given(planned=STATES, listed=STATES, page=st.integers(1, 4), size=st.integers(1, 4))
async def test_a_comparison_finds_what_is_gone_and_what_has_changed(
    planned: dict[str, tuple[int, str]], listed: dict[str, tuple[int, str]], page: int, size: int
):
    def of(states: dict[str, tuple[int, str]]) -> list[Item]:
        return [(key, *state) for key, state in sorted(states.items())]

    passed: list[str] = []

    async def note(key: str) -> None:
        passed.append(key)

    found = await compare(cut(of(planned), page), cut(of(listed), size), note)

    for cursor in passed:
        assert all(listed.get(key) == state for key, state in planned.items() if key <= cursor)
    gone = sorted(planned.keys() - listed.keys())
    changed = sorted(key for key in planned.keys() & listed.keys() if planned[key] != listed[key])
    assert (found.gone, found.changed) == (len(gone), len(changed))
    assert [(one.key, one.what) for one in found.first] == sorted(
        [(key, "gone") for key in gone] + [(key, "changed") for key in changed]
    )
    for one in found.first:
        assert one.planned == ObjectState(*planned[one.key])
        assert one.now == (ObjectState(*listed[one.key]) if one.what == "changed" else None)


async def ignore(_: str) -> None: ...


async def test_pages_of_a_listing_may_be_empty():
    async def listed() -> AsyncIterator[Sequence[Item]]:
        for one in items(3):
            yield []
            yield [one]
        yield []

    assert await compare(cut(items(3), 2), listed(), ignore) == PlanDifference()


async def test_the_first_differences_are_kept_and_all_are_counted():
    planned = items(1_000)
    listed = [replace_size(one) if number % 2 else one for number, one in enumerate(planned)][:900]

    found = await compare(cut(planned, 300), cut(listed, 77), ignore)

    assert (found.gone, found.changed) == (100, 450)
    assert [one.key for one in found.first] == [planned[2 * n + 1][0] for n in range(MOST_DIFFERENCES)]
    assert replace(found, first=[]) == PlanDifference(100, 450)


def replace_size(one: Item) -> Item:
    return one[0], one[1] + 1, one[2]


def test_tags_of_the_store_and_of_records_are_never_equal():
    assert store_tag(row_tag(bytes(32))[2:])[:2] != row_tag(bytes(32))[:2]
    assert manifest.PAGE == 10_000
