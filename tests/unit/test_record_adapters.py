"""The steps that split JSON Lines and CSV into records."""

from __future__ import annotations

import csv
import io
import json
import logging
from typing import Any

import pytest
from hypothesis import given, strategies as st

from playhead import Item, Reject
from playhead.adapters.csv_split import csv_split
from playhead.adapters.jsonl_split import jsonl_split
from playhead.testing import run_adapter

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def jsonl(data: bytes | str, path: str = "in/data.jsonl", **config: Any) -> list[Item]:
    return run_adapter(jsonl_split, Item(path, data.encode() if isinstance(data, str) else data), config)


def table(data: bytes | str, path: str = "in/data.csv", **config: Any) -> list[Item]:
    return run_adapter(csv_split, Item(path, data.encode() if isinstance(data, str) else data), config)


def rows(items: list[Item]) -> list[Any]:
    return [item.json() for item in items]


# -- JSON Lines ------------------------------------------------------------------------------------


def test_each_line_becomes_an_output_with_the_same_bytes_and_its_line_number():
    made = jsonl(b'\xef\xbb\xbf{"a": 1.0}\r\n\n[2]\n  "x"  ')
    assert [(item.path, item.data) for item in made] == [
        ("in/data/0001.json", b'{"a": 1.0}'),
        ("in/data/0002.json", b"[2]"),
        ("in/data/0003.json", b'"x"'),
    ]
    assert [item.attributes for item in made] == [{"line": 1}, {"line": 3}, {"line": 4}]
    assert {item.content_type for item in made} == {"application/json"}


def test_a_line_separator_inside_a_text_does_not_split_a_record():
    assert rows(jsonl('{"a": "x\u2028y\x85z"}\n')) == [{"a": "x\u2028y\x85z"}]


def test_an_empty_file_has_no_records():
    assert jsonl(b"") == jsonl(b"\n \n") == table(b"") == table(b"a,b\n") == []


@given(st.lists(JSON_VALUES, max_size=8), st.integers(1, 4))
def test_no_record_is_lost_or_changed_in_batches_of_any_size(values, batch):
    made = jsonl("\n".join(map(json.dumps, values)), batch=batch)
    assert [json.loads(line) for item in made for line in item.text.splitlines() if line] == values
    assert [item.text.count("\n") for item in made[:-1] if batch > 1] == [batch] * (
        len(made) - 1 if batch > 1 and made else 0
    )


def test_a_batch_is_a_json_lines_file_with_the_number_of_its_records():
    made = jsonl("1\n2\n\n3\n", batch=2)
    assert [(item.path, item.data, item.content_type) for item in made] == [
        ("in/data/0001.jsonl", b"1\n2\n", "application/x-ndjson"),
        ("in/data/0002.jsonl", b"3\n", "application/x-ndjson"),
    ]
    assert [item.attributes for item in made] == [{"line": 1, "records": 2}, {"line": 4, "records": 1}]


def test_a_field_names_the_output_and_fields_become_attributes():
    made = jsonl(
        '{"id": "a/b", "meta": {"lang": "en"}, "n.m": 1}\n{"id": 7, "meta": {}}\n{"id": "c.json"}',
        path_field="id",
        attributes={"language": "meta.lang", "n": "n.m"},
    )
    assert [item.path for item in made] == ["in/data/a/b.json", "in/data/7.json", "in/data/c.json"]
    assert [item.attributes for item in made] == [
        {"language": "en", "n": 1, "line": 1},
        {"line": 2},
        {"line": 3},
    ]


BAD = b'{"id": 1}\n{"id": 2\n\xff\n' + b"[" * 100_000 + b'\n{"id": 5}'


def test_bad_records_reject_the_item_and_are_all_listed_with_their_lines():
    with pytest.raises(Reject) as caught:
        jsonl(BAD)
    told = str(caught.value)
    assert told.startswith("3 of 5 records cannot be used: line 2: not JSON: ")
    assert "; line 3: not UTF-8; line 4: not JSON: " in told


def test_bad_records_can_be_skipped_and_logged_and_the_others_keep_their_paths(caplog):
    with caplog.at_level(logging.WARNING):
        made = jsonl(BAD, bad_records="skip")
    assert [(item.path, item.json()) for item in made] == [
        ("in/data/0001.json", {"id": 1}),
        ("in/data/0005.json", {"id": 5}),
    ]
    assert "in/data.jsonl: 3 of 5 records cannot be used: line 2" in caplog.text


def test_a_bad_record_changes_no_batch_except_its_own():
    fixed = jsonl("1\n2\n3\n4\n5", batch=2)
    broken = jsonl("x\n2\n3\n4\n5", batch=2, bad_records="skip")
    assert [(item.path, item.data) for item in broken] == [
        ("in/data/0001.jsonl", b"2\n"),
        *((item.path, item.data) for item in fixed[1:]),
    ]


