"""The objects that options of the command line select."""

from __future__ import annotations

from pathlib import Path

import pytest

from playhead.cli.selecting import selection
from playhead.cli.session import Usage

NOTHING = dict.fromkeys(
    ("include", "exclude", "after", "before", "type_", "attribute", "only", "in_replay", "made_by", "limit")
)


def test_each_line_of_a_file_is_the_path_of_one_object(tmp_path: Path):
    file = tmp_path / "paths"
    file.write_bytes("a.md\r\n\nb/c.md\nd\u2028e.md".encode())

    chosen = selection(**NOTHING, paths_from=str(file))

    assert chosen
    assert chosen.paths == ["a.md", "b/c.md", "d\u2028e.md"]


def test_a_file_without_a_path_does_not_select_all_objects(tmp_path: Path):
    file = tmp_path / "paths"
    file.write_bytes(b"\n")

    with pytest.raises(Usage, match="--paths-from: needs at least one"):
        selection(**NOTHING, paths_from=str(file))
