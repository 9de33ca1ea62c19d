"""The check for plain English: prose, positions of hits, and the allow-list."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import plain


def found(text: str, suffix: str) -> list[tuple[int, str]]:
    return [
        (hit.line, hit.text)
        for block in plain.blocks(text, suffix)
        for hit in plain.hits(Path(f"page{suffix}"), block)
    ]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".md", "One line.\n\nIt starts anew.\n"),
        (".py", '"""One line."""\n\nX = "starts anew"\n'),
        (".py", "x = 1\n\n# It starts anew.\n"),
        (".py", "\n\ndef test_it_starts_anew(): ...\n"),
        (".yaml", "a: 1\nb: 2\nc: 3  # starts anew\n"),
        (".sql", "SELECT 1;\n\n-- starts anew\n"),
    ],
)
def test_prose_of_each_kind_of_file_is_checked(suffix: str, text: str) -> None:
    assert found(text, suffix) == [(3, "anew")]


def test_names_and_code_are_not_prose() -> None:
    assert found("anew = beside(nobody)\n", ".py") == []


def test_a_phrase_over_a_line_break_is_found_where_it_begins() -> None:
    text = "# The worker gives\n# back the message,\n\n# and more\n"
    assert found(text, ".py") == [(1, "gives back")]


def test_a_comment_after_code_is_apart_from_the_comment_that_follows_later() -> None:
    assert found("x = 1  # gives\ny = 2\n# back\n", ".py") == []


def test_an_allowed_phrase_is_allowed_in_its_files_only() -> None:
    (hit,) = plain.hits(Path("docs/a.md"), plain.Block(1, ("It starts anew.",)))
    assert plain.Allowed("Anew", "a quotation", path="docs/*").fits(hit)
    assert not plain.Allowed("anew", "a quotation", path="src/*").fits(hit)
    assert not plain.Allowed("beside", "a quotation").fits(hit)


def test_every_exception_has_a_reason() -> None:
    assert all(len(one.reason.split()) > 2 for one in plain.allowed())


def test_a_file_with_a_hit_fails_and_one_without_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("It starts anew.\n", encoding="utf-8")
    assert plain.main([str(page)]) == 1
    assert f"{page}:1: anew: again, new: It starts anew." in capsys.readouterr().out
    page.write_text("It starts again.\n", encoding="utf-8")
    assert plain.main([str(page)]) == 0
