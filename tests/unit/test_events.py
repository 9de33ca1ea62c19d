"""Log lines: one line per outcome, with only the fields in the table of events."""

from __future__ import annotations

import ast
import json
import logging
from functools import cache
from pathlib import Path

import pytest

from playhead import events, logformat

ROOT = Path(__file__).parents[2]
KNOWN = {event.name: event for event in events.EVENTS}


def names() -> dict[str, str]:
    """The constants of `events` that name an event."""
    return {
        name: value
        for name, value in vars(events).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }


@cache
def emitted() -> list[tuple[str, ast.Call]]:
    """Return each call of `events.emit` with its position."""
    return [
        (f"{file.name}:{node.lineno}", node)
        for file in (ROOT / "src" / "playhead").rglob("*.py")
        if "events.emit(" in (text := file.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "events.emit"
    ]


def test_every_event_is_in_the_table_once():
    assert sorted(event.name for event in events.EVENTS) == sorted(names().values())


def test_every_event_is_logged_somewhere():
    told = {word for _, call in emitted() for word in ast.unparse(call.args[0]).split(".")}
    indirect = {"MESSAGE_DEAD", "MESSAGE_RETRIED"}  # chosen between, a line before
    assert set(names()) - indirect <= told


def test_no_line_has_a_field_that_is_not_in_the_table():
    for where, call in emitted():
        event = ast.unparse(call.args[0]).removeprefix("events.")
        known = KNOWN[names()[event]].fields if event in names() else KNOWN[events.MESSAGE_DEAD].fields
        told = {keyword.arg for keyword in call.keywords if keyword.arg} - {"exc_info"}
        assert told <= set(known), where


def line(formatter: logging.Formatter, caplog: pytest.LogCaptureFixture, **fields: object) -> str:
    with caplog.at_level(logging.INFO, logger="playhead"):
        events.emit(events.MESSAGE_DEAD, **fields)  # type: ignore[arg-type]
    return formatter.format(caplog.records[-1])


def test_an_error_of_several_lines_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture):
    error = "it broke:\n2026-01-01T00:00:00.000Z info execution_ended\r\x1b[2J"
    text = line(logformat.TextFormatter(), caplog, route="convert", error=error)
    assert text.isprintable()
    assert text.endswith(' message_dead route=convert error="it broke:\\n2026-01-01T00:00:00.000Z info '
                         'execution_ended\\r\\u001b[2J"')  # fmt: skip

    told = line(logformat.JsonFormatter(), caplog, route="convert", error=error)
    assert "\n" not in told
    assert json.loads(told)["error"] == error


def test_a_line_in_json_has_the_event_and_its_fields(caplog: pytest.LogCaptureFixture):
    told = json.loads(line(logformat.JsonFormatter(), caplog, correlation_id="c", execution_id="e"))
    assert {k: told[k] for k in ("level", "event", "correlation_id", "execution_id")} == {
        "level": "error",
        "event": "message_dead",
        "correlation_id": "c",
        "execution_id": "e",
    }
    assert told["time"].endswith("Z")
