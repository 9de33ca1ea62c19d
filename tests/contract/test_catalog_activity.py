"""Counts of messages by minute, and marks of what happened."""

from __future__ import annotations

from playhead.failures import cause_of
from playhead.ids import seconds
from playhead.model import TimeCounts
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.upkeep import Process
from playhead.services.activity import ActivityService
from tests.lab import Clock, Lab

PROCESS = Process("worker-1", "worker", "there", 2)
MINUTE = 60.0


async def counts(catalog: Catalog, intervals: int = 3) -> list[tuple[int, int]]:
    found: list[TimeCounts] = await catalog.counts_by_time(intervals=intervals, minutes=15)
    assert len(found) == intervals
    return [(one.done, one.failed) for one in found]


async def test_done_messages_are_counted_with_the_next_heartbeat_and_failures_at_once(
    catalog: Catalog, lab: Lab
):
    await catalog.heartbeat(PROCESS)
    run = await lab.started("a.md", "b.md")
    await lab.work(run.ids[0], lab.output("a.md"))
    await lab.kill(run.ids[1])
    assert (await counts(catalog))[-1] == (0, 1)

    await catalog.heartbeat(PROCESS)

    assert (await counts(catalog))[-1] == (1, 1)
    await catalog.heartbeat(PROCESS)
    assert (await counts(catalog))[-1] == (1, 1), "no message is counted twice"


async def test_a_process_that_ends_writes_what_it_has_counted(catalog: Catalog, lab: Lab):
    await catalog.heartbeat(PROCESS)
    run = await lab.started("a.md")
    await lab.work(run.ids[0], lab.output("a.md"))

    await catalog.depart(PROCESS.id)

    assert (await counts(catalog))[-1] == (1, 0)


async def test_counts_are_in_the_interval_in_which_messages_have_ended(
    catalog: Catalog, lab: Lab, clock: Clock
):
    run = await lab.started("a.md", "b.md")
    await lab.kill(run.ids[0])
    cause = cause_of("adapter_error", "it broke", "Traceback: …")
    for _ in range(2):
        assert await counts(catalog) == [(0, 0), (0, 0), (0, 1)]
    clock.advance(15 * MINUTE)
    await lab.kill(run.ids[1])
    assert await counts(catalog) == [(0, 0), (0, 1), (0, 1)]
    clock.advance(45 * MINUTE)
    assert await counts(catalog) == [(0, 0), (0, 0), (0, 0)]

    hours = await catalog.failures_by_hour([cause, 7], hours=3)

    assert sum(hours[cause]) == 2
    assert hours[7] == [0, 0, 0]
    assert await catalog.failures_by_hour([], hours=3) == {}


async def test_counts_are_deleted_after_30_days(catalog: Catalog, lab: Lab, clock: Clock):
    run = await lab.started("a.md")
    await lab.kill(run.ids[0])
    clock.advance(29 * 86_400)
    await catalog.maintain()
    intervals = 30 * 24 * 4
    assert (0, 1) in await counts(catalog, intervals)

    clock.advance(86_461)
    await catalog.maintain()

    hours = await catalog.failures_by_hour([cause_of("adapter_error", "it broke", "Traceback: …")], hours=800)
    assert [sum(one) for one in hours.values()] == [0]


async def waiting(catalog: Catalog, intervals: int = 3, minutes: int = 15) -> list[int]:
    return [one.waiting for one in await catalog.counts_by_time(intervals=intervals, minutes=minutes)]


async def test_messages_that_wait_are_sampled_once_a_minute_and_the_most_of_an_interval_count(
    catalog: Catalog, lab: Lab, clock: Clock
):
    activity = ActivityService(catalog, now=clock)
    await activity.sample()
    assert await waiting(catalog) == [0, 0, 0]
    clock.advance(MINUTE)
    run = await lab.started("a.md", "b.md", "c.md")
    claim = await lab.claim(run.ids[0])
    await activity.sample()
    assert await waiting(catalog) == [0, 0, 2], "one is running"

    await lab.fail(claim, delay=60)
    await activity.sample()
    assert await waiting(catalog) == [0, 0, 2], "no second sample in this minute"
    clock.advance(MINUTE)
    await activity.sample()
    assert await waiting(catalog) == [0, 0, 3], "one is to be tried again"
    clock.advance(MINUTE)
    await lab.work(run.ids[1])
    await activity.sample()
    assert await waiting(catalog) == [0, 0, 3]

    clock.advance(15 * MINUTE)
    await activity.sample()
    assert await waiting(catalog) == [0, 3, 2]


async def test_samples_of_several_routes_add_up_and_are_deleted_after_30_days(
    catalog: Catalog, lab: Lab, clock: Clock
):
    first, second = await lab.started("a.md", "b.md"), await lab.started("c.md")
    await lab.work(first.ids[0], lab.output("a.md"))
    await catalog.sample_waiting()
    assert await waiting(catalog, 1) == [3], "two in the first route, and a child in the second one"
    await lab.work(second.ids[0])
    await catalog.sample_waiting()
    assert await waiting(catalog, 1) == [2], "a second sample of a minute replaces the first one"

    clock.advance(30 * 86_400)
    await catalog.maintain()
    assert max(await waiting(catalog, 31 * 24, 60)) == 2
    clock.advance(61)
    await catalog.maintain()

    assert max(await waiting(catalog, 31 * 48, 30)) == 0


async def test_marks_tell_what_happened_since(catalog: Catalog, lab: Lab, clock: Clock):
    begin = clock()
    run = await lab.started("a.md")
    await lab.work(run.ids[0], lab.output("a.md"))
    clock.advance(1)
    await catalog.heartbeat(PROCESS)
    clock.advance(1)
    await lab.replayed(run.execution)

    found = await catalog.marks(since=begin)

    assert [(one.kind, one.name) for one in found][:3] == [
        ("replay", "input → convert"),
        ("worker", "there 2"),
        ("config", "docs@1"),
    ]
    assert await catalog.marks(since=clock() + 1) == []


async def test_a_timeline_counts_what_workers_have_ended_by_route_and_interval(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md", "d.md")
    claim = await lab.claim(run.ids[0])
    await lab.fail(claim, delay=0)
    (child,) = lab.ids(await lab.work(run.ids[0], lab.output("a.md")))
    await lab.work(child)
    await lab.work(run.ids[1])
    await lab.kill(run.ids[2])
    execution = await catalog.execution(run.execution)
    assert execution
    start = seconds(execution.created_at) - MINUTE

    found = await catalog.timeline(run.execution, start=start, width=1e6, intervals=2)

    assert [(one.route, one.interval, one.done, one.failed, one.retries) for one in found] == [
        ("convert", 0, 2, 0, 1),
        ("convert", 0, 0, 1, 0),
        ("split", 0, 1, 0, 0),
    ]
    assert found[0].waited >= 2 * MINUTE, "both waited since the start"
    assert 0 <= found[2].waited < MINUTE, "a child waits from the end of its parent"
    assert found[0].worked >= 0
    later = await catalog.timeline(run.execution, start=start - 1e6, width=1e6, intervals=2)
    assert {one.interval for one in later} == {1}
    resent = await catalog.timeline(run.execution, start=start - 9e6, width=1e6, intervals=2)
    assert [one.interval for one in resent] == [1, 1, 1], "they ended after the last interval"
    some = await catalog.timeline(run.execution, start=start, width=1e6, intervals=2, every=2)
    assert 0 < sum(one.done + one.failed for one in some) < 4
