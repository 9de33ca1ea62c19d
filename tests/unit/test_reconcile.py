"""The reconciler where a part of the broker is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from playhead.backends.broker_memory import MemoryBroker
from playhead.backends.catalog_memory import MemoryCatalog
from playhead.envelope import Dispatch
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.broker import CONFIRMED, Depth, PublishResult
from playhead.services import reconcile
from playhead.services.reconcile import ReconcileService
from tests.contract.conftest import Clock, Lab


class Leaderless(MemoryBroker):
    """One of its queues can't be looked at, and takes nothing.

    Attributes:
        also: queues that can be looked at, and take nothing.
        asked: how many calls it was asked to take.
        raises: it says so of calls that are all for such queues, as where none of them can be declared.
    """

    also: tuple[str, ...] = ()
    asked = 0
    raises = False

    async def depth(self, queue: str) -> Depth:
        if queue == "docs.convert":
            raise broker_unavailable("this queue has no leader")
        return await super().depth(queue)

    async def publish(self, calls: Sequence[Dispatch]) -> list[PublishResult]:
        self.asked += len(calls)
        taken = [call.headers.queue not in ("docs.convert", *self.also) for call in calls]
        if self.raises and not any(taken):
            raise broker_unavailable("this queue has no leader")
        await super().publish([call for call, is_taken in zip(calls, taken, strict=True) if is_taken])
        return [CONFIRMED if is_taken else PublishResult("uncertain", "no leader") for is_taken in taken]


async def test_a_queue_that_alone_is_away_keeps_no_other_from_being_called():
    clock = Clock()
    catalog, broker = MemoryCatalog(clock=clock), Leaderless(clock=clock)
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    run = await lab.started("a.md", "b.md")
    children: list[Any] = await lab.work(run.ids[0], lab.output("1.md"))
    await catalog.mark_published(children)
    (child,) = lab.ids(children)
    await lab.fail(await lab.claim(child), delay=0)
    reconciler = ReconcileService(catalog, broker, owner="w1", lease=15)

    with pytest.raises(Unavailable, match="no leader"):
        await reconciler.cycle()

    (delivery,) = await broker.receive("docs.split", 10)
    assert delivery.message_id.startswith(str(child))


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("stuck", [9, 10, 25, 200])
async def test_many_calls_for_a_queue_that_takes_none_keep_no_other_from_being_called(
    stuck: int, raises: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reconcile, "_PAGE", 10)
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

    await ReconcileService(catalog, broker, owner="w1", lease=15).cycle()

    assert len(await broker.receive("docs.split", 10)) == 1


async def test_queues_that_take_nothing_are_asked_once_a_cycle_each_and_keep_nothing_behind_them(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(reconcile, "_PAGE", 10)
    clock = Clock()
    catalog, broker = MemoryCatalog(clock=clock), Leaderless(clock=clock)
    broker.also = ("docs.split",)
    lab = Lab(catalog, clock)
    await lab.beat("w1")
    run = await lab.started("parent.md", *(f"{n}.md" for n in range(60)))
    for cid in run.ids[1:]:
        await lab.kill(cid)
    await catalog.resend(execution=run.execution)
    await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(60)), worker="gone")
    last = await lab.started_replay(run.execution, f"{run.execution}/pages/0.md", route="index")
    await lab.kill(last.ids[0])
    await catalog.resend(ids=last.ids)
    reconciler = ReconcileService(catalog, broker, owner="w1", lease=15)

    await reconciler.cycle()

    assert len(await broker.receive("docs.index", 10)) == 1
    assert broker.asked <= 10 + 10 + 1
    broker.also = ()
    await reconciler.cycle()
    assert len(await broker.receive("docs.split", 100)) == 60
