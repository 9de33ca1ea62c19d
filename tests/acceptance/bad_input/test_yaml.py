"""Configs that can't be right, by every door: the API, which stores nothing of them, and the command line.

The table of codes is that of the parser's own tests; here stand those that need a deployment, or much text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import pytest

from playhead.config import CODES, parse
from playhead.model import Diagnostic
from tests.acceptance.bad_input.ground import Ground
from tests.unit.test_config_faults import ADAPTERS, CASES, place, r, routes, step

pytestmark = pytest.mark.slow

Command = Callable[..., tuple[int, str, str]]
YAML: Final = {"Content-Type": "application/yaml"}


class Row(NamedTuple):
    """A source, and its one fault. `column` 0: anywhere in the line; `path` None: anywhere."""

    code: str
    source: bytes
    line: int
    column: int
    path: str | None
    suggestion: str | None

    def __str__(self) -> str:
        return f"{self.code} {ascii(self.source.decode('utf-8', 'replace'))[:60]}"


def _mine(text: str) -> str:
    """As a config that is not the deployment's own; as long, so that all stands where it stood."""
    return text.replace("name: docs", "name: mine").replace("docs.", "mine.")


def _bomb() -> str:
    """A thousand million nodes of nine lines."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]\n"]
    for last, this in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{this}: &{this} [{','.join([f'*{last}'] * 9)}]\n")
    return "".join(lines)


def _rows() -> Iterator[Row]:
    for code, source, path, suggestion in CASES:
        text, line, column = place(_mine(source))
        if "html_to_markdown" not in text:  # which is loaded here
            yield Row(code, text.encode(), line, column, path, suggestion and _mine(suggestion))
    text, line, column = place(_mine(step("type: ¤secret")))
    yield Row("E202", text.encode(), line, column, "routes.r.adapters.0.type", None)
    text, line, column = place(_mine(r("adapters: [{type: copy}], inbound: {queue: ¤docs.shout}")))
    text = text.replace("mine.shout", "docs.shout")
    yield Row("E307", text.encode(), line, column, "routes.r.inbound.queue", "mine.r")
    kept = "r: {adapters: [{type: copy}]}"
    source = routes(kept).replace("entry: r", "entry: r\ndescription: another")
    for dropped in ("shout", "both", "theirs"):
        yield Row("W104", source.encode(), 5, 0, f"routes.{dropped}", None)
    for deep in ("[" * 101 + "]" * 101, "- " * 3000, "{a: " * 200_000, _bomb(), "[" + "1," * 10_000 + "]"):
        yield Row("E003", deep.encode(), 0, 0, "", None)
    yield Row("E003", b"a: &a [*a, *a]\n", 1, 8, "", None)
    yield Row("E003", b"a: &a {b: &b {c: *a}}\n", 1, 18, "", None)
    yield Row("E003", b"name: mine\nentry: ab\xff\n", 2, 10, "", None)
    yield Row("E003", "name: mine".encode("utf-16"), 1, 1, "", None)
    yield Row("E003", b"a: &a " + b"x" * 500_000 + b"\nb: [*a, *a, *a]\n", 2, 0, "", None)


ROWS = list(_rows())


def told(row: Row, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The fault of a row among those that were found; fails when it is not there as it should be."""
    mine = [fault for fault in found if fault["code"] == row.code and row.path in (None, fault["path"])]
    assert len(mine) == 1, found
    [fault] = mine
    assert set(fault) == {"severity", "code", "path", "line", "column", "message", "suggestion"}
    assert (fault["line"], fault["suggestion"]) == (row.line or fault["line"], row.suggestion)
    assert fault["column"] == (row.column or fault["column"])
    assert fault["severity"] == ("warning" if row.code.startswith("W") else "error")
    assert fault["message"]
    return fault


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_fault_of_a_config_is_reported_with_its_position_and_nothing_is_stored(ground: Ground, row: Row):
    checked = ground.request("POST", "/api/v1/configs/validate", {"content": row.source, "headers": YAML})
    assert checked.status_code == 200
    found = checked.json()
    fault = told(row, found["diagnostics"])
    assert found["valid"] == row.code.startswith("W")
    if not found["valid"]:
        refused = ground.request("POST", "/api/v1/configs", {"content": row.source, "headers": YAML})
        body = refused.json()
        assert (refused.status_code, body["error_code"]) == (400, "config_invalid")
        assert body["diagnostics"] == found["diagnostics"]
        first = body["diagnostics"][0]
        assert f"{first['line']}:{first['column']}: {first['code']}" in body["detail"]
        assert "Traceback" not in refused.text
    assert fault in found["diagnostics"]
    ground.nothing_was_left()


