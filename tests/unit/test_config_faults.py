"""Invalid configs: each code, with its position and its suggestion.

In a source here `¤` stands just before the place that the fault must name.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from playhead import Item, adapter
from playhead.config import CODES, parse
from playhead.model import Config, Diagnostic
from playhead.ports.adapter import AdapterSpec, spec_of
from playhead.ports.webhook import check_webhook

NO_WEBHOOKS = partial(check_webhook, None)


class Inner(BaseModel):
    model_config = ConfigDict(extra="allow")
    size: int = 1


class Tuned(BaseModel):
    model_config = ConfigDict(extra="allow")
    level: int = Field(ge=1)
    mode: Literal["fast", "slow"] = "fast"
    inner: list[Inner] = []
    either: Inner | list[int] = []
    api_key: SecretStr | None = None

    @field_validator("level", mode="before")
    @classmethod
    def breaks(cls, value: Any) -> Any:
        return {"seven": 7}[value] if isinstance(value, str) else value


@adapter("copy")
def copy(item: Item): ...


@adapter("tuned")
def tuned(item: Item, config: Tuned): ...


@adapter("send", effects="external")
def send(item: Item): ...


@adapter("maps")
def maps(item: Item) -> dict[str, int]:
    return {}


@adapter("says")
def says(item: Item) -> str | bytes:
    return ""


@adapter("lists", batch=2)
def lists(items: Sequence[Item]) -> list[str | None]:
    return []


ADAPTERS: dict[str, AdapterSpec] = {
    spec.name: spec for one in (copy, tuned, send, maps, says, lists) if (spec := spec_of(one)) is not None
}

HEAD = 'version: "1.0"\nname: docs\nentry: r\n'
STEPS = "adapters: [{type: copy}]"


def faults(source: bytes | str, **more: Any) -> tuple[Diagnostic, ...]:
    return parse(source, adapters=ADAPTERS, check_webhook=NO_WEBHOOKS, **more).diagnostics


def codes(source: bytes | str, **more: Any) -> list[str]:
    return [fault.code for fault in faults(source, **more)]


def place(source: str) -> tuple[str, int, int]:
    """A source without its mark, and the line and column of the mark."""
    before, mark, _ = source.partition("¤")
    assert mark, "no ¤ in the source"
    return source.replace("¤", ""), before.count("\n") + 1, len(before) - before.rfind("\n")


def routes(*bodies: str) -> str:
    """A config whose first route is `r`; bodies as `name: {…}`."""
    return HEAD + "routes:\n" + "".join(f"  {body}\n" for body in bodies)


def r(body: str) -> str:
    return routes(f"r: {{{body}}}")


def step(body: str) -> str:
    return r(f"adapters: [{{{body}}}]")


def condition(body: str) -> str:
    return step(f"type: copy, condition: {{{body}}}")


def kept(retention: str) -> str:
    """A config with a retention and the stage `s`."""
    return r(STEPS + ", outbound: {stage: s}").replace("routes:", f"{retention}\nroutes:")


STEP = "routes.r.adapters.0"
CASES: list[tuple[str, str, str, str | None]] = [
    # -- keys, types, ranges
    ("E101", HEAD + "¤rotues: 1\nroutes:\n  r: {adapters: [{type: copy}]}\n", "rotues", "routes"),
    ("E101", r(STEPS + ", ¤timeout_second: 1"), "routes.r.timeout_second", "timeout_seconds"),
    ("E101", r(STEPS + ", ¤queue: q"), "routes.r.queue", "inbound.queue"),
    ("E101", r(STEPS + ", inbound: {¤Queue: q}"), "routes.r.inbound.Queue", "queue"),
    ("E101", r(STEPS + ", outbound: {stage: s, ¤zzz: 1}"), "routes.r.outbound.zzz", None),
    ("E101", step("type: copy, ¤conf: {}"), f"{STEP}.conf", "config"),
    (
        "E101",
        condition("field: path, value: x, ¤otherwize: drop"),
        f"{STEP}.condition.otherwize",
        "otherwise",
    ),
    (
        "E101",
        HEAD + f"error_handling: {{¤retries: 1}}\nroutes:\n  r: {{{STEPS}}}\n",
        "error_handling.retries",
        None,
    ),
    ("E102", f"¤name: docs\nentry: r\nroutes: {{r: {{{STEPS}}}}}\n", "version", "version: …"),
    ("E102", routes("¤r: {}"), "routes.r.adapters", "adapters: [{type: …}]"),
    ("E102", r(STEPS + ", ¤outbound: {to: []}"), "routes.r.outbound.stage", "stage: …"),
    ("E102", r("adapters: [¤{config: {}}]"), f"{STEP}.type", "type: …"),
    ("E102", step("type: copy, ¤condition: {value: x}"), f"{STEP}.condition.field", "field: …"),
    ("E102", step("type: copy, ¤condition: {field: path}"), f"{STEP}.condition.value", "value: …"),
    ("E103", f"version: ¤1.0\nname: docs\nentry: r\nroutes: {{r: {{{STEPS}}}}}\n", "version", '"1.0"'),
    ("E103", f'version: "1.0"\nname: ¤12\nentry: r\nroutes: {{r: {{{STEPS}}}}}\n', "name", '"12"'),
    ("E103", HEAD + "routes: ¤[]\n", "routes", None),
    (
        "E103",
        HEAD + f"description: ¤~\nroutes: {{r: {{{STEPS}}}}}\n",
        "description",
        None,
    ),
    ("E103", r("adapters: ¤copy"), "routes.r.adapters", "[{type: copy}]"),
    ("E103", r("adapters: [¤copy]"), STEP, "type: copy"),
    ("E103", r(STEPS + ", external: ¤yes"), "routes.r.external", "true"),
    ("E103", r(STEPS + ', timeout_seconds: ¤"30"'), "routes.r.timeout_seconds", "30"),
    ("E103", r(STEPS + ", timeout_seconds: ¤true"), "routes.r.timeout_seconds", None),
    ("E103", r(STEPS + ", inbound: {concurrency: ¤4.0}"), "routes.r.inbound.concurrency", "4"),
    ("E103", r(STEPS + ", outbound: {stage: s, to: ¤x}"), "routes.r.outbound.to", "[x]"),
    ("E103", step("type: copy, config: ¤"), f"{STEP}.config", None),
    ("E103", condition("field: path, operator: in, value: ¤x"), f"{STEP}.condition.value", "[x]"),
    ("E103", condition("field: path, operator: exists, value: ¤on"), f"{STEP}.condition.value", "true"),
    ("E103", condition('field: size, operator: gt, value: ¤"10"'), f"{STEP}.condition.value", "10"),
    ("E103", condition("field: path, operator: lt, value: ¤10"), f"{STEP}.condition.value", '"10"'),
    ("E103", condition("field: attributes.x, operator: lte, value: ¤true"), f"{STEP}.condition.value", None),
    ("E103", condition("field: path, operator: matches, value: ¤7"), f"{STEP}.condition.value", '"7"'),
    ("E103", "¤just text", "", None),
    ("E103", "¤# nothing", "", 'version: "1.0"'),
    ("E103", routes("¤1: {}", f"r: {{{STEPS}}}"), "routes", '"1"'),
    ("E103", routes("¤<<: {}", f"r: {{{STEPS}}}"), "routes.<<", None),
    (
        "E103",
        step("type: tuned, config: {level: 1, inner: ¤.nan}"),
        f"{STEP}.config.inner",
        None,
    ),
    ("E103", r(STEPS + ", description: ¤!secret x"), "routes.r.description", None),
    ("E103", r(STEPS + ", description: ¤!!int x"), "routes.r.description", None),
    ("E103", r("adapters: ¤!!set [{type: copy}]"), "routes.r.adapters", None),
    ("E104", f'version: ¤"2"\nname: docs\nentry: r\nroutes: {{r: {{{STEPS}}}}}\n', "version", '"1.0"'),
    ("E104", f'version: "1.0"\nname: ¤My Docs\nentry: r\nroutes: {{r: {{{STEPS}}}}}\n', "name", "my-docs"),
    ("E104", HEAD + "routes: ¤{}\n", "routes", None),
    (
        "E104",
        routes(f"r: {{{STEPS}, outbound: {{stage: s, to: [Two]}}}}", f"¤Two: {{{STEPS}}}"),
        "routes.Two",
        "two",
    ),
    ("E104", r("adapters: ¤[]"), "routes.r.adapters", "adapters: [{type: …}]"),
    ("E104", r(STEPS + ", inbound: {queue: ¤a b}"), "routes.r.inbound.queue", "a-b"),
    ("E104", r(STEPS + ", inbound: {concurrency: ¤0}"), "routes.r.inbound.concurrency", "1"),
    ("E104", r(STEPS + ", inbound: {concurrency: ¤1025}"), "routes.r.inbound.concurrency", "1024"),
    ("E104", r(STEPS + ", inbound: {prefetch: ¤-1}"), "routes.r.inbound.prefetch", "1"),
    ("E104", r(STEPS + ", timeout_seconds: ¤0"), "routes.r.timeout_seconds", None),
    (
        "E104",
        r(STEPS + ", error_handling: {max_attempts: ¤101}"),
        "routes.r.error_handling.max_attempts",
        "100",
    ),
    ("E104", r(STEPS + ", error_handling: {backoff: ¤0.5}"), "routes.r.error_handling.backoff", "1"),
    (
        "E104",
        r(STEPS + ", error_handling: {retry_delay_seconds: ¤86401}"),
        "routes.r.error_handling.retry_delay_seconds",
        "86400",
    ),
    (
        "E104",
        r(STEPS + ", error_handling: {max_delay_seconds: ¤-1}"),
        "routes.r.error_handling.max_delay_seconds",
        "0",
    ),
    ("E104", r(STEPS + ", outbound: {stage: ¤a//b}"), "routes.r.outbound.stage", "a/b"),
    ("E104", r(STEPS + ", outbound: {stage: ¤a b}"), "routes.r.outbound.stage", "a_b"),
    ("E104", r(STEPS + ", outbound: {stage: ¤a/_b}"), "routes.r.outbound.stage", "a/b"),
    ("E104", r(STEPS + ", outbound: {stage: ¤x.META.json}"), "routes.r.outbound.stage", None),
    ("E104", r(STEPS + f", outbound: {{stage: ¤{'s' * 201}}}"), "routes.r.outbound.stage", None),
    ("E104", r(STEPS + f", outbound: {{stage: ¤{'stage/' * 120}x}}"), "routes.r.outbound.stage", None),
    ("E104", condition("field: ¤sise, value: 1"), f"{STEP}.condition.field", "size"),
    ("E104", condition("field: ¤attributes., value: 1"), f"{STEP}.condition.field", "attributes.<name>"),
    ("E104", condition("field: ¤attribute.a, value: 1"), f"{STEP}.condition.field", "attributes.a"),
    ("E104", condition("field: path, operator: ¤equal, value: 1"), f"{STEP}.condition.operator", "equals"),
    ("E104", condition("field: path, value: 1, otherwise: ¤drops"), f"{STEP}.condition.otherwise", "drop"),
    ("E104", condition("field: size, value: ¤1e999"), f"{STEP}.condition.value", None),
    ("E104", condition(f"field: size, value: ¤{'9' * 5000}"), f"{STEP}.condition.value", None),
    # -- adapters
    ("E201", step("type: ¤coppy"), f"{STEP}.type", "copy"),
    ("E201", step("type: ¤html_to_markdown"), f"{STEP}.type", None),
    ("E203", step("type: tuned, ¤config: {}"), f"{STEP}.config.level", "level: …"),
    ("E203", step("type: ¤tuned"), f"{STEP}.config.level", "level: …"),
    ("E204", step("type: tuned, config: {level: 1, ¤mod: slow}"), f"{STEP}.config.mod", "mode"),
    ("E204", step("type: copy, config: {¤level: 1}"), f"{STEP}.config.level", None),
    (
        "E204",
        step("type: tuned, config: {level: 1, inner: [{size: 1}, {¤sise: 1}]}"),
        f"{STEP}.config.inner.1.sise",
        None,
    ),
    ("E205", step("type: tuned, config: {level: ¤0}"), f"{STEP}.config.level", None),
    ("E205", step("type: tuned, config: {level: 1, mode: ¤slo}"), f"{STEP}.config.mode", "slow"),
    (
        "E205",
        step("type: tuned, config: {level: 1, inner: [{size: ¤x}]}"),
        f"{STEP}.config.inner.0.size",
        None,
    ),
    ("E205", step("type: tuned, config: ¤{level: eight}"), f"{STEP}.config", None),
    (
        "E206",
        step("type: tuned, config: {level: 1, mode: ¤'${MODE}'}"),
        f"{STEP}.config.mode",
        "${env:MODE}",
    ),
    (
        "E206",
        step("type: tuned, config: {level: 1, inner: [{size: ¤'${file:/run/../x}'}]}"),
        f"{STEP}.config.inner.0.size",
        None,
    ),
    (
        "E207",
        step("type: tuned, config: {level: 1, api_key: ¤sk-1}"),
        f"{STEP}.config.api_key",
        "${env:API_KEY}",
    ),
    (
        "E207",
        step("type: tuned, config: {level: 1, api_key: ¤12}"),
        f"{STEP}.config.api_key",
        "${env:API_KEY}",
    ),
    # -- between routes
    (
        "E301",
        f'version: "1.0"\nname: docs\nentry: ¤rr\nroutes: {{r: {{{STEPS}}}}}\n',
        "entry",
        "r",
    ),
    (
        "E302",
        routes(f"r: {{{STEPS}, outbound: {{stage: s, to: [two, ¤too]}}}}", f"two: {{{STEPS}}}"),
        "routes.r.outbound.to.1",
        "two",
    ),
    ("E303", r(STEPS + ", outbound: {stage: s, to: [¤r]}"), "routes.r.outbound.to.0", None),
    (
        "E303",
        routes(
            f"r: {{{STEPS}, outbound: {{stage: s, to: [two]}}}}",
            f"two: {{{STEPS}, outbound: {{stage: t, to: [¤r]}}}}",
        ),
        "routes.two.outbound.to.0",
        None,
    ),
    (
        "E304",
        routes(
            f"r: {{{STEPS}, outbound: {{stage: s, to: [two]}}}}",
            f"two: {{{STEPS}, outbound: {{stage: ¤s}}}}",
        ),
        "routes.two.outbound.stage",
        "s_two",
    ),
    (
        "E305",
        routes(
            f"r: {{{STEPS}, outbound: {{stage: ¤s/t/u, to: [two]}}}}",
            f"two: {{{STEPS}, outbound: {{stage: s}}}}",
        ),
        "routes.r.outbound.stage",
        "s_t_u",
    ),
    ("E306", r(STEPS + ", outbound: {stage: ¤input}"), "routes.r.outbound.stage", "inputs"),
    ("E306", r(STEPS + ", outbound: {stage: ¤input/more}"), "routes.r.outbound.stage", None),
    ("E306", r(STEPS + ", outbound: {stage: ¤_mine}"), "routes.r.outbound.stage", "mine"),
    (
        "E307",
        routes(
            f"r: {{{STEPS}, inbound: {{queue: q}}, outbound: {{stage: s, to: [two]}}}}",
            f"two: {{{STEPS}, inbound: {{queue: ¤q}}}}",
        ),
        "routes.two.inbound.queue",
        "docs.two",
    ),
    (
        "E307",
        routes(
            f"r: {{{STEPS}, inbound: {{queue: docs.two}}, outbound: {{stage: s, to: [two]}}}}",
            f"¤two: {{{STEPS}}}",
        ),
        "routes.two",
        None,
    ),
    (
        "E308",
        condition('field: path, operator: matches, value: ¤"*.md"'),
        f"{STEP}.condition.value",
        r".*\.md",
    ),
    ("E308", condition('field: path, operator: matches, value: ¤"a(b"'), f"{STEP}.condition.value", None),
    (
        "E308",
        condition(f"field: path, operator: matches, value: ¤{'a' * 201}"),
        f"{STEP}.condition.value",
        None,
    ),
    (
        "E308",
        condition('field: path, operator: matches, value: ¤"a{1001}"'),
        f"{STEP}.condition.value",
        None,
    ),
    (
        "E309",
        routes(f"r: {{{STEPS}, outbound: {{stage: s, to: [two, ¤two]}}}}", f"two: {{{STEPS}}}"),
        "routes.r.outbound.to.1",
        None,
    ),
    ("E208", r("adapters: [¤{type: maps}]"), STEP, None),
    ("E312", r("adapters: [¤{type: says}]"), STEP, "outbound: {stage: …}"),
    ("E310", r("external: true, ¤adapters: [{type: copy}]"), "routes.r.adapters", None),
    ("E310", r("external: true, ¤outbound: {stage: s}"), "routes.r.outbound", None),
    ("E310", r("external: true, ¤rate_limit: {calls: 1, seconds: 1}"), "routes.r.rate_limit", None),
    ("E102", r(STEPS + ", ¤rate_limit: {calls: 1}"), "routes.r.rate_limit.seconds", "seconds: …"),
    ("E104", r(STEPS + ", rate_limit: {calls: 1, seconds: ¤0}"), "routes.r.rate_limit.seconds", None),
    (
        "E104",
        r(STEPS + ", rate_limit: {calls: 1, seconds: 1, key: ¤Open AI}"),
        "routes.r.rate_limit.key",
        "open-ai",
    ),
    (
        "E311",
        r(
            "rate_limit: {calls: 1, seconds: 1, key: k}, "
            "adapters: [{type: copy, ¤rate_limit: {calls: 2, seconds: 1, key: k}}]"
        ),
        f"{STEP}.rate_limit",
        None,
    ),
    (
        "E102",
        kept("retention: {keep_last: 1}").replace("retention", "¤retention", 1),
        "retention.keep_days",
        "keep_days: …",
    ),
    ("E104", r(STEPS + ", on_replay: ¤Skip"), "routes.r.on_replay", "skip"),
    ("E103", r(STEPS + ", on_replay: ¤false"), "routes.r.on_replay", '"false"'),
    ("E104", kept("retention: {keep_days: ¤0}"), "retention.keep_days", None),
    ("E104", kept("retention: {keep_days: 1, keep_last: ¤-1}"), "retention.keep_last", "0"),
    ("E104", kept("retention: {keep_days: 1, stages: ¤[]}"), "retention.stages", None),
    ("E103", kept("retention: {keep_days: 1, stages: ¤s}"), "retention.stages", "[s]"),
    ("E103", kept("retention: {keep_days: 1, records: ¤90}"), "retention.records", "90 days"),
    ("E103", kept("retention: {keep_days: 1, records: ¤90d}"), "retention.records", None),
    ("E104", kept("retention: {keep_days: 1, records: ¤0 days}"), "retention.records", None),
    ("E314", kept("retention: {keep_days: 1, stages: [s], records: ¤90 days}"), "retention.records", None),
    ("E313", kept("retention: {keep_days: 1, stages: [s, input, ¤inputs]}"), "retention.stages.2", "input"),
    ("E315", kept("datasets: {d: {routes: [¤t]}}"), "datasets.d.routes.0", None),
    ("E315", kept("datasets: {d: {routes: [r]}, e: {routes: [¤r]}}"), "datasets.e.routes.0", None),
    ("E315", kept("datasets: {d: {}, e: ¤{}}"), "datasets.e", None),
    ("E104", kept("datasets: {¤D: {}}"), "datasets.D", "d"),
    ("E104", kept("datasets: {d: {routes: ¤[]}}"), "datasets.d.routes", None),
    ("E104", kept("datasets: {d: {publish: ¤automaticc}}"), "datasets.d.publish", "automatic"),
    ("E104", kept("datasets: {d: {webhook: ¤hooks.example}}"), "datasets.d.webhook", None),
    ("E103", kept("datasets: {d: {webhook: ¤1}}"), "datasets.d.webhook", '"1"'),
    ("E316", kept('datasets: {d: {webhook: ¤"https://evil.example/"}}'), "datasets.d.webhook", None),
    ("E104", kept("datasets: {d: {max_failed: ¤1.5}}"), "datasets.d.max_failed", "1"),
    ("E104", kept("datasets: {d: {max_removed: ¤2}}"), "datasets.d.max_removed", "1"),
    ("E101", kept("datasets: {d: {¤keeps: 2}}"), "datasets.d.keeps", "keep"),
    ("E103", kept("datasets: ¤[d]"), "datasets", None),
    # -- warnings
    (
        "W107",
        r(STEPS).replace("routes:", "datasets: {d: {routes: [¤r]}}\nroutes:"),
        "datasets.d.routes.0",
        None,
    ),
    (
        "W108",
        kept("datasets: {¤d: {publish: automatic, max_removed: 1}}"),
        "datasets.d",
        "max_removed: 0.2",
    ),
    ("W101", routes(f"r: {{{STEPS}}}", f"¤alone: {{{STEPS}}}"), "routes.alone", None),
    ("W102", r(STEPS + ", inbound: {prefetch: ¤3}"), "routes.r.inbound.prefetch", "4"),
    ("W103", r("adapters: [¤{type: send}], on_replay: run"), STEP, "error_handling: {max_attempts: 1}"),
    ("W105", step("type: tuned, config: {level: ¤'${env:LEVEL}'}"), f"{STEP}.config.level", None),
    (
        "W106",
        routes("¤r: {adapters: [{type: send}, {type: send}], error_handling: {max_attempts: 1}}"),
        "routes.r",
        "on_replay: skip",
    ),
    # -- no document at all
    ("E001", "name: [docs¤", "", None),
    ("E001", "name: 'docs¤", "", None),
    ("E001", "name: docs\n¤\tentry: r", "", None),
    ("E001", "name: a¤: b", "", None),
    ("E001", "name: ¤\x07", "", None),
    ("E001", "name: ¤*nobody", "", None),
    ("E001", "name: docs\n¤---\nname: docs\n", "", None),
    ("E002", "name: a\nentry: r\n¤name: b\n", "name", None),
    ("E002", 'routes:\n  r: {}\n  ¤"r": {}\n', "routes.r", None),
    ("E003", "[" * 100 + "¤[" + "]" * 101, "", None),
    ("E003", "name: &x [¤*x]", "", None),
    ("E003", "name: &x {a: {b: ¤*x}}", "", None),
]


@pytest.mark.parametrize(("code", "source", "path", "suggestion"), CASES)
def test_a_fault_has_its_code_position_and_suggestion_and_causes_no_others(code, source, path, suggestion):
    text, line, column = place(source)
    severity = "warning" if code.startswith("W") else "error"
    parsed = parse(text, adapters=ADAPTERS, check_webhook=NO_WEBHOOKS)
    assert [(f.code, f.path, f.line, f.column, f.suggestion, f.severity) for f in parsed.diagnostics] == [
        (code, path, line, column, suggestion, severity)
    ]
    assert parsed.diagnostics[0].message
    assert (parsed.config is None) == (severity == "error")


def test_an_adapter_that_the_operator_does_not_allow_is_a_fault():
    source, line, column = place(step("type: ¤copy"))
    (fault,) = faults(source, allowed=("tuned",))
    assert (fault.code, fault.path, fault.line, fault.column) == ("E202", f"{STEP}.type", line, column)
    assert codes(source, allowed=("copy",)) == []
    assert codes(source, allowed=()) == ["E202"]


def test_an_adapter_that_is_not_allowed_is_not_suggested():
    (fault,) = faults(step("type: coppy"), allowed=("tuned",))
    assert (fault.code, fault.suggestion) == ("E201", None)


def test_a_queue_of_another_active_config_is_a_fault():
    source, line, column = place(r(STEPS + ", inbound: {queue: ¤q}"))
    (fault,) = faults(source, taken={"q": ("blog", "publish")})
    assert (fault.code, fault.path, fault.line, fault.column) == (
        "E307",
        "routes.r.inbound.queue",
        line,
        column,
    )
    assert fault.suggestion == "docs.r"
    assert "'publish' of the active config 'blog'" in fault.message


def test_a_stage_or_route_that_a_new_version_removes_is_a_warning():
    before = parse(
        routes(
            f"r: {{{STEPS}, outbound: {{stage: s, to: [two]}}}}",
            f"two: {{{STEPS}, outbound: {{stage: t}}}}",
        ),
        adapters=ADAPTERS,
    ).config
    source, line, _ = place(HEAD + f"¤routes:\n  r: {{{STEPS}, outbound: {{stage: new}}}}\n")
    found = faults(source, previous=before)
    assert [(f.code, f.severity, f.path, f.line) for f in found] == [
        ("W104", "warning", "routes.r.outbound.stage", line),
        ("W104", "warning", "routes.two", line),
        ("W104", "warning", "routes.two.outbound.stage", line),
    ]


def test_a_stage_that_moved_to_another_route_is_not_dropped():
    before = parse(r(STEPS + ", outbound: {stage: s}"), adapters=ADAPTERS).config
    after = HEAD.replace("entry: r", "entry: two") + f"routes: {{two: {{{STEPS}, outbound: {{stage: s}}}}}}\n"
    assert [fault.path for fault in faults(after, previous=before)] == ["routes.r"]


def test_another_config_is_not_compared_as_an_earlier_version():
    other = Config("blog", "x", {})
    assert codes(r(STEPS), previous=other) == []


def test_external_effects_with_a_single_attempt_and_a_rule_for_replays_cause_no_warning():
    assert codes(r("adapters: [{type: send}], error_handling: {max_attempts: 1}, on_replay: skip")) == []


def test_a_route_is_not_reported_as_unreachable_if_a_target_is_invalid():
    source = routes(f"r: {{{STEPS}, outbound: {{stage: s, to: [tow]}}}}", f"two: {{{STEPS}}}")
    assert codes(source) == ["E302"]


def test_an_invalid_target_does_not_hide_other_targets():
    source = routes(f"r: {{{STEPS}, outbound: {{stage: s, to: [7, tow]}}}}", f"two: {{{STEPS}}}")
    assert codes(source) == ["E103", "E302"]


def test_a_cycle_is_printed():
    (fault,) = faults(
        routes(
            f"r: {{{STEPS}, outbound: {{stage: a, to: [x]}}}}",
            f"x: {{{STEPS}, outbound: {{stage: b, to: [y]}}}}",
            f"y: {{{STEPS}, outbound: {{stage: c, to: [x]}}}}",
        )
    )
    assert fault.code == "E303"
    assert "x -> y -> x" in fault.message


def test_each_cycle_is_reported():
    source = routes(
        f"r: {{{STEPS}, outbound: {{stage: a, to: [x, r]}}}}",
        f"x: {{{STEPS}, outbound: {{stage: b, to: [r, x]}}}}",
    )
    assert codes(source) == ["E303"] * 3


def test_a_chain_of_routes_may_be_longer_than_the_stack_of_python():
    count = 1300
    assert count > sys.getrecursionlimit()
    flat = ", ".join(f"r{n}: {{outbound: {{to: [r{(n + 1) % count}]}}}}" for n in range(count))
    source = HEAD.replace("entry: r", "entry: r0") + f"routes: {{{flat}}}\n"
    assert codes(source).count("E303") == 1


def test_a_fault_in_an_alias_has_the_position_of_the_alias():
    source, line, column = place(
        HEAD.replace("docs", "&n docs") + f"routes:\n  r: {{{STEPS}, outbound: {{stage: s, to: [¤*n]}}}}\n"
    )
    assert [(f.code, f.line, f.column) for f in faults(source)] == [("E302", line, column)]


def test_a_union_reports_a_field_once():
    assert codes(step("type: tuned, config: {level: 1, either: {sise: 1}}")).count("E204") == 1


def test_all_faults_are_found_in_one_pass_and_sorted_by_line():
    source = """\
