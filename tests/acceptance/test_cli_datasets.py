"""Datasets on the command line: what is printed and suggested, and the exit codes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from playhead import connect
from tests.acceptance.shell import Command, Shell, commands_here
from tests.acceptance.test_cli import CONFIG, FAN, FILES

DATASET = CONFIG + "datasets: {texts: {}}\n"


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Commands in a folder in which one run has ended; its config has a dataset."""
    shell = Shell(tmp_path, FILES | {"docs.yaml": DATASET})
    shell.env |= {"PLAYHEAD_WEBHOOK_HOSTS": "hooks.example", "PLAYHEAD_WEBHOOK_SECRET": "whsec_" + "A" * 32}
    with commands_here(tmp_path, shell.env, monkeypatch, capfd) as command:
        assert command("run", "docs.yaml", "pages")[0] == 0
        yield command


def answer(run: Command, *arguments: str, code: int = 0) -> Any:
    """Return what a command prints with `--json`. Its exit code is checked."""
    left, out, err = run(*arguments, "--json")
    assert left == code, (out, err)
    return json.loads(out)


def suggested(text: str, command: str) -> list[str]:
    """Return the names of datasets in the suggested commands."""
    return [line.split()[2] for line in map(str.strip, text.splitlines()) if line.startswith(command)]


def test_a_suggestion_names_the_config_only_if_another_one_has_the_dataset_too(run: Command, tmp_path: Path):
    replay = ("replay", "latest:run", "shouted", "split")
    alone = run(*replay)
    (tmp_path / "other.yaml").write_text(FAN + "datasets: {texts: {}}\n")
    assert run("config", "apply", "other.yaml")[0] == 0
    several = run(*replay)
    shown = run("show", "latest:run")

    assert suggested("".join(alone[1:]), "playhead publish") == ["texts"]
    assert suggested("".join(several[1:]), "playhead publish") == ["docs/texts"]
    assert suggested("".join(shown[1:]), "playhead publish") == ["docs/texts"]


def test_doctor_names_the_config_only_if_another_one_has_the_dataset_too(run: Command, tmp_path: Path):
    (tmp_path / "pages/a.txt").write_text("word " * 100)
    for name in ("pages", "pages/sub"):  # the second publication has much less than both of them
        assert run("run", "docs.yaml", name)[0] == 0
        assert run("publish", "texts", "latest", "--allow-removed")[0] == 0
    alone = run("doctor")[1]
    (tmp_path / "other.yaml").write_text(FAN + "datasets: {texts: {}}\n")
    assert run("config", "apply", "other.yaml")[0] == 0

    assert "run: playhead publications texts" in alone
    assert "run: playhead publications docs/texts" in run("doctor")[1]


def test_after_a_rollback_a_run_is_to_be_compared_before_it_is_published(run: Command, tmp_path: Path):
    (tmp_path / "docs.yaml").write_text(CONFIG + "datasets: {texts: {publish: automatic}}\n")
    for _ in range(2):
        assert run("run", "docs.yaml", "pages")[0] == 0
    answer(run, "rollback", "texts")

    code, out, err = run("run", "docs.yaml", "pages")

    assert code == 0
    assert "held since a rollback. Why: playhead publications docs/texts" in err
    [step] = [line for line in (out + err).splitlines() if "playhead publish" in line]
    assert step.endswith(" --dry-run")


def test_release_and_doctor_report_a_hold(run: Command, tmp_path: Path):
    (tmp_path / "docs.yaml").write_text(CONFIG + "datasets: {texts: {publish: automatic}}\n")
    assert run("release", "texts")[:2] == (0, "texts was not held, so nothing has changed\n")
    for text in ("one", "two"):
        (tmp_path / "pages/a.txt").write_text(text)
        assert run("run", "docs.yaml", "pages")[0] == 0
    back = answer(run, "rollback", "texts", "--reason", "broken text")
    before = run("doctor")[1]
    assert run("run", "docs.yaml", "pages")[0] == 0

    code, out, _ = run("doctor")

    assert "held" not in before, "nothing waits, and the rollback is recent"
    assert "executions that wait for publication: 0" in before
    assert code == 0, "a warning"
    assert "up to date; executions" not in out
    since = f"rollback to publication 1 at {back['switched_at']} (broken text)"
    assert f"texts: automatic publication is held because of the {since}; executions that wait" in out
    assert "run: playhead publications texts. To end the hold, publish a good run" in out
    assert "or run: playhead release texts" in out
    assert run("release", "texts")[1].startswith("Runs of docs that begin from now on are published in texts")
    assert "is held" not in run("doctor")[1]
    assert run("release", "texts")[:2] == (0, "texts was not held, so nothing has changed\n")


