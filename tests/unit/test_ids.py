"""Identities and times."""

from __future__ import annotations

import math
import re
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

import pytest

from playhead import ids


def test_minted_ids_are_version_7_of_the_rfc_and_carry_the_time():
    before = time.time()
    minted = [UUID(bytes=raw) for raw in ids.mint(1000)]
    after = time.time()
    for identity in minted:
        assert (identity.version, identity.variant) == (7, RFC_4122)
        assert before - 0.001 <= ids.created_at(identity) <= after + 0.002


def test_ids_ascend_within_a_batch_and_from_batch_to_batch():
    minted = [raw for size in (1, 1000, 1, 5, 20_000, 1) for raw in ids.mint(size)]
    assert minted == sorted(minted)
    assert len(set(minted)) == len(minted)


def test_ids_are_unique_across_threads_and_ascend_in_each_thread():
    with ThreadPoolExecutor(8) as threads:
        batches = list(threads.map(ids.mint, [500] * 40))
    assert all(batch == sorted(batch) for batch in batches)
    assert len({raw for batch in batches for raw in batch}) == 20_000


def test_the_tail_of_an_id_is_random():
    tails = {raw[12:] for raw in ids.mint(1000)}
    assert len(tails) > 990


def test_minting_zero_ids_returns_an_empty_list():
    assert ids.mint(0) == []


def test_a_uuid7_is_newer_than_all_before_it():
    assert UUID(bytes=ids.mint(1)[0]) < ids.uuid7() < ids.uuid7()


def test_the_text_of_16_bytes_is_that_of_their_uuid():
    for raw in [*ids.mint(20), bytes(16), b"\xff" * 16]:
        assert ids.text(raw) == str(UUID(bytes=raw))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1767323045.678, "2026-01-02T03:04:05.678Z"),
        (1767323045.6789, "2026-01-02T03:04:05.678Z"),
        (1767323045, "2026-01-02T03:04:05.000Z"),
    ],
)
def test_a_moment_is_rfc_3339_in_utc_with_milliseconds(seconds, expected):
    assert ids.moment(seconds) == expected
    assert ids.moment(ids.seconds(expected)) == expected
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", ids.moment(time.time()))


@pytest.mark.parametrize("behind", range(1, 5))
def test_a_moment_is_never_later_than_the_time(behind: int):
    """A time was rounded to microseconds, so the one in a response was up to half of one later."""
    seconds = 1767323045.679
    for _ in range(behind):
        seconds = math.nextafter(seconds, 0)

    assert ids.seconds(ids.moment(seconds)) <= seconds


@pytest.mark.parametrize(
    "spelling",
    [
        "0190a7d0-1111-7000-8000-00000000abcd",
        "0190A7D0-1111-7000-8000-00000000ABCD",
        "0190a7d0111170008000" + "00000000abcd",
        "urn:uuid:0190a7d0-1111-7000-8000-00000000abcd",
        "{0190a7d0-1111-7000-8000-00000000abcd}",
    ],
)
def test_a_uuid_is_read_in_any_of_its_usual_spellings(spelling):
    assert ids.parse_uuid(spelling) == UUID("0190a7d0-1111-7000-8000-00000000abcd")


@pytest.mark.parametrize("other", ["", "latest", "0190a7d0-1111-7000-8000", "g" * 32, "0" * 33])
def test_anything_else_is_no_uuid(other):
    assert ids.parse_uuid(other) is None


def test_later_ids_follow_the_id_of_a_clock_that_was_ahead():
    ahead = UUID(int=ids.uuid7().int + (3_600_000 << 80))
    try:
        ids.follow(None)
        assert ids.uuid7() < ahead
        ids.follow(ahead)
        ids.follow(ids.uuid7())
        assert ahead < ids.uuid7() < ids.uuid7()
    finally:
        ids._last_ms = -1


def test_ids_do_not_follow_a_clock_that_is_more_than_a_day_ahead():
    wrong = UUID(int=ids.uuid7().int + (100_000_000 << 80))
    ids.follow(wrong)
    assert ids.uuid7() < wrong
