"""The level of messages in their queues: of a replay, of what results from it, and of what is sent again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from playhead.envelope import Dispatch
from playhead.model import Config, Priority
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.jobs import MOST_NORMAL, Listed
from playhead.services.recover import RecoverService
from tests.lab import Lab
from tests.store_memory import MemoryStore

PAGE = 500


def levels(dispatches: Sequence[Dispatch]) -> set[bool]:
    return {dispatch.headers.bulk for dispatch in dispatches}


def fan_out(lab: Lab) -> Config:
    return lab.config(
        "docs",
        lab.route("convert", stage="pages", to=("split", "publish")),
        lab.route("split"),
        lab.route("publish", external=True),
    )


async def listed(lab: Lab, replay: UUID, count: int, *, ends: bool = True) -> list[bool]:
    """List objects in pages; return for each page whether the level is decided with it."""
    held = await lab.hold(replay)
    decided = []
    for at in range(0, count, PAGE):
        found = [Listed(f"e/input/{n:06d}", "input") for n in range(at, min(at + PAGE, count))]
        window = await lab.catalog.record(held, found, cursor=found[-1].key, last=False)
        assert window
        decided.append(window.is_decided)
    if ends:
        window = await lab.catalog.record(held, [], cursor=found[-1].key, last=True)
        assert window
        decided.append(window.is_decided)
    await lab.catalog.release(held)
    return decided


async def unpublished(lab: Lab, replay: UUID) -> list[Dispatch]:
    """Return the first rows to publish, as another process reads them that takes the job over."""
    held = await lab.hold(replay, "w2")
    found = await lab.unpublished(held, limit=1000)
    await lab.catalog.release(held)
    return found


@pytest.mark.parametrize(
    ("count", "priority"), [(5, "normal"), (MOST_NORMAL, "normal"), (MOST_NORMAL + 1, "bulk")]
)
async def test_the_number_of_objects_decides_the_level_of_a_replay(lab: Lab, count: int, priority: Priority):
    run = await lab.started("a.md")
    replay = await lab.replayed(run.execution)
    assert replay.priority is None

    decided = await listed(lab, replay.execution_id, count)

    assert decided[-1]
    assert not decided[0]
    assert (await lab.replay(replay.replay_batch_id)).priority == priority
    assert levels(await unpublished(lab, replay.execution_id)) == {priority == "bulk"}


async def test_the_level_is_not_decided_while_the_listing_may_find_more(lab: Lab):
    run = await lab.started("a.md")
    replay = await lab.replayed(run.execution)

    assert await listed(lab, replay.execution_id, 2 * PAGE, ends=False) == [False, False]

    held = await lab.hold(replay.execution_id, "w2")
    assert not held.is_decided
    found = [Listed("e/input/1", "input")]
    window = await lab.catalog.record(held, found, cursor="e/input/1", last=False)
    assert window
    assert window.is_decided
    assert levels(window.dispatches) == {True}
    await lab.catalog.release(held)
    assert levels(await unpublished(lab, replay.execution_id)) == {True}, "also the first rows are bulk"
    assert (await lab.hold(replay.execution_id)).is_decided


async def test_a_listing_that_was_given_up_has_the_normal_level(lab: Lab):
    run = await lab.started("a.md")
    replay = await lab.replayed(run.execution)
    await listed(lab, replay.execution_id, 5, ends=False)

    held = await lab.hold(replay.execution_id)
    assert await lab.catalog.fail_listing(held, "it cannot be read")

    assert (await lab.replay(replay.replay_batch_id)).priority == "normal"


@pytest.mark.parametrize("priority", ["normal", "bulk"])
async def test_a_request_may_choose_the_level(lab: Lab, priority: Priority):
    run = await lab.started("a.md")
    replay = await lab.replayed(run.execution, managed={"priority": priority})
    assert replay.priority == priority
    await lab.catalog.admit(per_queue=0)

    held = await lab.hold(replay.execution_id)
    assert held.is_decided
    window = await lab.catalog.record(held, [Listed("e/input/a", "input")], cursor="e/input/a", last=False)

    assert window
    assert levels(window.dispatches) == {priority == "bulk"}


@pytest.mark.parametrize("bulk", [True, False])
async def test_children_and_retries_have_the_level_of_their_message(lab: Lab, catalog: Catalog, bulk: bool):
    config = fan_out(lab)
    run = await lab.started("a.md", config=config)
    managed = {"priority": "bulk" if bulk else "normal"}
    replay = await lab.replayed(run.execution, config=config, managed=managed)
    await catalog.admit(per_queue=0)
    held = await lab.hold(replay.execution_id)
    root, other = await lab.list_all(held, f"{run.execution}/input/a.md", f"{run.execution}/input/b.md")
    await lab.publish_all(held, [root, other])

    children = await lab.work(UUID(root.correlation_id), lab.output("1.md"))
    assert [(child.external, child.headers.bulk) for child in children] == [(False, bulk), (True, False)]

    claim = await lab.claim(UUID(other.correlation_id))
    await lab.fail(claim, delay=0.0)
    assert levels(await catalog.due("w1", limit=10)) == {bulk}


@pytest.mark.parametrize("bulk", [True, False])
async def test_a_resent_message_has_the_level_of_the_resend(lab: Lab, catalog: Catalog, bulk: bool):
    config = fan_out(lab)
    run = await lab.started("a.md", config=config)
    claim = await lab.claim(run.ids[0])
    await lab.fail(claim, delay=None)

    await catalog.resend(ids=run.ids, bulk=bulk)

    assert levels(await catalog.orphans("w1", limit=10)) == {bulk}
    child, _ = await lab.work(run.ids[0], lab.output("1.md"))
    assert child.headers.bulk is bulk


@pytest.mark.parametrize(
    ("named", "priority", "bulk"),
    [(True, None, False), (False, None, True), (True, "bulk", True), (False, "normal", False)],
)
async def test_a_resend_by_id_is_normal_and_another_bulk_unless_it_asks_for_a_level(
    lab: Lab, catalog: Catalog, named: bool, priority: Priority | None, bulk: bool
):
    run = await lab.started("a.md", config=fan_out(lab))
    await lab.fail(await lab.claim(run.ids[0]), delay=None)

    which: dict[str, Any] = {"ids": run.ids} if named else {"where": DeadLetterFilter(run.execution)}
    await RecoverService(catalog, MemoryStore()).resend(**which, priority=priority)

    assert levels(await catalog.orphans("w1", limit=10)) == {bulk}
