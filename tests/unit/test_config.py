"""Configs that are right: every field reaches the model, with the defaults the interface names."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from playhead import Item, adapter
from playhead.config import parse
from playhead.model import Condition, Config, ErrorHandling, Route, Step
from playhead.ports.adapter import AdapterSpec, spec_of
from playhead.ports.config import Parsed


class Inner(BaseModel):
    model_config = ConfigDict(extra="allow")
    size: int = 1


class Tuned(BaseModel):
    model_config = ConfigDict(extra="allow")
    level: int = Field(ge=1)
    label: str = Field("", validation_alias=AliasChoices("label", "name"))
    inner: list[Inner] = []


@adapter("copy")
def copy(item: Item): ...


@adapter("tuned")
def tuned(item: Item, config: Tuned): ...


def specs(*adapters: Any) -> dict[str, AdapterSpec]:
    return {spec.name: spec for one in adapters if (spec := spec_of(one))}


ADAPTERS = specs(copy, tuned)

SMALL = """\
version: "1.0"
name: docs
entry: convert
routes:
  convert:
    adapters: [{type: copy}]
"""
SMALL_DOCUMENT = {
    "routes": {"convert": {"adapters": [{"type": "copy"}]}},
    "entry": "convert",
    "name": "docs",
    "version": "1.0",
}


def read(source: bytes | str, **more: Any) -> Parsed:
    return parse(source, adapters=ADAPTERS, **more)


def config(source: str, **more: Any) -> Config:
    parsed = read(source, **more)
    assert parsed.config is not None, parsed.diagnostics
    return parsed.config


def route(body: str, top: str = "") -> Route:
    """The route `r` of a config; its body in flow style, without its braces."""
    return config(f'version: "1.0"\nname: docs\nentry: r\n{top}\nroutes:\n  r: {{{body}}}\n').routes["r"]


def test_omitted_keys_have_their_documented_defaults():
    assert config(SMALL) == Config(
        name="docs",
        entry="convert",
        description="",
        routes={
            "convert": Route(
                name="convert",
                queue="docs.convert",
                steps=(Step("copy", {}, None),),
                stage=None,
                to=(),
                concurrency=4,
                prefetch=None,
                timeout_seconds=300,
                external=False,
                errors=ErrorHandling(
                    max_attempts=5, retry_delay_seconds=2, backoff=2.0, max_delay_seconds=300
                ),
                description="",
                on_replay=None,
                effects="none",
            )
        },
    )


def test_every_field_reaches_the_model():
    parsed = read("""\
version: "1.0"
name: docs
description: All of it
entry: convert
error_handling: {max_attempts: 3, retry_delay_seconds: 0.5, backoff: 1.5, max_delay_seconds: 60}
routes:
  convert:
    description: First
    inbound: {queue: Q.convert, concurrency: 2, prefetch: 64}
    timeout_seconds: 1.5
    adapters:
      - type: tuned
        config: {level: 2, inner: [{size: 3}]}
        condition: {field: attributes.a.b, operator: in, value: [1, two], otherwise: drop}
      - type: copy
    outbound: {stage: boost/compacted, to: [other, away]}
    on_replay: refuse
    error_handling: {max_attempts: 9}
  other:
    adapters: [{type: copy, condition: {field: size, operator: gt, value: 10}}]
  away: {external: true, inbound: {queue: others}}
""")
    assert parsed.diagnostics == ()
    overruled = ErrorHandling(9, 0.5, 1.5, 60)
    base = ErrorHandling(3, 0.5, 1.5, 60)
    assert parsed.config == Config(
        name="docs",
        entry="convert",
        description="All of it",
        routes={
            "convert": Route(
                name="convert",
                queue="Q.convert",
                steps=(
                    Step(
                        "tuned",
                        {"level": 2, "inner": [{"size": 3}]},
                        Condition("attributes.a.b", "in", [1, "two"], "drop"),
                    ),
                    Step("copy"),
                ),
                stage="boost/compacted",
                to=("other", "away"),
                concurrency=2,
                prefetch=64,
                timeout_seconds=1.5,
                errors=overruled,
                description="First",
                on_replay="refuse",
                effects="none",
            ),
            "other": Route(
                name="other",
                queue="docs.other",
                steps=(Step("copy", {}, Condition("size", "gt", 10, "pass")),),
                errors=base,
                effects="none",
            ),
            "away": Route(name="away", queue="others", external=True, errors=base, effects="external"),
        },
    )


def test_a_config_is_unchanged_after_encoding_as_json():
    one = config(SMALL.replace("type: copy", "type: tuned, config: {level: 1}"))
    assert as_stored(one) == one


def as_stored(one: Config) -> Config:
    """Return a config as the catalog reads it: a document, and what its lanes have."""
    stored = Config.from_document(json.loads(json.dumps(one.document())))
    return stored.with_effects({name: (route.on_replay, route.effects) for name, route in one.routes.items()})


def test_a_route_overrides_single_fields_of_error_handling():
    one = route("adapters: [{type: copy}], error_handling: {backoff: 3}", "error_handling: {max_attempts: 7}")
    assert one.errors == ErrorHandling(max_attempts=7, backoff=3)


def test_prefetch_below_concurrency_is_raised_to_concurrency():
    assert route("adapters: [{type: copy}], inbound: {concurrency: 8, prefetch: 2}").prefetch == 8


def test_a_condition_without_operator_tests_for_equality():
    one = route("adapters: [{type: copy, condition: {field: stage, value: input}}]")
    assert one.steps[0].condition == Condition("stage", "equals", "input", "pass")


@pytest.mark.parametrize("value", ["", ", value: false"])
def test_exists_needs_no_value(value):
    one = route(f"adapters: [{{type: copy, condition: {{field: attributes.x, operator: exists{value}}}}}]")
    assert one.steps[0].condition == Condition("attributes.x", "exists", False if value else None)


@pytest.mark.parametrize("limit", [1, 1024])
def test_both_ends_of_a_range_are_allowed(limit):
    assert route(f"adapters: [{{type: copy}}], inbound: {{concurrency: {limit}}}").concurrency == limit


def test_a_step_keeps_its_config_as_written_without_the_defaults_of_the_model():
    one = route("adapters: [{type: tuned, config: {level: '3', name: x}}]")
    assert one.steps[0].config == {"level": "3", "name": "x"}


def test_a_queue_that_no_other_config_uses_is_free():
    assert config(SMALL, taken={"docs.convert": ("docs", "convert"), "other": ("another", "r")})


def test_a_diamond_is_not_a_cycle():
    config("""\
