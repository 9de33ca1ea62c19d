"""Names that a shell would expand or run: Tab quotes them, and runs nothing."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.acceptance.processes import open_deployment
from tests.acceptance.shells import Folder, Terminal
from tests.waiting import eventually

pytestmark = pytest.mark.slow

HOSTILE = (
    "$(touch stolen)",
    r"\$(touch stolen)",
    r"\\$(touch stolen)",
    "`touch stolen`",
    "');touch stolen;('",
    '";touch stolen;"',
    "a;touch stolen",
    "two  blanks",
    "all*",
)
RAISING = """\
from playhead import Reject, adapter

@adapter("raising")
def raising(item):
    raise Reject(item.text)
"""
RAISING_CONFIG = """\
version: "1.0"
name: raising
entry: fail
routes:
  fail: {adapters: [{type: raising}], outbound: {stage: never}}
"""


PLAIN_CONFIG = """\
version: "1.0"
name: plain
entry: copy
routes:
  copy: {adapters: [{type: passthrough}], outbound: {stage: copied}}
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder whose catalog has names that a shell would expand or run."""
    made = Folder(tmp_path_factory.mktemp("hostile"))
    made.env["PLAYHEAD_ADAPTERS"] = "./raising.py"
    (made.path / "raising.py").write_text(RAISING)
    (made.path / "raising.yaml").write_text(RAISING_CONFIG)
    (made.path / "pages").mkdir()
    for number, text in enumerate(HOSTILE):
        (made.path / "pages" / f"{number}.txt").write_text(text)
    tags = [word for tag in HOSTILE for word in ("--tag", tag)]
    made.run("playhead", "run", "raising.yaml", "pages", *tags, code=1)
    return made


def missing(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.mark.parametrize("shell", [pytest.param(shell, marks=missing(shell)) for shell in ("zsh", "bash")])
def test_tab_quotes_names_and_runs_nothing(hostile: Folder, shell: str):
    with Terminal(hostile, shell) as terminal:
        for tag in HOSTILE:
            begun = re.sub(r"(\W)", r"\\\1", tag[:-1])
            assert shlex.split(terminal.tab(f"playhead show tag:{begun}")) == [
                "playhead",
                "show",
                f"tag:{tag}",
            ]
        terminal.tab("playhead show tag:")
        terminal.tab("playhead dead-letters show ")
    assert not (hostile.path / "stolen").exists()


@missing("fish")
def test_tab_in_fish_quotes_names_and_runs_nothing(hostile: Folder):
    (hostile.path / "completion.fish").write_text(hostile.script("fish"))

    def offered(line: str, *options: str) -> list[str]:
        command = f"source completion.fish; complete {' '.join(options)} -C '{line}'"
        return [at.partition("\t")[0] for at in hostile.run("fish", "-N", "-c", command).splitlines()]

    assert sorted(offered("playhead show tag:")) == sorted(f"tag:{tag}" for tag in HOSTILE)
    for inserted in offered("playhead show tag:", "--escape"):
        hostile.run("fish", "-N", "-c", f"echo {inserted}")
    assert len(offered("playhead dead-letters show ")) == len(HOSTILE)
    assert not (hostile.path / "stolen").exists()


@missing("zsh")
def test_tab_in_zsh_runs_nothing_that_a_server_names(hostile: Folder):
    with open_deployment() as deployment, Terminal(hostile, "zsh") as terminal:
        deployment.serve()
        deployment.apply(PLAIN_CONFIG)
        deployment.cli("run", "plain", str(Path(__file__)), "--detach", "--tag", HOSTILE[1])
        line = f"playhead show --server {deployment.url} tag:"
        eventually(lambda: terminal.tab(line) != line, "the server has answered within a second")
        assert shlex.split(terminal.tab(line))[-1] == f"tag:{HOSTILE[1]}"
    assert not (hostile.path / "stolen").exists()
