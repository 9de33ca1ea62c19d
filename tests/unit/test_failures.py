"""Patterns of errors, and the groups that follow from them."""

from __future__ import annotations

import time

import pytest

from playhead.failures import cause_of, group_number, group_of, group_text, parts_of, pattern_of, place_of
from tests.slowness import slowness

TRACE = """Traceback (most recent call last):
  File "/work/playhead/steps/chain.py", line 7, in _call
    return step(item)
  File "/srv/{folder}/steps.py", line {line}, in {function}
    return json.loads(text)
           ^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
{raised}: Expecting value: line 1 column {line}
note: this is a note
"""


def group(error: str = "it broke", **changes: object) -> int:
    place = {
        "folder": "a",
        "line": 12,
        "function": "parse",
        "raised": "json.decoder.JSONDecodeError",
    } | changes
    return group_of("docs", "convert", "adapter_error", error, TRACE.format(**place))


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        ("KeyError: 'count'", "KeyError: <text>"),
        ("no such file: '/tmp/a b/c.json'", "no such file: <text>"),
        ("order 123 failed at 2026-11-25T17:24:32.123Z", "order <n> failed at <time>"),
        ("can't read words/input/x.json: it isn't there", "can't read <path> it isn't there"),
        ("GET https://example.com/a?b=1 failed (10.0.0.1:8080)", "GET <url> failed (<n>)"),
        ("<object at 0x7f3a91c2aa>", "<object at <hex>>"),
        ("01a213bc-d3fc-761f-aa57-8119c1f98fce and req_8f2Ka91x", "<id> and <id>"),
        ("two\n  lines", "two lines"),
        ("3 faults in item17: 1.5 s", "<n> faults in item<n>: <n> s"),
        ("", ""),
    ],
)
def test_placeholders_replace_what_differs_between_similar_errors(error: str, pattern: str):
    assert pattern_of(error) == pattern


def test_a_pattern_of_a_hostile_error_is_short_and_takes_no_time():
    for part in ("'", '"', "/a", "0x1a", "a1", "1.", "ab://", "-", "\\", "é1'"):
        began = time.process_time()
        assert len(pattern_of(part * 8_000)) <= 240
        assert time.process_time() - began < 0.05 * slowness()


def test_an_edit_elsewhere_in_the_file_of_an_adapter_or_another_folder_keeps_the_group():
    assert group(line=99, folder="b") == group()


def test_another_exception_or_another_function_is_another_group():
    assert len({group(), group(raised="ValueError"), group(function="other"), group("it stalled")}) == 4


def test_a_group_differs_by_config_route_and_code():
    ways = [("a", "b", "c"), ("a", "b", "d"), ("a", "d", "c"), ("d", "b", "c"), ("ab", "", "c")]
    assert len({group_of(*way, "it broke") for way in ways}) == len(ways)


def test_a_group_has_a_text_of_twelve_digits():
    assert group_number(group_text(group())) == group()
    assert (len(group_text(0)), group_text(255)) == (12, "0000000000ff")
    assert [group_number(text) for text in ("", "x", "-1", "0" * 13, "A" * 12)] == [-1] * 5


def test_the_parts_of_an_error_are_its_words_and_what_differs():
    assert list(parts_of("KeyError: 'DKK'")) == [("KeyError: ", False), ("'DKK'", True)]
    assert list(parts_of("12 of\n 30 failed")) == [
        ("12", True),
        (" of ", False),
        ("30", True),
        (" failed", False),
    ]
    assert list(parts_of("")) == []


def test_a_cause_is_the_same_in_every_route():
    trace = TRACE.format(folder="a", line=12, function="parse", raised="ValueError")
    other = TRACE.format(folder="b", line=99, function="parse", raised="ValueError")

    cause = cause_of("adapter_error", "page 1 is torn", trace)

    assert cause == cause_of("adapter_error", "page 22 is torn", other)
    assert cause != cause_of("rejected", "page 1 is torn", trace)
    assert cause != cause_of("adapter_error", "page 1 is wet", trace)
    assert cause != cause_of("adapter_error", "page 1 is torn", trace.replace("parse", "split"))
    assert cause not in (
        group_of("docs", "convert", "adapter_error", "page 1 is torn", trace),
        cause_of("adapter_error", "page 1 is torn"),
    )


def test_the_place_of_an_error_is_in_the_code_of_the_adapter():
    trace = TRACE.format(folder="a", line=12, function="parse", raised="ValueError")
    assert place_of(trace) == "steps.py:12"
    assert place_of(None) == place_of("nothing to see") == ""


def test_the_path_of_the_object_does_not_count():
    one = cause_of("rejected", "order.json has no customer", None, "order.json")
    two = cause_of("rejected", "<img src=x> q.json has no customer", None, "orders/<img src=x>  q.json")

    assert one == two == cause_of("rejected", "a/b.json has no customer")
    assert pattern_of("order.json has 2 lines", "orders/order.json") == "<path> has <n> lines"
    assert list(parts_of("order.json has 2", "orders/order.json")) == [
        ("order.json", True),
        (" has ", False),
        ("2", True),
    ]
    assert pattern_of("a is torn", "a") == "a is torn", "a short name may be any word"
