"""A listing in parts equals the sequential listing, for any estimates and any keys."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import example, given, strategies as st

pytest.importorskip("obstore")

from playhead.backends.store_object.address import storable
from playhead.backends.store_object.forecast import ahead
from playhead.backends.store_object.listing import ALONE, PART_PAGES, PARTS, Guess, side_by_side
from playhead.ports.store import Entry
from tests.servers.s3_arithmetic import flat, folders


class Bucket:
    """Sorted keys, given out in pages; counts who reads and how often."""

    def __init__(
        self,
        keys: Sequence[str],
        page: int,
        *,
        fails_at: str = "\U0010ffff",
        error: BaseException | None = None,
        pause: float = 0.0,
    ) -> None:
        self.keys = sorted(set(keys), key=str.encode)
        self.page = page
        self.fails_at = fails_at
        self.error = error or ConnectionError("gone")
        self.pause = pause
        self.asked = 0
        self.reading = 0
        self.most_reading = 0
        self.given = 0

    async def pages(self, after: str) -> AsyncGenerator[Sequence[Entry], None]:
        self.reading += 1
        self.most_reading = max(self.reading, self.most_reading)
        try:
            start = bisect_right(self.keys, after)
            self.asked += start == len(self.keys)
            while start < len(self.keys):
                self.asked += 1
                await asyncio.sleep(self.pause)
                page = self.keys[start : start + self.page]
                if page[-1] >= self.fails_at:
                    raise self.error
                self.given += len(page)
                yield [Entry(key, 0, 0.0) for key in page]
                start += self.page
        finally:
            self.reading -= 1

    async def listed(self, after: str = "", guess: Guess = ahead) -> list[str]:
        found: list[str] = []
        async for page in side_by_side(self.pages, after, server_page=self.page, alone=1, guess=guess):
            assert page
            found.extend(entry.key for entry in page)
        return found


async def test_a_listing_in_parts_equals_the_sequential_listing():
    for layout in (flat("s"), folders("s", 300), folders("s", 30), folders("s", 6)):
        bucket = Bucket([layout(n) for n in range(4_000)], 20)
        assert await bucket.listed() == bucket.keys


async def test_several_parts_are_read_at_once():
    for layout in (flat("s"), folders("s", 300), folders("s", 6)):
        bucket = Bucket([layout(n) for n in range(4_000)], 20, pause=0.002)
        await bucket.listed()
        assert bucket.most_reading > 3


async def test_a_listing_in_parts_needs_few_requests_more_than_a_sequential_one():
    for layout in (flat("s"), folders("s", 300), folders("s", 6)):
        bucket = Bucket([layout(n) for n in range(10_000)], 20)
        await bucket.listed()
        assert bucket.asked < 1.5 * len(bucket.keys) / bucket.page


segment = st.one_of(
    st.integers(0, 30).map("{:04}".format),
    st.integers(0, 300).map(str),
    st.text("0123456789abcdef", min_size=4, max_size=4),
    st.sampled_from(["a", "a-b", "a.md", "a0", "Z", "é", "日", "\U0001f600", "~", "!", "page", "9", "99"]),
)
some_keys = st.lists(st.lists(segment, min_size=1, max_size=3).map("/".join), max_size=250)


@given(keys=some_keys, page=st.integers(2, 9), after=st.one_of(st.just(""), segment))
def test_every_key_is_listed_once_whatever_the_keys_are(keys, page, after):
    bucket = Bucket(keys, page)
    found = asyncio.run(bucket.listed(after))
    assert found == [key for key in bucket.keys if key > after]


@example(keys=[f"{n}{end}" for n in range(10, 60) for end in ("", "-1", "!")], page=4, steps=[0, 1, 2, 3, 5])
@given(keys=some_keys, page=st.integers(2, 5), steps=st.lists(st.integers(0, 25), min_size=1, max_size=9))
def test_every_key_is_listed_once_wherever_the_parts_end(keys, page, steps):
    bucket = Bucket(keys, page)
    guesses = 0

    def at_a_key(page: Sequence[str], pages: float) -> str | None:
        """On a key, just after one, or beyond the last: where a wrong bound would show."""
        nonlocal guesses
        step = steps[guesses % len(steps)]
        guesses += 1
        later = bucket.keys[bisect_right(bucket.keys, page[-1]) :]
        end = later[step // 2] if step // 2 < len(later) else page[-1] + "z"
        return f"{end}!" if step % 2 else str(end)

    assert asyncio.run(bucket.listed(guess=at_a_key)) == bucket.keys


@given(keys=some_keys.filter(lambda keys: len(keys) > 1), pages=st.floats(0.01, 50))
def test_an_estimated_key_follows_the_page_and_is_valid(keys, pages):
    page = sorted(set(keys))
    guess = ahead(page, pages)
    assert guess is None or (guess > page[-1] and storable(guess))


async def test_an_estimate_between_numbered_keys_is_about_right():
    for layout in (flat("s"), folders("s", 20)):
        keys = [layout(n) for n in range(20_000)]
        guess = ahead(keys[1000:2000], 5)
        assert guess
        assert 6_000 < bisect_right(keys, guess) < 8_000


def test_the_distance_between_two_large_folders_does_not_affect_the_estimate():
    keys = [folders("s", 10_000)(n) for n in range(60_000)]
    for begin in range(9_000, 10_000, 50):
        guess = ahead(keys[begin : begin + 1000], 5)
        assert guess is None or bisect_right(keys, guess) <= 20_000


async def test_a_short_listing_is_sequential_and_needs_no_additional_request():
    bucket = Bucket([flat("s")(n) for n in range(ALONE * 20 - 20)], 20)
    found = [page async for page in side_by_side(bucket.pages, "", server_page=20)]
    assert (len(found), bucket.asked) == (ALONE - 1, ALONE - 1)


async def test_reading_only_the_first_page_sends_one_request():
    bucket = Bucket([flat("s")(n) for n in range(4_000)], 20)
    pages = side_by_side(bucket.pages, "", server_page=20, alone=1)
    await anext(pages)
    await asyncio.sleep(0.01)
    assert bucket.asked == 1
    await pages.aclose()
    assert bucket.reading == 0


async def test_an_abandoned_listing_reads_no_further():
    bucket = Bucket([flat("s")(n) for n in range(4_000)], 20)
    pages = side_by_side(bucket.pages, "", server_page=20, alone=1)
    for _ in range(5):
        await anext(pages)
    await pages.aclose()
    asked = bucket.asked
    await asyncio.sleep(0.01)
    assert (bucket.reading, bucket.asked) == (0, asked)


async def test_parts_wait_until_their_pages_are_consumed():
    bucket = Bucket([flat("s")(n) for n in range(40_000)], 20)
    pages = side_by_side(bucket.pages, "", server_page=20, alone=1)
    await anext(pages)
    await anext(pages)
    await asyncio.sleep(0.05)
    assert bucket.given <= (PARTS * (PART_PAGES + 1) + 2) * 20
    await pages.aclose()


async def test_a_failure_is_raised_at_its_position_after_the_pages_before_it():
    keys = [flat("s")(n) for n in range(4_000)]
    bucket = Bucket(keys, 20, fails_at=keys[2_000])
    found: list[str] = []
    pages = side_by_side(bucket.pages, "", server_page=20, alone=1)

    async def take_all() -> None:
        async for page in pages:
            found.extend(entry.key for entry in page)

    with pytest.raises(ConnectionError):
        await take_all()
    assert found == keys[: len(found)]
    assert 1_900 <= len(found) <= 2_000
    assert bucket.reading == 0


async def test_a_part_that_panics_does_not_block_the_listing():
    """A panic in the library is no `Exception`."""

    class Panic(BaseException):
        pass

    keys = [flat("s")(n) for n in range(4_000)]
    bucket = Bucket(keys, 20, fails_at=keys[2_000], error=Panic())

    async with asyncio.timeout(30):
        with pytest.raises(Panic):
            await bucket.listed()
