"""Whatever is sent as a config, the answer is a list of faults with places, never a crash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import given, strategies as st
from pydantic import BaseModel

from playhead import Item, adapter
from playhead.config import CODES, parse
from playhead.model import Config
from playhead.ports.adapter import spec_of


class Tuned(BaseModel):
    level: int
    words: list[str] = []


@adapter("copy")
def copy(item: Item): ...


@adapter("tuned", effects="external")
def tuned(item: Item, config: Tuned): ...


ADAPTERS = {spec.name: spec for one in (copy, tuned) if (spec := spec_of(one)) is not None}

GOOD = """\
version: "1.0"
name: docs
description: &d All of it
entry: a
error_handling: {max_attempts: 3, retry_delay_seconds: 0.5, backoff: 1.5, max_delay_seconds: 60}
routes:
  a:
    description: *d
    inbound: {queue: Q.a, concurrency: 2, prefetch: 64}
    timeout_seconds: 1.5
    adapters:
      - type: tuned
        config: {level: 2, words: [x, "y"]}
        condition: {field: attributes.a, operator: matches, value: 'a|b', otherwise: drop}
    outbound: {stage: s/t, to: [b, c]}
    error_handling: {max_attempts: 1}
  b: {adapters: [{type: copy, condition: {field: size, operator: gt, value: 10}}]}
  c: {external: true, inbound: {queue: others}}
"""

KEYS = st.sampled_from(
    [
        *("version", "name", "description", "entry", "error_handling", "routes", "inbound", "queue"),
        *("concurrency", "prefetch", "timeout_seconds", "external", "adapters", "outbound", "stage", "to"),
        *("type", "config", "condition", "field", "operator", "value", "otherwise", "max_attempts", "level"),
        *("a", "b", "words", "backoff", "<<", "", "1"),
    ]
)
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(
        [
            "1.0",
            "docs",
            "a",
            "b",
            "copy",
            "tuned",
            "input",
            "_x",
            "s",
            "s/t",
            "matches",
            "in",
            "size",
            "path",
            "(",
        ]
    ),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=40,
)
ROUTES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "D"]),
    st.fixed_dictionaries(
        {},
        optional={
            "inbound": st.fixed_dictionaries({}, optional={"queue": SCALARS, "prefetch": SCALARS}),
            "adapters": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "type": st.sampled_from(["copy", "tuned", "tuend", 1]),
                        "config": DOCUMENTS,
                        "condition": st.dictionaries(KEYS, SCALARS),
                    },
                ),
                max_size=2,
            ),
            "outbound": st.fixed_dictionaries(
                {"stage": st.sampled_from(["s", "s/t", "u", "input"])},
                optional={"to": st.lists(st.sampled_from(["a", "b", "c", "x"]), max_size=3)},
            ),
            "external": st.booleans(),
            "on_replay": st.sampled_from(["run", "skip", "refuse", "never", 1]),
        },
    ),
)


def check(source: bytes | str) -> None:
    parsed = parse(source, adapters=ADAPTERS)
    for fault in parsed.diagnostics:
        assert 1 <= fault.line <= len(parsed.source.splitlines()) + 1
        assert fault.column >= 1
        assert fault.code in CODES
        assert fault.message
    assert [(f.line, f.column) for f in parsed.diagnostics] == sorted(
        (f.line, f.column) for f in parsed.diagnostics
    )
    failed = any(fault.severity == "error" for fault in parsed.diagnostics)
    assert (parsed.config is None) == failed
    json.dumps([fault.message for fault in parsed.diagnostics]).encode()
    if parsed.config:
        kept = json.loads(json.dumps(parsed.config.document(), allow_nan=False))
        declared = {name: (route.on_replay, route.effects) for name, route in parsed.config.routes.items()}
        assert Config.from_document(kept).with_effects(declared) == parsed.config
        assert parsed.digest


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_and_any_text_are_parsed_or_refused(source):
    check(source)


@given(st.text(alphabet="abx:-,[]{}&*!|>'\"#%@?<~.0159_ \n\t", max_size=120))
def test_text_that_resembles_yaml_is_parsed_or_refused(source):
    check(source)


@given(DOCUMENTS)
def test_any_document_with_words_of_a_config_is_parsed_or_refused(document):
    check(json.dumps(document))


@given(ROUTES, SCALARS)
def test_routes_of_all_kinds_are_parsed_or_refused(routes, entry):
    check(json.dumps({"version": "1.0", "name": "docs", "entry": entry, "routes": routes}))


@given(st.integers(0, len(GOOD)), st.integers(0, 8), st.text(alphabet="ab:-[]{}&*!'\"#<~.0 \n\t", max_size=4))
def test_a_valid_config_with_one_wrong_value_is_parsed_or_refused(at, cut, put):
    check(GOOD[:at] + put + GOOD[at + cut :])


@given(st.data())
def test_a_valid_config_with_changed_moved_or_missing_values_is_parsed_or_refused(data):
    document = yaml.safe_load(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        places = list(_places(document))
        inside, at = data.draw(st.sampled_from(places))
        match data.draw(st.sampled_from(["change", "move", "drop", "rename"])):
            case "change":
                inside[at] = data.draw(DOCUMENTS)
            case "move":  # also into itself, which the text shows as an alias that goes in a circle
                other, there = data.draw(st.sampled_from(places))
                inside[at] = other[there]
            case "drop":
                del inside[at]
            case "rename" if isinstance(inside, dict):
                inside[data.draw(KEYS)] = inside.pop(at)
        if not document:
            break
    check(yaml.safe_dump(document, allow_unicode=data.draw(st.booleans()), sort_keys=False))


def _places(inside: Any, seen: tuple[int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Every (mapping or list, key in it) of a document, which may hold itself."""
    if id(inside) in seen or not isinstance(inside, dict | list):
        return
    for at in inside if isinstance(inside, dict) else range(len(inside)):
        yield inside, at
        yield from _places(inside[at], (*seen, id(inside)))


def test_the_config_before_the_changes_is_valid():
    assert parse(GOOD, adapters=ADAPTERS).config is not None
