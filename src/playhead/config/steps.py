"""Steps of a route: the adapter, its own config checked by its own model, and its condition."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast, get_args

from pydantic import ValidationError

from playhead.config import declared
from playhead.config.diagnostics import listed, shown
from playhead.config.fields import Spot
from playhead.config.limits import read_rate_limit
from playhead.config.secrets import check_literals, check_references, without_escapes
from playhead.config.tree import BROKEN, Node, joined
from playhead.model import Condition, Isolation, Operator, Step
from playhead.patterns import MAX_IN_CONFIG, compile_pattern
from playhead.ports.adapter import AdapterSpec
from playhead.secrets import Resolve, has_reference, no_secrets

_OPERATORS: Final[Sequence[str]] = get_args(Operator)
_TEXT_FIELDS: Final = ("content_type", "path", "stage")
_FIELDS: Final = (*_TEXT_FIELDS, "size")
_ATTRIBUTES: Final = "attributes."
_QUOTED: Final = re.compile(r"'([^']*)'")


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters that a config may name: the loaded ones that the operator allows.

    Attributes:
        resolve: returns the secrets that configs may reference.
    """

    loaded: Mapping[str, AdapterSpec]
    allowed: Collection[str] | None = None
    resolve: Resolve = no_secrets

    def find(self, type_: Spot) -> AdapterSpec | None:
        """Return the adapter that the `type` of a step names, or None with a fault."""
        name = type_.text()
        if name is None:
            return None
        allowed = sorted(n for n in self.loaded if self.allowed is None or n in self.allowed)
        if name not in self.loaded:
            near = type_.found.nearest(name, allowed)
            # A similar name hints at a typing error; otherwise the step may be in a file that is not loaded.
            hint = "" if near else ", and PLAYHEAD_ADAPTERS=./steps.py loads your own steps"
            type_.fault(
                "E201", f"no adapter {shown(name)} is loaded; `playhead adapters` lists all{hint}", near
            )
            return None
        if name not in allowed:
            type_.fault(
                "E202", f"the operator does not allow adapter {shown(name)} (PLAYHEAD_ADAPTERS_ALLOWED)"
            )
            return None
        return self.loaded[name]


def read_step(spot: Spot, adapters: Adapters, route: str) -> tuple[Step, AdapterSpec | None]:
    """Read one entry of `adapters`; the adapter is None if it cannot be used.

    Args:
        route: the route, with its config, for the default key of a rate limit.
    """
    if isinstance(spot.node.value, str):
        spot.wrong("a mapping", f"type: {spot.node.value}")
        return Step(spot.node.value), None
    table = declared.table(spot, declared.STEP)
    type_, config, condition = table.get("type"), table.get("config"), table.get("condition")
    isolation = table.get("isolation")
    spec = adapters.find(type_) if type_ else None
    usable = config is None or config.mapping()
    if spec and type_ and usable:
        # Without `config`, its faults are reported at the type.
        none = Spot(Node({}, type_.node.at), joined(spot.path, "config"), type_.node.at, spot.found)
        _check_config(spec, config or none, adapters.resolve)
    return (
        Step(
            type=table.text("type") if spec else "",
            config=config.node.value if config and usable else {},
            condition=read_condition(condition) if condition else None,
            isolation=cast("Isolation", (isolation and isolation.choice(get_args(Isolation))) or "thread"),
            rate_limit=read_rate_limit(table.get("rate_limit"), f"{route}/{table.text('type')}"),
        ),
        spec,
    )


# -- the adapter's own config ----------------------------------------------------------------------


def _check_config(spec: AdapterSpec, config: Spot, resolve: Resolve) -> None:
    if spec.config_model is None:
        for _, field in config.children():
            field.fault("E204", f"adapter {spec.name!r} takes no config", at_key=True)
        return
    check_references(config, resolve)
    literal_secrets = check_literals(spec.config_model, config)
    try:
        # extra: one rule for all adapters, whatever their models and nested models allow.
        spec.config_model.model_validate(without_escapes(_copied(config.node.value)), extra="forbid")
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_input=False):
            _report(spec, config, cast("Mapping[str, Any]", error), literal_secrets)
    except Exception as exc:
        if has_reference(config.node.value) or literal_secrets:
            return  # the worker checks the value, and an error must not show a secret
        # A validator is code of the adapter's author: its errors are reported and must not end the check.
        config.fault("E205", f"the model of adapter {spec.name!r} failed: {type(exc).__name__}: {exc}")


