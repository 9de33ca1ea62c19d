"""Tab, as bash, zsh and fish ask for it: with the script that `--show-completion` gives."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.processes import Deployment, open_deployment
from tests.acceptance.shells import ANY_SHELL, BIN, Folder, asking

pytestmark = pytest.mark.slow

HEAVY = ("fastapi", "pydantic", "rich", "httpx", "asyncio", "yaml", "asyncpg", "playhead.settings")
WORDS = """\
version: "1.0"
name: words
entry: copy
routes:
  copy:
    adapters: [{type: passthrough}]
    outbound: {stage: copied, to: [hand_over, spoil]}
  hand_over:
    inbound: {queue: away}
    external: true
  spoil:
    adapters: [{type: html_to_markdown}]
    outbound: {stage: deep/er}
"""
STEPS = """\
from playhead import adapter

@adapter("shout", produces="text/plain")
def shout(item):
    return ""
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    made = Folder(tmp_path_factory.mktemp("tab"))
    (made.path / "words.yaml").write_text(WORDS)
    (made.path / "steps.py").write_text(STEPS)
    (made.path / "pages").mkdir()
    (made.path / "pages" / "a.txt").write_text("one")
    made.run("playhead", "run", "words.yaml", "pages", "--tag", "nightly", "--tag", "my run", code=None)
    other = WORDS.replace("name: words", "name: other").replace("away", "elsewhere").replace("spoil", "waste")
    (made.path / "other.yaml").write_text(other)
    made.run("playhead", "config", "apply", "other.yaml")
    return made


@pytest.fixture(scope="module")
def execution(folder: Folder) -> str:
    return next(v for v in folder.tab("playhead show 0") if v.count("-") == 4)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("playhead sh", ["show"]),
        ("playhead dead-letters ", ["list", "groups", "show", "resend"]),
        ("playhead datasets ", ["list", "deliveries"]),
        ("playhead replays p", ["pause", "pace"]),
        ("playhead replays l", ["list", "latest", "latest:replay", "latest:other", "latest:words"]),
        ("playhead replays --lim", ["--limit"]),
        ("playhead replays latest --lim", ["--limit"]),
        ("playhead replays pause l", ["latest:replay"]),
        ("playhead show l", ["latest", "latest:replay", "latest:other", "latest:words"]),
        ("playhead show latest:w", ["words"]),
        ("playhead show tag:", [r"my\ run", "nightly"]),
        ("playhead show tag:n", ["nightly"]),
        (r"playhead show tag:my\ r", [r"my\ run"]),
        ("playhead executions --tag n", ["nightly"]),
        ("playhead executions --parent=lat", ["latest", "latest:replay", "latest:other", "latest:words"]),
        ("playhead replay latest:words d", ["deep/er"]),
        ("playhead replay latest:nowhere d", []),
        ("playhead executions --parent=tag:ni", ["nightly"]),
        ("playhead executions --status=f", ["failed"]),
        ("playhead executions --status ", ["running", "completed", "failed", "cancelled"]),
        ("playhead executions --config ", ["other", "words"]),
        ("playhead config show w", ["words"]),
        ("playhead config deactivate ", ["other", "words"]),
        ("playhead config activate o", ["other"]),
        ("playhead replay latest ", ["input", "copied", "deep/er"]),
        ("playhead replay tag:nightly d", ["deep/er"]),
        ("playhead ls latest c", ["copied"]),
        ("playhead replay latest copied s", ["spoil"]),
        (
            "playhead replay latest copied ",
            [
                *("other/copy", "other/hand_over", "waste", "words/copy", "words/hand_over", "spoil"),
            ],
        ),
        ("playhead replay latest copied words/", ["words/copy", "words/hand_over", "words/spoil"]),
        ("playhead worker --route w", ["waste", "words/copy", "words/hand_over"]),
        ("playhead dead-letters resend --route spo", ["spoil"]),
        ("playhead queues ", ["other.copy", "elsewhere", "other.waste", "words.copy", "away", "words.spoil"]),
        ("playhead adapters s", ["split_markdown", "sqlite_search", "sqlite_vectors"]),
        ("playhead run w", ["words", "words.yaml"]),
        ("playhead --home nowhere show ", []),
        ("playhead show --home nowhere ", []),
        ("playhead show --catalog postgresql://localhost/x ", []),
        ("playhead show --server http://127.0.0.1:9 ", []),
        ("playhead replay nonsense ", ["input"]),
    ],
)
def test_bash_is_offered_what_there_is(folder: Folder, line: str, offered: list[str]):
    assert sorted(folder.tab(line)) == sorted(offered)
    assert not (folder.path / "nowhere").exists()


def test_executions_are_offered_by_id_the_newest_first(folder: Folder, execution: str):
    names = ["latest", "latest:replay", "latest:other", "latest:words", r"tag:my\ run", "tag:nightly"]
    assert folder.tab("playhead show ") == [*names, execution]
    assert folder.tab(f"playhead show {execution[:8]}") == [execution]
    assert folder.tab(f"playhead replay {execution} cop") == ["copied"]
    assert folder.tab(f"playhead replay {execution[-8:]} cop") == ["copied"]


def test_adapters_of_the_operators_files_are_offered_without_being_run(folder: Folder):
    (folder.path / "steps.py").write_text(STEPS + "raise SystemExit('it was run')\n")
    assert folder.tab("playhead adapters sh", PLAYHEAD_ADAPTERS="./steps.py") == ["shout"]
    (folder.path / "steps.py").write_text(STEPS)


