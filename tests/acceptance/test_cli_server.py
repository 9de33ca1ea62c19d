"""The same commands on a home and on a server of that home print the same, byte for byte."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import httpx
import pytest

from playhead.cli.replay import CONTRACT
from tests import program
from tests.acceptance.pages import ROOT
from tests.acceptance.processes import DEADLINE_SECONDS, open_deployment
from tests.acceptance.shell import Command, Shell, commands_here
from tests.acceptance.test_cli import CONFIG, FILES, SLOW, STEPS
from tests.acceptance.test_docs import commands, copied
from tests.program import Program
from tests.servers.process import free_port
from tests.stored import stored as stored_below
from tests.waiting import eventually

pytestmark = pytest.mark.slow

BAD = 'version: "1.0"\nname: bad\nentry: x\nroutes:\n  y:\n    adapters: [{type: shuot}]\n'
# Readers see two publications of `texts`, and nothing of `waited`.
DATASETS = {
    "docs.yaml": CONFIG + "datasets: {texts: {}}\n",
    "slow.yaml": SLOW + "datasets: {waited: {}}\n",
}
ODD = 'we"ird;n%22ame = é.txt'
UNKNOWN = "01890000-0000-7000-8000-000000000000"
# Each failing command creates it again.
OF_THE_COMMAND = re.compile(r'("(?:correlation_id|timestamp)": )"[^"]*"(?=,?\n(?:  "timestamp|}|  "diag))')


class Both:
    """A home on which things have happened, a server of it with a worker, and commands run on either.

    Commands run in this process: what is compared is what they print, and a process each would take long.
    """

    def __init__(self, folder: Path) -> None:
        self.shell = shell = Shell(folder, FILES | DATASETS)
        shell.env |= {"PLAYHEAD_VISIBILITY_SECONDS": "1.5", "PLAYHEAD_MAX_UPLOAD_BYTES": "2000000"}
        (folder / "bad.yaml").write_text(BAD)
        (folder / "pages" / ODD).write_text("odd")
        (folder / "bytes.bin").write_bytes(b"\xff\x00")
        good = shell.json("run", "docs.yaml", "pages", "--tag", "first")
        mixed = shell.json("run", "docs", "mixed", code=1)
        shell.json("publish", "texts", good["execution_id"], "--reason", "the first one")
        kept = shell.json("publish", "texts", mixed["execution_id"], "--allow-removed")
        raw = shell.json("run", "slow.yaml", "bytes.bin")
        index = shell.json("run", "indexed.yaml", "pages/a.txt")
        with (folder / "server.log").open("w") as log:
            self.processes = [
                shell.start("serve", "--port", "0", stdout=DEVNULL, stderr=log),
                shell.start("worker", stdout=DEVNULL, stderr=DEVNULL),
            ]
        told = folder / "server.log"
        eventually(lambda: "\n" in told.read_text())
        self.url = told.read_text().splitlines()[0].rpartition(" ")[2]
        replayed = shell.json("replay", good["execution_id"], "shouted", "split", "--path", "sub", "--wait")
        shell.json("replay", good["execution_id"], "shouted", "hand_over", "--wait")
        [letter] = shell.json("dead-letters", "list")["items"]
        words = shell.json("ls", good["execution_id"], "words")["items"]
        self.names = {
            "GOOD": good["execution_id"],
            "BYTES": raw["execution_id"],
            "INDEX": index["execution_id"],
            "REPLAYED": replayed["execution_id"],
            "ENDOFREPLAYED": replayed["replay_batch_id"][-8:],
            "LETTER": letter["correlation_id"],
            "CAUSE": shell.json("causes")["items"][0]["id"],
            "WORD": words[0]["key"],
            "ENDOFGOOD": good["execution_id"][-8:],
            "ENDOFLETTER": letter["correlation_id"][-8:],
            "UNKNOWN": UNKNOWN,
            "ODD": ODD,
            "MIXED": mixed["execution_id"],
            "KEPT": kept["execution_id"],
            "CURSOR": shell.json("executions", "--limit", "1")["next_cursor"],
        }
        eventually(lambda: all(q["workers"] == 1 for q in shell.json("queues")["items"] if q["adapters"]))

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_SECONDS)

    def words(self, text: str) -> list[str]:
        return [re.sub("[A-Z]{3,}", lambda m: self.names.get(m[0], m[0]), word) for word in text.split()]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(tmp_path_factory.mktemp("both"))
    yield made
    made.close()


@pytest.fixture
def run(both: Both, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    with commands_here(both.shell.folder, both.shell.env, monkeypatch, capfd) as command:

        def one(*arguments: str) -> tuple[int, str, str]:
            code, out, err = command(*arguments)
            assert "Traceback" not in err, err
            return code, OF_THE_COMMAND.sub(r"\1", out), err

        yield one


# `bad_input/test_commands.py` has the other commands that are refused.
LOOKS = [
    *("executions", "executions --limit 1", "executions --limit 1 --cursor CURSOR"),
    *("executions --status failed --config docs", "executions --tag first", "executions --until=-24h"),
    "executions --since yesterday",
    *("executions --since -24h --limit 1", "executions --since -24h --limit 1 --cursor CURSOR"),
    *(
        "executions --kind replay --parent GOOD",
        "executions --parent tag:none",
    ),
    *("show latest", "show tag:first", "show REPLAYED", "show latest:docs", "show latest:replay"),
    *("show UNKNOWN", "show latest:none", "show abcd", "show ENDOFGOOD", "dead-letters show ENDOFLETTER"),
    *("lineage ENDOFLETTER", "cat ENDOFGOOD/input/a.txt", "stages GOOD", "cancel GOOD"),
    *("replays", "replays GOOD", "replays list GOOD --limit 1", "replays GOOD --open"),
    *(
        "replays show latest:replay",
        "replays show ENDOFREPLAYED",
        "replays show UNKNOWN",
        "replays show GOOD",
    ),
    *("replays watch REPLAYED", "replays pause REPLAYED", "replays resume REPLAYED"),
    *("replays cancel REPLAYED --withdraw", "replays retry REPLAYED", "replays pace REPLAYED --rate 5"),
    *("replays pace REPLAYED", "replays report REPLAYED", "replays deliveries REPLAYED"),
    *("replays result REPLAYED", "replays result latest --objects --after same", "replays result GOOD"),
    *("replays result REPLAYED --by folder --limit 1", "replays result GOOD --against REPLAYED"),
    *("replays result REPLAYED --by error --before failed", "replays result REPLAYED --objects --by stage"),
    *("replays result GOOD --against current:texts", "replays result REPLAYED --against current:texts"),
    *("replays result REPLAYED --after same", "replays result REPLAYED --folder sub --objects --limit 1"),
    *("ls GOOD words", "ls GOOD words sub", "ls GOOD words --limit 2", "ls GOOD words nothing"),
    *("cat WORD", "cat BYTES/input/bytes.bin"),
    *("lineage WORD", "lineage WORD --up", "lineage GOOD/input/a.txt --down", "lineage LETTER"),
    *("lineage GOOD/input/a.txt --counts", "lineage GOOD/input/a.txt --limit 1", "lineage UNKNOWN --counts"),
    *("why GOOD a.txt", "why REPLAYED a.txt", "why GOOD words/a/0001.txt", "why GOOD a.text"),
    *("why GOOD a.txt --stage shouted", "why GOOD a.txt --stage nowhere", "why GOOD ../x", "why UNKNOWN a"),
    *("diff GOOD REPLAYED", "diff GOOD latest:replay words", "diff GOOD GOOD", "diff GOOD UNKNOWN"),
    *("diff GOOD REPLAYED --objects", "diff GOOD REPLAYED words/sub --objects --state same --limit 1"),
    *("diff GOOD REPLAYED --text", "diff GOOD MIXED shouted --text", "diff GOOD GOOD --text --state same"),
    *("diff GOOD REPLAYED --by content", "diff GOOD REPLAYED --by content --objects --state moved --limit 1"),
    *("diff GOOD REPLAYED nowhere", "diff GOOD REPLAYED words/../x", "diff GOOD REPLAYED --state same"),
    *("prune --older-than 0s --dry-run", "prune GOOD --stage words --dry-run", "prune UNKNOWN --dry-run"),
    *("prune --config docs --keep-last 1 --dry-run", "prune --tag none --yes", "prune --older-than 10q"),
    *("prune", "prune tag:none --yes", "pin UNKNOWN", "unpin GOOD"),
    *("find GOOD", "find latest/input/a", "find docs", "find tag:first", "find zzz", "find split"),
    *("search search.db two", "search search.db two --execution INDEX --limit 1", "search search.db zzz"),
    *("dead-letters list", "dead-letters list --execution latest", "dead-letters list --route split"),
    *("dead-letters show LETTER", "dead-letters resend UNKNOWN", "dead-letters list --group 000000000000"),
    *("dead-letters groups", "dead-letters groups --execution latest --config docs --route split"),
    *(
        "dead-letters groups --execution UNKNOWN",
        "adapters",
        "adapters split_markdown",
        "adapters --code",
        "errors",
    ),
    "dead-letters resend --group 000000000000 --failed-before 2026-01-31T18:00:00Z",
    *(
        "causes",
        "causes --state all --since -24h --limit 1",
        "causes list --route nowhere",
        "causes --state old",
    ),
    *("affected --adapter split_markdown@1", "affected --worker w1 --since=-1h --limit 1"),
    *("affected GOOD --adapter split_markdown@1", "affected --adapter split_markdown", "affected"),
    *("routes pause docs/split --reason repair", "routes pause docs/nowhere --reason repair"),
    *("routes pause split --reason repair", "routes pause docs/split --reason repair --for soon"),
    *("routes resume docs/split", "routes resume none/split"),
    *("dead-letters resend --route split --dry-run", "dead-letters resend --group 0 --dry-run"),
    *("causes replay 000000000000", "causes replay 000000000000 --dry-run", "causes replay CAUSE --cursor x"),
    *("causes objects CAUSE", "causes objects CAUSE --limit 1", "causes objects 000000000000"),
    *("causes show CAUSE", "causes show 000000000000", "causes unacknowledge CAUSE"),
    *(
        "causes acknowledge CAUSE --reason known --until docs@1",
        "causes acknowledge 000000000000 --reason known",
    ),
    *("queues", "queues --limit 2", "queues others.work", "queues others.work --peek 1", "queues never.was"),
    *("config list", "config list --limit 1", "config show docs", "config show docs --version 1"),
    *("config deactivate none", "config validate docs.yaml", "config validate docs.yaml bad.yaml"),
    *("config apply docs.yaml", "config apply docs.yaml bad.yaml", "run bad.yaml pages", "run none pages"),
    *("datasets list", "datasets deliveries texts", "datasets deliveries none"),
    *("datasets", "show current:texts", "ls current:texts words", "ls current:texts@1 words --limit 1"),
    *("cat current:texts@1/shouted/a.txt", "show current:texts@9", "show current:texts@x", "show KEPT"),
    *("show current:waited", "show current:none", "lineage current:texts@1/input/a.txt"),
    *("publications list texts", "publications texts --limit 1", "publications list texts --all"),
    *("publications list none", "publications list waited", "publications list texts --cursor CURSOR"),
    *("publications show texts", "publications show docs/texts@1", "publications show texts@9"),
    *("publications show waited", "publications show waited@1", "publications show texts@0"),
    *("publications notes texts", "publications notes texts --limit 1", "publications notes waited"),
    *("publications stale texts", "publications stale texts@1 --limit 1", "publications stale waited"),
    *("stale texts", "stale texts@1 --limit 1", "stale waited", "stale none"),
    *("publications stale texts --route none", "plan current:texts shouted split --made-by words=9"),
    "replay current:texts shouted split --dry-run --made-by split!=newest",
    *("publications cancel texts", "publications cancel waited", "publications cancel none"),
    *("index check texts", "index check none", "index check texts index --repair"),
    *("publications pin texts", "publications pin texts@9", "publications unpin texts@1"),
    *("publications unpin waited@1", "publish texts", "publish waited", "publish none", "publish none GOOD"),
    *("publish texts MIXED --dry-run", "publish texts GOOD --dry-run", "publish texts REPLAYED --dry-run"),
    *(
        "publish texts BYTES --dry-run",
        "publish texts GOOD REPLAYED --dry-run --allow-older",
        "publish texts UNKNOWN",
        "publish texts KEPT",
    ),
    *("publish texts GOOD --expect 9", "publish waited REPLAYED", "publish texts GOOD --on-failure never"),
    *(
        "changes texts --since 0",
        "changes texts --since 1 --stage words",
        "changes texts --since 2 --until 1",
    ),
    *("changes texts --since 0 --limit 2", "changes texts --since 9", "changes waited --since 0"),
    *("rollback none", "rollback waited", "rollback texts --to 9", "rollback texts --expect 9"),
    *("release texts", "release none"),
    *("plan UNKNOWN words split", "plan GOOD nowhere split", "plan GOOD words split --path zzz"),
    *("plan GOOD words nowhere", "replay GOOD words split --dry-run --path zzz"),
    *("replay GOOD words nowhere", "replay GOOD words split --path zzz"),
    *("replay GOOD shouted split --include none", "replay GOOD shouted split --only failed"),
    *("replay GOOD words split --rate 5 --queue-depth 5", "replay GOOD words split --detach --wait"),
    "replay GOOD words split --webhook https://hooks.example/",
    *("replay GOOD words split --max-failed 1", "replay GOOD words split --canary 0"),
    *("replay GOOD words split --canary 5 --max-failed 1.5", "replay GOOD words nowhere --canary 5"),
    *("replay GOOD words split --seed 1", "replay GOOD words split --canary 5 --seed -1"),
    *("replay GOOD words split --of-last 5", "replay GOOD words split --pause-if failed=2"),
    *("replay GOOD words split --pause-if failed>100%", "replay GOOD words split --pause-if failed>1.5"),
    *("replay GOOD words split --key", "replay GOOD words nowhere --key KEY --reason why --rate 5"),
]


def name_of(command: str) -> str:
    found = re.match(
        r"(replays|causes|routes|dead-letters|config|datasets|publications) [a-z]+\b|\S+", command
    )
    assert found
    return found[0]


# What is printed for people comes from the same values. So it is compared once per command.
PRINTED = {name_of(command): command for command in reversed(LOOKS)}


@pytest.mark.parametrize("command", LOOKS)
def test_a_command_prints_the_same_on_a_server_as_on_its_home(both: Both, run: Command, command: str):
    words = both.words(command)
    for form in (["--json"], [])[: 1 + (command in PRINTED.values())]:
        here = run(*words, *form)
        assert here[1] or not form
        there = run(*words, *form, "--server", both.url)
        # A step to try next is tried on the same server.
        plain = there[1].replace(f" --server {both.url}", "")
        assert (there[0], plain) == here[:2], there[2]


def test_the_server_may_be_named_before_the_command(both: Both, run: Command):
    for command in ("executions", "config list", "show UNKNOWN", "replay GOOD nowhere split"):
        words = both.words(command)
        assert run("--server", both.url, *words)[:2] == run(*words, "--server", both.url)[:2]


def test_there_is_something_to_compare(both: Both, run: Command):
    """The list above names every command that works on a server, and its names lead to something."""
    from playhead.cli.app import COMMANDS, GROUPS

    every = {entry.name: entry.load() for entry in COMMANDS}
    every |= {f"{group} {entry.name}": entry.load() for group, _, entries in GROUPS for entry in entries}
    named = {name for name in every for command in LOOKS if f"{command} ".startswith(f"{name} ")}
    assert {name for name, entry in every.items() if not entry.only_here} - named == {
        "config activate",
        "doctor",
        "export",  # compared below
        "workers",
        # An open server refuses these to every caller.
        *("audit", "keys create", "keys list", "keys revoke", "keys rotate", "sessions list"),
        *("sessions revoke", "whoami"),
    }
    assert len(json.loads(run("ls", both.names["GOOD"], "input", "--json")[1])["items"]) == 3
    assert json.loads(run("queues", "others.work", "--json")[1])["items"]
    assert len(json.loads(run("publications", "list", "texts", "--json")[1])["items"]) == 2
    assert json.loads(run("publications", "notes", "texts", "--json")[1])["items"]
    assert json.loads(run("changes", "texts", "--since", "1", "--json")[1])["items"]


def test_processes_are_listed_with_the_code_of_their_adapters(both: Both):
    here, there = (at("workers")["items"] for at in (both.shell.json, partial(on_server, both)))
    for processes in (here, there):
        for one in processes:
            del one["heartbeat_at"], one["heartbeat_age_seconds"]
    assert here == there
    assert {one["kind"] for one in here} == {"serve", "worker"}
    code, text, _ = both.shell("workers")
    assert code == 0
    assert all(one["worker_id"] in text for one in here)


# -- what changes something ------------------------------------------------------------------------


def on_server(both: Both, *arguments: str, code: int = 0) -> Any:
    """What a command prints that knows nothing but the server: its home is another."""
    return both.shell.json(*arguments, "--server", both.url, code=code)


def test_a_run_is_sent_worked_there_and_waited_for(both: Both):
    shell = both.shell
    done = on_server(both, "run", "docs.yaml", "pages", "--tag", "sent", "--tag", "again")
    assert (done["status"], done["tags"]) == ("completed", ["again", "sent"])
    assert done | {"mixed_code": []} == shell.json("show", "tag:sent")
    inputs = shell.json("ls", done["execution_id"], "input")["items"]
    assert {o["path"] for o in inputs} == {"a.txt", "sub/b.txt", ODD}
    folder = shell.folder / "pages"
    for stored in inputs:
        copies = stored_below(shell.folder / "home/objects", done["execution_id"])
        assert copies[stored["key"]] == (folder / stored["path"]).read_bytes()


def test_an_export_has_the_same_files_from_a_server_as_from_its_home(both: Both):
    shell = both.shell
    execution = both.names["GOOD"]
    told = on_server(both, "export", execution, "from-server")
    here = shell.json("export", execution, "from-home")
    assert told == here | {"folder": told["folder"]}
    assert Path(told["folder"]) == (shell.folder / "from-server").resolve()

    exported = {
        name: {
            str(path.relative_to(shell.folder / name)): path.read_bytes()
            for path in (shell.folder / name).rglob("*")
            if path.is_file()
        }
        for name in ("from-server", "from-home")
    }
    assert exported["from-server"] == exported["from-home"]
    assert {f"{execution}/{path}": data for path, data in exported["from-home"].items()} == stored_below(
        shell.folder / "home/objects", execution
    )
    assert here["objects"] == len(exported["from-home"]) / 2


def test_an_export_overwrites_nothing(both: Both):
    shell = both.shell
    (shell.folder / "taken").mkdir()
    (shell.folder / "taken/mine").write_text("mine")
    for folder, words in (
        ("taken", "taken is not empty, so nothing was written"),
        ("docs.yaml", "cannot write"),
    ):
        code, _, err = shell("export", both.names["GOOD"], folder)
        assert (code, words in err) == (2, True), err
    assert [path.name for path in (shell.folder / "taken").iterdir()] == ["mine"]


def test_a_detached_run_is_only_sent(both: Both):
    sent = on_server(both, "run", "docs", "pages/a.txt", "--detach")
    assert sent["status"] in ("running", "completed")
    eventually(lambda: on_server(both, "show", sent["execution_id"])["status"] == "completed")


def test_an_upload_over_the_servers_limit_is_refused_with_the_setting(both: Both):
    (both.shell.folder / "large").mkdir()
    for n in range(5):
        (both.shell.folder / "large" / f"{n}").write_bytes(bytes(600_000))
    body = on_server(both, "run", "docs", "large", code=2)
    assert body["error_code"] == "body_too_large"
    assert "PLAYHEAD_MAX_UPLOAD_BYTES" in body["detail"]


def test_a_replay_of_selected_objects_publishes_the_same_on_a_server_as_on_its_home(both: Both, run: Command):
    options = (
        *("--include", "**", "--exclude", "sub/**", "--after", "-7d", "--type", "text/*", "--limit", "1"),
        *("--version", "1"),
    )
    words = ("replay", both.names["GOOD"], "shouted", "docs/split", *options, "--json")
    batches = []
    for server in ([], ["--server", both.url]):
        code, out, _ = run(*words, *server)
        answer = json.loads(out)
        assert (code, answer["objects_found"], answer["objects_published"]) == (0, 1, 1)
        batches.append(answer["replay_batch_id"])
    shown = both.shell.json("replays", both.names["GOOD"])["items"]
    selections = [one["selection"] for one in shown if one["replay_batch_id"] in batches]
    assert len(selections) == 2
    for one in selections:
        assert one.pop("modified_after").endswith("Z")
    assert selections[0] == selections[1]


def test_a_replay_is_waited_for_and_prints_the_contract(both: Both):
    body = on_server(both, "replay", both.names["GOOD"], "shouted", "split", "--wait")
    assert tuple(body) == (*CONTRACT, "execution")
    assert body["execution"]["status"] == "completed"
    shown = both.shell.json("show", body["execution_id"])
    assert body["execution"] | {"mixed_code": []} == shown


def test_a_replay_is_controlled_the_same_there_as_here(both: Both):
    """Each way starts a slow replay, changes its pace, pauses and resumes it, and watches it to its end."""
    for at, key in ((both.shell.json, "here"), (partial(on_server, both), "there")):
        words = ("replay", both.names["GOOD"], "shouted", "split", "--rate", "0.01", "--reason", "why")
        started = at(*words, "--detach", "--key", key)
        batch = started["replay_batch_id"]
        assert (started["status"], started["reason"]) == (None, "why")
        repeated = at(*words, "--detach", "--key", key)
        assert repeated["replay_batch_id"] == batch
        assert at("replays", "pause", batch)["state"] == "paused"
        assert at("replays", "pace", batch, "--queue-depth", "500")["pace"] == {"queue_depth": 500}
        assert at("replays", "pace", batch, "--none")["pace"] is None
        # It has no pace any more, so it may have published everything before the command reads it.
        resumed = at("replays", "resume", "latest")["state"]
        assert resumed in ("queued", "publishing", "publishing_complete")
        watched = at("replays", "watch", started["execution_id"])
        assert (watched["status"], watched["execution"]["status"]) == ("publishing_complete", "completed")
        assert at("replays", "show", batch)["work"]["completed"] == watched["objects_found"] > 1


def test_dead_letters_and_configs_are_changed_there(both: Both):
    run = on_server(both, "run", "docs", "mixed", "--tag", "again", code=1)
    assert on_server(both, "dead-letters", "resend", "--execution", run["execution_id"]) == {"resent": 1}
    try:
        assert on_server(both, "config", "deactivate", "docs")["active"] is False
        assert on_server(both, "run", "docs", "pages", code=1)["error_code"] == "config_inactive"
    finally:
        assert on_server(both, "config", "activate", "docs")["active"] is True


def test_what_is_taken_is_printed_then_removed_here_and_there(both: Both):
    shell, queue = both.shell, "others.work"
    waiting = shell.json("queues", queue, "--peek", "10")["items"]
    first = on_server(both, "queues", queue, "--take", "1")["items"]
    second = shell.json("queues", queue, "--take", "1")["items"]
    assert first + second == waiting[:2]
    time.sleep(2)  # longer than a message is hidden: what was not removed would be back
    assert shell.json("queues", queue, "--peek", "10")["items"] == waiting[2:]


@pytest.mark.parametrize("where", ["here", "there"])
def test_what_could_not_be_printed_is_not_removed(both: Both, where: str):
    shell, queue = both.shell, "others.work"
    shell.json("replay", both.names["GOOD"], "shouted", "hand_over", "--wait")
    waiting = sorted(m["headers"]["correlation_id"] for m in shell.json("queues", queue)["items"])
    server = ["--server", both.url] if where == "there" else []
    with Path("/dev/full").open("w") as full:
        taking = shell.start("queues", queue, "--take", "1", *server, stdout=full)
        _, err = taking.communicate(timeout=DEADLINE_SECONDS)
    assert (taking.returncode, "No space left" in err) == (1, True)

    def is_back() -> bool:
        found = shell.json("queues", queue)["items"]
        return sorted(m["headers"]["correlation_id"] for m in found) == waiting

    eventually(is_back)


# -- Ctrl-C ----------------------------------------------------------------------------------------


def until_it_waits(url: str, tag: str) -> None:
    """Wait until two messages of a run are processed: the command has its answer before the first one is."""
    path = f"{url}/api/v1/executions?tag={tag}"

    def completed() -> int:
        found = httpx.get(path, timeout=DEADLINE_SECONDS, trust_env=False).json()["items"]
        return sum(one["counts"]["completed"] for one in found)

    eventually(lambda: completed() > 1)


def interrupt(process: Program) -> tuple[Any, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in err
    body = json.loads(out)
    assert body["error_code"] == "interrupted"
    return body, err


def test_ctrl_c_ends_only_the_waiting_for_a_run(both: Both):
    for n in range(6):
        (both.shell.folder / "slow").mkdir(exist_ok=True)
        (both.shell.folder / "slow" / f"{n}.txt").write_text("x")
    process = both.shell.start("run", "slow.yaml", "slow", "--tag", "c", "--server", both.url, "--json")
    until_it_waits(both.url, "c")
    body, _ = interrupt(process)
    identity = both.shell.json("show", "tag:c")["execution_id"]
    assert f"playhead show {identity} --server {both.url}" in body["detail"]
    assert f"playhead cancel {identity} --server {both.url}" in body["detail"]
    eventually(lambda: both.shell.json("show", identity)["status"] == "completed")


# -- a server that goes away -----------------------------------------------------------------------


def test_a_waiting_command_survives_a_restart_of_the_server(tmp_path: Path):
    (tmp_path / "steps.py").write_text(STEPS)
    (tmp_path / "slow.yaml").write_text(SLOW)
    for n in range(3):
        (tmp_path / f"{n}.txt").write_text("x")
    with open_deployment(adapters=tmp_path / "steps.py") as deployment:
        # Not an ephemeral port: without a listener, another process could get it.
        port = ("--port", str(free_port()))
        server = deployment.serve(*port)
        inputs = [str(tmp_path / f"{n}.txt") for n in range(3)]
        sent = deployment.start(
            *("run", str(tmp_path / "slow.yaml"), *inputs, "--server", deployment.url, "--json"),
            stdout=subprocess.PIPE,
        )
        deployment.until(lambda: "No worker consumes" in sent.said, "the command to wait for workers")
        server.kill()
        deployment.until(lambda: "waiting: cannot reach the server" in sent.said, "the command to say so")
        deployment.serve(*port)
        deployment.worker()
        out, _ = sent.popen.communicate(timeout=DEADLINE_SECONDS)
        assert sent.code == 0, sent.said
        assert json.loads(out)["status"] == "completed"


# -- what the docs tell people to type ---------------------------------------------------------------


def test_the_commands_on_the_page_about_servers_work(tmp_path: Path):
    told = commands((ROOT / "docs/howto/remote.md").read_text(encoding="utf-8"))
    example = copied("01-docs", tmp_path)
    log = tmp_path / "server.log"
    with log.open("w") as sink:
        server = program.start(
            ("serve", "--port", "0", "--workers", "1"),
            cwd=example.folder,
            env=example.environment,
            stdout=DEVNULL,
            stderr=sink,
        )
    try:
        eventually(lambda: "\n" in log.read_text())
        # Elsewhere, with nothing but the config and the pages.
        here = copied("01-docs", tmp_path / "elsewhere")
        here.environment["PLAYHEAD_SERVER"] = log.read_text().splitlines()[0].rpartition(" ")[2]
        said = {line.split()[1]: here.type(line) for line in told}
        assert "completed" in said["show"]
        assert "completed" in said["replay"]
        assert "replay" in said["search"]
        assert not (here.folder / ".playhead").exists()
    finally:
        server.terminate()
        server.wait(DEADLINE_SECONDS)
