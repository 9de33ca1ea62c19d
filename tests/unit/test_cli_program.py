"""The command line as a program: its help, its way of failing, its exit codes."""

from __future__ import annotations

import functools
import json
import logging
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from playhead import Context, Item, errors, ids, logformat
from playhead.adapters.sqlite_search import SqliteSearch, SqliteSearchConfig
from playhead.cli import executions, exits, logs, output, replays
from playhead.cli.app import COMMANDS, GROUPS, build, run_program
from playhead.cli.command import Command, add
from playhead.cli.groups import GroupWithDefault
from playhead.cli.session import Session
from playhead.model import RouteWait

HEAVY = (
    *("fastapi", "starlette", "pydantic", "rich", "httpx", "asyncio", "yaml", "uvicorn", "sqlite3"),
    *("opentelemetry", "prometheus_client", "playhead.ports.adapter", "playhead.keys", "playhead.model"),
    *("apsw", "pyarrow", "sqlite_vec", "asyncpg"),
)


EVERY = [
    *(([entry.name], entry.load()) for entry in COMMANDS),
    *(([name, entry.name], entry.load()) for name, _, entries in GROUPS for entry in entries),
]
each_command = pytest.mark.parametrize(("words", "entry"), EVERY, ids=[" ".join(words) for words, _ in EVERY])


def test_help_imports_nothing_that_only_a_command_needs():
    probe = (
        "import sys\n"
        "from playhead.__main__ import main\n"
        "sys.argv = ['playhead', '--help']\n"
        "code = main()\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules], code, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "Usage: playhead" in done.stdout
    assert done.stderr.strip() == "loaded: [] 0"


LISTED = [*COMMANDS, *(entry for _, _, entries in GROUPS for entry in entries)]


@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: listed.where)
def test_a_command_is_listed_under_its_name_with_the_first_line_of_its_help(listed):
    found = listed.load()
    assert (found.name, (found.function.__doc__ or "").partition("\n")[0].strip()) == listed[::2]


@each_command
def test_every_command_has_help_with_one_example_that_names_it(words, entry, capsys):
    assert run_program([*words, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Usage: playhead {' '.join(words)}" in shown
    assert shown.count("Example:") == 1
    assert entry.example.startswith(f"playhead {' '.join(words)}")
    assert " ".join(entry.example.split()) in shown


WITHOUT_REASON = {
    *("adapters", "affected", "audit", "cat", "changes", "diff", "errors", "executions", "export", "find"),
    *("causes list", "causes objects", "causes show"),
    *("lineage", "ls", "search", "show", "stages", "stale", "whoami", "why", "workers"),
    *("config list", "config show", "config validate", "datasets deliveries"),
    *("datasets list", "dead-letters groups", "dead-letters list", "dead-letters show", "keys list"),
    *("publications list", "publications notes", "publications show", "publications stale"),
    *("replays deliveries", "replays list", "replays result", "replays show", "replays watch"),
    "sessions list",
    # These change files or tables of this machine only, or are processes. The audit has no row of them.
    *("demo", "init", "keys generate", "login", "logout", "migrate", "reindex", "serve", "worker"),
}
"""Commands that change nothing for which anyone is asked for a reason."""


@each_command
def test_a_command_that_changes_something_accepts_a_reason(words, entry, capsys):
    assert run_program([*words, "--help"]) == 0
    assert ("--reason" in capsys.readouterr().out) == (" ".join(words) not in WITHOUT_REASON)


@each_command
def test_the_example_of_a_command_is_a_valid_command_line(words, entry):
    given = []

    @functools.wraps(entry.function)
    def instead(s: Session, **own: object) -> None:
        given.append(own)

    app = typer.Typer()

    @app.callback()
    def program(ctx: typer.Context) -> None:
        ctx.obj = Session()

    at = app
    for name in words[:-1]:
        app.add_typer(at := typer.Typer(), name=name)
    add(at, replace(entry, function=instead))
    called, *arguments = shlex.split(entry.example)
    assert called == "playhead"
    assert typer.main.get_command(app).main(arguments, standalone_mode=False) == exits.OK
    assert len(given) == 1


@pytest.mark.parametrize("words", [[], *([name] for name, _, _ in GROUPS)], ids=" ".join)
def test_the_help_of_a_group_of_commands_ends_with_an_example_too(words, capsys):
    assert run_program([*words, "--help"]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1].strip()
    assert last.startswith(" ".join(["Example: playhead", *words]))
    example = shlex.split(last.removeprefix("Example: playhead"))
    assert any(example[: len(of)] == of for of, _ in EVERY)


@each_command
def test_the_summary_of_a_command_in_the_list_is_not_truncated(words, entry, capsys):
    assert run_program([*words[:-1], "--help"]) == 0
    listed = capsys.readouterr().out
    first = entry.function.__doc__.partition("\n")[0]
    assert first in listed


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {"execution": None, "limit": 20}),
        (["latest"], {"execution": "latest"}),
        (["7f3a91c2", "--limit", "5"], {"execution": "7f3a91c2", "limit": 5}),
        (["--limit", "5", "latest"], {"execution": "latest", "limit": 5}),
        (["list", "latest"], {"execution": "latest"}),
    ],
    ids=" ".join,
)
def test_a_first_word_of_replays_that_is_not_a_command_is_an_execution(words, given):
    found = []

    @functools.wraps(replays.list_.function)
    def instead(s: Session, **own: object) -> None:
        found.append(own)

    group = typer.Typer(cls=GroupWithDefault)
    add(group, replace(replays.list_, function=instead))
    add(group, replays.pause)
    app = typer.Typer()
    app.add_typer(group, name="replays")

    @app.callback()
    def program(ctx: typer.Context) -> None:
        ctx.obj = Session()

    assert typer.main.get_command(app).main(["replays", *words], standalone_mode=False) == exits.OK
    assert given.items() <= found[0].items()