version: 1.0
name: Docs
entry: nowhere
bogus: 1
error_handling: {max_attempts: 0}
routes:
  a:
    inbound: {concurrency: 8, prefetch: 2}
    adapters:
      - type: coppy
      - type: tuned
        config: {level: 0, other: 1}
      - type: send
    outbound: {stage: input, to: [b, b, zzz]}
  b:
    adapters: [{type: copy}]
    outbound: {stage: s}
  c:
    inbound: {queue: 7}
    adapters: [{type: copy, condition: {field: path, operator: matches, value: "("}}]
    outbound: {stage: s/t}
  d: {external: true, adapters: [{type: copy}]}
"""
    found = faults(source)
    assert {f.code for f in found} == {
        *("E101", "E103", "E104", "E201", "E204", "E205", "E301", "E302"),
        *("E305", "E306", "E308", "E309", "E310", "W102", "W103", "W106"),
    }
    assert [(f.line, f.column) for f in found] == sorted((f.line, f.column) for f in found)


def test_a_fault_of_level_e0_stops_validation():
    found = faults("name: A B\nentry: x\nname: b\nname: c\nbogus: .nan\n")
    assert [(f.code, f.line) for f in found] == [("E002", 3), ("E002", 4)]


def test_every_code_has_a_test():
    elsewhere = {"E202", "W104"}
    assert {code for code, _, _, _ in CASES} | elsewhere == set(CODES)


# -- limits ----------------------------------------------------------------------------------------


def test_a_source_has_at_most_one_mebibyte():
    source = r(STEPS).encode()
    room = 1024 * 1024 - len(source)
    assert codes(source + b"#" * room) == []
    assert codes(source + b"#" * (room + 1)) == ["E003"]
    # In bytes, not in characters.
    assert codes(source.decode() + "#" + "ü" * (room // 2 + 1)) == ["E003"]


def test_bytes_that_are_not_utf_8_are_reported_with_their_position():
    (fault,) = faults(b"name: docs\nentry: ab\xff\n")
    assert (fault.code, fault.line, fault.column) == ("E003", 2, 10)
    assert codes("name: docs".encode("utf-16")) == ["E003"]
    (fault,) = faults("name: docs\nentry: \ud800\n")
    assert (fault.code, fault.line, fault.column) == ("E003", 2, 8)


def test_the_fault_for_invalid_utf_8_is_valid_text():
    for source in (b"a: \xff", "a: \ud800"):
        assert parse(source, adapters=ADAPTERS).source.encode()


def test_a_document_has_at_most_a_hundred_levels():
    assert "E003" not in codes("[" * 100 + "]" * 100)
    assert codes("[" * 101 + "]" * 101) == ["E003"]
    assert codes("[" * 5000) == ["E003"]
    assert codes("- " * 3000) == ["E003"]
    assert codes("{a: " * 500_000) == ["E003"]


def test_levels_are_counted_with_expanded_aliases():
    deep = "a: &x " + "[" * 60 + "]" * 60 + "\nb: " + "[" * 39 + "*x" + "]" * 39
    assert "E003" not in codes(deep)
    assert codes(deep.replace("b: [", "b: [[") + "]") == ["E003"]


def test_a_document_has_at_most_ten_thousand_nodes():
    def numbers(n: int) -> str:
        return "[" + "1," * n + "]"

    assert "E003" not in codes(numbers(9_999))
    assert codes(numbers(10_000)) == ["E003"]


def test_nodes_are_counted_with_expanded_aliases():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert codes(bomb) == ["E003"]


def test_aliases_cannot_multiply_a_long_text():
    assert codes("a: &a " + "x" * 500_000 + "\nb: [*a, *a, *a]\n") == ["E003"]


def test_the_patterns_of_a_config_compile_quickly():
    # Python's `re` took more than 400 s for 240 KB of such patterns.
    pattern = "(?i)" + "[!-\U0010ffff]" * 38
    step = "{{type: copy, condition: {{field: path, operator: matches, value: '{}'}}}}"
    steps = "".join(f"  r{n}: {{adapters: [{step.format(f'{pattern}{n}')}]}}\n" for n in range(600))
    before = time.process_time()
    found = faults(f'version: "1.0"\nname: n\nentry: r0\nroutes:\n{steps}')
    assert time.process_time() - before < 20
    assert [f.message for f in found if f.code == "E308"] == [
        "a config has at most 100 different regular expressions"
    ] * 500


def test_thousands_of_misspelt_names_are_reported_quickly():
    many = ", ".join(f"rout{n}: {{external: true}}" for n in range(2000))
    targets = ", ".join(f"ruot{n}" for n in range(1500))
    source = HEAD + f"routes: {{r: {{{STEPS}, outbound: {{stage: s, to: [{targets}]}}}}, {many}}}\n"
    assert codes(source).count("E302") == 1500


@pytest.mark.parametrize(
    "route",
    [
        r("adapters: [{type: says}], outbound: {stage: s}"),
        r("adapters: [{type: says}, {type: copy}]"),
        r("adapters: [{type: lists}]"),
        r("adapters: [{type: lists}], outbound: {stage: s}"),
    ],
)
def test_a_route_whose_last_step_may_return_nothing_needs_no_outbound(route: str):
    assert faults(route) == ()
