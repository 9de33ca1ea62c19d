"""Previews show any bytes within their limits, and the bytes themselves run nothing in a browser."""

import json
import time
import unicodedata
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st

from playhead import keys
from playhead.web import markdown
from playhead.web.preview import (
    LIMIT,
    decoded,
    disposition,
    hex_rows,
    kind_of,
    read_head,
    reindented,
    shown,
    without_connections,
)
from tests.slowness import slowness
from tests.ui.hostile import OBJECTS, Hostile

SAFE = {
    "a",
    "blockquote",
    "br",
    "code",
    "em",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "strong",
}
SAFE |= {"table", "tbody", "td", "th", "thead", "tr", "ul"}


def test_there_are_a_hundred_hostile_objects_with_valid_keys() -> None:
    assert len(OBJECTS) == 100
    for one in OBJECTS:
        assert keys.problem(one.path) is None


async def test_a_preview_reads_no_more_than_its_limit() -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(60):
            read += 1_000_000
            yield b"x" * 1_000_000

    head = await read_head(chunks(), 60_000_000, "text/plain")
    assert (len(head.data), head.is_whole, read) == (LIMIT, False, 1_000_000)


@pytest.mark.parametrize(
    ("content_type", "data", "kind"),
    [
        ("text/html", b"<p>", "html"),
        ("TEXT/HTML; charset=utf-7", b"<p>", "html"),
        ("text/html", b"\0\1\2", "binary"),
        ("text/markdown", b"# x", "markdown"),
        ("application/ld+json", b"{}", "json"),
        ("image/svg+xml", b"<svg/>", "image"),
        ("image/unheard-of", b"\0", "binary"),
        ("application/pdf", b"%PDF-1.4", "pdf"),
        ("application/pdf", b"<script>", "text"),
        ("application/octet-stream", b"plain", "text"),
        ("application/octet-stream", bytes(range(256)), "binary"),
        ("text/plain", "é€".encode("utf-16"), "text"),
        ("", b"", "text"),
    ],
)
def test_a_declared_type_counts_only_if_the_bytes_do_not_contradict_it(
    content_type: str, data: bytes, kind: str
) -> None:
    assert kind_of(content_type, data) == kind


def test_a_character_that_the_limit_cuts_is_left_out() -> None:
    text = "x" + "é" * LIMIT
    assert decoded(text.encode()[:LIMIT]) == "x" + "é" * (LIMIT // 2 - 1)


@given(st.binary(max_size=300))
def test_shown_text_has_no_control_characters(data: bytes) -> None:
    text = shown(decoded(data))
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c not in "\n\t"]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(_values, st.sampled_from([None, 1, "\t"]))
def test_reindented_json_has_the_layout_of_the_standard_library(
    value: object, indent: int | str | None
) -> None:
    document = json.dumps(value, indent=indent)
    assert reindented(document) == json.dumps(value, indent=2)


def test_numbers_and_repeated_names_stay_as_written() -> None:
    assert reindented('{"n":1.00e500,"n":2}') == '{\n  "n": 1.00e500,\n  "n": 2\n}'


@pytest.mark.parametrize("text", ["[" * LIMIT, "[" * 900 + "]" * 900, "{", '"\n"', ""])
def test_what_is_not_json_or_too_deep_is_not_reindented(text: str) -> None:
    assert reindented(text) is None


def test_a_hex_dump_shows_offsets_and_printable_characters() -> None:
    rows = hex_rows(b"\x89PNG\r\n\x1a\n" + b"A" * 5000)
    assert (rows[0].offset, rows[0].hex, rows[0].text) == (
        *("00000000", "89504e47 0d0a1a0a 41414141 41414141", ".PNG....AAAAAAAA"),
    )
    assert len(rows) == 256


@given(st.text(max_size=100))
def test_a_file_name_cannot_leave_its_parameter(name: str) -> None:
    value = disposition(f"x/{name.encode(errors='replace').decode()}", "attachment")
    assert all(c.isalnum() or c in "_.-~%" for c in value.removeprefix("attachment; filename*=UTF-8''"))
    assert value.isascii()


class _Elements(HTMLParser):
    """The elements of a document and their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def _check_harmless(document: str) -> None:
    parser = _Elements()
    parser.feed(document)
    for tag, attributes in parser.found:
        assert tag in SAFE
        assert set(attributes) <= {"href", "rel", "target", "start"}
        if tag == "a":
            assert str(attributes["href"]).startswith(("http://", "https://", "mailto:"))
            assert "noopener" in str(attributes["rel"])


@pytest.mark.parametrize("one", OBJECTS, ids=lambda one: one.path)
def test_rendered_markdown_has_only_harmless_elements(one: Hostile) -> None:
    document = markdown.render(one.data.decode())
    assert document is not None
    _check_harmless(document)


@given(st.text(alphabet="[]()<>!*_`#|-: \n\\&;ahj'\"/{}=", max_size=200))
def test_any_markdown_has_only_harmless_elements(text: str) -> None:
    _check_harmless(markdown.render(text) or "")


@pytest.mark.parametrize(
    "piece", ["[", "![", "[a](", "*a ", "**a", "- a\n", "a\n", "|a|b|\n", "> ", "`", "[a]: b\n", "<", "x*x**"]
)
def test_rendering_ends_in_time(piece: str) -> None:
    text = (piece * LIMIT)[:LIMIT]
    start = time.process_time()
    markdown.render("|a|b|\n|-|-|\n" + text if piece.startswith("|") else text)
    assert time.process_time() - start < slowness()


ELEMENTS = (
    b"<link rel=preconnect href=//a><LINK x> <Link><lin k><iframe src=//a><frame><fencedFrame></iframe>"
)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
async def test_no_element_that_connects_is_left_wherever_chunks_end(size: int, encoding: str):
    data = ELEMENTS.decode().encode(encoding)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    found = b"".join([chunk async for chunk in without_connections(chunks())])
    assert len(found) == len(data)
    assert found.decode(encoding) == (
        "<xink rel=preconnect href=//a><xINK x> <xink><lin k><xframe src=//a><xrame><xencedFrame></iframe>"
    )


def test_a_small_text_with_a_large_table_stays_text():
    began = time.process_time()

    assert markdown.render("|" + "a|" * 3000 + "\n|" + "-|" * 3000 + "\n" + "|a|\n" * 5000) is None
    assert time.process_time() - began < slowness()
    assert "<table>" in str(markdown.render("|a|b|\n|-|-|\n|1|2|\n"))
