"""Responses are decoded to the original values. Other forms are refused with their position."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from playhead import model
from playhead.cli.output import plain
from playhead.envelope import Message
from playhead.form import WrongForm, read
from playhead.ids import uuid7
from playhead.services.take import HandOut

ID = uuid7()
COUNTS = model.Counts(pending=1, completed=2, failed=3, cancelled=4, total=10)
PROBLEM = model.Problem("listing_failed", "it failed")
EXECUTION = model.Execution(
    *(ID, "replay", "failed", "docs", 3, "sha256:0", uuid7(), uuid7(), ["a", "b"]),
    *("2026-01-02T03:04:05.678Z", None, PROBLEM, COUNTS),
)
BACKEND = model.BackendHealth("files", "ok", None)
LINK: dict[str, Any] = {
    "correlation_id": ID,
    "parent_correlation_id": None,
    "execution_id": uuid7(),
    "replay_batch_id": None,
    "config": "docs",
    "config_version": 1,
    "route": "split",
    "status": "completed",
    "attempts": 1,
    "adapters": [model.AdapterCode("sections", "1", "sha256:aa")],
    "input_key": "k",
    "output_keys": ["x"],
    "output_count": 1,
    "skip_code": None,
    "skip_reason": None,
    "error": None,
    "created_at": "t",
    "started_at": None,
    "ended_at": None,
    "duration_ms": 3,
}
VALUES: list[tuple[Any, Any]] = [
    (model.Execution, EXECUTION),
    (model.Page[model.Execution], model.Page([EXECUTION, EXECUTION], "abc")),
    (model.Page[model.ChainLink], model.Page([model.ChainLink(**LINK, distance=-1, via="replay")])),
    (
        model.ConfigVersion,
        model.ConfigVersion(
            *("docs", 1, "sha256:0", True, "t", "shout", ["shout"], ["shouted"], "source: é\n"),
            [model.Diagnostic("warning", "W101", "routes.x", 1, 2, "no way", None)],
        ),
    ),
    (
        model.Health,
        model.Health(
            *("ok", "0.1", BACKEND, BACKEND, BACKEND),
            [model.WorkerInfo("w", "worker", "h", 1, ["q"], "t", "t")],
        ),
    ),
    (model.SearchHit, model.SearchHit("k", ID, "p", "t", "[x]", 1.0)),
    (
        model.AdapterInfo,
        model.AdapterInfo(
            "a", "1", None, "none", None, "", "here", "x 1", "x", [], None, {"properties": {"x": [1]}}
        ),
    ),
    (HandOut, HandOut([Message({"route": "x"}, {"object_key": "k", "other": [1, None]})], "receipt")),
]


@pytest.mark.parametrize(("form", "value"), VALUES, ids=[type(value).__name__ for _, value in VALUES])
def test_a_value_is_decoded_unchanged(form, value):
    text = json.dumps(value, default=plain)
    found = read(form, json.loads(text))
    assert found == value
    assert json.dumps(found, default=plain) == text


@pytest.mark.parametrize(("form", "value"), VALUES, ids=[type(value).__name__ for _, value in VALUES])
def test_a_response_of_a_later_release_may_have_more_fields(form, value):
    later = json.loads(json.dumps(value, default=plain))
    for one in later if isinstance(later, list) else [later]:
        one["new"] = {"of a": ["later", "release"]}
    assert read(form, later) == value


def test_an_unknown_field_is_ignored_and_a_missing_field_has_its_default():
    assert read(model.Problem, {"code": "a", "message": "b", "new": 1}) == model.Problem("a", "b")
    assert read(model.Counts, {"total": 3}) == model.Counts(total=3)


@pytest.mark.parametrize(
    ("form", "value", "said"),
    [
        (model.Problem, {"code": "a"}, "the answer has no field 'message'"),
        (model.Problem, {"code": 1, "message": "b"}, "the answer.code is '1', not str"),
        (model.Problem, [], "the answer is '[]', not an object"),
        (model.Counts, {"total": True}, "the answer.total is 'True', not int"),
        (model.Page[model.Problem], {"items": [{"code": "a", "message": "b"}, {}]}, "items[1] has no field"),
        (model.SearchHit, {"key": "k", "execution_id": "x"}, "the answer.execution_id is 'x', not a UUID"),
        (model.BackendHealth, {"backend": "b", "status": "so-so", "detail": None}, "one of 'ok', 'down'"),
        (model.BackendHealth, {"backend": "b", "status": "ok", "detail": 3}, "the answer.detail is '3'"),
        (HandOut, {"items": [{"headers": {"a": 1}, "payload": {}}], "receipt": None}, "items[0].headers.a"),
    ],
)
def test_a_value_of_another_form_is_refused_with_its_position(form, value, said):
    with pytest.raises(WrongForm) as caught:
        read(form, value)
    assert said in str(caught.value)


def test_every_response_type_can_be_decoded():
    """Otherwise a user would be the first to find a field of a kind for which the reader has no rule."""
    simple = (str, int, float, bool, type(None), type(ID), dict[str, Any])

    def known(hint: Any) -> bool:
        if hint in simple or hint is Any or hasattr(hint, "__dataclass_fields__"):
            return True
        if get_origin(hint) is Literal:
            return True
        return bool(get_args(hint)) and all(map(known, get_args(hint)))

    shown = model.__dict__.values()
    start = list(model.__dict__).index("Execution")
    for kind in list(shown)[start:]:
        if hasattr(kind, "__dataclass_fields__") and kind is not model.Page:
            for name, hint in get_type_hints(kind).items():
                assert known(hint), f"{kind.__name__}.{name}"
