"""`playhead run` when this process cannot process the messages of a route."""

from __future__ import annotations

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