@pytest.mark.parametrize("words", [["--help"], ["pause", "--help"], ["--json", "--help"]], ids=" ".join)
def test_help_of_replays_is_that_of_the_group_or_of_its_commands(words, capsys):
    assert run_program(["replays", *words]) == 0
    of = {"pause": "pause", "--json": "list"}.get(words[0], "[OPTIONS] COMMAND")
    assert f"Usage: playhead replays {of}" in capsys.readouterr().out


def test_a_pace_is_one_of_three_options(capsys):
    for options in ([], ["--rate", "1", "--none"], ["--rate", "1", "--queue-depth", "1"], ["--rate", "0"]):
        assert run_program(["replays", "pace", "latest", *options]) == exits.USAGE
    assert "one of --rate R, --queue-depth N or --none" in capsys.readouterr().err


def test_version_is_printed(capsys):
    assert run_program(["--version"]) == 0
    assert capsys.readouterr().out.startswith("playhead 0.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense", "--json"],
        ["stages", "--json"],
        ["--json", "executions", "--limit", "0"],
        ["executions", "--status", "done", "--json"],
        ["dead-letters", "resend", "--json"],
        ["dead-letters", "resend", "0198c2a4", "--execution", "latest", "--json"],
        ["queues", "--peek", "3", "--json"],
        ["queues", "q", "--peek", "1001", "--json"],  # a server gives no more, so this process doesn't either
        ["lineage", "x", "--limit", "0", "--json"],
        ["search", "search.db", "x", "--limit", "1001", "--json"],
        ["queues", "q", "--peek", "3", "--take", "3", "--json"],
        ["lineage", "x", "--up", "--down", "--json"],
        ["run", "docs", "/no/such/folder", "--json"],
        ["run", "no-such-file.yaml", ".", "--json"],
        ["run", "no-such-file.yaml", ".", "--version", "1", "--json"],
        ["config", "apply", "no-such-file.yaml", "--json"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2_and_an_error_response(arguments, capsys):
    assert run_program(arguments) == exits.USAGE
    out, err = capsys.readouterr()
    body = json.loads(out)
    assert set(body) == {"detail", "error_code", "correlation_id", "timestamp"}
    assert body["error_code"] == "usage"
    assert body["detail"] in err
    assert ids.parse_uuid(body["correlation_id"])


def test_without_json_an_error_leaves_stdout_empty(capsys):
    assert run_program(["lineage", "x", "--up", "--down"]) == exits.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert "--up cannot be combined with --down" in err


def test_a_mistyped_command_names_the_nearest(capsys):
    assert run_program(["sho", "latest"]) == exits.USAGE
    assert "Did you mean 'show'?" in capsys.readouterr().err


def outcome_of(raised: BaseException, *arguments: str) -> int:
    """The exit code of a program whose only command raises this."""

    def command(s: Session) -> None:
        """Raise."""
        raise raised

    app = build()
    add(app, Command("raise", command, "playhead raise"))
    code = typer.main.get_command(app).main(["raise", *arguments], standalone_mode=False)
    return int(code)


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (errors.BadRequest("invalid_path", "x"), 2),
        (errors.BadRequest("selection_empty", "x"), 2),
        (errors.ConfigInvalid("x", ()), 1),
        (errors.NotFound("execution_not_found", "x"), 4),
        (errors.NotFound("no_objects", "x"), 4),
        (errors.Conflict("config_inactive", "x"), 1),
        (errors.TooLarge("x"), 2),
        (errors.catalog_unavailable("x"), 5),
        (errors.StoreFull("x"), 5),
        (errors.ReplayContinues(ids.uuid7(), "x"), 5),
        (errors.CannotStart("home_unwritable", "x"), 5),
        (errors.CannotStart("catalog_newer", "x"), 5),
        (errors.CannotStart("port_in_use", "x"), 1),
        (errors.CannotStart("setup_invalid", "x"), 2),
        (errors.MessageError("bad_output", "x"), 1),
        (KeyboardInterrupt(), 130),
        (KeyError("lost"), 1),
    ],
    ids=lambda x: getattr(x, "code", None) or repr(x),
)
def test_each_error_has_its_exit_code_and_never_a_traceback(raised, code, capsys):
    assert outcome_of(raised, "--json") == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert json.loads(out)["error_code"] == getattr(
        raised, "code", "interrupted" if isinstance(raised, KeyboardInterrupt) else "internal"
    )


