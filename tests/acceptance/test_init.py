"""`playhead init`: a folder with a pipeline that runs and replays as printed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from playhead.cli.init import FILES
from tests import program

pytestmark = pytest.mark.slow

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")}


def playhead(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return program.run(arguments, cwd=folder, env=ENVIRONMENT)


def test_the_printed_commands_run_and_replay_the_pipeline(tmp_path: Path):
    written = playhead(tmp_path, "init", "my pipeline")
    assert written.returncode == 0, written.stderr
    _, _, commands = written.stdout.partition("Next:\n")
    enter, *steps = [shlex.split(line, comments=True) for line in commands.splitlines()]
    assert enter == ["cd", "my pipeline"]
    folder = tmp_path / "my pipeline"
    found: list[str] = []
    for step in steps:
        if step[1:3] == ["config", "apply"]:
            config = folder / "pipeline.yaml"
            config.write_text(config.read_text().replace("words: 8", "words: 4"))
        done = playhead(folder, *step[1:])
        assert done.returncode == (step[1] == "diff"), done.stderr
        if step[1] == "search":
            found.append(done.stdout)
    assert found[0].count("/short/") == 1
    assert found[0] != found[1]
    assert playhead(folder, "search", "search.db", "replay").stdout == found[0], "it was rolled back"
    listed = json.loads(playhead(folder, "ls", "latest:replay", "short", "--json").stdout)["items"]
    words = playhead(folder, "cat", listed[0]["key"]).stdout.split()
    assert len(words) == 4
    runs = json.loads(playhead(folder, "executions", "--json").stdout)["items"]
    kinds = ["publication", "replay", "publication", "run"]
    assert [(run["kind"], run["status"]) for run in runs] == [(kind, "completed") for kind in kinds]


def test_the_printed_next_commands_of_each_command_work(tmp_path: Path):
    """A user who only copies what is printed gets from `init` to what a publication would change."""
    assert playhead(tmp_path, "init").returncode == 0
    ran = playhead(tmp_path, "run", "pipeline.yaml", "inputs/")
    [replay] = [line for line in ran.stdout.splitlines() if line.startswith("  playhead replay ")]
    said = playhead(tmp_path, *shlex.split(replay)[1:])
    assert said.returncode == 0
    steps = [shlex.split(line, comments=True) for line in said.stdout.partition("Next:\n")[2].splitlines()]
    assert [step[1] for step in steps] == ["worker", "show", "publish"]
    outputs = []
    for step in steps:
        done = playhead(tmp_path, *step[1:])
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert "3 done, 0 failed, 0 to go" in outputs[1]
    assert "3 changed" in outputs[2]


@pytest.mark.parametrize("name", FILES)
def test_an_existing_file_is_not_overwritten_and_nothing_is_written(tmp_path: Path, name: str):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    refused = playhead(tmp_path, "init", "--json")
    assert refused.returncode == 2
    assert name in json.loads(refused.stdout)["detail"]
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_the_written_files_and_the_next_commands_are_listed_as_json(tmp_path: Path):
    body = json.loads(playhead(tmp_path, "init", "--json").stdout)
    assert body["folder"] == str(tmp_path)
    assert sorted(body["files"]) == sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert body["next"][0].startswith("playhead run ")
