"""Whether two declarations of a route store the same outputs: what a run may take over."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from playhead.model import Condition, ErrorHandling, RateLimit, Route, Step

STEP = Step("title", {"a": 1})
ROUTE = Route("title", "docs.title", steps=(STEP,), stage="titles", to=("index",))
OTHER: dict[str, Any] = {
    "queue": "docs.other",
    "steps": (STEP, STEP),
    "stage": "other",
    "to": (),
    "concurrency": 9,
    "concurrency_total": 9,
    "rate_limit": RateLimit(1, 1.0, "key"),
    "prefetch": 9,
    "timeout_seconds": 9,
    "external": True,
    "errors": ErrorHandling(max_attempts=9),
    "description": "other",
    "on_replay": "skip",
    "effects": "external",
    "name": "other",
}
OTHER_STEP: dict[str, Any] = {
    "type": "other",
    "config": {"a": 2},
    "condition": Condition("path", "exists"),
    "rate_limit": RateLimit(1, 1.0, "key"),
    "isolation": "process",
}
DECIDES = {"steps", "stage", "external", "type", "config", "condition"}


def test_every_field_of_a_route_and_a_step_is_decided_here():
    assert {field.name for field in fields(Route)} == OTHER.keys()
    assert {field.name for field in fields(Step)} == OTHER_STEP.keys()


@pytest.mark.parametrize("name", OTHER)
def test_fields_of_a_route_that_change_outputs_are_compared(name: str):
    other = replace(ROUTE, **{name: OTHER[name]})
    assert other != ROUTE
    assert ROUTE.has_outputs_of(other) == other.has_outputs_of(ROUTE) == (name not in DECIDES)


@pytest.mark.parametrize("name", OTHER_STEP)
def test_fields_of_a_step_that_change_outputs_are_compared(name: str):
    other = replace(ROUTE, steps=(replace(STEP, **{name: OTHER_STEP[name]}),))
    assert ROUTE.has_outputs_of(other) == (name not in DECIDES)


def test_an_external_route_with_another_queue_feeds_another_program():
    outlet = Route("out", "docs.out", external=True)
    assert outlet.has_outputs_of(replace(outlet, concurrency=9))
    assert not outlet.has_outputs_of(replace(outlet, queue="docs.other"))


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), (1, 1.0), ([{"a": 0}], [{"a": False}])])
def test_values_that_are_equal_only_in_python_differ(old: Any, new: Any):
    def configured(value: Any) -> Route:
        return replace(ROUTE, steps=(Step("tag", {"value": value}),))

    def conditional(value: Any) -> Route:
        return replace(ROUTE, steps=(Step("tag", {}, Condition("size", "equals", value)),))

    for route in (configured, conditional):
        assert route(new).has_outputs_of(route(new))
        assert not route(new).has_outputs_of(route(old))


def test_the_order_of_keys_changes_nothing():
    one = replace(ROUTE, steps=(Step("tag", {"a": 1, "b": 2}),))
    other = replace(ROUTE, steps=(Step("tag", {"b": 2, "a": 1}),))
    assert one.has_outputs_of(other)