def test_a_command_with_a_key_publishes_once(run: Command):
    publish = ("publish", "texts", "latest:run", "--key", "mine")
    first = answer(run, *publish)
    again = answer(run, *publish)
    _, later, _ = run(*publish, "--detach")
    other = answer(run, *publish, "--reason", "another command", code=1)

    assert (first["n"], first["state"]) == (1, "published")
    assert again == first
    assert later == "Publication 1 of texts is published\n"
    assert other["error_code"] == "idempotency_key_reused"
    assert [one["n"] for one in answer(run, "publications", "texts", "--all")["items"]] == [1]


def test_the_events_for_the_webhook_of_a_dataset_are_listed(run: Command, tmp_path: Path):
    hook = "datasets: {texts: {webhook: 'https://hooks.example/x'}}\n"
    (tmp_path / "docs.yaml").write_text(CONFIG + hook)
    assert run("config", "apply", "docs.yaml")[0] == 0
    assert answer(run, "datasets", "deliveries", "texts")["items"] == []
    for _ in range(2):
        answer(run, "publish", "texts", "latest")
    answer(run, "rollback", "texts")

    found = answer(run, "datasets", "deliveries", "texts", "--limit", "2")
    _, listed, _ = run("datasets", "deliveries", "texts")

    assert [one["event"] for one in found["items"]] == ["dataset.rolled_back", "dataset.published"]
    assert found["next_cursor"]
    assert [line.split()[1:4] for line in listed.splitlines()] == [
        ["EVENT", "STATE", "ATTEMPTS"],
        ["dataset.rolled_back", "due", "0"],
        ["dataset.published", "due", "0"],
        ["dataset.published", "due", "0"],
    ]
    with connect(tmp_path / "home") as client:
        ids = [str(one.delivery_id) for one in client.dataset_deliveries("texts")]
        again = client.send_dataset_delivery("texts", UUID(ids[0]))
    assert ids[:2] == [one["delivery_id"] for one in found["items"]]
    assert (str(again.delivery_id), again.state) == (ids[0], "due")


def test_publications_that_a_rollback_took_back_are_marked(run: Command):
    def states(*options: str) -> dict[str, str]:
        _, out, _ = run("publications", "texts", *options)
        rows = (re.split(r"  +", line) for line in out.splitlines() if line[:1].isdecimal())
        return {row[0]: row[1] for row in rows if row[0].isdecimal()}

    for _ in range(3):
        answer(run, "publish", "texts", "latest")
    assert states() == {"3": "current", "2": "published", "1": "published"}
    answer(run, "rollback", "texts", "--to", "1")
    assert states() == {"3": "taken back", "2": "taken back", "1": "current"}
    assert run("publications", "show", "texts@3")[1].startswith("Publication 3 of texts: taken back\n")
    shown = [answer(run, "publications", "show", f"texts@{n}")["is_taken_back"] for n in (1, 2, 3)]
    assert shown == [False, True, True]
    answer(run, "publish", "texts", "latest")

    assert states() == {"4": "current", "3": "taken back", "2": "taken back", "1": "published"}
    assert states("--limit", "1") == {"4": "current"}
    cursor = answer(run, "publications", "texts", "--limit", "2")["next_cursor"]
    assert states("--cursor", cursor) == {"2": "taken back", "1": "published"}
    answer(run, "rollback", "texts", "--to", "3")
    assert states()["4"] == "taken back", "going forward is a rollback, too"