version: "1.0"
name: docs
entry: a
routes:
  a: {adapters: [{type: copy}], outbound: {stage: sa, to: [b, c]}}
  b: {adapters: [{type: copy}], outbound: {stage: sb, to: [d]}}
  c: {adapters: [{type: copy}], outbound: {stage: sc, to: [d]}}
  d: {adapters: [{type: copy}]}
""")


def test_stages_with_a_common_text_prefix_are_not_nested():
    one = config("""\
version: "1.0"
name: docs
entry: a
routes:
  a: {adapters: [{type: copy}], outbound: {stage: boost, to: [b]}}
  b: {adapters: [{type: copy}], outbound: {stage: boost2/x, to: [c]}}
  c: {adapters: [{type: copy}], outbound: {stage: inputs}}
""")
    assert one.stages == ("boost", "boost2/x", "inputs")


# -- the source ------------------------------------------------------------------------------------


def test_the_hash_is_computed_from_the_document_without_defaults():
    document = SMALL_DOCUMENT | {"description": "für alle"}
    source = SMALL + "description: für alle\n"
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert read(source).digest == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_the_hash_depends_on_values_and_not_on_notation():
    plain = read(SMALL).digest
    assert read(f"# a comment\n{SMALL}").digest == plain
    assert read(json.dumps(SMALL_DOCUMENT)).digest == plain
    assert read(SMALL + "    on_replay: skip\n").digest == plain
    assert read(SMALL + "description: ''\n").digest != plain


def test_bytes_and_text_are_equivalent_with_or_without_a_byte_order_mark():
    text = SMALL + "description: Größe\n"
    parsed = [read(text), read(text.encode()), read("\ufeff" + text), read(b"\xef\xbb\xbf" + text.encode())]
    assert len({(one.digest, one.source) for one in parsed}) == 1
    assert {one.source for one in parsed} == {text}


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        *[
            (word, word)
            for word in ("on", "yes", "NO", "Off", "y", "2026-01-02", "1_000", "1:30", "0b1", "=")
        ],
        *[("true", True), ("False", False), ("null", None), ("~", None), ("''", "")],
        *[("012", 12), ("0o17", 15), ("0x1f", 31), ("-7", -7), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0)],
        *[("! 12", "12"), ("!!str 12", "12"), ("!!float 1", 1.0), ("!!int 0x10", 16), ("'true'", "true")],
    ],
)
def test_scalars_follow_yaml_1_2(scalar, value):
    one = route(f"adapters: [{{type: copy, condition: {{field: attributes.x, value: {scalar}}}}}]")
    assert one.steps[0].condition is not None
    found = one.steps[0].condition.value
    assert (found, type(found)) == (value, type(value))


def test_keys_follow_yaml_1_2_too():
    source = SMALL.replace("convert", "on")
    assert list(config(source).routes) == ["on"]


def test_an_alias_is_replaced_by_its_anchor():
    one = config("""\
version: "1.0"
name: docs
entry: a
routes:
  a:
    adapters: &steps [{type: tuned, config: &tuning {level: 4}}]
    outbound: {stage: sa, to: [b]}
  b: {adapters: *steps, outbound: {stage: sb, to: [c]}}
  c: {adapters: [{type: tuned, config: *tuning}]}
""")
    assert [r.steps[0].config for r in one.routes.values()] == [{"level": 4}] * 3
