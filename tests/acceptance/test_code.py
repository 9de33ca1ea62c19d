"""The code that ran is known: after an edit of an adapter, with and without --reload."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import playhead
from playhead.sourcecode.roots import read, root_of
from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.shell import Shell
from tests.stored import stored
from tests.waiting import eventually

CONFIG = """
version: "1.0"
name: docs
entry: keep
routes:
  keep: {adapters: [{type: passthrough}], outbound: {stage: kept, to: [shout]}}
  shout: {adapters: [{type: shout}], outbound: {stage: shouted}}
"""
STEPS = """
from playhead import Item, adapter

@adapter("shout", version="VERSION")
def shout(item: Item) -> str:
    return item.text + "MARK"
"""


def steps(mark: str, version: str = "1") -> str:
    return STEPS.replace("MARK", mark).replace("VERSION", version)


class Project:
    """A folder with a pipeline of which one step is edited, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.shell = Shell(folder, {"docs.yaml": CONFIG, "steps.py": steps("!"), "in/a.txt": "hello"})
        self.shell("config", "apply", "docs.yaml")
        # Looks at live processes again and again, which a command for each look would slow down.
        self.client = playhead.connect(self.shell.env["PLAYHEAD_HOME"])

    @property
    def code(self) -> str:
        """The fingerprint of the step as it is now."""
        root = root_of(str(self.shell.folder / "steps.py"))
        assert root is not None
        return read(root).of("shout").code

    def edit(self, text: str) -> None:
        (self.shell.folder / "steps.py").write_text(text)

    @contextmanager
    def process(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """A process of its own interpreter, because it may replace itself. Its lines are in `log`."""
        log = self.shell.folder / "log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "playhead", *command],
                cwd=self.shell.folder,
                env=self.shell.env,
                stderr=stderr,
                text=True,
            )
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(DEADLINE_SECONDS)

    @property
    def log(self) -> str:
        return (self.shell.folder / "log").read_text()

    def loaded(self, kind: str = "worker") -> list[str]:
        """The code of the step in live processes of a kind."""
        return [
            adapter.code
            for process in self.client.workers()
            for adapter in process.adapters
            if process.kind == kind and adapter.type == "shout"
        ]

    def until_loaded(self, *codes: str, kind: str = "worker") -> None:
        eventually(lambda: self.loaded(kind) == [*codes], f"{kind} with code {codes}")

    def until_logged(self, words: str) -> None:
        eventually(lambda: words in self.log, f"{words} in the log")

    def replayed(self, *flags: str) -> tuple[str, str]:
        """Replay the first stage of the run, wait, and return what the step returned, and stderr."""
        code, _, err = self.shell("replay", "latest:run", "kept", "shout", "--wait", *flags)
        assert code == 0, err
        return self.shell("cat", "latest:replay/shouted/a.txt")[1], err


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    with project.client:
        yield project


def test_an_edit_below_a_running_worker_is_reported_and_lineage_names_the_code_that_ran(project: Project):
    shell = project.shell
    old = project.code
    with project.process("worker"):
        project.until_loaded(old)
        assert shell("run", "docs.yaml", "in", "--detach")[0] == 0
        eventually(lambda: project.client.execution().status == "completed", "the run to end")
        project.edit(steps("?"))

        # At once: before the worker has noticed it.
        refused = shell("replay", "latest:run", "kept", "shout")
        assert (refused[0], "Error (code_differs)" in refused[2]) == (1, True)
        assert "--allow-old-code" in refused[2]
        with pytest.raises(playhead.PlayheadError, match="has changed since it was loaded"):
            project.client.replay("latest:run", "kept", "shout")
        text, err = project.replayed("--allow-old-code")
        assert text == "hello!"
        assert "Warning: steps.py has changed since it was loaded by worker" in err
        refused = shell("replay", "latest:run", "kept", "shout", "--require-code")
        assert (refused[0], "Error (code_differs)" in refused[2]) == (1, True)
        assert "changed: its source has changed" in shell("workers")[1]
        project.until_logged("code_changed")
    with project.process("worker"):
        project.until_loaded(project.code)
        project.until_logged("version_unchanged")
        text, err = project.replayed("--require-code")
        assert text == "hello?"
        assert 'the code of adapter shout has changed, but its version is still "1"' in err
        assert project.replayed()[1].count("Warning") == 0, "the code has run now"

    codes = []
    for one in reversed(shell.json("executions", "--limit", "3")["items"]):
        (link,) = shell.json("lineage", f"{one['execution_id']}/shouted/a.txt", "--up")["items"][-1:]
        codes += [adapter["code"] for adapter in link["adapters"]]
    assert codes == [old, project.code, project.code]
    sidecars = stored(shell.folder / "home/objects").items()
    sidecar = next(data for key, data in sidecars if key.endswith("shouted/a.txt.meta.json"))
    assert b'"code": "sha256:' in sidecar