def _report(
    spec: AdapterSpec, config: Spot, error: Mapping[str, Any], literal_secrets: Collection[str]
) -> None:
    """Add one error of pydantic, at the node that it is about."""
    loc: tuple[str | int, ...] = error["loc"]
    spot = config
    for part in loc:
        # A part that the document does not have names the member of a union, or what is missing.
        spot = spot.child(part) or spot
    value = spot.node.value
    if value is BROKEN:
        return
    match error["type"]:
        case "missing":
            name = str(loc[-1])
            text = f"adapter {spec.name!r} needs `{name}`"
            spot.fault("E203", text, f"{name}: …", at_key=True, under=name)
        case "extra_forbidden" | "unexpected_keyword_argument":
            known = _field_names(spec.config_model) if len(loc) == 1 else []
            text = f"adapter {spec.name!r} has no such field" + (f"; known: {listed(known)}" if known else "")
            spot.fault("E204", text, spot.found.nearest(str(loc[-1]), known), at_key=True)
        case _ if has_reference(value) or spot.path in literal_secrets:
            return  # the worker checks the value, and an error must not show a secret
        case _:
            # The context has the values of a Literal or an Enum in quotes.
            words = _QUOTED.findall(str(error.get("ctx", {}).get("expected", "")))
            near = spot.found.nearest(value, words) if isinstance(value, str) else None
            written = f", not {shown(value)}" if spot.node.raw is not None else ""
            text = f"adapter {spec.name!r}: {_plain_words(error['msg'])}{written}"
            spot.fault("E205", text, near)


def _plain_words(message: str) -> str:
    return message.replace("Input should be", "must be", 1).removeprefix("Value error, ")


def _field_names(model: Any) -> list[str]:
    """Return the names of the fields of a model in a config."""
    names: list[str] = []
    for name, field in getattr(model, "model_fields", {}).items():
        alias = field.validation_alias or field.alias
        choices = getattr(alias, "choices", [alias])
        names += [choice for choice in choices if isinstance(choice, str)] or [name]
    return names


def _copied(value: Any) -> Any:
    """Return a copy for a model, which may change it: aliases share values."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return None if value is BROKEN else value


# -- conditions ------------------------------------------------------------------------------------


def read_condition(spot: Spot) -> Condition | None:
    table = declared.table(spot, declared.CONDITION)
    field, operator, value = table.get("field"), table.get("operator"), table.get("value")
    name = field.text() if field else None
    if field and name is not None:
        _check_field(field, name)
    op = operator.choice(_OPERATORS) if operator else "equals"
    otherwise = table.get("otherwise")
    if op is not None and table.is_mapping:
        if value:
            _check_value(value, name, op)
        elif op != "exists":
            spot.fault(
                "E102", f"`value` is missing; `{op}` compares with it", "value: …", at_key=True, under="value"
            )
    return Condition(
        field=name or "",
        operator=cast("Operator", op or "equals"),
        value=value.node.value if value else None,
        otherwise="drop" if otherwise and otherwise.choice(("pass", "drop")) == "drop" else "pass",
    )


def _check_field(spot: Spot, name: str) -> None:
    if name in _FIELDS or (name.startswith(_ATTRIBUTES) and name != _ATTRIBUTES):
        return
    near = spot.found.nearest(name, _FIELDS)
    if near is None and name.partition(".")[0] in ("attribute", "attributes", "attrs", "metadata"):
        near = _ATTRIBUTES + (name.partition(".")[2] or "<name>")
    spot.fault("E104", f"{shown(name)} must be {', '.join(_FIELDS)} or attributes.<name>", near)


def _check_value(spot: Spot, field: str | None, operator: str) -> None:
    """Add a fault for a value that could never match."""
    value = spot.node.value
    if value is BROKEN:
        return
    match operator:
        case "in" | "not_in":
            spot.items("values")
        case "exists":
            spot.flag(default=True)
        case "matches":
            _check_pattern(spot)
        case "gt" | "gte" | "lt" | "lte":
            if field == "size":
                spot.number(0, float("-inf"), float("inf"))
            elif field in _TEXT_FIELDS:
                spot.text()
            elif isinstance(value, bool) or not isinstance(value, str | int | float):
                spot.wrong("a number or text")


def _check_pattern(spot: Spot) -> None:
    pattern = spot.text()
    if pattern is None:
        return
    if not spot.found.counts_pattern(pattern, MAX_IN_CONFIG):
        spot.fault("E308", f"a config has at most {MAX_IN_CONFIG} different regular expressions")
        return
    try:
        compile_pattern(pattern)
    except ValueError as exc:
        near = re.escape(pattern) if pattern.startswith(("*", "?", "+")) else None
        if pattern.startswith("*") and len(pattern) > 1:
            near = ".*" + re.escape(pattern[1:])
        spot.fault("E308", f"{shown(pattern)} is not a regular expression of RE2: {exc}", near)
