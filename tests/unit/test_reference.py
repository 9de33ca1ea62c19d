"""The reference pages name every setting, key, operator and code there is, with its default, and no other."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import yaml

from playhead.bootstrap import load_adapters
from playhead.config import CODES, parse
from playhead.config.document import _ERROR_KEYS, _INBOUND_KEYS, _OUTBOUND_KEYS, _ROUTE_KEYS
from playhead.model import Condition, ErrorHandling, Operator, Route
from playhead.settings import PREFIX, Settings

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
CONFIGS = (REFERENCE / "configs.md").read_text(encoding="utf-8")
SETTINGS = (REFERENCE / "settings.md").read_text(encoding="utf-8")
EXAMPLE = CONFIGS.split("```yaml\n", 1)[1].split("```", 1)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all tables of a page, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_stands_in_the_reference_with_its_default():
    told = {cells[0].strip("`"): cells[1].strip("`") for cells in rows(SETTINGS) if cells[0] != "variable"}
    real = {name: field.default for name, field in Settings.model_fields.items() if name != "fault"}
    assert set(told) == {PREFIX + name.upper() for name in real}
    for name, default in real.items():
        if isinstance(default, int | str | Path):
            assert told[PREFIX + name.upper()] == str(default)


def test_every_code_of_a_fault_stands_in_the_reference():
    assert {c[0] for c in rows(CONFIGS) if re.fullmatch(r"[EW]\d{3}", c[0])} == set(CODES)


def test_every_operator_of_a_condition_stands_in_the_reference():
    told = {word for cells in rows(CONFIGS) for word in re.findall(r"`(\w+)`", cells[0])}
    assert told == set(get_args(Operator))


def test_the_config_of_the_reference_is_valid_and_shows_every_key():
    read = parse(EXAMPLE, adapters=load_adapters(Settings()))
    assert not read.diagnostics
    document: dict[str, Any] = yaml.safe_load(EXAMPLE)
    convert, partner = document["routes"]["convert"], document["routes"]["partner"]
    assert set(document) == {"version", "name", "description", "entry", "error_handling", "routes"}
    assert set(convert) | set(partner) == set(_ROUTE_KEYS)
    assert set(convert["inbound"]) == set(_INBOUND_KEYS)
    assert set(convert["outbound"]) == set(_OUTBOUND_KEYS)
    assert set(document["error_handling"]) == set(_ERROR_KEYS)
    assert set(convert["adapters"][0]["condition"]) == set(Condition.__dataclass_fields__)


def test_the_values_that_the_reference_shows_are_the_defaults():
    config = parse(EXAMPLE, adapters=load_adapters(Settings())).config
    assert config is not None
    shown, bare = config.routes["convert"], Route("convert", "docs.convert", (), None, ())
    assert shown.errors == ErrorHandling()
    assert replace(shown, steps=(), stage=None, to=(), prefetch=None) == bare
