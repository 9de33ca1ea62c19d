"""`playhead run` when steps wait for what this process lacks, and when they print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.shell import Shell

STEPS = """
from pydantic import BaseModel, SecretStr

from playhead import Item, adapter


class AskConfig(BaseModel):
    key: SecretStr


@adapter("ask", produces="text/plain")
def ask(item: Item, config: AskConfig) -> str:
    return "answer"
"""
CONFIG = """
version: "1.0"
name: docs
entry: copy
routes:
  copy:
    adapters: [{type: passthrough}]
    outbound: {stage: copies, to: [ask]}
  ask:
    adapters: [{type: ask, config: {key: "${env:TOKEN_OF_TEST}"}}]
    outbound: {stage: answers}
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(tmp_path, {"steps.py": STEPS, "docs.yaml": CONFIG, "pages/a.txt": "a", "pages/b.txt": "b"})
    shell.env["PLAYHEAD_SECRETS_ENV"] = "TOKEN_OF_*"
    return shell


@pytest.mark.parametrize("more", [(), ("--processes", "2")])
def test_a_run_ends_if_all_its_messages_wait_for_a_secret(shell: Shell, more: tuple[str, ...]):
    found = shell("run", "docs.yaml", "pages", "--json", *more)
    code, _, err = found
    assert code == 1
    left = [line for line in err.splitlines() if "work_left" in line]
    assert any("queue=docs.ask" in line and "${env:TOKEN_OF_TEST}" in line for line in left)
    assert "is not finished; `playhead worker --until-idle` continues it" in err
    shown = shell.json("show", "latest")
    assert (shown["status"], shown["counts"]["completed"], shown["counts"]["pending"]) == ("running", 2, 2)

    shell.env["TOKEN_OF_TEST"] = "secret"
    assert shell("worker", "--until-idle")[0] == 0
    assert shell.json("show", "latest")["status"] == "completed"


PRINTING = """
import os
import subprocess

from playhead import Item, adapter

print("imported")


@adapter("ask", produces="text/plain")
def ask(item: Item) -> str:
    print(f"printed-by-{item.path}")
    os.write(1, b"written\\n")
    subprocess.run(["echo", "echoed"], check=True)
    return "answer"
"""


@pytest.mark.parametrize(
    ("more", "isolation"), [((), ""), ((), ", isolation: process"), (("--processes", "2"), "")]
)
def test_what_steps_print_goes_to_stderr(shell: Shell, more: tuple[str, ...], isolation: str):
    (shell.folder / "steps.py").write_text(PRINTING)
    step = f"type: ask{isolation}"
    config = CONFIG.replace('type: ask, config: {key: "${env:TOKEN_OF_TEST}"}', step)
    (shell.folder / "docs.yaml").write_text(config)

    _, out, err = shell("run", "docs.yaml", "pages", "--json", *more)

    assert json.loads(out)["status"] == "completed"
    for printed in ("imported", "printed-by-a.txt", "written", "echoed"):
        assert printed in err


def test_a_worker_settles_a_run_whose_process_died_during_its_upload_and_fails(shell: Shell):
    """It exited with code 0, while the run was still shown as running."""
    shell.env |= {"PLAYHEAD_LEASE_SECONDS": "6", "PLAYHEAD_HEARTBEAT_SECONDS": "1"}
    killed = dict(shell.env)
    shell.env["PLAYHEAD_FAULT"] = "submit.stored"
    assert shell("run", "docs.yaml", "pages")[0] == -9
    shell.env = killed

    assert shell("worker", "--until-idle")[0] == 1

    shown = shell.json("show", "latest")
    assert (shown["status"], shown["error"]["code"]) == ("failed", "upload_incomplete")
