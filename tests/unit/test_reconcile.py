"""The reconciler while a part of the broker is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from playhead.envelope import Dispatch
from playhead.environment import Environment
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import CONFIRMED, Depth, PublishResult
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.services.reconcile import ReconcileService
from tests.broker_memory import MemoryBroker
from tests.catalog_memory import MemoryCatalog
from tests.lab import LEASE, Clock, Lab, MemoryDeployment
from tests.waiting import take, until


class Leaderless(MemoryBroker):
    """A broker with a queue without a leader: it returns no depth and accepts no dispatch.

    Attributes:
        also: more queues that accept no dispatch.
        asked: number of dispatches of all calls.
        raises: whether it raises if all dispatches are for such queues, like a broker that cannot declare
            them.
    """

    also: tuple[str, ...] = ()
    asked = 0
    raises = False

    async def depth(self, queue: str) -> Depth:
        if queue == "docs.convert":
            raise broker_unavailable("this queue has no leader")
        return await super().depth(queue)

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        self.asked += len(dispatches)
        taken = [dispatch.headers.queue not in ("docs.convert", *self.also) for dispatch in dispatches]
        if self.raises and not any(taken):
            raise broker_unavailable("this queue has no leader")
        await super().publish(
            [dispatch for dispatch, is_taken in zip(dispatches, taken, strict=True) if is_taken]
        )
        return [CONFIRMED if is_taken else PublishResult("uncertain", "no leader") for is_taken in taken]


async def test_one_unavailable_queue_does_not_delay_dispatches_to_other_queues():
    clock = Clock()
    catalog, broker = MemoryCatalog(clock=clock), Leaderless(clock=clock)
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    run = await lab.started("a.md", "b.md")
    children: list[Any] = await lab.work(run.ids[0], lab.output("1.md"))
    await catalog.mark_published(children)
    (child,) = lab.ids(children)
    await lab.fail(await lab.claim(child), delay=0)
    reconciler = ReconcileService(catalog, broker, Environment("w1"), lease=15)

    await reconciler.cycle()
    with pytest.raises(Unavailable, match="no leader"):
        await reconciler.find_lost()

    (delivery,) = await broker.receive("docs.split", 10)
    assert delivery.message_id.startswith(str(child))


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("stuck", [9, 10, 25, 200])
async def test_many_dispatches_for_a_full_queue_do_not_delay_other_queues(stuck: int, raises: bool):
    clock = Clock()
    catalog, broker = MemoryCatalog(clock=clock), Leaderless(clock=clock)
    broker.raises = raises
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    run = await lab.started(*(f"{n}.md" for n in range(stuck + 1)))
    for cid in run.ids[1:]:
        await lab.fail(await lab.claim(cid), delay=0)
    children: list[Any] = await lab.work(run.ids[0], lab.output("1.md"))
    await catalog.mark_published(children)
    await lab.fail(await lab.claim(lab.ids(children)[0]), delay=0.5)
    clock.advance(1)

    await ReconcileService(catalog, broker, Environment("w1"), lease=15, page=10).cycle()

    assert len(await broker.receive("docs.split", 10)) == 1


async def test_full_queues_are_tried_once_per_cycle_and_do_not_delay_other_queues():
    clock = Clock()
    catalog, broker = MemoryCatalog(clock=clock), Leaderless(clock=clock)
    broker.also = ("docs.split",)
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    run = await lab.started("parent.md", *(f"{n}.md" for n in range(60)))
    for cid in run.ids[1:]:
        await lab.kill(cid)
    await catalog.resend(where=DeadLetterFilter(execution=run.execution))
    await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(60)), worker="gone")
    last = await lab.started_replay(run.execution, f"{run.execution}/pages/0.md", route="index")
    await lab.kill(last.ids[0])
    await catalog.resend(ids=last.ids)
    reconciler = ReconcileService(catalog, broker, Environment("w1"), lease=15, page=10)

    await reconciler.cycle()

    assert len(await broker.receive("docs.index", 10)) == 1
    assert broker.asked <= 10 + 10 + 1
    broker.also = ()
    await reconciler.cycle()
    assert len(await broker.receive("docs.split", 100)) == 60


class Slow(MemoryBroker):
    """Answers a question for a depth only when the test lets it."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.may_answer = asyncio.Event()
        self.asked: list[str] = []

    async def is_empty(self, queue: str) -> bool:
        self.asked.append(queue)
        await self.may_answer.wait()
        return await super().is_empty(queue)


