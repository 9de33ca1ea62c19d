"""Cursors: a list accepts the cursors that it has returned, and refuses all others."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given, strategies as st

from playhead.errors import BadRequest
from playhead.reading.paging import decode_cursor, decode_parts, encode_cursor, encode_parts, list_of, page_of

THIS = list_of("executions", "failed", None)


def given_by(of: str, place: int | str) -> str:
    cursor = encode_cursor(place, of)
    assert cursor is not None
    return cursor


@given(st.integers(0, 2**63 - 1))
def test_a_number_is_decoded_unchanged(place: int):
    assert decode_cursor(encode_cursor(place, THIS), int, THIS) == place


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_text_is_decoded_unchanged(place: str):
    cursor = given_by(THIS, place)
    assert cursor.isascii()
    assert decode_cursor(cursor, str, THIS) == place


@given(st.floats(0, 1e12), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_place_of_several_parts_is_decoded_unchanged(at: float, path: str):
    cursor = encode_parts((at, path, 3), THIS)
    assert decode_parts(cursor, (float, str, int), THIS) == [at, path, 3]
    assert encode_parts(None, THIS) is None
    assert decode_parts(None, (float, str, int), THIS) is None


@pytest.mark.parametrize(
    "place", ["", "x", "[1.5]", '[1.5, "a", 3]', '["1.5", "a"]', '[NaN, "a"]', '[1.5, "\\u0000"]']
)
def test_a_place_with_other_parts_is_refused(place: str):
    with pytest.raises(BadRequest) as refusal:
        decode_parts(given_by(THIS, place), (float, str), THIS)
    assert refusal.value.code == "invalid_cursor"


def test_a_missing_cursor_means_the_beginning_and_the_end():
    assert encode_cursor(None, THIS) is None
    assert decode_cursor(None, int, THIS) is None


@pytest.mark.parametrize(
    "other",
    [
        list_of("replays", "failed", None),
        list_of("executions", "running", None),
        list_of("executions", None, "failed"),
        list_of("executions", "failed", ""),
        list_of("executions"),
    ],
)
def test_a_cursor_of_another_list_or_another_filter_is_refused(other: str):
    with pytest.raises(BadRequest) as refusal:
        decode_cursor(given_by(other, 7), int, THIS)
    assert refusal.value.code == "invalid_cursor"


def _raw(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _marked(place: str) -> str:
    """Return a cursor of this list with a position that the list never returns."""
    real = given_by(THIS, 1)
    _, mark = json.loads(base64.urlsafe_b64decode(real + "=" * (-len(real) % 4)))
    return _raw(f'[{place}, "{mark}"]')


def test_a_cursor_made_like_those_in_the_tests_below_is_accepted():
    assert decode_cursor(_marked("1"), int, THIS) == 1
    assert decode_cursor(_marked('"a"'), str, THIS) == "a"


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "é",
        "MQ=a",
        "abcde",
        *map(_raw, ("1", "true", "null", "[1]", '"ab"', "{}", "[1, 2, 3]", '[1, "x"]')),
        *map(_marked, ("true", "-1", "1.0", str(2**63), "null", "[1]", '"a"')),
    ],
)
def test_a_cursor_that_no_list_of_numbers_returned_is_refused(cursor: str):
    with pytest.raises(BadRequest) as refusal:
        decode_cursor(cursor, int, THIS)
    assert refusal.value.code == "invalid_cursor"


@pytest.mark.parametrize("cursor", ["", *map(_marked, ("1", "null", '"\\ud800"', '"a\\u0000"', "{}"))])
def test_a_cursor_that_no_list_of_texts_returned_is_refused(cursor: str):
    with pytest.raises(BadRequest):
        decode_cursor(cursor, str, THIS)


@given(st.text() | st.text().map(_raw) | st.integers(1, 5000).map(lambda depth: _raw("[" * depth)))
def test_any_other_text_is_refused(cursor: str):
    with contextlib.suppress(BadRequest):
        assert encode_cursor(decode_cursor(cursor, int, THIS), THIS) is not None


# -- pages of a list that is there as a whole -------------------------------------------------------


def page(items: list[str], cursor: str | None, limit: int = 2) -> tuple[list[str], str | None]:
    found = page_of(items, str, cursor, limit, THIS)
    return list(found.items), found.next_cursor


@given(st.lists(st.text("ab c", min_size=1), unique=True), st.integers(1, 4))
def test_pages_together_are_the_list(items: list[str], limit: int):
    seen, cursor = page(items, None, limit)
    while cursor is not None:
        some, cursor = page(items, cursor, limit)
        assert 0 < len(some) <= limit
        seen += some
    assert seen == items


def test_a_page_continues_after_the_last_item_of_the_previous_page_wherever_it_is_now():
    first, cursor = page(["b", "d", "f"], None)
    assert first == ["b", "d"]
    assert page(["a", "b", "c", "d", "e", "f"], cursor)[0] == ["e", "f"]


def test_a_page_misses_nothing_if_the_last_item_of_the_previous_page_was_removed():
    _, cursor = page(["a", "b", "c", "d"], None)
    assert page(["a", "c", "d"], cursor)[0] == ["c", "d"]


@pytest.mark.parametrize("place", ["x a", " a", "", "1" * 10 + " a", "² a"])
def test_a_position_at_which_no_page_ends_is_refused(place: str):
    with pytest.raises(BadRequest):
        page(["a"], encode_cursor(place, THIS))