def test_stale_shows_which_code_made_the_results_and_how_to_replay_them(run: Command, tmp_path: Path):
    answer(run, "publish", "texts", "latest")
    other = "{type: words, condition: {field: path, operator: exists}}"
    (tmp_path / "docs.yaml").write_text(DATASET.replace("{type: words}", other))
    assert run("config", "apply", "docs.yaml")[0] == 0

    items = answer(run, "stale", "texts")["items"]
    _, shown, _ = run("stale", "texts@1")

    assert [(one["route"], one["config_version"], one["is_newest"]) for one in items] == [
        ("shout", 1, True),
        ("split", 1, False),
    ]
    [words] = items[1]["adapters"]
    code = f"{words['type']} {words['version']} {words['code'][:19]}"
    of_split = re.escape(f"shouted   {code}") + rf" +1 +{items[1]['results']} +no"
    assert re.search(f"(?m)^split +{of_split}$", shown), shown
    assert "To replay them: playhead replay current:texts@1 shouted split\n" in shown

    assert run("replay", "latest", "shouted", "split", "--limit", "1", "--publish")[0] == 0
    assert run("worker", "--until-idle")[0] == 0
    [line] = [one for one in run("stale", "texts")[1].splitlines() if "To replay them: " in one]
    command = shlex.split(line.partition(": playhead ")[2])
    assert command == ["replay", "current:texts@2", "shouted", "split", "--made-by", "split!=newest"]
    assert answer(run, *command, "--dry-run")["objects"] == items[1]["results"] - 1


def test_show_of_an_object_names_the_commands_that_show_it(run: Command):
    answer(run, "publish", "texts", "latest")
    for key in ("current:texts/shouted/a.txt", "current:texts@1/shouted/a.txt", "latest/shouted/a.txt"):
        code, _, err = run("show", key)
        assert code == 4
        assert f"To show an object: playhead lineage {key}, or playhead cat {key}" in err
    assert "To show an object" not in run("show", "none")[2]
    assert run("show", "current:texts")[0] == run("lineage", "current:texts/shouted/a.txt")[0] == 0


def test_the_texts_of_two_publications_are_compared(run: Command, tmp_path: Path):
    answer(run, "publish", "texts", "latest")
    (tmp_path / "pages/a.txt").write_text("one\nthree\n")
    (tmp_path / "pages/new.txt").write_text("new")
    (tmp_path / "pages/sub/b.txt").write_bytes("\n".join(map(str, range(20_000))).encode())
    assert run("run", "docs.yaml", "pages")[0] == 0
    answer(run, "publish", "texts", "latest")
    between = ("diff", "current:texts@1", "current:texts@2")

    code, out, _ = run(*between, "shouted", "--text")
    items = answer(run, *between, "shouted/a.txt", "--text", code=1)["items"]

    [before, after] = items[0]["text"][:2]
    assert (before[:4], before.partition("/")[2]) == ("--- ", "shouted/a.txt")
    assert code == 1
    assert out.splitlines() == [
        before,
        after,
        *("@@ -1 +1,2 @@", "-ONE TWO", "\\ No newline at end of file", "+ONE", "+THREE"),
        "Only in B: shouted/new.txt",
        "Differ, without a text difference: shouted/sub/b.txt (at least one of the objects is pruned, not "
        "UTF-8, or larger than 64,000 bytes)",
    ]
    assert items[0]["text"] == out.splitlines()[:7]
    assert run(*between, "shouted", "--text", "--limit", "1")[1].splitlines()[:7] == items[0]["text"]
    assert run("diff", "latest", "latest", "--text")[:2] == (0, "")
    assert run(*between, "--text", "--objects")[0] == 2


def test_a_long_difference_of_texts_says_what_it_leaves_out(run: Command, tmp_path: Path):
    for letter in "xy":
        (tmp_path / "pages/a.txt").write_text("\n".join(f"{letter}{n}" for n in range(1_000)))
        assert run("run", "docs.yaml", "pages")[0] == 0
        answer(run, "publish", "texts", "latest")

    lines = run("diff", "current:texts@1", "current:texts@2", "shouted", "--text")[1].splitlines()

    assert len(lines) == 2 + 1 + 400 + 1
    assert lines[-1] == "… 1,600 more changed lines"