def test_every_code_has_a_row():
    assert {row.code for row in ROWS} == set(CODES)


def test_the_command_line_says_the_same_of_all_of_them_at_once(ground: Ground, command: Command):
    folder = ground.deployment.folder / "yaml"
    folder.mkdir()
    files = [f"yaml/{n}.yaml" for n in range(len(ROWS))]
    for file, row in zip(files, ROWS, strict=True):
        (ground.deployment.folder / file).write_bytes(row.source)
    code, out, _ = command("config", "validate", *files, "--json")
    assert code == 1
    for row, checked in zip(ROWS, json.loads(out)["items"], strict=True):
        told(row, checked["diagnostics"])
    code, out, _ = command("config", "validate", *files)
    assert code == 1
    for row, file in zip(ROWS, files, strict=True):
        assert f"{file}:{row.line or ''}" in out
    some = [file for file, row in zip(files, ROWS, strict=True) if row.code in ("E003", "E202", "E307")]
    for file in some:
        for words in (["config", "apply", file], ["run", file, "pages"]):
            for server in ([], ["--server", ground.deployment.url]):
                code, out, err = command(*words, "--json", *server)
                body = json.loads(out)
                assert (code, body["error_code"]) == (1, "config_invalid"), body
                assert f"{file}:{body['diagnostics'][0]['line']}:" in err
    ground.nothing_was_left()


def test_all_faults_are_reported_at_once_in_the_order_of_lines(ground: Ground):
    wrong = """\
version: 1.0
name: Docs
entry: nowhere
bogus: 1
error_handling: {max_attempts: 0}
routes:
  a:
    inbound: {concurrency: 8, prefetch: 2, queue: docs.shout}
    adapters:
      - type: coppy
      - type: secret
      - type: tuned
        config: {level: 0, other: 1}
      - type: tuned
      - type: send
    outbound: {stage: input, to: [b, b, zzz]}
  b:
    adapters: [{type: copy}]
    outbound: {stage: s, to: [b]}
  c:
    inbound: {queue: 7}
    adapters: [{type: copy, condition: {field: path, operator: matches, value: "("}}]
    outbound: {stage: s/t}
  d: {external: true, adapters: [{type: copy}]}
  e: {outbound: {stage: s}}
"""
    sent = {"content": wrong, "headers": YAML}
    found = ground.request("POST", "/api/v1/configs", sent).json()["diagnostics"]
    assert {fault["code"] for fault in found} >= {
        *("E101", "E102", "E103", "E104", "E201", "E202", "E203", "E204", "E205"),
        *("E301", "E302", "E303", "E304", "E305", "E306", "E307", "E308", "E309", "E310", "W102", "W103"),
    }
    places = [(fault["line"], fault["column"]) for fault in found]
    assert places == sorted(places)
    ground.nothing_was_left()


def test_a_config_over_the_limit_is_refused_by_the_api_and_by_the_command_line(
    ground: Ground, command: Command
):
    large = _mine(r("adapters: [{type: copy}]")).encode() + b"#" * (1 << 20)
    refused = ground.request("POST", "/api/v1/configs", {"content": large, "headers": YAML})
    assert (refused.status_code, refused.json()["error_code"]) == (413, "body_too_large")
    [fault] = parse(large, adapters=ADAPTERS).diagnostics
    (ground.deployment.folder / "large.yaml").write_bytes(large)
    code, out, _ = command("config", "validate", "large.yaml", "--json")
    assert (code, json.loads(out)["diagnostics"]) == (1, [asdict(fault)])
    assert isinstance(fault, Diagnostic)
    assert fault.code == "E003"
    ground.nothing_was_left()
