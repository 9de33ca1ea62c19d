"""The adapters that come with Playhead."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from playhead import Context, Item, Reject
from playhead.adapters.html_to_markdown import html_to_markdown
from playhead.adapters.passthrough import passthrough
from playhead.adapters.split_markdown import SplitMarkdownConfig, split_markdown
from playhead.adapters.sqlite_search import Hit, SqliteSearch, SqliteSearchConfig, index_file, search
from playhead.errors import BadRequest, NotFound
from playhead.ids import uuid7
from playhead.testing import run_adapter

# -- passthrough -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        Item("a/b.html", b"\xff\x00", attributes={"title": "T"}),
        Item("v1.2", b"", "image/webp"),
        Item("x.html", b"", "text/html; charset=latin-1"),
    ],
)
def test_passthrough_changes_nothing(item):
    assert run_adapter(passthrough, item) == [item]


# -- html_to_markdown ------------------------------------------------------------------------------


def converted(html: str | bytes, path: str = "guide/page.html", content_type: str = "") -> Item:
    data = html.encode() if isinstance(html, str) else html
    (item,) = run_adapter(html_to_markdown, Item(path, data, content_type))
    return item


def test_a_page_becomes_markdown_with_its_title_as_an_attribute():
    page = converted("<html><head><title>A &amp; B</title></head><body><h1>Hi</h1><p>there</p></body></html>")
    assert page.path == "guide/page.md"
    assert page.content_type == "text/markdown"
    assert page.text == "# Hi\n\nthere\n"
    assert page.attributes == {"title": "A & B"}


def test_metadata_is_not_added_as_front_matter():
    page = converted("<head><title>T</title><meta name=description content=d></head><body><p>x</p></body>")
    assert page.text == "x\n"


def test_non_breaking_spaces_become_spaces_in_code_too():
    text = converted(
        "<title>a&nbsp;b</title><p>c&nbsp;d</p><pre>e&nbsp;&#160;f</pre><p><code>g&nbsp;h</code></p>"
    )
    assert "\xa0" not in text.text + text.attributes["title"]
    assert "e  f" in text.text


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("<title>\n  two\n  lines </title>", "two lines"),
        ("<title>first</title><svg><title>second</title></svg>", "first"),
        ("<body><svg><title>drawn</title></svg></body>", None),
        ("<!-- <title>no</title> --><title>yes</title>", "yes"),
        ("<script>'<title>no</title>'</script><title>yes</title>", "yes"),
        ("<title></title><p>x</p>", None),
        ("<title>never closed", "never closed"),
        ("<![x[<title>broken</title>", None),
        ("<p>none</p>", None),
    ],
)
def test_the_title_is_that_of_the_page(html, title):
    assert converted(html).attributes.get("title") == title


def test_many_bare_ampersands_do_not_change_the_text():
    page = converted("<title>A & B &lt;</title><p>" + "a&b &amp; " * 6_000 + "&copy;</p>")
    assert page.attributes["title"] == "A & B <"
    assert page.text.split() == ["a&b", "&"] * 6_000 + ["©"]


@pytest.mark.parametrize(
    "markup",
    ["<", "<title", "<!--", "<!", "</", "<a b='", "<?", "&", "<script>", "<style><!--", "</title"],
    ids=str,
)
def test_the_title_of_broken_markup_is_found_in_linear_time(markup):
    before = time.process_time()
    page = converted(f"<p>x</p><title>{markup * (260_000 // len(markup))}")
    converted(markup * (260_000 // len(markup)))
    assert time.process_time() - before < 12
    assert len(page.attributes.get("title", "")) <= 1000


@pytest.mark.parametrize("kind", ["text/html", "TEXT/HTML; charset=utf-8", "application/xhtml+xml"])
def test_html_is_recognized_by_its_content_type(kind):
    assert converted("<p>x</p>", "page", kind).path == "page.md"


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        *(("iso-8859-1", "Café – “x”"), ("Windows-1251", "чай"), ("Shift_JIS", "お茶"), ("gb2312", "茶")),
        *(("utf-16", "Café"), ("utf-8", "Café")),
    ],
)
def test_a_page_is_decoded_with_its_charset(charset, text):
    codec = {"iso-8859-1": "cp1252"}.get(charset, charset)
    page = f"<p>{text}".encode(codec)
    assert converted(page, content_type=f'text/html; charset="{charset}"').text == f"{text}\n"
    if charset != "utf-16":
        meta = f"<meta http-equiv=Content-Type content='text/html; charset={charset}'>".encode()
        assert converted(meta + page).text == f"{text}\n"


@pytest.mark.parametrize("charset", ["idna", "punycode", "base64", "nonsense", "utf-8", "big5"])
def test_a_page_that_cannot_be_decoded_with_its_charset_is_rejected(charset):
    with pytest.raises(Reject, match=r"not UTF-8|neither UTF-8 nor big5"):
        converted(b"<p>\xff\xff", content_type=f"text/html; charset={charset}")


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "text/markdown"])
def test_what_is_not_html_is_rejected(kind):
    with pytest.raises(Reject, match=kind):
        converted("<p>x</p>", "page.html", kind)


def test_a_page_nested_too_deeply_is_rejected_and_not_returned_empty():
    with pytest.raises(Reject, match="depth"):
        converted("<div>" * 2000 + "deep" + "</div>" * 2000)


def test_a_page_that_is_not_utf8_is_rejected():
    with pytest.raises(Reject, match="UTF-8"):
        converted("<p>é</p>".encode("latin-1"))


def test_an_empty_page_becomes_an_empty_page():
    assert converted("<html><body></body></html>").data == b""


# -- split_markdown --------------------------------------------------------------------------------


def segments(text: str, limit: int = 1200, **attributes: object) -> list[Item]:
    item = Item("guide/page.md", text.encode(), attributes=attributes)
    return run_adapter(split_markdown, item, {"max_characters": limit})


def test_a_page_is_split_at_its_headings():
    parts = segments("# One\n\nfirst\n\n# Two\n\nsecond", 16, title="A page")
    assert [part.path for part in parts] == ["guide/page/0001.md", "guide/page/0002.md"]
    assert [part.text for part in parts] == ["# One\n\nfirst", "# Two\n\nsecond"]
    assert [part.attributes for part in parts] == [
        {"title": "A page", "part": 1},
        {"title": "A page", "part": 2},
    ]
    assert {part.content_type for part in parts} == {"text/markdown"}


def test_a_short_page_is_one_segment_in_a_folder_and_an_empty_page_has_no_segment():
    assert [part.path for part in segments("short")] == ["guide/page/0001.md"]
    assert segments(" \n\n") == []


@given(st.text(max_size=300), st.integers(1, 40))
def test_no_segment_is_above_the_limit_and_no_text_is_lost(text, limit):
    parts = segments(text, limit)
    assert all(0 < len(part.text) <= limit for part in parts)
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split())


@pytest.mark.parametrize("unit", [">", "word ", "a", "- item\n"], ids=repr)
def test_a_long_text_is_split_in_linear_time(unit):
    text = (unit * 1_000_000)[:1_000_000]
    before = time.process_time()
    parts = segments(text)
    assert time.process_time() - before < 7  # in one piece: more than 13 s
    assert max(len(part.text) for part in parts) <= 1200
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split())


def test_a_long_text_is_cut_in_front_of_a_heading():
    sections = [f"# {n}\n\n{'word ' * 150}" for n in range(300)]
    parts = segments("\n\n".join(sections))
    assert [part.text for part in parts] == [section.strip() for section in sections]


@pytest.mark.parametrize("limit", [0, 100_001, "many"])
def test_the_maximum_segment_size_has_bounds(limit):
    with pytest.raises(ValidationError):
        SplitMarkdownConfig(max_characters=limit)
    assert SplitMarkdownConfig().max_characters == 1200


def test_plain_text_is_split_and_other_types_are_rejected():
    assert len(run_adapter(split_markdown, Item("a.txt", b"x"))) == 1
    with pytest.raises(Reject, match="text/html"):
        run_adapter(split_markdown, Item("a.html", b"x"))


# -- sqlite_search ---------------------------------------------------------------------------------

OLD, NEW = uuid7(), uuid7()


def context(data_dir: Path, execution: UUID = OLD) -> Context:
    return Context(execution, uuid7(), "docs", 1, "index", 1, None, str(data_dir), logging.getLogger("test"))


def segment(name: str, text: str, execution: UUID = OLD, **attributes: object) -> Item:
    path = f"{name}.md"
    return Item(
        path, text.encode(), attributes=attributes, stage="segments", key=f"{execution}/segments/{path}"
    )


@pytest.fixture
def index(tmp_path):
    made = SqliteSearch(SqliteSearchConfig(path="search.db"))
    yield made
    made.close()


def asked(data_dir: Path, words: str, execution: UUID | None = None, limit: int = 10) -> list[Hit]:
    return search(index_file(data_dir, "search.db"), words, execution, limit)


def test_an_indexed_item_is_found_with_its_key_title_and_words(index, tmp_path):
    assert index(segment("a", "How to replay a stage", title="Replays"), context(tmp_path)) is None
    index(segment("b", "Nothing of the kind"), context(tmp_path))
    (hit,) = asked(tmp_path, "stage")
    assert hit.key == f"{OLD}/segments/a.md"
    assert (hit.execution_id, hit.path, hit.title) == (OLD, "a.md", "Replays")
    assert hit.snippet == "How to replay a [stage]"
    assert hit.score > 0


def test_hits_contain_any_of_the_words_and_the_best_come_first(index, tmp_path):
    index(segment("one", "apple and much that has nothing to do with it " * 3), context(tmp_path))
    index(segment("both", "apple pear"), context(tmp_path))
    index(segment("none", "plum"), context(tmp_path))
    assert [hit.path for hit in asked(tmp_path, "apple pear")] == ["both.md", "one.md"]
    assert [hit.path for hit in asked(tmp_path, "apple pear", limit=1)] == ["both.md"]


@pytest.mark.parametrize(
    "words", ["c++", "AND", "NEAR(", '"', "a OR", "title:x", "-", "*", "c++ \x00", "(c)"]
)
def test_words_have_no_query_syntax(index, tmp_path, words):
    index(segment("a", "c++ and more"), context(tmp_path))
    assert all(hit.path == "a.md" for hit in asked(tmp_path, words))


def test_a_search_without_words_finds_nothing(index, tmp_path):
    index(segment("a", "text"), context(tmp_path))
    assert asked(tmp_path, "  ") == []


def test_accents_and_case_do_not_matter(index, tmp_path):
    index(segment("a", "Crème brûlée"), context(tmp_path))
    assert len(asked(tmp_path, "CREME")) == 1


def test_indexing_an_item_again_updates_only_changed_entries(index, tmp_path):
    for text in ("first words", "first words", "second words"):
        index(segment("a", text), context(tmp_path))
    assert len(asked(tmp_path, "words")) == 1
    assert asked(tmp_path, "first") == []
    assert len(asked(tmp_path, "second")) == 1


def test_a_replay_of_some_documents_hides_no_other_document_in_a_search(index, tmp_path):
    for name in "abcd":
        index(segment(name, f"old words {name}", OLD), context(tmp_path, OLD))
    for name in "ab":
        index(segment(name, f"new words {name}", NEW), context(tmp_path, NEW))
    assert {(hit.path, hit.execution_id) for hit in asked(tmp_path, "words")} == {
        ("a.md", NEW),
        ("b.md", NEW),
        ("c.md", OLD),
        ("d.md", OLD),
    }
    assert {hit.path for hit in asked(tmp_path, "words", OLD)} == {"a.md", "b.md", "c.md", "d.md"}
    assert {hit.path for hit in asked(tmp_path, "words", NEW)} == {"a.md", "b.md"}
    assert asked(tmp_path, "words", uuid7()) == []


def test_a_row_that_an_older_execution_writes_late_is_not_searched(index, tmp_path):
    index(segment("a", "new words", NEW), context(tmp_path, NEW))
    index(segment("a", "old words", OLD), context(tmp_path, OLD))
    assert [hit.execution_id for hit in asked(tmp_path, "words")] == [NEW]


@pytest.mark.parametrize(("replace", "found"), [("path", 3), ("folder", 1), ("none", 4)])
def test_replace_decides_which_entries_are_one_document(tmp_path, replace, found):
    index = SqliteSearch(SqliteSearchConfig(path="search.db", replace=replace))
    for name in ("a/1", "a/2", "a/3"):
        index(segment(name, "words", OLD), context(tmp_path, OLD))
    index(segment("a/1", "words", NEW), context(tmp_path, NEW))
    index.close()
    assert len(asked(tmp_path, "words")) == found


def test_entries_of_other_configs_and_stages_are_not_replaced(index, tmp_path):
    index(segment("a", "words", OLD), context(tmp_path, OLD))
    index(replace(segment("a", "words"), stage="notes", key=f"{NEW}/notes/a.md"), context(tmp_path, NEW))
    index(segment("a", "words", NEW), replace(context(tmp_path, NEW), config="blog"))
    assert len(asked(tmp_path, "words")) == 3


def test_a_replay_into_the_index_keeps_the_entries_of_other_executions(index, tmp_path):
    item = segment("a", "the words", OLD)
    index(item, context(tmp_path, OLD))
    index(item, context(tmp_path, NEW))
    for execution in (OLD, NEW):
        assert [hit.key for hit in asked(tmp_path, "words", execution)] == [item.key]


def test_items_of_two_messages_with_the_same_path_inside_a_chain_have_an_entry_each(index, tmp_path):
    item = replace(segment("a", "words"), key=None)
    first, second = context(tmp_path), context(tmp_path)
    for ctx in (first, second, first):
        index(item, ctx)
    assert {hit.key for hit in asked(tmp_path, "words")} == {
        f"{OLD}/segments/a.md#{ctx.correlation_id}" for ctx in (first, second)
    }


def test_text_that_is_not_utf8_is_rejected_and_leaves_the_index_as_it_was(index, tmp_path):
    index(segment("a", "words"), context(tmp_path))
    with pytest.raises(Reject, match="UTF-8"):
        index(replace(segment("b", ""), data=b"\xff"), context(tmp_path))
    assert len(asked(tmp_path, "words")) == 1


@pytest.mark.parametrize(
    "path", ["/etc/x.db", "../x.db", "a/../../x.db", "", ".", "a/", "a\\b", "a\0b", "a\nb"]
)
def test_a_path_outside_the_data_folder_is_refused(tmp_path, path):
    with pytest.raises(ValidationError):
        SqliteSearchConfig(path=path)
    with pytest.raises(BadRequest) as caught:
        index_file(tmp_path, path)
    assert caught.value.code == "invalid_path"


def test_a_link_with_the_name_of_an_index_is_neither_written_nor_read(tmp_path):
    data, outside = tmp_path / "data", tmp_path / "outside"
    outside.mkdir()
    other = SqliteSearch(SqliteSearchConfig(path="other.db"))
    other(segment("a", "secret"), context(outside))
    other.close()
    (outside / "empty").touch()
    data.mkdir()
    before = {path: path.read_bytes() for path in outside.iterdir()}
    for name, target in {
        "other.db": outside / "other.db",
        "empty.db": outside / "empty",
        "new.db": outside / "new.db",
        "inside.db": data / "real.db",
        "self.db": data / "self.db",
    }.items():
        (data / name).symlink_to(target)
        with pytest.raises(Reject, match="is a link"):
            SqliteSearch(SqliteSearchConfig(path=name))(segment("a", "x"), context(data))
        with pytest.raises(BadRequest, match="is a link"):
            index_file(data, name)
    with pytest.raises(BadRequest, match="is a link"):  # planted after it was looked at
        search(data / "other.db", "secret")
    assert {path: path.read_bytes() for path in outside.iterdir()} == before


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("there", [False, True])
def test_a_link_with_the_name_of_an_auxiliary_file_is_not_followed(tmp_path, suffix, there):
    data, outside = tmp_path / "data", tmp_path / "outside"
    data.mkdir()
    if there:
        outside.write_bytes(b"secret" * 100)
    (data / f"search.db{suffix}").symlink_to(outside)
    index = SqliteSearch(SqliteSearchConfig(path="search.db"))
    with contextlib.suppress(sqlite3.OperationalError):  # or the link is removed as a leftover
        index(segment("a", "x"), context(data))
    index.close()
    assert outside.exists() == there
    assert not there or outside.read_bytes() == b"secret" * 100


def test_a_pipe_with_the_name_of_an_index_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.db")
    (tmp_path / "folder.db").mkdir()
    for name in ("pipe.db", "folder.db"):
        with pytest.raises(Reject, match=r"not a regular file|a folder"):
            SqliteSearch(SqliteSearchConfig(path=name))(segment("a", "x"), context(tmp_path))


@pytest.mark.parametrize(
    "path", ["file:x.db?mode=memory", "a%2Fb.db", "x y.db", "é.db", "'; --", ":memory:", "%s?x#y"]
)
def test_the_path_of_an_index_is_a_plain_file_name(tmp_path, path):
    index = SqliteSearch(SqliteSearchConfig(path=path))
    index(segment("a", "words"), context(tmp_path))
    index.close()
    assert [file.name for file in tmp_path.iterdir()] == [path.replace("%", "%25")]
    assert len(search(index_file(tmp_path, path), "words")) == 1


@pytest.mark.parametrize("path", ["search.db-wal", "search.db-shm", "deep/search.db-journal"])
def test_an_index_cannot_have_the_name_of_an_auxiliary_file(tmp_path, path):
    with pytest.raises(ValidationError, match="SQLite's own files"):
        SqliteSearchConfig(path=path)


def test_a_name_too_long_for_a_file_is_refused(tmp_path):
    with pytest.raises(BadRequest):
        index_file(tmp_path, "x" * 300)


def test_the_data_folder_may_be_a_link_and_an_index_may_have_folders_in_its_name(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "real")
    index = SqliteSearch(SqliteSearchConfig(path="deep/./er/search.db"))
    index(segment("a", "words"), context(tmp_path / "data"))
    index.close()
    assert (tmp_path / "real/deep%2Fer%2Fsearch.db").is_file()
    assert len(search(index_file(tmp_path / "data", "deep/er/search.db"), "words")) == 1


def test_a_missing_index_is_not_found(tmp_path):
    (tmp_path / "text.db").write_text(
        "this is no database at all, but it is long enough to look like one " * 20
    )
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    for name in ("none.db", "text.db", "other.db"):
        with pytest.raises(NotFound) as caught:
            search(tmp_path / name, "words")
        assert caught.value.code == "index_not_found"
        assert name in caught.value.detail
    assert not (tmp_path / "none.db").exists()


def test_an_index_of_a_newer_version_is_not_changed(index, tmp_path):
    db = sqlite3.connect(tmp_path / "search.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Exception, match="newer version"):
        index(segment("a", "x"), context(tmp_path))


def test_an_index_of_an_older_version_is_not_changed(index, tmp_path):
    db = sqlite3.connect(tmp_path / "search.db")
    db.execute("PRAGMA user_version = 1")
    db.close()
    with pytest.raises(Exception, match="older version"):
        index(segment("a", "x"), context(tmp_path))


def test_a_closed_index_is_opened_again_for_the_next_item(index, tmp_path):
    index(segment("a", "words"), context(tmp_path))
    index.close()
    index(segment("b", "words"), context(tmp_path))
    assert len(asked(tmp_path, "words")) == 2


def test_rows_of_threads_that_write_at_the_same_time_are_all_stored(index, tmp_path):
    missing: list[str] = []

    def work(name: str) -> None:
        for n in range(20):
            index(segment(f"{name}-{n}", f"words {name}{n}"), context(tmp_path))
            if len(asked(tmp_path, f"{name}{n}")) != 1:
                missing.append(f"{name}-{n}")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert len(asked(tmp_path, "words", limit=1000)) == 160


WRITER = """
import logging, sys
from playhead import Context, Item
from playhead.adapters.sqlite_search import SqliteSearch, SqliteSearchConfig
from playhead.ids import uuid7
from uuid import UUID
data, name, execution = sys.argv[1:]
ctx = Context(UUID(execution), uuid7(), "docs", 1, "index", 1, None, data, logging.getLogger("x"))
index = SqliteSearch(SqliteSearchConfig(path="search.db"))
for n in range(50):
    index(Item(f"{name}-{n}.md", b"words", key=f"{execution}/s/{name}-{n}.md"), ctx)
    if n % 10 == 0:
        index.close()
"""


def test_processes_that_start_and_write_at_once_share_one_index(tmp_path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), name, str(OLD)], stderr=subprocess.PIPE
        )
        for name in "abcd"
    ]
    until = time.monotonic() + 240
    try:
        errors = [writer.communicate(timeout=max(0.0, until - time.monotonic()))[1] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
    assert errors == [b""] * 4
    assert len(asked(tmp_path, "words", limit=1000)) == 200
