"""The command line as people and scripts use it: real processes on a home of their own."""

from __future__ import annotations

import json
import os
import pty
import signal
from pathlib import Path
from typing import Any

import pytest

from playhead.cli.replay import CONTRACT
from tests.acceptance.processes import DEADLINE_SECONDS
from tests.acceptance.shell import Shell
from tests.counted import counts
from tests.stored import put

STEPS = '''
import time
from pydantic import BaseModel, Field
from playhead import Item, Reject, adapter


class Tagged(BaseModel):
    tags: list[str] = Field(default_factory=lambda: ["a", "b"])


@adapter("tagged")
def tagged(item: Item, config: Tagged) -> bytes:
    return item.data


@adapter("shout", produces="text/plain")
def shout(item: Item) -> str:
    """Put text into capitals."""
    if "bad" in item.path:
        raise Reject("a \\x1b[31mbad page")
    return item.text.upper()


@adapter("words", produces="text/plain")
def words(item: Item):
    yield from item.text.split()


@adapter("slow")
def slow(item: Item) -> bytes:
    time.sleep(1)
    return item.data
'''

CONFIG = """
version: "1.0"
name: docs
entry: shout
routes:
  shout:
    adapters: [{type: shout}]
    outbound: {stage: shouted, to: [split]}
  split:
    adapters: [{type: words}]
    outbound: {stage: words}
  hand_over:
    external: true
    inbound: {queue: others.work}
"""

FAN = """
version: "1.0"
name: fan
entry: split
routes:
  split:
    adapters: [{type: words}]
    outbound: {stage: words, to: [shout]}
  shout:
    adapters: [{type: shout}]
    outbound: {stage: shouted}
"""

SLOW = """
version: "1.0"
name: slow
entry: wait
routes:
  wait:
    inbound: {concurrency: 1}
    adapters: [{type: slow}]
    outbound: {stage: waited}
"""

