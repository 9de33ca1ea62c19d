"""`run --changed-since` after edits of a file with several steps, a run that was killed, and a replay."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.shell import Shell

CONFIG: Final = """
version: "1.0"
name: docs
entry: fetch
routes:
  fetch: {adapters: [{type: fetch}], outbound: {stage: pages, to: [shout]}}
  shout: {adapters: [{type: shout}], outbound: {stage: loud}}
"""
STEPS: Final = """
from playhead import Item, adapter

@adapter("fetch", version="1")
def fetch(item: Item) -> str:
    return item.text

@adapter("shout", version="1")
def shout(item: Item) -> str:
    return item.text.upper()
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A folder with a finished run of two texts."""
    files = {"docs.yaml": CONFIG, "steps.py": STEPS, "in/a.txt": "a", "in/b.txt": "b"}
    shell = Shell(tmp_path, files)
    code, out, _ = shell("run", "docs.yaml", "in")
    assert (code, "4 done, 0 failed" in out) == (0, True)
    return shell


def test_an_edit_of_a_step_runs_that_step_again(shell: Shell):
    first = shell.json("show", "latest")["execution_id"]
    edited = STEPS.replace("item.text.upper()", "item.text.upper() + '!'")
    (shell.folder / "steps.py").write_text(f"# a comment\n{edited}")

    code, out, err = shell("run", "docs.yaml", "in", "--changed-since", first)

    assert (code, "4 done (2 processed, 2 taken over), 0 failed" in out) == (0, True)
    assert (
        f"route shout processes all items again: the code of shout differs from that of execution {first}, "
        "but not the version. To keep the results: --compare version\n"
    ) in err
    assert "route fetch" not in err
    assert shell("cat", "latest/loud/a.txt")[1] == "A!"


def test_an_edit_of_shared_code_runs_its_steps_again_unless_only_versions_are_compared(shell: Shell):
    first = shell.json("show", "latest")["execution_id"]
    edited = STEPS.replace("item.text.upper()", "item.text.upper() + MARK").replace(
        '"shout", version="1"', '"shout", version="2"'
    )
    edited = edited.replace("return item.text\n", "return item.text + MARK[:0]\n")
    (shell.folder / "steps.py").write_text(f"MARK = '!'\n{edited}")

    code, out, err = shell("run", "docs.yaml", "in", "--changed-since", first)
    assert (code, "4 done (4 processed, 0 taken over), 0 failed" in out) == (0, True)
    assert (
        f"route fetch processes all items again: the code of fetch differs from that of execution {first}, "
        "but not the version. To keep the results: --compare version\n"
    ) in err

    code, out, err = shell("run", "docs.yaml", "in", "--changed-since", first, "--compare", "version")
    assert (code, "4 done (0 processed, 4 taken over), 0 failed" in out) == (0, True)
    why = f"the version of shout differs from that of execution {first}\n"
    assert f"route shout processes all items again: {why}" in err
    assert "route fetch" not in err
    assert shell("cat", "latest/loud/a.txt")[1] == "A!"

    code, out, err = shell("run", "docs.yaml", "in", "--changed-since", "previous", "--compare", "version")
    assert (code, "4 done (0 processed, 4 taken over), 0 failed" in out, "route" in err) == (0, True, False)
