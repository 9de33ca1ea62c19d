"""`playhead plan`, `replay --dry-run` and `replay --plan`: what is printed, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.shell import Shell
from tests.acceptance.test_cli import FILES
from tests.stored import put, stored


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in which one run has ended."""
    shell = Shell(tmp_path, FILES)
    shell.json("run", "docs.yaml", "pages")
    return shell


def external(shell: Shell, text: str) -> Path:
    """Store an object of another program in the stage."""
    objects = shell.folder / "home/objects"
    [run] = {key.partition("/")[0] for key in stored(objects)}
    put(objects, f"{run}/shouted/external.txt", text.encode())
    return objects / run / "shouted/external.txt"


def test_a_plan_is_shown_and_replayed(shell: Shell):
    code, out, err = shell("plan", "latest", "shouted", "split", "--include", "*.txt")

    assert code == 0, err
    rows = {line[2:13].strip(): line[13:] for line in out.splitlines() if line.startswith("  ")}
    run = shell.json("executions", "--kind", "run")["items"][0]["execution_id"]
    assert out.splitlines()[0] == f"Plan of {run}/shouted into docs/split"
    assert rows["objects"] == "1 (7 B)"
    assert rows["left out"] == "2 sidecars and folder markers, 1 not selected"
    assert rows["first"] == rows["last"] == f"{run}/shouted/a.txt"
    assert rows["types"] == "text/plain 1"
    assert rows["config"] == "docs version 1"
    assert rows["routes"] == "split (1 message)"
    assert rows["digest"].startswith("sha256:")
    assert "no live worker consumes docs.split" in rows["warning"]
    assert f"playhead replay --plan {rows['plan']}" in out
    replay = shell.json("replay", "--plan", rows["plan"])
    assert (replay["objects_found"], replay["objects_published"]) == (1, 1)
    assert (replay["from_execution_id"], replay["from_stage"], replay["to_route"]) == (
        run,
        "shouted",
        "split",
    )
    again = shell.json("replay", "--plan", rows["plan"], "latest", "shouted", "split")
    assert again["replay_batch_id"] == replay["replay_batch_id"]


def test_a_dry_run_makes_a_plan_and_publishes_nothing(shell: Shell):
    plan = shell.json("replay", "latest", "shouted", "split", "--dry-run")

    assert (plan["state"], plan["objects"]) == ("ready", 2)
    assert plan["digest"] == shell.json("plan", "latest", "shouted", "split")["digest"]
    assert shell.json("replays")["items"] == []
    assert shell.json("replay", "--plan", plan["plan_id"])["objects_published"] == 2


def test_a_changed_plan_is_refused_with_its_objects(shell: Shell):
    file = external(shell, "one")
    plan = shell.json("plan", "latest", "shouted", "split", "--verify")
    assert (plan["objects"], plan["problems"]["hash_differs"]) == (3, 0)
    file.write_text("two")
    key = plan["first_keys"][1]
    assert key.endswith("/shouted/external.txt")

    code, out, err = shell("replay", "--plan", plan["plan_id"])

    assert (code, out) == (1, "")
    assert "Error (plan_changed): nothing was published" in err
    assert any(line.split() == ["changed", key] for line in err.splitlines())
    code, out, _ = shell("replay", "--plan", plan["plan_id"], "--json")
    answer = json.loads(out)
    assert (code, answer["error_code"]) == (1, "plan_changed")
    assert [(one["key"], one["what"]) for one in answer["difference"]["first"]] == [(key, "changed")]
    [replay] = shell.json("replays")["items"]
    assert (replay["state"], replay["objects_found"]) == ("refused", 0)


def test_a_plan_shows_how_the_config_has_changed(shell: Shell):
    changed = FILES["docs.yaml"].replace("others.work", "others.moved")
    (shell.folder / "changed.yaml").write_text(changed)
    shell.json("config", "apply", "changed.yaml")

    _, out, _ = shell("plan", "latest", "shouted", "split")

    assert "  config     docs version 2, see below\n" in out
    assert "--- docs version 1\n+++ docs version 2\n" in out
    assert "-    inbound: {queue: others.work}\n" in out
    assert "+    inbound: {queue: others.moved}\n" in out
