"""Which home a command uses, and that reading creates none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.acceptance.shell import Shell
from tests.lab import KEEP

READING = (
    *("executions", "show latest", "stages latest", "cancel latest", "replay latest input keep", "replays"),
    *("ls latest input", "cat latest/input/a", "lineage latest/input/a", "dead-letters list", "queues"),
    *("dead-letters resend --route keep", "config list", "config show docs", "config deactivate docs"),
    *("doctor", "migrate --check", "worker --until-idle", "worker --until-idle --processes 2"),
)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A folder without home, as a new user has it."""
    made = Shell(tmp_path, {"docs.yaml": KEEP, "pages/a.md": "text", "below/x.md": ""})
    for name in [name for name in made.env if name.startswith("PLAYHEAD_")]:
        del made.env[name]
    return made


@pytest.mark.parametrize("line", READING)
def test_a_command_that_only_reads_creates_no_home_and_says_what_to_run(shell: Shell, line: str):
    code, _, err = shell(*line.split())
    assert code == 4, err
    for part in ("home_missing", str(shell.folder / ".playhead"), "playhead init", "playhead run"):
        assert part in err
    assert sorted(os.listdir(shell.folder)) == ["below", "docs.yaml", "pages"]


def test_a_config_is_validated_without_a_home(shell: Shell):
    assert shell("config", "validate", "docs.yaml")[:2] == (0, "docs.yaml: valid\n")
    (shell.folder / "docs.yaml").write_text(KEEP.replace("passthrough", "pastrough"))
    code, out, _ = shell("config", "validate", "docs.yaml")
    assert code == 1
    assert "E201" in out
    assert not (shell.folder / ".playhead").exists()


def test_a_command_in_a_folder_below_uses_the_home_above_and_says_so(shell: Shell):
    code, _, err = shell("run", "docs.yaml", "pages")
    assert code == 0
    assert "home" not in err
    run = shell.json("show", "latest")
    shell.folder = shell.folder / "below"
    home = str(shell.folder.parent / ".playhead")
    code, out, err = shell("show", "latest", "--json")
    assert json.loads(out) == run
    assert err == f"Using the home of a parent folder: {home}\n"
    assert home not in shell("executions", "--home", home)[2]
    assert home in shell("worker", "--until-idle")[2]
    shell.json("run", "../docs.yaml", "x.md")
    assert len(shell.json("executions")["items"]) == 2
    assert os.listdir(shell.folder) == ["x.md"]
