"""The reference pages match the code, and show every key, operator and code."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from playhead import errors
from playhead.backends._postgres.diagnosis import OLDEST_VERSION
from playhead.bootstrap import load_adapters
from playhead.config import declared, parse
from playhead.model import Condition, ErrorHandling, Operator, Route
from playhead.settings import Settings
from tools.reference import FOLDER, MarksDiffer, api, filled, table
from tools.reference.__main__ import PAGES, written

CONFIGS = (FOLDER / "configs.md").read_text(encoding="utf-8")
EXAMPLE = CONFIGS.split("```yaml\n", 1)[1].split("```", 1)[0]
CONDITIONS = CONFIGS.split("\n## Conditions\n", 1)[1].split("\n## ", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables of a page, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_page_matches_the_code(page):
    there, wanted = written(page)
    assert there == wanted, f"docs/{page} is not what the code says: run `make reference`"


def test_a_page_with_a_missing_or_surplus_mark_is_not_written():
    text = "# Page\n\n<!-- from the code: one -->\nold\n<!-- end -->\n\nby hand\n"
    assert filled("page.md", text, {"one": lambda: "new"}) == text.replace("old", "\nnew\n")
    with pytest.raises(MarksDiffer, match=r"page\.md"):
        filled("page.md", text, {"one": lambda: "new", "two": lambda: "more"})
    with pytest.raises(MarksDiffer, match="one"):
        filled("page.md", text, {})


def test_a_vertical_bar_in_a_cell_is_escaped():
    assert table(("a", "b"), [("x | y", None)]) == "| a | b |\n| --- | --- |\n| x \\| y | |"


def test_the_page_and_doctor_agree_on_the_oldest_postgresql():
    page = (FOLDER.parent / "howto" / "postgresql.md").read_text(encoding="utf-8")
    assert re.findall(r"You need PostgreSQL (\d+) or newer", page) == [str(OLDEST_VERSION)]


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_operation_of_the_api_is_described_and_names_its_errors():
    for operation in api.operations():
        assert operation.spec.get("description"), operation.title
        assert any(status < 300 for status in operation.statuses), operation.title


def test_every_code_of_a_dead_letter_has_a_meaning():
    sources = "".join(path.read_text("utf-8") for path in Path(errors.__file__).parent.rglob("*.py"))
    raised = set(re.findall(r"MessageError\(\s*\"(\w+)\"", sources))
    raised |= set(re.findall(r"\bfailed\(\"(\w+)\"", sources))
    raised |= set(re.findall(r"\bcode=\"(\w+)\"", sources)) & {"worker_lost", "publish_refused"}
    assert len(raised) >= 9
    assert raised - errors.MESSAGE_CODES.keys() == set()


def test_every_operator_of_a_condition_is_in_the_reference():
    told = {word for cells in rows(CONDITIONS) for word in re.findall(r"`(\w+)`", cells[0])}
    assert told == set(get_args(Operator))


def test_the_config_of_the_reference_is_valid_and_shows_every_key():
    read = parse(EXAMPLE, adapters=load_adapters(Settings()))
    assert not read.diagnostics
    document: dict[str, Any] = yaml.safe_load(EXAMPLE)
    convert, partner = document["routes"]["convert"], document["routes"]["partner"]
    assert set(document) == set(declared.names(declared.CONFIG))
    assert set(convert) | set(partner) == set(declared.names(declared.ROUTE))
    assert set(document["datasets"]["docs"]) == set(declared.names(declared.DATASET))
    assert set(convert["inbound"]) == set(declared.names(declared.INBOUND))
    assert set(convert["rate_limit"]) == set(declared.names(declared.RATE_LIMIT))
    assert set(convert["outbound"]) == set(declared.names(declared.OUTBOUND))
    assert set(document["error_handling"]) == set(declared.names(declared.ERRORS))
    assert set(convert["adapters"][0]) == set(declared.names(declared.STEP))
    assert set(convert["adapters"][0]["condition"]) == set(declared.names(declared.CONDITION))


def test_the_values_that_the_reference_shows_are_the_defaults():
    config = parse(EXAMPLE, adapters=load_adapters(Settings())).config
    assert config is not None
    shown, bare = config.routes["convert"], Route("convert", "docs.convert", (), None, ())
    assert shown.errors == ErrorHandling()
    shown = replace(
        shown, steps=(), stage=None, to=(), prefetch=None, concurrency_total=None, rate_limit=None
    )
    assert replace(shown, on_replay=None, effects=None) == bare


def test_declared_fields_are_the_fields_that_are_read():
    assert set(declared.names(declared.CONDITION)) == {field.name for field in fields(Condition)}
    assert set(declared.names(declared.ERRORS)) == {field.name for field in fields(ErrorHandling)}
