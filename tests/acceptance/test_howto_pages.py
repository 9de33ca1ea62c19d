"""The commands of the how-to guides work in order, and print what the pages show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.test_docs import check_commands, typed


@pytest.mark.slow
@pytest.mark.parametrize("path", typed(howto=True))
def test_the_commands_of_a_guide_work_print_what_it_shows_and_change_no_tracked_file(
    path: str, tmp_path: Path
):
    check_commands(path, tmp_path)
