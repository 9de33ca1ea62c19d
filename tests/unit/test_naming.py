"""The path of an output whose adapter does not name one."""

from __future__ import annotations

import pytest

from playhead.keys import stem
from playhead.steps.naming import alone, numbered


@pytest.mark.parametrize(
    ("path", "old", "new", "named"),
    [
        ("guide/page.html", "text/html", "text/markdown", "guide/page.md"),
        ("guide/page.htm", "text/html", "text/markdown", "guide/page.md"),
        ("guide/PAGE.HTM", "text/html", "text/markdown", "guide/PAGE.md"),
        ("page.html", "text/html; charset=utf-8", "text/markdown; charset=utf-8", "page.md"),
        ("v1.2", "text/html", "text/markdown", "v1.2.md"),
        ("README", "text/plain", "text/markdown", "README.md"),
        ("a.b/README", "text/plain", "text/markdown", "a.b/README.md"),
        (".html", "text/html", "text/markdown", ".html.md"),
        ("a/.html", "text/html", "text/markdown", "a/.html.md"),
        ("page.html.txt", "text/html", "text/markdown", "page.html.txt.md"),
        ("page.html", "text/html", "text/html", "page.html"),
        ("page.html", "text/html", "TEXT/html; charset=utf-8", "page.html"),
        ("page.html", "text/html", "application/octet-stream", "page.html"),
        ("page.html", "text/html", "image/webp", "page.html"),
        ("data.bin", "application/octet-stream", "application/json", "data.bin.json"),
    ],
)
def test_one_output_keeps_the_path_and_changes_the_suffix_with_the_type(path, old, new, named):
    assert alone(path, old, new) == named


@pytest.mark.parametrize(
    ("path", "kind", "folder"),
    [
        ("page.md", "text/markdown", "page"),
        ("a/v1.2", "text/markdown", "a/v1.2"),
        ("README", "application/octet-stream", "README"),
        ("x.tar.json", "application/json", "x.tar"),
    ],
)
def test_many_outputs_go_into_a_folder_named_by_the_stem(path, kind, folder):
    assert stem(path, kind) == folder


def test_numbers_count_from_one_with_at_least_four_digits():
    assert numbered("page", 1, "text/markdown") == "page/0001.md"
    assert numbered("page", 12345, "text/csv; header=present") == "page/12345.csv"
    assert numbered("page", 2, "image/webp") == "page/0002"
