"""Cursors: what was given comes back, anything else is refused."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.engine.paging import decode_cursor, encode_cursor
from playhead.errors import BadRequest


@given(st.integers(0, 2**63 - 1))
def test_a_number_comes_back(place: int):
    assert decode_cursor(encode_cursor(place), int) == place


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_text_comes_back(place: str):
    cursor = encode_cursor(place)
    assert cursor is not None
    assert cursor.isascii()
    assert decode_cursor(cursor, str) == place


def test_no_cursor_is_the_beginning_and_the_end():
    assert encode_cursor(None) is None
    assert decode_cursor(None, int) is None


def _raw(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "!",
        "é",
        "MQ=a",
        "abcde",
        *map(_raw, ("true", "-1", "1.0", str(2**63), "null", "[1]", '"a"')),
    ],
)
def test_what_no_list_of_numbers_gave_is_refused(cursor: str):
    with pytest.raises(BadRequest) as refusal:
        decode_cursor(cursor, int)
    assert refusal.value.code == "invalid_cursor"


@pytest.mark.parametrize("cursor", ["", *map(_raw, ("1", "null", '"\\ud800"', '"a\\u0000"', "{}"))])
def test_what_no_list_of_texts_gave_is_refused(cursor: str):
    with pytest.raises(BadRequest):
        decode_cursor(cursor, str)


@given(st.text() | st.text().map(_raw) | st.integers(1, 5000).map(lambda depth: _raw("[" * depth)))
def test_nothing_but_a_refusal_comes_of_any_other_text(cursor: str):
    with contextlib.suppress(BadRequest):
        assert encode_cursor(decode_cursor(cursor, int)) is not None