def test_an_edit_of_a_comment_or_of_another_step_leaves_a_worker_current(project: Project):
    shell = project.shell
    assert shell("run", "docs.yaml", "in")[0] == 0
    other = '@adapter("other")\ndef other(item: Item) -> str:\n    return "?"\n'
    project.edit(steps("!") + other)
    with project.process("worker"):
        project.until_loaded(project.code)
        project.edit("# a comment\n" + steps("!") + other.replace("?", "??"))
        text, err = project.replayed("--require-code")
        assert (text, err.count("Warning")) == ("hello!", 0)
        listed = {one["type"]: one["notes"] for one in shell.json("workers")["items"][0]["adapters"]}
        assert (listed["shout"], listed["other"]) == ([], ["changed"])
        project.until_logged("code_changed")
        (line,) = [one for one in project.log.splitlines() if "code_changed" in one]
        assert "adapters=other" in line


def test_an_execution_that_ran_with_different_code_is_marked(project: Project):
    shell = project.shell
    strict = "import Item, Reject", "    if item.text == 'bad':\n        raise Reject('bad')\n    return"
    project.edit(steps("!").replace("import Item", strict[0]).replace("    return", strict[1]))
    old = project.code
    (shell.folder / "in/b.txt").write_text("bad")
    assert shell("run", "docs.yaml", "in")[0] == 1
    assert shell.json("show", "latest")["mixed_code"] == []
    assert "differs" not in shell("show", "latest")[1]
    project.edit(steps("?"))
    shell("dead-letters", "resend", "--execution", "latest")
    shell("worker", "--until-idle")

    (route,) = shell.json("show", "latest")["mixed_code"]

    assert route["route"] == "shout"
    codes = {ran["adapters"][0]["code"]: ran["messages"] for ran in route["codes"]}
    assert codes == {old: 1, project.code: 1}
    (line,) = [line for line in shell("show", "latest")[1].splitlines() if line.startswith("  code ")]
    assert "shout in route shout differs: version 1 sha256:" in line
    assert line.count(" in 1 message") == 2


def test_a_run_is_warned_about_a_changed_source_with_an_unchanged_version(project: Project):
    assert "Warning" not in project.shell("run", "docs.yaml", "in")[2]
    project.edit(steps("?"))
    applied = project.shell("config", "apply", "docs.yaml")
    ran = project.shell("run", "docs.yaml", "in")
    for _, _, err in (applied, ran):
        assert 'Warning: the code of adapter shout has changed, but its version is still "1"' in err
    project.edit(steps("??", version="2"))
    assert "Warning" not in project.shell("run", "docs.yaml", "in")[2]


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.full)])
def test_a_worker_with_reload_runs_the_new_code_also_after_a_syntax_error(project: Project, processes: str):
    count = int(processes)
    assert project.shell("run", "docs.yaml", "in")[0] == 0
    with project.process("worker", "--reload", "--processes", processes):
        project.until_loaded(*[project.code] * count)
        project.edit(steps("?", version="2"))
        project.until_loaded(*[project.code] * count)
        assert project.replayed()[0] == "hello?"
        project.edit("def (")
        project.until_logged("code_invalid")
        assert "SyntaxError" in project.log
        assert "Traceback" not in project.log
        project.until_loaded()
        project.edit(steps("!!", version="3"))
        project.until_loaded(*[project.code] * count)
        assert project.replayed()[0] == "hello!!"


def test_a_server_with_reload_restarts_on_its_port_with_its_workers(project: Project):
    assert project.shell("run", "docs.yaml", "in")[0] == 0
    with project.process("serve", "--reload", "--port", "0", "--workers", "1") as server:
        project.until_logged("listening on")
        url = project.log.partition("listening on ")[2].split()[0]
        project.until_loaded(project.code)
        project.edit(steps("?", version="2"))
        project.until_loaded(project.code)
        project.until_loaded(project.code, kind="serve")
        listed = {one["type"]: one for one in httpx.get(f"{url}/api/v1/adapters").json()["items"]}
        assert listed["shout"]["code"] == project.code
        assert project.replayed("--server", url)[0] == "hello?"
        assert server.poll() is None, "it is still the same process"


def test_reload_cannot_be_combined_with_until_idle(project: Project):
    code, _, err = project.shell("worker", "--reload", "--until-idle")
    assert (code, "--until-idle" in err) == (2, True)
