"""Commands that can't be right: the exit code, the error code, and the same words from a server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.acceptance.bad_input.ground import MAX_OBJECT, Ground
from tests.acceptance.bad_input.requests import BAD_PATHS
from tests.acceptance.shell import Command

pytestmark = pytest.mark.slow

LONG = "x" * 300
BYTES = os.fsdecode(b"\xff")
"""A word of a command line that is not UTF-8."""
END = {"run": ("pages",)}
USAGE, FAILED, NOT_FOUND = 2, 1, 4


class Row(NamedTuple):
    """A command line, and how it ends.

    Attributes:
        words: names in capitals are replaced by values.
        expected: words that must all occur in the detail.
        anywhere: whether `--server` must print the same.
    """

    words: tuple[str, ...]
    exit: int
    code: str
    expected: tuple[str, ...]
    anywhere: bool = True

    def __str__(self) -> str:
        return ascii(" ".join(self.words))[:100]


def bad(line: str, *more: str, exit: int = USAGE, code: str, expected: tuple[str, ...]) -> Row:
    return Row((*line.split(), *more), exit, code, expected)


def missing(line: str, code: str, *expected: str) -> Row:
    return Row(tuple(line.split()), NOT_FOUND, code, expected)


def usage(line: str, *expected: str, more: tuple[str, ...] = (), anywhere: bool = True) -> Row:
    return Row((*line.split(), *more), USAGE, "usage", expected, anywhere)


def _paths() -> Iterator[Row]:
    words = {path: why for path, why in BAD_PATHS.items() if "\0" not in path}  # no word can hold it
    for path, why in [*words.items(), (BYTES, "UTF-8")]:
        yield bad("ls RUN shouted", path, code="invalid_path", expected=(why,))
    for path, why in (("../x", words["../x"]), (BYTES, "UTF-8")):
        yield bad("ls RUN", path, code="invalid_path", expected=(why,))
        yield bad("cat", f"RUN/shouted/{path}", code="invalid_path", expected=("shouted/",))
        yield bad("lineage", f"RUN/shouted/{path}", code="invalid_path", expected=("shouted/",))
        yield bad("replay RUN", path, "theirs", code="invalid_path", expected=(why,))
        yield bad("replay RUN shouted theirs --path", path, code="invalid_path", expected=(why,))
    for key in ("RUN", "shouted/a.txt", "PLAIN/shouted/a.txt", "x/y/z"):
        yield bad("cat", key, code="invalid_path", expected=("{execution_id}/{stage}/{path}",))
    for index in ("../playhead.db", "/etc/passwd", "a\\b", "a\nb"):
        yield bad("search", index, "word", code="invalid_path", expected=("index path",))


def _names() -> Iterator[Row]:
    for execution in ("UNKNOWN", "NIL", "tag:none", "nonsense", "RUN0", LONG):
        yield missing(f"show {execution}", "execution_not_found", execution.removeprefix("tag:")[:40])
    for line in (
        *("stages UNKNOWN", "cancel UNKNOWN", "replays UNKNOWN", "ls UNKNOWN shouted"),
        *("replay UNKNOWN shouted theirs", "dead-letters list --execution UNKNOWN"),
        "dead-letters resend --execution UNKNOWN",
    ):
        yield missing(line, "execution_not_found", "UNKNOWN")
    yield missing("replay RUN shout theirs", "stage_not_found", "shout", "input, shouted")
    yield missing("ls RUN nowhere", "stage_not_found", "nowhere", "input, shouted")
    yield missing("replay RUN shouted theirz", "route_not_found", "theirz", "'theirs'")
    yield missing("replay RUN shouted docs/nowhere", "route_not_found", "nowhere", "shout, both")
    yield missing("replay RUN shouted none/theirs", "route_not_found", "no config is named 'none'")
    yield missing(
        "replay REPLAYED shouted theirs", "no_objects", "REPLAYED/shouted", "playhead replay RUN shouted"
    )
    yield missing("replay RUN shouted theirs --path zzz", "no_objects", "zzz", "playhead ls")
    alien = "--only failed --in-replay UNKNOWN"
    yield missing(f"replay RUN shouted theirs {alien}", "replay_not_found", "RUN has no replay UNKNOWN")
    yield missing("replay RUN shouted theirs --version 9", "config_not_found", "no version 9")
    empty = "replay RUN shouted theirs --include none"
    yield bad(empty, code="selection_empty", expected=("RUN/shouted", "do not meet"))
    yield missing("cat RUN/shouted/none", "object_not_found", "RUN/shouted/none")
    yield missing("lineage RUN/shouted/none", "object_not_found", "RUN/shouted/none")
    yield missing("lineage UNKNOWN", "message_not_found", "UNKNOWN")
    yield missing("dead-letters show UNKNOWN", "dead_letter_not_found", "UNKNOWN")
    yield missing("dead-letters show MESSAGE", "dead_letter_not_found", "MESSAGE")
    yield missing("dead-letters resend UNKNOWN", "dead_letter_not_found", "UNKNOWN")
    yield missing("routes pause none/convert --reason why", "config_not_found", "none")
    yield missing("routes resume docs/nowhere", "route_not_found", "nowhere")
    yield usage("routes pause convert --reason why", "CONFIG/ROUTE")
    yield usage("routes pause docs/convert --reason why --for soon", "is not a duration")
    yield usage("routes pause docs/convert --reason why --for 999999999w", "--for")
    yield missing("causes show 000000000000", "cause_not_found", "causes --state all")
    yield usage("dead-letters resend MESSAGE --dry-run", "not together with ids")
    yield missing("causes replay 000000000000", "cause_not_found", "000000000000")
    yield usage("causes replay 000000000000 --seed 1", "--canary")
    yield missing("causes unacknowledge 000000000000", "cause_not_found", "000000000000")
    acknowledge = "causes acknowledge 000000000000 --reason known --until"
    yield bad(f"{acknowledge} docs@1", code="invalid_until", expected=("applied already",))
    for line in ("config show none", "config deactivate none", "config activate none", "run none pages"):
        yield missing(line, "config_not_found", "none")
    yield missing("config show docs --version 9", "config_not_found", "9")
    yield missing("run docs pages --version 9", "config_not_found", "version 9")
    yield missing("adapters shuot", "adapter_not_found", "shuot", "shout")
    yield missing("search none.db word", "index_not_found", "none.db", "run a route")
    inactive = ("idle", "config activate idle")
    yield Row(("run", "idle", "pages"), FAILED, "config_inactive", inactive)
    yield Row(("replay", "RUN", "shouted", "idle/both"), FAILED, "config_inactive", inactive)
    yield Row(("replay", "RUN", "input", "other/nowhere"), NOT_FOUND, "route_not_found", ("both",))
    refused = ("replay", "RUN", "shouted", "theirs", "--effects", "skip")
    yield Row(refused, FAILED, "effects_refused", ("theirs", "the target"))
    yield missing(
        "replay RUN input shout --effects nowhere=skip", "route_not_found", "nowhere", "shout, both"
    )


def _words() -> Iterator[Row]:
    for line in ("executions", "config list", "replays", "dead-letters list", "queues", "ls RUN shouted"):
        yield bad(f"{line} --cursor", "!", code="invalid_cursor", expected=("next_cursor",))
        yield usage(f"{line} --limit 0", "--limit")
    for cursor in ("x" * 5000, "bnVsbA"):
        yield bad("executions --cursor", cursor, code="invalid_cursor", expected=("next_cursor",))
    for limit in ("-1", "x"):
        yield usage(f"executions --limit {limit}", "--limit")
    for line in (
        *("run docs pages --tag", "executions --tag", "executions --config", "config show"),
        *("dead-letters list --route", "dead-letters resend --route", "queues", "queues docs.both --cursor"),
        *("show", "replay RUN shouted", "search search.db", "adapters", "config deactivate", "run"),
    ):
        yield usage(line, "UTF-8", more=(BYTES, *END.get(line, ())))
    for tag, why in {"": "1 to 200", "x" * 201: "1 to 200", "a\nb": "control character"}.items():
        yield usage("run docs pages --tag", "--tag", why, more=(tag,))
    for version in ("0", "-1", "x", "9" * 20):
        yield usage(f"run docs pages --version {version}", "--version")
        yield usage(f"config show docs --version {version}", "--version")
    yield usage("run docs.yaml pages --version 1", "--version")
    for option, value, why in (
        *(("--include", "a//b", "empty segment"), ("--exclude", "[a", "without `]`")),
        *(("--after", "24h", "as in -24h"), ("--before", "2026-01-31", "is not a time")),
        *(("--type", "html", "not a media type"), ("--attribute", "lang", "NAME=VALUE")),
        *(("--only", "dead", "failed"), ("--limit", "0", "--limit"), ("--in-replay", "latest", "--only")),
    ):
        yield usage(f"replay RUN shouted theirs {option}", option, why, more=(value,))
    for identity in ("x", "RUN0", "latest", "abc"):
        yield missing(f"dead-letters show {identity}", "dead_letter_not_found", "at least 4")
        yield missing(f"dead-letters resend {identity}", "dead_letter_not_found", "at least 4")
    yield usage("dead-letters resend", "either ids, or --execution, --route, --code and --group")
    for effects in ("never", "both=never", "=skip", "both=", ""):
        yield usage("replay RUN shouted theirs --effects", "run, skip, refuse", more=(effects,))
    yield usage("replay RUN", "empty", more=("", "theirs"))
    yield usage("replay RUN shouted", "empty", more=("",))
    for line in ("replay", "replay RUN", "replay RUN shouted", "replay RUN shouted --dry-run"):
        yield usage(line, "is missing", "--plan ID")
    yield usage("replay --plan x", "--plan", "x")
    yield usage("replay --plan UNKNOWN --dry-run", "--dry-run", "--plan")
    yield missing("replay --plan UNKNOWN", "plan_not_found", "UNKNOWN")
    yield missing("plan RUN nowhere theirs", "stage_not_found", "nowhere", "input, shouted")
    yield missing("plan RUN shouted theirs --path zzz", "no_objects", "zzz")
    yield bad("plan RUN shouted theirs --include none", code="selection_empty", expected=("do not meet",))
    for line in ("prune --dry-run", "prune --stage shouted --yes"):
        yield bad(line, code="selection_empty", expected=("an age, a config, a tag",))
    yield usage("prune --older-than", "30d, 12h or 90m", more=("a week", "--dry-run"))
    yield usage("prune --older-than 999999999d --dry-run", "--older-than in seconds")
    yield usage("prune --keep-last -1", "keep-last")
    yield missing("prune UNKNOWN --yes", "execution_not_found", "UNKNOWN")
    yield missing("prune --config none --yes", "config_not_found", "none", "docs")
    yield missing("prune --tag none --dry-run", "execution_not_found", "none")
    yield missing("prune RUN --stage none --yes", "stage_not_found", "none", "input, shouted")
    yield missing("export UNKNOWN none", "execution_not_found", "UNKNOWN")
    yield missing("queues docs.shuot", "queue_not_found", "no queue docs.shuot; known: docs.shout, docs.both")
    for verb in ("list", "resend"):
        yield usage(f"dead-letters {verb} --code rejeced", "rejected")
    yield usage("causes show nonsense", "12 digits")
    yield usage("affected --adapter chunk", "chunk@2")
    yield usage("affected --worker w1 --adapter chunk@2", "name an adapter with its version, or a worker")
    yield usage("causes --state gone", "open, acknowledged, closed or all")
    for since, word in (("UNKNOWN",) * 2, ("latest:none", "none"), ("ffffffff",) * 2, ("nonsense",) * 2):
        yield missing(f"run docs pages --changed-since {since}", "execution_not_found", word)
    for config, since in (("docs", "REPLAYED"), ("other", "RUN")):
        line = f"run {config} pages --changed-since {since}"
        yield bad(line, code="not_comparable", expected=(f"previous:{config}",))
    yield usage("run docs pages --compare version", "--compare needs --changed-since")
    yield usage("plan RUN", "empty", more=("", "theirs"))
    yield usage("queues docs.theirs --peek 1 --take 1", "--peek and --take")
    yield usage("queues --take 1", "name the queue")
    yield usage("lineage MESSAGE --up --down", "--up cannot be combined with --down")
    yield usage("serve --port 65536", "--port", anywhere=False)
    yield usage("worker --processes 0", "--processes", anywhere=False)
    yield usage("executions --status nonsense", "--status")
    yield usage("stages", "EXECUTION")
    yield usage("shwo RUN", "show")
    yield usage("show RUN --no-such", "--no-such")


def _files() -> Iterator[Row]:
    for file in ("none.yaml", "pages", f"{LONG}.yaml", "pages/a.txt/b.yaml"):
        for line in ("config apply {}", "config validate {}"):
            yield usage(line.format(file), "cannot read", file[:40])
    for file in ("none.yaml", f"{LONG}/x.yaml", "pages/"):
        yield usage(f"run {file} pages", "cannot read", file.rstrip("/")[:40])
    yield usage("run docs", "INPUT is empty", "`.`", more=("",))
    yield usage("run docs none", "none does not exist")
    yield usage(f"run docs {LONG}", "cannot read", "name too long")
    yield usage("run docs /dev/null", "neither a file nor a folder")
    yield usage("run docs pages/a.txt/b", "cannot read pages/a.txt/b", "Not a directory")
    yield usage("run docs loop", "cannot read loop", "symbolic links")
    yield usage("run docs empty", "no input files in empty")
    yield usage("run docs hidden", "no input files in hidden but 2 hidden entries")
    yield usage("run docs links", "no input files in links but 2 symbolic links or special files")
    yield usage("run docs twice/1/same.txt twice/2/same.txt", "twice/1/same.txt", "twice/2", "run them apart")
    yield usage("run docs nfc", "would both be input/\u00e9.txt", "run them apart")
    yield usage("run docs pages pages/a.txt", "would both be input/a.txt")
    yield usage("run docs large", "large/a.txt has 100001 bytes", "PLAYHEAD_MAX_OBJECT_BYTES")
    for folder, why in {
        "bytes": "valid Unicode",
        "control": "control character",
        "backslash": "backslash",
        "sidecar": "sidecar",
        "long": "at most 200",
        "deep": "at most 900",
    }.items():
        yield bad(
            f"run docs {folder}", code="invalid_path", expected=(f"the path of {folder}/", why, "rename")
        )


ROWS = [*_paths(), *_names(), *_words(), *_files()]


@pytest.fixture(scope="module")
def inputs(ground: Ground) -> None:
    """Folders of what people have and a run can't take."""
    top = ground.deployment.folder
    files = dict.fromkeys(("hidden/.git/config", "hidden/.a", "sidecar/a.meta.json"), b"x")
    files |= {name: name.encode() for name in ("twice/1/same.txt", "twice/2/same.txt")}
    files |= {name: name.encode() for name in ("nfc/e\u0301.txt", "nfc/\u00e9.txt")}
    files |= dict.fromkeys((f"bytes/{BYTES}.txt", "control/a\nb", "backslash/a\\b"), b"x")
    files |= {f"long/{'x' * 201}": b"x", f"deep/{'/'.join(['d' * 190] * 5)}/a": b"x"}
    files["large/a.txt"] = b"x" * (MAX_OBJECT + 1)
    for name, data in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    (top / "empty").mkdir()
    (top / "links").mkdir()
    (top / "links/file").symlink_to(top / "pages/a.txt")
    (top / "links/folder").symlink_to(top / "pages")
    (top / "loop").symlink_to("loop")


@pytest.mark.usefixtures("inputs")
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_invalid_command_is_refused_and_changes_nothing(ground: Ground, command: Command, row: Row):
    words = [ground.said(word) for word in row.words]
    expected = [ground.said(word) for word in row.expected]
    details = []
    for server in ([], ["--server", ground.deployment.url]) if row.anywhere else ([],):
        code, out, err = command(*words, "--json", *server)
        body = json.loads(out)
        assert (code, body["error_code"]) == (row.exit, row.code), (body, err)
        assert set(body) == {"detail", "error_code", "correlation_id", "timestamp"}
        assert not [word for word in expected if word not in body["detail"]], body["detail"]
        assert "Traceback" not in err
        assert "internal" not in err
        details.append(body["detail"].replace(f" --server {ground.deployment.url}", ""))
    assert len(set(details)) == 1, details
    code, out, err = command(*words)
    assert (code, out) == (row.exit, "")
    assert err.strip()
    assert "Traceback" not in err
    ground.nothing_was_left()