def test_settings_are_heard_in_the_order_in_which_commands_hear_them(folder: Folder):
    assert folder.tab("playhead config show ", PLAYHEAD_HOME="nowhere") == []
    assert folder.tab("playhead config show --home .playhead ", PLAYHEAD_HOME="nowhere") == ["other", "words"]
    toml = folder.path / "playhead.toml"
    toml.write_text('home = "nowhere"\n')
    assert folder.tab("playhead config show ") == []
    assert folder.tab("playhead config show w", PLAYHEAD_HOME=".playhead") == ["words"]
    database = folder.path / ".playhead" / "playhead.db"
    assert folder.tab("playhead config show w", PLAYHEAD_CATALOG=f"sqlite://{database}") == ["words"]
    toml.write_text("not toml")
    assert folder.tab("playhead config show ") == []
    toml.unlink()


def test_what_is_no_catalog_is_passed_over_in_silence(folder: Folder, tmp_path: Path):
    (tmp_path / "playhead.db").write_bytes(b"no database" * 100)
    assert folder.tab(f"playhead show --home {tmp_path} ") == []
    (tmp_path / "playhead.db").unlink()
    (tmp_path / "playhead.db").touch()
    assert folder.tab(f"playhead show --home {tmp_path} ") == []


def test_zsh_and_fish_are_offered_the_same_with_what_it_is(folder: Folder, execution: str):
    zsh = folder.asked("zsh", "playhead replay latest copied s")
    assert r"offers=($'spoil'); shown=($'spoil\x20\x20--\x20words.spoil')" in zsh
    fish = folder.asked("fish", "playhead show tag:n")
    assert fish.strip() == "tag:nightly\tthe newest with that tag"
    shown = folder.asked("fish", f"playhead show {execution[:8]}")
    assert re.fullmatch(rf"{execution}\trun \w+, words", shown.strip())


@pytest.mark.parametrize(
    ("shell", "place"),
    [
        ("bash", ".bash_completions/playhead.sh"),
        ("zsh", ".zfunc/_playhead"),
        ("fish", ".config/fish/completions/playhead.fish"),
    ],
)
def test_the_script_of_each_shell_is_shown_and_installed(
    folder: Folder, shell: str, place: str, tmp_path: Path
):
    script = folder.script(shell)
    assert f"_PLAYHEAD_COMPLETE=complete_{shell}" in script
    env = {"HOME": str(tmp_path), **ANY_SHELL}
    said = folder.run("playhead", "--install-completion", shell, env=env)
    assert f"{shell} completion installed in" in said
    assert (tmp_path / place).read_text().strip() == script.strip()
    if program := shutil.which(shell):
        folder.run(program, "-n", str(tmp_path / place))


def test_in_a_shell_its_name_need_not_be_said(folder: Folder):
    # Two commands, lest bash replace itself by the one. The installed program, as typer looks at its parents.
    shown = folder.run("bash", "-c", f"{BIN / 'playhead'} --show-completion; true")
    assert "complete -o default" in shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_nothing_heavy_is_loaded_for_a_tab(folder: Folder, shell: str):
    probe = (
        "import sys\n"
        "from playhead.__main__ import main\n"
        "sys.argv = ['playhead']\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        f"print('loaded:', [n for n in {HEAVY!r} if sys.modules.get(n)], file=sys.stderr)\n"
    )
    offered = folder.run(sys.executable, "-c", probe, env=asking(shell, "playhead replay latest "))
    assert "copied" in offered
    assert folder.err.strip() == "loaded: []"


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    with open_deployment() as made:
        made.serve()
        made.apply(WORDS)
        made.cli("run", "words", str(Path(__file__)), "--detach", "--tag", "remote")
        yield made


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("playhead show tag:", ["remote"]),
        ("playhead show l", ["latest", "latest:replay", "latest:words"]),
        ("playhead config show ", ["words"]),
        ("playhead replay latest ", ["input", "copied", "deep/er"]),
        ("playhead replay tag:remote d", ["deep/er"]),
        ("playhead replay latest copied ", ["copy", "hand_over", "spoil"]),
        ("playhead queues a", ["away"]),
        ("playhead executions --tag ", ["remote"]),
        ("playhead dead-letters show ", []),
    ],
)
def test_names_on_a_server_are_offered(folder: Folder, deployment: Deployment, line: str, offered: list[str]):
    command, _, rest = line.partition(" ")

    def are_offered(line: str, *, some: bool, **env: str) -> list[str]:
        """Return the completions. Completion gives up after a second without an answer of the server, so it
        is repeated on a busy machine if there should be some."""
        for _ in range(10):
            if (found := folder.tab(line, **env)) or not some:
                break
        return sorted(found)

    some = bool(offered)
    assert are_offered(line, some=some, PLAYHEAD_SERVER=deployment.url) == sorted(offered)
    assert are_offered(f"{command} --server {deployment.url} {rest}", some=some) == sorted(offered)
    assert len(are_offered("playhead show 0", some=True, PLAYHEAD_SERVER=deployment.url)) == 1


def test_a_name_with_hidden_characters_is_not_offered(folder: Folder, tmp_path: Path):
    home = str(tmp_path / "home")
    folder.run(
        "playhead",
        "run",
        "words.yaml",
        "pages",
        "--tag",
        "a\u202eb",
        "--tag",
        "ab",
        "--home",
        home,
        code=None,
    )
    assert folder.tab(f"playhead show --home {home} tag:") == ["ab"]