def test_an_unexpected_error_is_named_with_a_hint_how_to_see_more(capsys):
    outcome_of(KeyError("lost"))
    err = capsys.readouterr().err
    assert "KeyError: 'lost'" in err
    assert "PLAYHEAD_LOG_LEVEL=debug" in err
    assert len(err.strip().splitlines()) == 1


def test_the_exit_codes_of_the_table_are_those_of_the_errors():
    from playhead.api.errors import ERRORS

    classes = {400: errors.BadRequest, 404: errors.NotFound, 409: errors.Conflict, 503: errors.Unavailable}
    classes[410] = errors.NotFound
    for error in ERRORS:
        if kind := classes.get(error.status):
            assert exits.exit_code_of(error.code, error.status) == exits.exit_code(kind(error.code, "")), (
                error
            )


def test_the_command_errors_lists_every_code_with_its_meaning(capsys):
    assert run_program(["errors", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["next_cursor"] is None
    listed = {item["error_code"]: item for item in body["items"]}
    assert listed["stage_not_found"]["status"] == 404
    assert listed["stage_not_found"]["exit_code"] == 4
    assert all(item["meaning"] for item in body["items"])


def test_flags_are_allowed_before_and_after_the_command():
    seen = []

    def command(s: Session) -> None:
        """See."""
        seen.append((s.json, s.flags["home"], s.flags["store"]))

    app = build()
    add(app, Command("see", command, "playhead see"))
    program = typer.main.get_command(app)
    for arguments in (
        ["--json", "--home", "h", "--store", "s", "see"],
        ["see", "--json", "--home", "h", "--store", "s"],
        ["--home", "other", "--store", "s", "see", "--home", "h", "--json"],
    ):
        program.main(arguments, standalone_mode=False)
    assert seen == [(True, "h", "s")] * 3


def test_control_characters_are_escaped_for_the_terminal(capsys):
    output.line("red \x1b[31mtext\x07")
    output.table(("A", "B"), [("two\nlines", "\x9b0m")])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x9b" not in out
    assert r"red \x1b[31mtext\x07" in out
    assert "two lines" in out


HIDDEN = "a\x9b31mb\u202ec\u200bd\x7fe\U000e0041f\u2028g"


def test_control_and_bidirectional_characters_are_escaped_in_json_and_keep_their_value(capsys):
    output.emit({"name": HIDDEN})
    out = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in out)
    assert json.loads(out) == {"name": HIDDEN}


def test_bidirectional_and_zero_width_characters_are_escaped_in_text(capsys):
    output.line(HIDDEN)
    output.note(HIDDEN)
    out, err = capsys.readouterr()
    assert out == err == r"a\x9b31mb\u202ec\u200bd\x7fe\U000e0041f\u2028g" + "\n"


def test_letters_of_all_scripts_are_not_escaped(capsys):
    text = "Überblick, café, 日本語, العربية, a\u3000b"
    output.line(text)
    output.emit([text])
    assert capsys.readouterr().out.count(text) == 2


def test_a_line_end_in_a_name_does_not_forge_a_line(capsys):
    output.line("in   page.md\n 0  forged")
    output.note("first\nError (internal): forged")
    out, err = capsys.readouterr()
    assert out == "in   page.md\\n 0  forged\n"
    assert err == "first\n  Error (internal): forged\n"


@pytest.mark.parametrize("formatter", [logformat.TextFormatter(), logformat.JsonFormatter(), logs.Text()])
def test_hidden_characters_are_escaped_in_log_lines(formatter: logging.Formatter):
    try:
        raise ValueError(HIDDEN)
    except ValueError as exc:
        found = (type(exc), exc, exc.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, HIDDEN, None, found)
    record.fields = {"error": HIDDEN}
    text = formatter.format(record)
    assert all(character.isprintable() or character == "\n" for character in text)


def test_columns_are_aligned_and_not_truncated(capsys):
    output.table(("NAME", "N"), [("a" * 200, 5), ("b", 12345)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "a" * 200 + "      5"
    assert {len(line) for line in lines} == {207}


@pytest.mark.parametrize("password", ["secret", "se@secret"])
def test_suggested_commands_name_the_server_without_its_password(password: str):
    said = Session({"server": f"http://me:{password}@host:8080"}).again("playhead show latest")
    assert said == "playhead show latest --server http://host:8080"


def test_an_index_is_searched_while_the_catalog_is_unavailable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    execution = ids.uuid7()
    key = f"{execution}/pages/x.md"
    log = logging.getLogger("test")
    at = Context(execution, ids.uuid7(), "docs", 1, "index", 1, None, str(tmp_path / "data"), log)
    filling = SqliteSearch(SqliteSearchConfig(path="search.db"))
    filling(Item("x.md", b"replay a stage", stage="pages", key=key), at)
    filling.close()
    search = ["search", "--json", "--home", str(tmp_path), "--catalog", "postgresql://me@127.0.0.1:1/db"]

    for asked in ([], ["--execution", str(execution)]):
        assert run_program([*search, "search.db", "stage", *asked]) == exits.OK
        assert [hit["key"] for hit in json.loads(capsys.readouterr().out)["items"]] == [key]
    assert run_program([*search, "other.db", "stage"]) == exits.NOT_FOUND
    assert run_program([*search, "search.db", "stage", "--execution", "latest"]) == exits.UNREACHABLE


def test_every_error_code_of_a_failed_start_is_in_the_list_of_errors():
    sources = "".join(path.read_text("utf-8") for path in Path(errors.__file__).parent.rglob("*.py"))
    codes = set(re.findall(r"CannotStart\(\s*\"(\w+)\"", sources))
    assert len(codes) > 5
    assert codes - exits.OWN_CODES.keys() == set()


def test_the_rest_of_a_wait_is_rounded_up(capsys):
    """A route was shown as waiting for 0 s."""
    wait = RouteWait(0.2, "the API answered 429", "api")
    executions.waits([SimpleNamespace(route="ask", wait=wait)])  # type: ignore[arg-type]

    assert capsys.readouterr().out == "ask waits for another 1 s: the API answered 429\n"
