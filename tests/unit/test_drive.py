"""A job that another process takes over, one whose listing is given up, and one whose queue is full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from playhead.envelope import Dispatch
from playhead.environment import Environment
from playhead.errors import BadRequest, broker_unavailable, store_unavailable
from playhead.model import DepthPace, Pace, RatePace, ReplayRequest
from playhead.ports.broker import CONFIRMED, PublishResult
from playhead.ports.store import Entry
from playhead.replay.drive import Drive
from playhead.services.replay import ReplayService
from tests.broker_memory import MemoryBroker
from tests.lab import MemoryDeployment
from tests.store_memory import MemoryStore


async def test_a_released_job_is_not_leased_again_by_a_later_renewal():
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    job = await lab.sealed("a.md")
    await deployment.put(f"{job}/input/a.md")
    held = await lab.hold(job)
    env = Environment("w1", clock=deployment.clock)
    drive = Drive(deployment.backends, env, held, lease=lab.LEASE, page=10)
    # The page was recorded and the answer was lost: the same page is recorded again, and refused.
    await lab.list_all(held, f"{job}/input/a.md", last=False)

    await drive.run()

    assert not await drive.lease.renew()
    assert await deployment.catalog.abandoned_jobs() == [job]


async def test_a_replay_that_lists_nothing_failed_as_its_source_had_an_object_when_it_was_created():
    """A process with another PLAYHEAD_STORE took the job over, and the replay completed with 0 messages."""
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    replay = await lab.replayed((await lab.started("a.md")).execution)
    held = await lab.hold(replay.execution_id)
    env = Environment("w1", clock=deployment.clock)

    await Drive(deployment.backends, env, held, lease=lab.LEASE, page=10).run()

    ended = await lab.execution(replay.execution_id)
    assert ended.status == "failed"
    assert ended.error
    assert ended.error.code == "listing_failed"
    assert "PLAYHEAD_STORE" in ended.error.message


class Full(MemoryBroker):
    """Takes one dispatch of each batch while it is full."""

    is_full = True

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        taken = dispatches[:1] if self.is_full else dispatches
        await super().publish(taken)
        left = len(dispatches) - len(taken)
        return [CONFIRMED] * len(taken) + [PublishResult("uncertain", "it is full")] * left


async def test_the_pause_before_a_full_queue_is_tried_again_is_short_again_when_it_has_taken_some():
    """It stayed at five seconds, for 1,000 rows each."""
    deployment = MemoryDeployment(broker=Full())
    lab = deployment.lab
    held = await lab.hold(await lab.sealed(*(f"{n}.md" for n in range(12))))
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    env = Environment("w1", sleep=sleep, clock=deployment.clock)
    await Drive(deployment.backends, env, held, lease=lab.LEASE, page=100).run()

    assert waited == [0.2] * 10


@pytest.mark.parametrize("pace", [None, RatePace(1000)])
async def test_a_replay_with_too_many_objects_publishes_the_first_ones_and_fails(pace: RatePace | None):
    """A paced one was published only when another process took the job over."""
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    await lab.save()

    async def sleep(seconds: float) -> None:
        deployment.clock.advance(seconds)

    env = Environment("w1", sleep=sleep, clock=deployment.clock)
    service = ReplayService(deployment.backends, env, lease=lab.LEASE, settle=30, page=2, max_objects=3)
    request = ReplayRequest(await deployment.external(7), "pages", None, "docs/convert", pace=pace)
    replay, _ = await service.create(request)

    await service.drives.drive(replay.execution_id)

    done = await lab.replay(replay.replay_batch_id)
    assert (done.state, done.objects_found, done.objects_published) == ("partial_failure", 3, 3)
    assert done.errors
    assert "PLAYHEAD_MAX_REPLAY_OBJECTS" in done.errors[0]
    assert (await deployment.broker.depth("docs.convert")).ready == 3
    execution = await lab.execution(replay.execution_id)
    assert execution.error
    assert execution.error.code == "too_many_objects"


class Away(MemoryBroker):
    """Is unavailable once."""

    calls = 0

    async def publish(self, dispatches: Sequence[Dispatch]) -> list[PublishResult]:
        self.calls += 1
        if self.calls == 1:
            raise broker_unavailable("no connection")
        return await super().publish(dispatches)


class Unreachable(MemoryStore):
    """Is unavailable once."""

    calls = 0

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        self.calls += 1
        if self.calls == 1:
            raise store_unavailable("no connection")
        async for found in super().list(prefix, after=after, sizes=sizes, page=page):
            yield found


async def test_a_paced_replay_waits_for_its_rate_when_the_store_is_available_again():
    """It waited for the store, until its next message was sent and the lease was renewed."""
    deployment = MemoryDeployment(store=Unreachable())
    lab = deployment.lab
    await lab.beat("w1")
    source = await deployment.external(2)
    replay = await lab.replayed(source, "pages", managed={"pace": RatePace(0.05)})
    await deployment.catalog.admit(per_queue=0)
    held = await lab.hold(replay.execution_id)
    seen: list[str | None] = []

    async def sleep(seconds: float) -> None:
        deployment.clock.advance(seconds)
        seen.append((await lab.replay(replay.replay_batch_id)).waits_for)

    env = Environment("w1", sleep=sleep, clock=deployment.clock)
    await Drive(deployment.backends, env, held, lease=0.5, page=10).run()

    assert set(seen[3:]) == {"rate"}


class Refusing(MemoryStore):
    """Lists one page, and then refuses."""

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        async for found in super().list(prefix, after=after, sizes=sizes, page=page):
            yield found
            raise BadRequest("invalid_path", "the store refuses this prefix")


@pytest.mark.parametrize("pace", [None, DepthPace(100)])
async def test_what_was_listed_is_published_although_the_listing_was_given_up(pace: Pace | None):
    """An unavailable broker ended the task with an error."""
    deployment = MemoryDeployment(broker=Away(), store=Refusing())
    lab = deployment.lab
    await lab.beat("w1")
    replay = await lab.replayed(await deployment.external(3), "pages", managed={"pace": pace})
    await deployment.catalog.admit(per_queue=0)
    held = await lab.hold(replay.execution_id)

    async def sleep(seconds: float) -> None: ...

    env = Environment("w1", sleep=sleep, clock=deployment.clock)
    await Drive(deployment.backends, env, held, lease=lab.LEASE, page=1).run()

    ended = await lab.replay(replay.replay_batch_id)
    assert ended.state == "partial_failure"
    assert ended.objects_published == ended.objects_found > 0


async def test_the_next_owner_of_a_job_settles_what_is_uncertain_before_it_pays_for_more():
    """The uncertain message counted as waiting in the queue, so nothing was ever sent."""
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1", "w2")
    source = await deployment.external(2)
    replay = await lab.replayed(source, "pages", managed={"pace": DepthPace(1)})
    await deployment.catalog.admit(per_queue=0)
    held = await lab.hold(replay.execution_id)
    listed = await lab.list_all(held, f"{source}/pages/0.md", f"{source}/pages/1.md")
    assert await deployment.catalog.allow(held, want=10) == (1, 0.0, None)
    assert await deployment.catalog.mark(held, 1, uncertain=listed[:1])
    await deployment.catalog.release(held)
    waited = 0

    async def sleep(seconds: float) -> None:
        nonlocal waited
        waited += 1
        assert (await lab.replay(replay.replay_batch_id)).objects_uncertain == 0
        await lab.work(lab.ids(listed)[0])

    env = Environment("w2", sleep=sleep, clock=deployment.clock)
    again = await lab.hold(replay.execution_id, "w2")
    await Drive(deployment.backends, env, again, lease=lab.LEASE, page=10).run()

    assert waited == 1
    assert (await lab.replay(replay.replay_batch_id)).objects_published == 2


@pytest.mark.parametrize("rate", [1, 5, 10, 15])
async def test_a_low_rate_is_reached_although_each_sleep_is_a_little_too_long(rate: int):
    """At 10 per second, the 10 ms were lost for each message."""
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    await lab.save()

    async def sleep(seconds: float) -> None:
        deployment.clock.advance(seconds + 0.01)

    env = Environment("w1", sleep=sleep, clock=deployment.clock)
    service = ReplayService(deployment.backends, env, lease=1000, settle=30)
    request = ReplayRequest(await deployment.external(21), "pages", None, "docs/convert", pace=RatePace(rate))
    replay, _ = await service.create(request)
    began = deployment.clock.now

    await service.drives.drive(replay.execution_id)

    assert (await lab.replay(replay.replay_batch_id)).objects_published == 21
    assert 21 / (deployment.clock.now - began) == pytest.approx(rate, rel=0.02)
