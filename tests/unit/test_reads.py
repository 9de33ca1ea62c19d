"""What a result depends on: what its steps have read of their items and contexts."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable
from dataclasses import asdict, astuple, replace
from typing import Any

import pytest

from playhead import Context, Item, Output, adapter
from playhead.ids import uuid7
from playhead.model import Condition, Route, Step
from playhead.ports.adapter import spec_of
from playhead.ports.catalog.work import READS_ATTRIBUTES, READS_MESSAGE, READS_PATH
from playhead.steps.chain import Chain
from playhead.steps.reads import Reads

CTX = Context(uuid7(), uuid7(), "docs", 3, "convert", 2, None, "/nowhere", logging.getLogger("test"))
ITEM = Item("guide/page.md", b'{"a": 1}', "text/markdown", {"title": "A page"}, key="e/input/guide/page.md")
BOTH = READS_PATH | READS_ATTRIBUTES
EVERYTHING = BOTH | READS_MESSAGE


def noted(look: Callable[[Item], Any]) -> int:
    reads = Reads()
    look(reads.item(ITEM))
    return reads.found


@pytest.mark.parametrize(
    ("look", "found"),
    [
        (lambda item: (item.data, item.text, item.json(), item.content_type), 0),
        (lambda item: item.derive("text", path="elsewhere"), 0),
        (lambda item: item.path, READS_PATH),
        (lambda item: item.stage, READS_PATH),
        (lambda item: item.attributes, READS_ATTRIBUTES),
        (lambda item: item.key, READS_MESSAGE),
        (lambda item: getattr(item, "pa" + "th"), READS_PATH),
        (repr, EVERYTHING),
        (asdict, EVERYTHING),
        (astuple, EVERYTHING),
        (copy.copy, EVERYTHING),
        (copy.deepcopy, EVERYTHING),
        (pickle.dumps, EVERYTHING),
        (lambda item: replace(item, data=b""), EVERYTHING),
        (lambda item: item == ITEM, EVERYTHING),
        (lambda item: ITEM == item, EVERYTHING),  # noqa: SIM300
    ],
)
def test_each_read_of_an_item_is_noted(look: Callable[[Item], Any], found: int):
    assert noted(look) == found


@pytest.mark.parametrize(
    "field", ["execution_id", "correlation_id", "attempt", "replay", "data_dir", "result"]
)
def test_a_result_that_depends_on_its_message_is_noted(field: str):
    reads = Reads()
    getattr(reads.context(CTX), field)
    assert reads.found == READS_MESSAGE


def test_what_says_nothing_of_the_item_is_not_noted():
    reads = Reads()
    ctx = reads.context(CTX)
    assert [ctx.route, ctx.config, ctx.log, ctx.mask("x"), ctx.internal_hosts]
    assert reads.found == 0


def test_a_noting_item_is_an_item():
    item = Reads().item(ITEM)

    assert isinstance(item, Item)
    assert item == ITEM
    assert item.__eq__("another object") is False
    assert item != replace(ITEM, path="other")
    assert repr(item) == repr(ITEM)
    for made in (pickle.loads(pickle.dumps(item)), copy.deepcopy(item), replace(item)):
        assert made == ITEM
    with pytest.raises(AttributeError):
        item.path = "other"  # type: ignore[misc]


def test_a_pickled_context_is_a_plain_one():
    ctx = replace(CTX, log=None)  # type: ignore[arg-type]
    found = pickle.loads(pickle.dumps(Reads().context(ctx)))
    assert type(found) is Context
    assert found == ctx


# -- in a chain ------------------------------------------------------------------------------------


def step(name: str, **declared: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return adapter(name, **declared)


@step("plain", produces="text/plain")
def plain(item: Item) -> str:
    return item.text


@step("titled", produces="text/plain")
def titled(item: Item) -> str:
    return str(item.attributes.get("title"))


@step("named", produces="text/plain")
def named(item: Item) -> Output:
    return item.derive("text", path="always/here.txt")


@step("described", produces="text/plain")
def described(item: Item) -> Output:
    return item.derive("text", language="en")


@step("retitled", produces="text/plain")
def retitled(item: Item) -> Output:
    return item.derive("text", title="Another")


@step("identified", produces="text/plain")
def identified(item: Item, ctx: Context) -> str:
    return str(ctx.execution_id)


@step("logged", produces="text/plain")
def logged(item: Item, ctx: Context) -> str:
    ctx.log.debug("seen")
    return item.text


@step("batched", batch=4)
def batched(items: list[Item]) -> list[str]:
    return [item.path for item in items]


def reads_of(*steps: Callable[..., Any], item: Item = ITEM, condition: Condition | None = None) -> int:
    specs = [spec for one in steps if (spec := spec_of(one))]
    route = Route(
        "convert", "docs.convert", tuple(Step(one.name, condition=condition) for one in specs), stage="out"
    )
    chain = Chain(route, {one.name: one for one in specs})
    if chain.is_async:
        return asyncio.run(chain.run_async(item, CTX)).reads
    return chain.run(item, CTX).reads


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ((plain,), 0),
        ((plain, plain), 0),
        ((described,), 0),
        ((logged,), 0),
        ((titled,), READS_ATTRIBUTES),
        ((plain, titled), READS_ATTRIBUTES),
        ((named,), READS_PATH),
        ((retitled,), READS_ATTRIBUTES),
        ((described, described), READS_ATTRIBUTES),
        ((identified,), READS_MESSAGE),
        ((titled, named), BOTH),
        ((batched,), READS_PATH),
    ],
)
def test_the_reads_of_all_steps_count(steps: tuple[Callable[..., Any], ...], found: int):
    assert reads_of(*steps) == found


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (Condition("size", "gt", 1), 0),
        (Condition("content_type", "equals", "text/markdown"), 0),
        (Condition("path", "matches", "guide/.*"), READS_PATH),
        (Condition("attributes.title", "exists"), READS_ATTRIBUTES),
    ],
)
def test_conditions_read_too(condition: Condition, found: int):
    assert reads_of(plain, condition=condition) == found


def test_an_item_that_inherits_nothing_can_be_given_any_attribute():
    assert reads_of(retitled, item=replace(ITEM, attributes={})) == 0