def test_a_long_list_of_bad_records_is_cut():
    with pytest.raises(Reject, match=r"^1,000 of 1,000 records .*; and 990 more$"):
        jsonl("x\n" * 1000)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ('{"a": 1}', "line 2: it has no field 'id', the path_field"),
        ('"id"', "line 2: it has no field 'id'"),
        ('{"id": null}', "neither text nor a whole number"),
        ('{"id": true}', "neither text nor a whole number"),
        ('{"id": "../x"}', "line 2: its path '../x.json' has the segment '..'"),
        ('{"id": "/x"}', "line 2: its path '/x.json' has an empty segment"),
        ('{"id": "first"}', "line 2: its path 'in/data/first.json' is the path of line 1"),
        ('{"id": "x", "t": "\\ud800"}', "line 2: 'utf-8' codec can't encode"),
        ('{"id": "x", "t": NaN}', "line 2: Out of range float"),
    ],
)
def test_a_record_without_a_usable_path_or_attribute_is_bad(record, why):
    with pytest.raises(Reject) as caught:
        jsonl(f'{{"id": "first"}}\n{record}', path_field="id", attributes={"t": "t"})
    assert why in str(caught.value)


def test_a_batch_can_have_no_path_and_no_attributes_of_one_record():
    for config in ({"path_field": "id"}, {"attributes": {"a": "a"}}):
        with pytest.raises(ValueError, match="batch: 1"):
            jsonl("{}", batch=2, **config)


def test_records_are_returned_one_by_one(tmp_path):
    item = Item("data.jsonl", b"1\n" * 1_000_000)
    from playhead import Context
    from playhead.adapters.jsonl_split import JsonlSplitConfig
    from playhead.ids import uuid7

    ctx = Context(uuid7(), uuid7(), "c", 1, "r", 1, None, str(tmp_path), logging.getLogger("test"))
    made = jsonl_split(item, JsonlSplitConfig(), ctx)
    assert next(made).path == "data/0001.json"
    assert next(made).path == "data/0002.json"


# -- CSV -------------------------------------------------------------------------------------------


def test_each_row_becomes_an_object_with_the_names_of_the_header():
    made = table('\ufeffid,"the text"\r\n1,"a, ""b""\nc"\r\n\r\n2,\r\n')
    assert rows(made) == [{"id": "1", "the text": 'a, "b"\nc'}, {"id": "2", "the text": ""}]
    assert [(item.path, item.attributes) for item in made] == [
        ("in/data/0001.json", {"line": 2}),
        ("in/data/0002.json", {"line": 5}),
    ]


def test_a_file_without_a_header_uses_the_configured_columns():
    assert rows(table("1;2\n", columns=["a", "b"], delimiter=";")) == [{"a": "1", "b": "2"}]


def test_other_encodings_are_decoded():
    assert rows(table("name\nJosé\n".encode("latin-1"), encoding="latin-1")) == [{"name": "José"}]
    assert rows(table("名\n前\n".encode("shift-jis"), encoding="shift-jis")) == [{"名": "前"}]


@given(
    st.lists(st.tuples(*[st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)] * 2), max_size=6),
    st.integers(1, 3),
    st.sampled_from(",;\t"),
)
def test_no_row_is_lost_or_changed(values, batch, delimiter):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *values])
    made = table(out.getvalue(), batch=batch, delimiter=delimiter)
    found = [json.loads(line) for item in made for line in item.text.split("\n") if line]
    assert [(row["a"], row["b"]) for row in found] == values


def test_bad_rows_are_reported_with_the_line_on_which_they_start():
    data = b'a,b\n1,"x\ny"\n2\n3,\xff\n4,"x"y\n5,6\n7,"never closed\n8,9\n'
    with pytest.raises(Reject) as caught:
        table(data)
    told = str(caught.value)
    assert told.startswith(
        "4 of 6 records cannot be used: line 4: it has 1 fields, and the file has 2 columns"
    )
    assert "; line 5: not utf-8; line 6: not CSV: " in told
    assert "; line 8: not CSV: unexpected end of data" in told
    assert rows(table(data, bad_records="skip")) == [{"a": "1", "b": "x\ny"}, {"a": "5", "b": "6"}]


def test_a_record_of_several_lines_that_cannot_be_decoded_is_one_bad_record():
    data = b'a,b\n1,"x\n\xff\n2,3\n4,5"\n6,7\n'
    (made,) = run_adapter(csv_split, Item("a.csv", data), {"bad_records": "skip"})
    assert (made.path, made.json(), made.attributes["line"]) == ("a/0002.json", {"a": "6", "b": "7"}, 6)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a,,c\n", "line 1, the header: column 2 has no name"),
        (b"a,b,a\n", "line 1, the header: two columns have the name 'a'"),
        (b"\n\xff\n1\n", "line 2, the header: not utf-8"),
        (b'a,"b\n1,2\n', "line 1, the header: not CSV"),
    ],
)
def test_a_file_with_an_unusable_header_is_rejected(data, why):
    with pytest.raises(Reject, match=why):
        table(data, bad_records="skip")


def test_a_column_names_the_output_and_columns_become_attributes():
    made = table("id,lang\nx,en\n", path_field="id", attributes={"language": "lang"})
    assert [(item.path, item.attributes) for item in made] == [
        ("in/data/x.json", {"language": "en", "line": 2})
    ]


def test_a_field_may_be_longer_than_the_limit_of_the_csv_module():
    (made,) = table("text\n" + "x" * 1_000_000)
    assert len(made.json()["text"]) == 1_000_000


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"delimiter": ",,"}, "one character"),
        ({"delimiter": '"'}, "one character"),
        ({"encoding": "utf-16"}, "contains ASCII"),
        ({"encoding": "none"}, "contains ASCII"),
        ({"columns": ["a", "a"]}, "two columns"),
        ({"columns": []}, "at least 1"),
    ],
)
def test_an_unusable_setting_is_reported(config, why):
    with pytest.raises(ValueError, match=why):
        table("", **config)
