"""The grammar of keys, and the parts of a key."""

from __future__ import annotations

import unicodedata
from uuid import UUID

import pytest
from hypothesis import given, strategies as st

from playhead import keys
from playhead.errors import BadRequest

E = "0190a7d0-1111-7000-8000-000000000000"
ROOM = len(E) + 1


# -- the grammar -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "page.md",
        "guide/page.html",
        "a",
        ".hidden",
        "..x",
        "x..",
        "-rf",
        "with space/%41?#&'\"*|<>",
        "日本語/é.md",
        "s" * 200,
        "é" * 100,
        "x.meta.jsonx",
        "meta.json",
        "/".join(["s" * 100] * 8) + "/x",
    ],
)
def test_a_valid_path_is_returned_unchanged(path):
    assert keys.check_path(path) == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty segment"),
        ("/a", "empty segment"),
        ("a/", "empty segment"),
        ("a//b", "empty segment"),
        ("/", "empty segment"),
        (".", "'.'"),
        ("..", "'..'"),
        ("a/../b", "'..'"),
        ("a/./b", "'.'"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7fb", "control character"),
        ("a\x85b", "control character"),
        ("a\\b", "backslash"),
        ("x.meta.json", ".meta.json"),
        ("X.META.Json", ".meta.json"),
        (".meta.json", ".meta.json"),
        ("x.meta.json/y", ".meta.json"),
        ("a/x.meta.json", ".meta.json"),
        ("s" * 201, "201 bytes"),
        ("é" * 101, "202 bytes"),
        ("e\u0301", "normal form C"),
        ("\ufb01\u0344", "normal form C"),
        ("\ud800", "not valid Unicode"),
        ("/".join(["s" * 100] * 9), "key of 945 bytes"),
    ],
)
def test_an_invalid_path_is_refused_with_a_reason(path, why):
    with pytest.raises(BadRequest) as raised:
        keys.check_path(path, "from_path")
    assert raised.value.code == "invalid_path"
    assert why in raised.value.detail
    assert raised.value.detail.startswith("from_path ")


def test_a_key_has_at_most_900_bytes_including_its_prefix():
    path = "/".join(["s" * 199] * 4) + "/"  # 800 bytes
    assert keys.problem(path + "x" * (100 - ROOM), room=ROOM) is None
    assert "901 bytes" in (keys.problem(path + "x" * (101 - ROOM), room=ROOM) or "")
    assert "901 bytes" in (keys.problem("x" * 101, room=800) or "")


tricky = st.text("aZ0_~./\\ -é\u0301\x00\x85:.", max_size=8)
paths = st.one_of(
    st.lists(tricky, min_size=1, max_size=4).map("/".join),
    st.lists(st.sampled_from(["a", "a.b", "x.meta.json", ".", "..", "", "b.", ".b", "é", "a b"])).map(
        "/".join
    ),
    st.text(max_size=30),
)


@given(paths)
def test_the_fast_check_accepts_only_paths_that_the_full_check_accepts(path):
    def fine(segment: str) -> bool:
        return (
            segment not in ("", ".", "..")
            and not any(unicodedata.category(c) in ("Cc", "Cs") or c == "\\" for c in segment)
            and not segment.lower().endswith(".meta.json")
            and len(segment.encode()) <= 200
            and unicodedata.is_normalized("NFC", segment)
        )

    assert (keys.problem(path) is None) == all(map(fine, path.split("/")))


# -- keys ------------------------------------------------------------------------------------------


def test_a_key_is_execution_stage_and_path_and_its_sidecar_is_next_to_it():
    key = keys.object_key(UUID(E), "boost/compacted", "a/b.md")
    assert key == f"{E}/boost/compacted/a/b.md"
    assert keys.sidecar_key(key) == key + ".meta.json"
    assert keys.is_sidecar(keys.sidecar_key(key))
    assert not keys.is_sidecar(key)


def test_a_key_that_ends_in_a_slash_is_a_folder_marker():
    assert keys.is_aside(f"{E}/stage/")
    assert not keys.is_aside(f"{E}/stage/x")


def test_a_key_of_playhead_is_split_into_its_execution_and_the_rest():
    assert keys.parse_key(f"{E}/stage/a/b.md") == (UUID(E), "stage/a/b.md")


@pytest.mark.parametrize(
    "key",
    [
        *("", "x", E, f"{E}/", f"{E}/stage", f"{E}/stage/", f"{E}//x", "docs/stage/x"),
        *(f"{E}/stage/../x", f"{E}/stage/x.meta.json", f"{E.replace('-', '')}/stage/x"),
        *(f"{E.upper()}/stage/x", f"{E}0/stage/x"),
    ],
)
def test_an_external_key_is_not_split(key):
    assert keys.parse_key(key) is None


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("boost/compacted/x", ("boost/compacted", "x")),
        ("boost/other/x", ("boost", "other/x")),
        ("markdown/a/b.md", ("markdown", "a/b.md")),
        ("markdown2/x", ("boost", "markdown2/x")),
        ("boost", ("boost", "boost")),
    ],
)
def test_stage_and_path_are_separated_by_the_declared_stages(rest, expected):
    assert keys.stage_of(rest, ["boost/compacted", "markdown"], "boost") == expected


# -- content types ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/page.html", "text/html"),
        ("page.HTM", "text/html"),
        ("page.md", "text/markdown"),
        ("v1.2", "application/octet-stream"),
        ("README", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("x.tar.json", "application/json"),
        ("a.md/b", "application/octet-stream"),
    ],
)
def test_the_suffix_determines_the_content_type(path, kind):
    assert keys.content_type_of(path) == kind


def test_the_suffix_of_a_type_is_the_first_of_its_table():
    assert keys.TYPE_SUFFIXES["text/html"] == ".html"
    assert all(keys.SUFFIX_TYPES[suffix] == kind for kind, suffix in keys.TYPE_SUFFIXES.items())


# -- renamed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("page.md", "page~2.md"),
        ("guide/page.md", "guide/page~2.md"),
        ("README", "README~2"),
        (".hidden", ".hidden~2"),
        ("a.tar.gz", "a.tar~2.gz"),
        ("v1.2/x", "v1.2/x~2"),
        ("s" * 197 + ".md", "s" * 195 + "~2.md"),
        ("é" * 98 + ".md", "é" * 97 + "~2.md"),
    ],
)
def test_other_bytes_for_a_bound_path_get_a_name_with_their_attempt(path, expected):
    assert keys.renamed(path, 2) == expected


@given(st.integers(840, 850), st.integers(1, 13))
def test_a_renamed_path_keeps_the_length_of_a_key(length, attempt):
    folder = ("s" * 199 + "/") * 4
    path = (folder + "n" * 200)[: min(length, keys.MAX_KEY_BYTES - ROOM)]
    assert keys.problem(keys.renamed(path, attempt, room=ROOM), room=ROOM) is None