INDEX = """
version: "1.0"
name: indexed
entry: index
routes:
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""


FILES = {
    "steps.py": STEPS,
    "docs.yaml": CONFIG,
    "slow.yaml": SLOW,
    "indexed.yaml": INDEX,
    "pages/a.txt": "one two",
    "pages/sub/b.txt": "three",
    "mixed/bad.txt": "x",
    "mixed/good.txt": "fine",
}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, FILES)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shell, dict[str, Any], dict[str, Any]]:
    """A shell in which one run went well and a later one failed in part. For tests that only look."""
    shell = Shell(tmp_path_factory.mktemp("ran"), FILES)
    good = shell.json("run", "docs.yaml", "pages", "--tag", "first")
    mixed = shell.json("run", "docs", "mixed", code=1)
    return shell, good, mixed


# -- run -------------------------------------------------------------------------------------------


def test_a_run_works_until_done_and_prints_the_execution(ran):
    _, good, _ = ran
    assert good["status"] == "completed"
    assert good["kind"] == "run"
    assert (good["config"], good["config_version"], good["tags"]) == ("docs", 1, ["first"])
    assert good["counts"] == counts(completed=4)


def test_a_run_with_a_dead_letter_is_failed_and_exit_code_1(ran):
    _, _, mixed = ran
    assert mixed["status"] == "failed"
    assert mixed["counts"]["failed"] == 1


def test_a_run_tells_people_how_it_went_and_what_to_try_next(shell):
    code, out, _ = shell("run", "docs.yaml", "mixed/good.txt")
    assert code == 0
    assert "run of docs v1" in out
    assert "2 done, 0 failed, 0 to go" in out
    assert "playhead replay" in out


def test_a_detached_run_is_left_to_a_worker(shell):
    code, out, err = shell("run", "docs.yaml", "pages", "--detach", "--json")
    execution = json.loads(out)
    assert (code, execution["status"]) == (0, "running")
    assert "playhead worker" in err
    assert shell("worker", "--until-idle")[0] == 0
    assert shell.json("show", execution["execution_id"])["status"] == "completed"


def test_on_a_terminal_a_bar_is_drawn_on_stderr_and_stdout_is_still_one_document(shell):
    leader, follower = pty.openpty()
    process = shell.start("run", "slow.yaml", "pages", "--json", stderr=follower)
    os.close(follower)
    out, _ = process.communicate(timeout=2 * DEADLINE_SECONDS)
    seen = b""
    # A pty says end of file by an error once its last writer is gone.
    try:
        while piece := os.read(leader, 65536):
            seen += piece
    except OSError:
        pass
    os.close(leader)
    assert process.returncode == 0
    assert json.loads(out)["status"] == "completed"
    assert "━".encode() in seen


# -- replay ----------------------------------------------------------------------------------------


def test_a_replay_prints_the_answer_of_the_contract_and_that_no_worker_runs(shell):
    run = shell.json("run", "docs.yaml", "pages")
    code, out, err = shell("replay", "latest", "shouted", "split", "--json")
    body = json.loads(out)
    assert code == 0
    assert tuple(body) == CONTRACT
    assert body["from_execution_id"] == run["execution_id"]
    assert (body["objects_found"], body["objects_published"], body["status"]) == (2, 2, "publishing_complete")
    assert "No worker consumes docs.split" in err
    assert shell("worker", "--until-idle")[0] == 0
    replayed = shell.json("show", body["execution_id"])
    assert (replayed["status"], replayed["counts"]["completed"]) == ("completed", 2)
    assert replayed["parent_execution_id"] == run["execution_id"]
    assert [r["replay_batch_id"] for r in shell.json("replays", run["execution_id"])["items"]] == [
        body["replay_batch_id"]
    ]


def test_a_replay_can_be_waited_for(shell):
    shell.json("run", "docs.yaml", "pages")
    with shell.worker():
        body = shell.json("replay", "latest", "shouted", "docs/split", "--path", "a.txt", "--wait")
    assert tuple(body) == (*CONTRACT, "execution")
    assert body["objects_found"] == 1
    assert body["execution"]["execution_id"] == body["execution_id"]
    assert body["execution"]["status"] == "completed"


def test_waiting_for_a_replay_that_fails_is_exit_code_1(shell):
    shell.json("run", "docs.yaml", "mixed", code=1)
    with shell.worker():
        body = shell.json("replay", "latest", "input", "shout", "--wait", code=1)
    assert (body["status"], body["execution"]["status"]) == ("publishing_complete", "failed")


def test_objects_that_a_failed_canary_holds_back_are_not_called_failed(shell):
    shell.json("run", "docs.yaml", "mixed", code=1)
    with shell.worker():
        code, out, _ = shell("replay", "latest", "input", "shout", "--canary", "1")
    assert code == 3
    assert "published  1 of 2 to docs.shout, 1 not published\n" in out


def test_messages_for_others_are_peeked_at_and_taken(shell):
    run = shell.json("run", "docs.yaml", "pages")
    code, _, err = shell("replay", "latest", "shouted", "hand_over", "--wait")
    assert code == 0
    assert "No worker" not in err
    key = f"{run['execution_id']}/shouted/a.txt"
    peeked = shell.json("queues", "others.work", "--peek", "10")["items"]
    assert shell.json("queues", "others.work", "--peek", "10")["items"] == peeked
    assert peeked[0]["payload"] == {"object_key": key}
    assert peeked[0]["headers"]["route"] == "hand_over"
    taken = shell.json("queues", "others.work", "--take", "1")["items"]
    assert [message["payload"] for message in taken] == [{"object_key": key}]
    assert len(shell.json("queues", "others.work")["items"]) == 1


# -- looking ---------------------------------------------------------------------------------------


def test_executions_are_filtered_and_paged(ran):
    shell, good, mixed = ran
    assert shell.json("executions", "--status", "failed")["items"] == [mixed]
    assert shell.json("executions", "--tag", "first", "--config", "docs")["items"] == [good]
    page = shell.json("executions", "--limit", "1")
    assert page["items"] == [mixed]
    assert shell.json("executions", "--limit", "1", "--cursor", page["next_cursor"])["items"] == [good]


def test_show_tells_people_what_failed_and_what_to_do(ran):
    shell, _, mixed = ran
    code, out, _ = shell("show", "latest")
    assert code == 0
    for part in (
        "failed",
        "rejected",
        "ROUTE",
        "STAGE",
        "shouted",
        f"resend --execution {mixed['execution_id']}",
    ):
        assert part in out
    assert "\x1b" not in out


def test_show_and_lineage_report_why_a_message_was_skipped(shell):
    (shell.folder / "blank").mkdir()
    (shell.folder / "blank" / "empty.txt").write_text(" ")
    shell.json("run", "docs.yaml", "blank")
    code, out, _ = shell("show", "latest")
    assert code == 0
    [line] = [line for line in out.splitlines() if "words returned no output" in line]
    message = line.split()[0]
    assert "SKIPPED MESSAGE" in out
    code, out, _ = shell("lineage", message)
    assert code == 0
    assert "docs/split  skipped\n" in out
    assert "      words returned no output\n" in out


def test_stages_objects_and_bytes_are_seen(ran):
    shell, good, _ = ran
    identity = good["execution_id"]
    stages = {s["stage"]: s["objects"] for s in shell.json("stages", identity)["items"]}
    assert stages == {"input": 2, "shouted": 2, "words": 3}
    keys = [o["key"] for o in shell.json("ls", identity, "words")["items"]]
    assert keys == [f"{identity}/words/{p}" for p in ("a/0001.txt", "a/0002.txt", "sub/b/0001.txt")]
    assert [o["path"] for o in shell.json("ls", identity, "words", "sub")["items"]] == ["sub/b/0001.txt"]
    page = shell.json("ls", identity, "words", "--limit", "2")
    rest = shell.json("ls", identity, "words", "--limit", "2", "--cursor", page["next_cursor"])
    assert [o["key"] for o in page["items"] + rest["items"]] == keys
    assert shell("cat", keys[0])[:2] == (0, "ONE")
    body = shell.json("cat", keys[0])
    assert (body["content"], body["content_type"], body["size"]) == ("ONE", "text/plain", 3)
    assert shell.json("cat", keys[0] + "x", code=4)["error_code"] == "object_not_found"


def test_lists_that_a_prune_has_emptied_report_it(shell):
    """Without the report, a pruned stage looks like a stage that never had an output."""
    shell("run", "docs.yaml", "pages")
    assert "Pruned" not in shell("stages", "latest")[2] + shell("ls", "latest", "shouted")[2]
    assert shell("prune", "latest", "--stage", "shouted", "--yes")[0] == 0
    for command in (("stages", "latest"), ("ls", "latest", "shouted")):
        assert "Pruned: stage shouted, on " in shell(*command)[2]
    assert "Pruned" not in shell("ls", "latest", "words", "nothing")[2]


def test_lineage_leads_from_an_output_to_its_input(ran):
    shell, good, _ = ran
    identity = good["execution_id"]
    up = shell.json("lineage", f"{identity}/words/a/0001.txt", "--up")["items"]
    assert [link["distance"] for link in up] == [-1, 0]
    assert up[0]["input_key"] == f"{identity}/input/a.txt"
    first = shell.json("lineage", up[0]["correlation_id"], "--limit", "1")
    rest = shell.json("lineage", up[0]["correlation_id"], "--cursor", first["next_cursor"])
    assert len(first["items"]) == 1
    assert len(first["items"] + rest["items"]) == len(shell.json("lineage", up[0]["correlation_id"])["items"])
    down = shell.json("lineage", up[0]["correlation_id"], "--down")["items"]
    assert [link["correlation_id"] for link in down] == [link["correlation_id"] for link in up]
    assert len(shell.json("lineage", f"{identity}/input/a.txt")["items"]) == 2
    code, out, _ = shell("lineage", f"{identity}/words/a/0001.txt")
    assert code == 0
    assert "docs/split" in out


def test_the_lineage_of_one_output_of_several_leads_to_the_messages_that_took_it(shell):
    (shell.folder / "fan.yaml").write_text(FAN)
    run = shell.json("run", "fan.yaml", "pages/a.txt")["execution_id"]
    one = f"{run}/words/a/0001.txt"
    down = shell.json("lineage", one, "--down")["items"]
    assert [(link["distance"], link["input_key"]) for link in down] == [(1, one)]
    up = shell.json("lineage", one, "--up")["items"]
    assert [(link["distance"], link["route"]) for link in up] == [(0, "split")]
    both = shell.json("lineage", one)["items"]
    assert [(link["distance"], link["route"]) for link in both] == [(0, "split"), (1, "shout")]
    code, out, err = shell("lineage", f"{run}/shouted/a/0001.txt", "--down")
    assert (code, out) == (0, "")
    assert "No message received" in err


def test_lineage_counts_the_later_messages_when_it_does_not_list_all(shell):
    (shell.folder / "fan.yaml").write_text(FAN)
    run = shell.json("run", "fan.yaml", "pages/a.txt")["execution_id"]
    counted = shell.json("lineage", f"{run}/input/a.txt", "--counts")
    assert (counted["messages"], counted["is_complete"]) == (3, True)
    assert [(c["route"], c["status"], c["messages"]) for c in counted["counts"]] == [
        ("split", "completed", 1),
        ("shout", "completed", 2),
    ]
    code, out, err = shell("lineage", f"{run}/input/a.txt", "--down", "--limit", "2")
    assert code == 0
    assert "3 later messages:\n" in out
    assert f"{run}  fan/shout  completed         2\n" in out
    assert "There is more" in err
    assert "later messages" not in shell("lineage", f"{run}/input/a.txt", "--down")[1]
    assert shell.json("lineage", f"{run}/input/a.txt", "--up", "--counts", code=2)["error_code"] == "usage"


def test_commands_that_only_read_do_not_import_adapters(shell):
    shell.json("run", "docs.yaml", "pages")
    (shell.folder / "steps.py").write_text("raise SystemExit('imported')")
    (shell.folder / "playhead.toml").write_text('adapters = ["./steps.py"]')
    reading = ("executions", "show latest", "stages latest", "queues", "config list", "config show docs")
    for line in (*reading, "ls latest shouted", "dead-letters list", "replays", "lineage latest", "doctor"):
        code, _, err = shell(*line.split())
        assert "imported" not in err, line
        assert code == 0 or line.startswith("lineage"), line
    assert "imported" in shell("config", "validate", "docs.yaml")[2]


def test_a_file_that_catalog_and_broker_share_is_examined_once(shell):
    shell("config", "apply", "docs.yaml")

    def parts() -> dict[str, list[str]]:
        return {part["part"]: [f["what"] for f in part["findings"]] for part in shell.json("doctor")["parts"]}

    shared = parts()
    assert "pages" in shared["catalog"]
    assert shared["broker"] == ["database"]
    shell.env["PLAYHEAD_BROKER"] = f"sqlite://{shell.folder}/broker.db"
    assert "pages" in parts()["broker"]


def test_each_fault_of_a_config_is_printed_once(shell):
    (shell.folder / "wrong.yaml").write_text(CONFIG.replace("type: shout", "type: shuot"))
    for command in (("run", "wrong.yaml", "pages"), ("config", "apply", "wrong.yaml")):
        code, _, err = shell(*command)
        assert code == 1
        assert err.count("E201") == 1


def test_a_home_that_playhead_creates_is_private_and_an_existing_one_keeps_its_mode(shell):
    shell("config", "apply", "docs.yaml")
    assert (shell.folder / "home").stat().st_mode & 0o777 == 0o700
    (shell.folder / "home").chmod(0o750)
    shell("config", "apply", "docs.yaml")
    assert (shell.folder / "home").stat().st_mode & 0o777 == 0o750


def test_dead_letters_are_listed_shown_and_sent_again(shell):
    run = shell.json("run", "docs.yaml", "mixed", code=1)
    [letter] = shell.json("dead-letters", "list", "--execution", "latest")["items"]
    assert (letter["error_code"], letter["route"]) == ("rejected", "shout")
    shown = shell.json("dead-letters", "show", letter["correlation_id"])
    assert shown.items() >= letter.items()
    assert "traceback" in shown
    [group] = shell.json("dead-letters", "groups", "--execution", "latest")["items"]
    assert (group["newest"], group["count"]) == (letter["correlation_id"], 1)
    assert group["group"] in shell("dead-letters", "groups")[1]
    assert shell.json("dead-letters", "list", "--group", group["group"])["items"] == [letter]
    as_of = ("--group", group["group"], "--failed-before")
    assert shell.json("dead-letters", "resend", *as_of, "2026-01-31T18:00:00Z") == {"resent": 0}
    assert shell.json("dead-letters", "resend", *as_of, group["last_failed_at"]) == {"resent": 1}
    assert shell("worker", "--until-idle")[0] == 1
    assert shell.json("dead-letters", "resend", *as_of, group["last_failed_at"]) == {"resent": 0}
    for wrong in (
        ("--group", "x"),
        (*as_of, "yesterday"),
        (letter["correlation_id"], "--failed-before", "-1h"),
    ):
        assert shell("dead-letters", "resend", *wrong)[0] == 2
    assert shell.json("dead-letters", "resend", letter["correlation_id"]) == {"resent": 1}
    assert shell.json("dead-letters", "resend", "--execution", "latest") == {"resent": 0}
    (shell.folder / "steps.py").write_text(STEPS.replace('"bad" in', '"worse" in'))
    assert shell("worker", "--until-idle")[0] == 0
    assert shell.json("show", run["execution_id"])["status"] == "completed"
    assert shell.json("dead-letters", "show", letter["correlation_id"], code=4)


def test_queues_of_all_routes_are_listed(ran):
    items = {q["queue"]: q for q in ran[0].json("queues")["items"]}
    assert set(items) == {"docs.shout", "docs.split", "others.work"}
    assert items["docs.shout"]["dead"] == 1


def test_adapters_are_listed_and_shown_with_their_config(ran):
    shell = ran[0]
    kinds = {a["type"]: a for a in shell.json("adapters")["items"]}
    assert kinds["shout"]["description"] == "Put text into capitals."
    assert "max_characters" in shell.json("adapters", "split_markdown")["config"]["properties"]
    code, out, _ = shell("adapters", "split_markdown")
    assert code == 0
    assert "max_characters" in out
    assert "1200" in out
    assert "computed" in shell("adapters", "tagged")[1]
    missing = shell.json("adapters", "shuot", code=4)
    assert "shout" in missing["detail"]


def test_adapters_are_shown_with_what_their_code_covers(tmp_path):
    steps = (
        "from playhead import Item, adapter\nimport far\nMARK = '!'\n"
        '@adapter("near")\ndef near(item: Item) -> str:\n    return item.text + MARK\n'
        '@adapter("other")\ndef other(item: Item) -> str:\n    return far.away(item.text)\n'
    )
    shell = Shell(tmp_path, {"steps.py": steps, "far.py": "def away(text):\n    return text\n"})
    _, out, _ = shell("adapters", "--code")
    assert "passthrough  playhead " in out
    assert "\nother  sha256:" in out
    assert "\n  far.py: away\n  steps.py: other\n" in out
    near = shell.json("adapters", "near")
    assert (near["covers"], near["whole"]) == (
        [{"file": "steps.py", "names": ["MARK", "near"], "lines": []}],
        None,
    )
    (tmp_path / "far.py").write_text("def away(text):\n    return str(globals()) + text\n")
    _, out, _ = shell("adapters", "near", "--code")
    assert out.splitlines()[1:] == [
        "  whole files, because far.py, line 2, uses globals",
        "  far.py",
        "  steps.py",
    ]


def test_an_index_is_searched(shell):
    run = shell.json("run", "indexed.yaml", "pages")
    [hit] = shell.json("search", "search.db", "three", "nothing")["items"]
    assert hit["key"] == f"{run['execution_id']}/input/sub/b.txt"
    assert hit["execution_id"] == run["execution_id"]
    code, out, _ = shell("search", "search.db", "three", "--execution", "latest", "--limit", "1")
    assert code == 0
    assert hit["key"] in out
    assert shell.json("search", "other.db", "three", code=4)["error_code"] == "index_not_found"


# -- configs ---------------------------------------------------------------------------------------


def test_configs_are_applied_listed_shown_and_switched_off(shell):
    first = shell.json("config", "apply", "docs.yaml")
    assert (first["name"], first["version"], first["active"]) == ("docs", 1, True)
    assert shell.json("config", "apply", "docs.yaml")["version"] == 1
    both = shell.json("config", "apply", "docs.yaml", "slow.yaml")["items"]
    assert [c["name"] for c in both] == ["docs", "slow"]
    assert {c["name"] for c in shell.json("config", "list")["items"]} == {"docs", "slow"}
    assert shell.json("config", "show", "docs", "--version", "1")["source"] == CONFIG
    code, out, err = shell("config", "show", "docs")
    assert (code, out) == (0, CONFIG.rstrip("\n") + "\n")
    assert "docs version 1" in err
    assert shell.json("config", "deactivate", "docs")["active"] is False
    assert shell.json("run", "docs", "pages", code=1)["error_code"] == "config_inactive"
    assert shell.json("config", "activate", "docs")["active"] is True
    assert shell.json("config", "show", "docs", "--version", "7", code=4)["error_code"] == "config_not_found"


def test_validate_lists_faults_with_their_lines_and_stores_nothing(shell):
    assert shell.json("config", "validate", "slow.yaml") == {"valid": True, "diagnostics": []}
    warned = shell.json("config", "validate", "docs.yaml")
    assert (warned["valid"], [d["code"] for d in warned["diagnostics"]]) == (True, ["W101"])
    (shell.folder / "bad.yaml").write_text(CONFIG.replace("entry: shout", "entry: shuot"))
    body = shell.json("config", "validate", "bad.yaml", code=1)
    assert body["valid"] is False
    [fault] = [d for d in body["diagnostics"] if d["severity"] == "error"]
    assert (fault["code"], fault["line"], fault["suggestion"]) == ("E301", 4, "shout")
    code, out, _ = shell("config", "validate", "docs.yaml", "bad.yaml")
    assert code == 1
    assert "bad.yaml:4:" in out
    assert "docs.yaml: valid" in out
    assert not (shell.folder / "home").exists()


def test_of_several_files_none_is_applied_when_one_is_invalid(shell):
    (shell.folder / "bad.yaml").write_text("version: 1.0\n")
    body = shell.json("config", "apply", "docs.yaml", "bad.yaml", code=1)
    assert "bad.yaml" in body["detail"]
    assert shell.json("config", "list")["items"] == []


# -- processes that stay, and the surroundings -----------------------------------------------------


def test_serve_says_where_it_listens_before_anything_else(shell):
    """A program that starts it on a free port reads only that line."""
    shell.env["PLAYHEAD_STORE"] = "s3://b/p?endpoint=http://127.0.0.1:9&region=us-east-1"
    process = shell.start("serve", "--port", "0")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Playhead listening on http://127.0.0.1:")
    assert "backend_unavailable" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0


def test_a_worker_reports_an_unknown_route_and_names_the_nearest(shell):
    shell.json("config", "apply", "docs.yaml")
    routes = ("--route", "splitt", "--route", "shout", "--route", "docs/split")
    code, _, err = shell("worker", *routes, "--until-idle")
    assert code == 4
    [told] = [line for line in err.splitlines() if "route_unknown" in line]
    assert "route=splitt" in told
    assert "did you mean split" in told
    process = shell.start("worker", "--route", "docs/shuot")
    assert process.stderr is not None
    seen = ""
    while "route_unknown" not in seen:
        seen = process.stderr.readline()
        assert seen, "the worker ended in silence"
    assert "docs/shout" in seen
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_SECONDS)


def test_a_replay_waits_for_the_given_time_and_continues(shell):
    shell.json("run", "docs.yaml", "pages")

    code, out, err = shell("replay", "latest", "input", "shout", "--wait", "--timeout", "0.5", "--json")

    assert code == 1
    answer = json.loads(out)
    assert answer["execution"]["status"] == "running"
    assert f"stopped waiting after 0.5 s; execution {answer['execution_id']} continues" in err
    assert shell("worker", "--until-idle")[0] == 0
    assert shell.json("show", answer["execution_id"])["status"] == "completed"
    code, _, err = shell("replay", "latest", "input", "shout", "--timeout", "1")
    assert code == 2
    assert "add --wait" in err


def test_a_worker_without_an_adapter_processes_other_routes_and_reports_the_rest(shell):
    shell.json("run", "docs.yaml", "pages", "--detach")
    shell.env["PLAYHEAD_ADAPTERS"] = "./half.py"
    (shell.folder / "half.py").write_text(STEPS[: STEPS.index('@adapter("words"')])

    code, _, err = shell("worker", "--until-idle")

    assert code == 1
    [told] = [line for line in err.splitlines() if "work_left" in line]
    assert "queue=docs.split" in told
    assert "words" in told
    shell.env["PLAYHEAD_ADAPTERS"] = "./steps.py"
    assert shell("worker", "--until-idle")[0] == 0
    assert shell.json("show", "latest")["status"] == "completed"


def test_a_mistyped_variable_is_reported_after_the_line_that_programs_read(shell):
    shell("config", "apply", "docs.yaml")
    shell.env["PLAYHEAD_HOEM"] = "elsewhere"
    code, out, err = shell("executions", "--json")
    assert (code, json.loads(out)["items"]) == (0, [])
    assert err == "PLAYHEAD_HOEM has no effect: did you mean PLAYHEAD_HOME?\n"
    process = shell.start("serve", "--port", "0")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Playhead listening on ")
    process.send_signal(signal.SIGTERM)
    # Not by `communicate`: it reads past what `readline` has taken in already.
    assert process.wait(DEADLINE_SECONDS) == 0
    assert "did you mean PLAYHEAD_HOME?" in process.stderr.read()


def test_migrate_has_nothing_to_do_on_a_home_in_use(ran):
    assert ran[0].json("migrate", "--check") == {"pending": []}
    assert ran[0].json("migrate") == {"applied": []}


def test_find_finds_a_part_of_a_path_before_and_after_the_index_is_built_again(ran):
    shell = ran[0]
    found = shell.json("find", "A.tx", "--kind", "object")
    assert [group["kind"] for group in found["groups"]] == ["object"]
    assert shell.json("reindex")["recorded"] >= found["search"]["recorded"]
    again = shell.json("find", "A.tx", "--kind", "object")
    assert again["groups"] == found["groups"]
    assert again["search"]["indexed"] == again["search"]["recorded"]
    assert shell("find", "a.tx", "--kind", "paths")[0] == 2


def test_a_reader_that_has_enough_ends_a_command_quietly(ran):
    shell = ran[0]
    process = shell.start("executions")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait(DEADLINE_SECONDS)
    assert err == ""


def test_the_flags_of_the_program_win_over_the_environment(shell):
    shell.json("--home", str(shell.folder / "elsewhere"), "run", "docs.yaml", "pages")
    assert shell.json("executions", code=4)["error_code"] == "home_missing"
    assert len(shell.json("executions", "--home", str(shell.folder / "elsewhere"))["items"]) == 1


def test_an_export_leaves_out_what_cannot_be_a_file_next_to_another_object(shell: Shell):
    run = shell.json("run", "docs.yaml", "pages")["execution_id"]
    put(shell.folder / "home/objects", f"{run}/shouted/a.txt/part", b"of another program")

    code, _, err = shell("export", "latest", "exported")

    assert code == 0, err
    assert "Left out 1 object: the key is invalid, or another object needs the same name" in err
    exported = {path.name for path in (shell.folder / "exported/shouted").rglob("*") if path.is_file()}
    assert ("a.txt" in exported) != ("part" in exported)
    assert ("a.txt.meta.json" in exported) == ("a.txt" in exported)
