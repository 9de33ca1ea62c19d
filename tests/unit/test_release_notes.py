"""The notes of a release: the section of the changelog that its tag names."""

from __future__ import annotations

from pathlib import Path

import pytest

import playhead
from tools import release_notes
from tools.release_notes import Unreleasable

CHANGELOG = """\
# Changelog

## Unreleased

- Not yet.

## [0.2.0] - 2026-12-01

### Added

- Exports.

## 0.1.0

- The first.

[0.2.0]: https://example.com/0.2.0
"""


def test_the_notes_are_the_body_of_the_section_with_this_version() -> None:
    assert release_notes.notes(CHANGELOG, "0.2.0") == "### Added\n\n- Exports.\n"


def test_the_last_section_ends_before_the_definitions_of_links() -> None:
    assert release_notes.notes(CHANGELOG, "0.1.0") == "- The first.\n"


@pytest.mark.parametrize("version", ["0.2", "0.3.0", "2.0"])
def test_a_version_without_a_section_is_refused(version: str) -> None:
    with pytest.raises(Unreleasable, match=f"no section '## {version}'"):
        release_notes.notes(CHANGELOG, version)


def test_an_empty_section_is_refused() -> None:
    with pytest.raises(Unreleasable, match="is empty"):
        release_notes.notes("## 0.2.0\n\n## 0.1.0\n\n- The first.\n", "0.2.0")


def test_the_package_and_the_chart_declare_one_version() -> None:
    release_notes.check(playhead.__version__)


def test_a_file_with_another_version_than_the_tag_is_named(tmp_path: Path) -> None:
    (tmp_path / "src/playhead").mkdir(parents=True)
    (tmp_path / "src/playhead/__init__.py").write_text('__version__ = "0.1.0"\n', encoding="utf-8")
    with pytest.raises(Unreleasable, match=r'src/playhead/__init__.py: .*"0.1.0".* the tag says 0.2.0'):
        release_notes.check("0.2.0", tmp_path)


def test_a_tag_without_a_section_exits_with_1_and_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert release_notes.main(["v99.0.0"]) == 1
    assert "Rename '## Unreleased'" in capsys.readouterr().err