async def test_queues_that_do_not_answer_delay_neither_retries_nor_ends_of_executions_nor_each_other():
    """RabbitMQ was asked for one queue after the other, for 10 seconds each, before executions ended."""
    clock = Clock()
    catalog, broker = MemoryCatalog(clock=clock), Slow(clock=clock)
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    run = await lab.started("a.md", "b.md", "c.md")
    children: list[Any] = await lab.work(run.ids[0], lab.output("1.md"))
    await catalog.mark_published(children)
    await lab.started_replay(run.execution, f"{run.execution}/pages/1.md", route="index")
    done = await lab.started("a.md")
    reconciler = ReconcileService(catalog, broker, Environment("w1"), lease=15)
    assert await reconciler.cycle()
    search = asyncio.create_task(reconciler.find_lost())
    await until(lambda: sorted(broker.asked) == ["docs.convert", "docs.index", "docs.split"])

    await lab.fail(await lab.claim(run.ids[1]), delay=0)
    await lab.work(done.ids[0])
    assert await reconciler.cycle()

    (delivery,) = await take(broker, 1)
    assert delivery.message_id.startswith(str(run.ids[1]))
    ended = await catalog.execution(done.execution)
    assert ended
    assert ended.status == "completed"
    broker.may_answer.set()
    await search


async def test_many_orphans_delay_neither_retries_nor_the_ends_of_executions():
    class Watched(MemoryBroker):
        async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
            if not order:
                clock.advance(1)  # the retry becomes due
            order.extend(dispatch.headers.route for dispatch in dispatches)
            return await super().publish(dispatches)

    class Maintained(MemoryCatalog):
        async def maintain(self) -> None:
            order.append("maintain")
            await super().maintain()

    clock = Clock()
    order: list[str] = []
    catalog, broker = Maintained(clock=clock), Watched(clock=clock)
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    run = await lab.started("a.md", "b.md")
    await lab.fail(await lab.claim(run.ids[1]), delay=0.5)
    await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(50)))
    await lab.beat("w2")
    await lab.die("w1", others=["w2"])

    await ReconcileService(catalog, broker, Environment("w2"), lease=15, page=1).cycle()

    assert order.count("split") == 50
    assert order.index("convert") <= 12
    assert order.index("maintain") <= 12


async def test_each_second_looks_at_some_of_the_running_executions_and_at_all_in_turn():
    world = MemoryDeployment()
    reconciler = ReconcileService(world.catalog, world.broker, Environment("w1"), lease=LEASE, executions=2)
    runs = [await world.started() for _ in range(5)]
    for run in runs:
        await world.lab.work(run.ids[0])
    ended = []
    for _ in range(3):
        await reconciler.cycle()
        ended.append(5 - len(await world.catalog.open_executions()))

    assert ended == [2, 4, 5]


async def test_a_lost_dispatch_of_any_running_execution_is_found_in_turn():
    world = MemoryDeployment()
    reconciler = ReconcileService(world.catalog, world.broker, Environment("w1"), lease=LEASE, executions=1)
    other = world.lab.config("other", world.lab.route("convert", queue="other.convert"))
    await world.started()
    await world.lab.started("b.md", config=other)  # published, and in no queue
    await world.started()

    await reconciler.cycle()
    for _ in range(3):
        assert await world.broker.receive("other.convert", 1) == []
        await reconciler.find_lost()

    assert len(await world.broker.receive("other.convert", 10)) == 1
