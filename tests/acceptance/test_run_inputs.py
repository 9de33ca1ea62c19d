"""Runs of standard input and of single lines, here and on a server."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.processes import DEADLINE_SECONDS, open_deployment
from tests.acceptance.shell import Shell
from tests.stored import stored

CONFIG = """
version: "1.0"
name: copy
entry: copy
routes:
  copy:
    adapters: [{type: passthrough}]
    outbound: {stage: copies}
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path, {"copy.yaml": CONFIG, "r.jsonl": '{"id": "a"}\n\n{"id": "b"}\n'})
    del shell.env["PLAYHEAD_ADAPTERS"]
    return shell


def piped(shell: Shell, text: bytes, *arguments: str) -> tuple[int, str, str]:
    (shell.folder / "stdin").write_bytes(text)
    with (shell.folder / "stdin").open("rb") as stdin:
        ended = shell.start(*arguments, stdin=stdin)
    out, err = ended.communicate(timeout=DEADLINE_SECONDS)
    return ended.returncode, out, err


def contents(shell: Shell, execution: str, stage: str, *server: str) -> dict[str, str]:
    found = shell.json("ls", execution, stage, *server)["items"]
    return {item["path"]: shell("cat", item["key"], *server)[1] for item in found}


def test_each_line_is_an_input_of_its_own(shell: Shell):
    done = shell.json("run", "copy.yaml", "r.jsonl", "--split", "lines")
    assert contents(shell, done["execution_id"], "copies") == {
        "r/000001.json": '{"id": "a"}',
        "r/000003.json": '{"id": "b"}',
    }
    done = shell.json("run", "copy.yaml", "r.jsonl", "--split", "lines", "--path-field", "id")
    assert set(contents(shell, done["execution_id"], "copies")) == {"a.json", "b.json"}


def test_standard_input_is_an_input_next_to_files(shell: Shell):
    code, out, _ = piped(
        shell, b"\xff piped", "run", "copy.yaml", "-", "r.jsonl", "--name", "in/x.bin", "--json"
    )
    done = json.loads(out)
    assert (code, done["counts"]["completed"]) == (0, 2)
    there = stored(shell.folder / "home/objects")
    assert there[f"{done['execution_id']}/copies/in/x.bin"] == b"\xff piped"


def test_standard_input_and_lines_are_sent_to_a_server(shell: Shell):
    with open_deployment() as deployment:
        server = "--server", str(deployment.serve().url)
        deployment.worker()
        lines = b'{"id": "x"}\n{"id": "y"}'
        code, out, err = piped(
            shell,
            lines,
            *("run", "copy.yaml", "-", "--split", "lines", "--path-field", "id", "--json", *server),
        )
        assert code == 0, err
        execution = json.loads(out)["execution_id"]
        assert contents(shell, execution, "copies", *server) == {
            "x.json": '{"id": "x"}',
            "y.json": '{"id": "y"}',
        }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-"], "standard input needs a path"),
        (["-", "-", "--name", "x"], "only once"),
        (["r.jsonl", "--name", "x"], "add - as INPUT"),
        (["-", "--name", "../x"], "the path of standard input"),
        (["-", "--name", "r.jsonl", "r.jsonl"], "would both be input/r.jsonl"),
        (["-", "--name", "x.txt", "--split", "lines"], "no lines in x.txt"),
        (["r.jsonl", "--path-field", "id"], "--path-field needs --split lines"),
        (
            ["r.jsonl", "--split", "lines", "--path-field", "no"],
            "2 of 2 lines cannot be used: r.jsonl, line 1",
        ),
    ],
)
def test_a_mistake_is_reported_and_nothing_is_stored(shell: Shell, arguments: list[str], words: str):
    code, _, err = piped(shell, b"", "run", "copy.yaml", *arguments)
    assert (code, words in err) == (2, True), err
    assert not (shell.folder / "home").exists()


def test_standard_input_above_the_limit_is_refused(shell: Shell):
    shell.env["PLAYHEAD_MAX_OBJECT_BYTES"] = "1000"
    code, _, err = piped(shell, b"x" * 1001, "run", "copy.yaml", "-", "--name", "x")
    assert (code, "more than 1000 bytes" in err) == (2, True), err
    code, out, err = piped(
        shell, b"x\n" * 1001, "run", "copy.yaml", "-", "--name", "x", "--split", "lines", "--json"
    )
    assert (code, json.loads(out)["counts"]["completed"]) == (0, 1001), err


def test_ctrl_c_ends_a_run_that_waits_for_standard_input(shell: Shell):
    stdin, pipe = os.pipe()
    process = shell.start("run", "copy.yaml", "-", "--name", "x", stdin=stdin)
    os.close(stdin)
    with open(pipe, "wb") as writer:
        writer.write(b"x" * (1 << 17))  # more than the pipe holds, so when it returns the process reads
        writer.flush()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, "no run was started" in err) == (130, True), err
