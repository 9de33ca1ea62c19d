"""`playhead prune`, `pin` and `unpin`: what is asked, what is printed, and the exit codes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.shell import Shell
from tests.acceptance.test_cli import FILES
from tests.stored import stored
from tests.waiting import eventually


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, FILES)


@pytest.fixture
def run(shell: Shell) -> str:
    return str(shell.json("run", "docs.yaml", "pages", "--tag", "first")["execution_id"])


def objects(shell: Shell, execution: str) -> int:
    return len(stored(shell.folder / "home/objects", execution))


def on_a_terminal(
    shell: Shell, answer: str, *arguments: str, before: Callable[[], object] = lambda: None
) -> tuple[int, str, str]:
    """Run a command whose stdin is a terminal, and type an answer, after `before`."""
    leader, follower = pty.openpty()
    out, err = shell.folder / "out.txt", shell.folder / "err.txt"
    with out.open("w") as stdout, err.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "playhead", *arguments],
            cwd=shell.folder,
            env=shell.env,
            stdin=follower,
            stdout=stdout,
            stderr=stderr,
        )
    os.close(follower)
    eventually(lambda: "[y/N]" in err.read_text())
    before()
    os.write(leader, answer.encode() + b"\n")
    code = process.wait(2 * DEADLINE_SECONDS)
    os.close(leader)
    return code, out.read_text(), err.read_text()


def test_a_dry_run_counts_objects_and_bytes_and_changes_nothing(shell: Shell, run: str):
    there = objects(shell, run)
    code, out, _ = shell("prune", "--older-than", "0s", "--dry-run")
    assert code == 0
    assert out == "7 objects (35 B, without sidecars) of 1 execution would be deleted\n"
    found = shell.json("prune", "--config", "docs", "--dry-run")
    assert (found["dry_run"], found["objects"], found["execution_ids"]) == (True, 7, [run])
    assert there == objects(shell, run) == 14


@pytest.mark.parametrize(("answer", "code", "left"), [("YES", 0, 0), ("", 1, 14)])
def test_on_a_terminal_the_counts_are_shown_and_confirmed(
    shell: Shell, run: str, answer: str, code: int, left: int
):
    ended, out, err = on_a_terminal(shell, answer, "prune", run)
    assert ended == code
    assert out.startswith("7 objects (35 B, without sidecars) of 1 execution to delete\n")
    assert "[y/N]" in err
    assert ("deleted" in out) == (left == 0)
    assert ("Nothing was deleted" in err) == (left > 0)
    assert objects(shell, run) == left


def test_what_is_confirmed_is_pruned_and_nothing_else(shell: Shell, run: str):
    def run_again() -> None:
        shell.json("run", "docs", "pages")

    code, out, _ = on_a_terminal(shell, "y", "prune", "--older-than", "0s", before=run_again)

    assert code == 0
    assert "7 objects (35 B) of 1 execution deleted" in out
    assert objects(shell, run) == 0
    assert objects(shell, shell.json("show", "latest")["execution_id"]) == 14


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_without_a_terminal_nothing_is_deleted_unless_yes_is_given(
    shell: Shell, run: str, more: tuple[str, ...]
):
    code, _, err = shell("prune", run, *more)
    assert code == 2
    assert "--yes" in err
    assert objects(shell, run) == 14
    code, _, _ = shell("prune", run, "--yes", *more)
    assert (code, objects(shell, run)) == (0, 0)


def test_conditions_are_combined(shell: Shell, run: str):
    other = shell.json("run", "docs", "pages")["execution_id"]

    def found(*conditions: str) -> Any:
        return shell.json("prune", *conditions, "--dry-run")["execution_ids"]

    assert found("--older-than", "0s") == [run, other]
    assert found("--older-than", "1h") == []
    assert found("--older-than", "0s", "--tag", "first") == [run]
    assert found("--config", "docs", "--keep-last", "1") == [run]
    assert found("--keep-last", "2") == []
    assert found(other, run[-8:]) == [run, other]


def test_a_stage_is_pruned_and_shown(shell: Shell, run: str):
    code, out, _ = shell("prune", "latest", "--stage", "shouted", "--yes")
    assert code == 0
    assert "2 objects (12 B) of 1 execution deleted" in out
    _, out, _ = shell("show", "latest")
    assert "  pruned    stage shouted, on 20" in out
    assert "partly pruned" in shell("executions")[1]
    assert shell("replay", "latest", "shouted", "split")[0] == 1
    code, _, err = shell("cat", "latest/shouted/a.txt")
    assert code == 4
    assert "object_pruned" in err
    code, out, _ = shell("lineage", "latest/words/a/0001.txt")
    assert code == 0
    assert "shouted/a.txt  (pruned on 20" in out
    assert shell("cat", "latest/words/a/0001.txt")[1] == "ONE"
    assert shell("why", "latest", "a.txt")[0] == 0


def test_a_pinned_execution_is_kept_and_the_exit_code_says_so(shell: Shell, run: str):
    code, out, _ = shell("pin", "latest")
    assert code == 0
    assert "  pinned    no prune deletes its objects" in out
    code, out, _ = shell("prune", "latest", "--yes")
    assert code == 1
    assert "It is pinned." in out
    assert shell("prune", "--older-than", "0s", "--yes")[0] == 0
    assert objects(shell, run) == 14
    assert "pinned" not in shell("unpin", "latest")[1]
    assert shell("prune", "latest", "--yes")[0] == 0
    code, _, err = shell("pin", "latest")
    assert code == 1
    assert "execution_pruned" in err


def test_a_server_deletes_in_the_background(shell: Shell, run: str):
    with (shell.folder / "server.log").open("w") as log:
        server = shell.start("serve", "--port", "0", stderr=log)
    told = shell.folder / "server.log"
    eventually(lambda: "\n" in told.read_text())
    url = told.read_text().splitlines()[0].rpartition(" ")[2]
    try:
        assert shell.json("pin", "latest", "--server", url)["pinned"] is True
        assert shell.json("unpin", "latest", "--server", url)["pinned"] is False
        assert shell.json("prune", run, "--dry-run", "--server", url)["objects"] == 7
        code, out, _ = shell("prune", run, "--yes", "--server", url)
        assert code == 0
        assert "the server deletes them in the background" in out
        eventually(lambda: objects(shell, run) == 0)
        assert "pruned    all objects" in shell("show", run, "--server", url)[1]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(DEADLINE_SECONDS)


def test_records_are_counted_deleted_and_missed(shell: Shell, run: str):
    assert shell("prune", run, "--records", "--yes")[0] == 1  # its objects exist
    key = f"{run}/shouted/a.txt"
    assert shell("prune", run, "--yes")[0] == 0
    dry = shell("prune", "--older-than", "0s", "--records", "--dry-run")[1]
    assert dry.endswith(" records of 1 execution would be deleted\n")

    code, out, _ = shell("prune", "--older-than", "0s", "--records", "--yes")

    assert (code, out.splitlines()[-1]) == (0, dry.replace("would be deleted\n", "deleted"))
    _, out, _ = shell("show", "latest")
    assert "  records   deleted on 20" in out
    assert "Next:" not in out
    assert shell.json("show", "latest")["mixed_code"] == []
    for command in (("lineage", key), ("cat", key), ("why", "latest", "a.txt"), ("diff", run, run)):
        code, _, err = shell(*command)
        assert code == 4, command
        assert f"the records of execution {run} were deleted on" in err
    code, _, err = shell("prune", "--older-than", "0s", "--records", "--stage", "shouted", "--yes")
    assert code == 2
    assert "--records: are deleted for whole executions" in err


def test_a_replay_without_records_keeps_its_numbers(shell: Shell, run: str):
    replay = shell.json("replay", "latest", "shouted", "split", "--path", "a.txt")
    assert shell("worker", "--until-idle")[0] == 0
    execution, batch = replay["execution_id"], replay["replay_batch_id"]
    for more in ((), ("--records",)):
        assert shell("prune", execution, *more, "--yes")[0] == 0

    _, out, _ = shell("replays", "show", batch)

    assert "  published  1 of 1 to " in out
    assert "  records    deleted on 20" in out
    assert "report     " not in out
    code, _, err = shell("replays", "report", batch)
    assert (code, f"the records of execution {execution} were deleted on" in err) == (4, True)
    code, _, err = shell("replay", run, "shouted", "split", "--only", "failed", "--in-replay", batch)
    assert (code, f"the records of execution {execution} were deleted on" in err) == (4, True)
