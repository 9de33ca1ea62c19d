"""Lines of files as the inputs of a run."""

from __future__ import annotations

import asyncio

import pytest

from playhead.cli import lines
from playhead.cli.session import Usage
from playhead.keys import object_key

ROOMY = 1 << 20


def files(folder, **contents: bytes):
    found = []
    for name, content in contents.items():
        path = name.replace("_", ".")
        (folder / path).write_bytes(content)
        found.append((path, folder / path))
    return found


def read(checked: lines.Lines, seen: list[int] | None = None) -> dict[str, bytes]:
    async def collect():
        return [item async for item in checked.read((seen if seen is not None else []).append)]

    pairs = asyncio.run(collect())
    assert len(dict(pairs)) == len(pairs) == checked.count
    return dict(pairs)


def test_a_line_is_named_by_its_number_and_empty_lines_are_left_out(tmp_path):
    given = files(tmp_path, r_jsonl=b'\xef\xbb\xbf{"a": 1}\r\n\n  \n [2] ')
    assert read(lines.check(given, None, ROOMY)) == {
        "r/000001.json": b'{"a": 1}',
        "r/000004.json": b"[2]",
    }


def test_a_field_names_a_line_whatever_the_file_is_called(tmp_path):
    nested = b'{"a": {"id": "x/y"}}\n{"a": {"id": 7}}\n'
    given = files(tmp_path, r_ndjson=nested, more=b'{"a": {"id": "e\xcc\x81"}}')
    assert set(read(lines.check(given, "a.id", ROOMY))) == {"x/y.json", "7.json", "\u00e9.json"}


def test_lines_of_text_keep_their_bytes_and_the_suffix_of_the_file(tmp_path):
    given = files(tmp_path, w_md=b"  one \r\n\xff\n", plain=b"x")
    assert read(lines.check(given, None, ROOMY)) == {
        "w/000001.md": b"  one ",
        "w/000002.md": b"\xff",
        "plain/000001.txt": b"x",
    }


def test_all_unusable_lines_are_reported_with_file_and_line_before_anything_is_read(tmp_path):
    bad = b'{"id": "x"}\n{"id": "x"}\n{\n\xff\n{"id": ""}\n{"no": 1}\n{"id": true}\n{"id": "../x"}\n'
    given = files(tmp_path, one_jsonl=bad, two_jsonl=b'{"id": "x"}')
    with pytest.raises(Usage) as caught:
        lines.check(given, "id", ROOMY)
    said = caught.value.detail
    assert said.startswith(
        "7 of 9 lines cannot be used: one.jsonl, line 2: its path 'x.json' is the path of "
    )
    parts = ("line 3: not JSON: ", "line 4: not UTF-8", "line 6: it has no field 'id'", "line 8: its path")
    for part in parts:
        assert f"one.jsonl, {part}" in said
    assert said.endswith("two.jsonl, line 1: its path 'x.json' is the path of line 1 of one.jsonl")


def test_a_long_list_of_unusable_lines_is_cut(tmp_path):
    with pytest.raises(Usage, match=r"^30 of 30 lines .*line 10: not JSON[^;]*; and 20 more$"):
        lines.check(files(tmp_path, r_jsonl=b"{\n" * 30), None, ROOMY)


def test_two_files_with_one_name_for_their_lines_are_refused(tmp_path):
    with pytest.raises(Usage, match=r"b\.jsonl, line 1: its path 'b/000001.json' is .* line 1 of b\.json$"):
        lines.check(files(tmp_path, b_json=b"1", b_jsonl=b"1"), None, ROOMY)


def test_a_line_above_the_limit_is_refused_and_the_next_one_is_still_found(tmp_path):
    given = files(tmp_path, t_txt=b"x" * 10 + b"\r\n" + b"y" * 40 + b"\n" + b"z\n")
    with pytest.raises(Usage, match=r"^1 of 3 lines cannot be used: t\.txt, line 2: more than 10 bytes"):
        lines.check(given, None, 10)


def test_a_path_that_is_too_long_for_a_key_is_refused(tmp_path):
    fits = "/".join(["d" * 180] * 4) + "/" + "e" * 127
    assert len(object_key("0" * 36, "input", fits + ".json")) == 899
    given = files(tmp_path, r_jsonl=f'{{"id": "{fits}"}}\n{{"id": "{fits}aa"}}'.encode())
    with pytest.raises(Usage, match=r"^1 of 2 lines .*line 2: its path .* results in a key of 901 bytes"):
        lines.check(given, "id", ROOMY)


def test_files_without_a_line_are_a_usage_error(tmp_path):
    with pytest.raises(Usage, match=r"no lines in a\.jsonl, b\.jsonl"):
        lines.check(files(tmp_path, a_jsonl=b"\n \n", b_jsonl=b""), None, ROOMY)


def test_few_lines_are_in_memory_at_a_time_and_are_counted(tmp_path):
    seen: list[int] = []
    read(lines.check(files(tmp_path, t_txt=b"line\n" * 2500), None, ROOMY), seen)
    assert seen == [1024, 2048, 2500]
    seen.clear()
    read(lines.check(files(tmp_path, t_txt=(b"x" * (1 << 21) + b"\n") * 5), None, 1 << 22), seen)
    assert seen == [2, 4, 5]


def test_a_file_that_changes_after_the_check_is_reported(tmp_path):
    given = files(tmp_path, r_jsonl=b"1\n2\n")
    checked = lines.check(given, None, ROOMY)
    (tmp_path / "r.jsonl").write_bytes(b"1\n{\n")
    with pytest.raises(Usage, match=r"r\.jsonl has changed while it was read: line 2: not JSON"):
        read(checked)
