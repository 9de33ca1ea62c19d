"""What made the results of publications, and how many there are: the sentences of `ports.catalog.results`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.ports.catalog import Catalog
from playhead.ports.catalog.publications import SINK
from tests.contract.publishing import SEGMENTS, Publisher, declared

if TYPE_CHECKING:
    from tests.lab import Clock, Lab


@pytest.fixture
def docs(lab: Lab) -> Publisher:
    return Publisher(lab)


async def test_nothing_is_shown_and_protected_before_something_is_published(
    docs: Publisher, catalog: Catalog
):
    dataset = await docs.dataset()
    await docs.begin(await docs.run(a="x"))

    assert await catalog.shown() == []
    assert await catalog.publication_times() == []
    assert await catalog.protected_bytes() == []
    assert await catalog.made_by(dataset, []) == {}
    assert await catalog.made_by(dataset, [1, 99]) == {1: []}, "its content is not complete"
    assert await catalog.results_in(dataset, 1, stage=SEGMENTS, after="", limit=9) == []


async def made(docs: Publisher, n: int) -> dict[tuple[str, int], int]:
    found = await docs.catalog.made_by(await docs.dataset(), [n])
    return {(one.route, one.version): one.results for one in found[n]}


async def test_results_are_counted_by_route_and_version(lab: Lab, docs: Publisher):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    assert await made(docs, 1) == {("convert", 1): 2, ("split", 1): 2, ("index", 1): 3}
    newer = Publisher(lab, declared(max_removed=0.5, keep=9))
    await newer.publish(await newer.replay(run, a="z"))

    assert await made(docs, 2) == {
        ("convert", 1): 2,
        ("split", 1): 1,
        ("split", 2): 1,
        ("index", 1): 1,
        ("index", 2): 1,
    }
    assert await made(docs, 1) == {("convert", 1): 2, ("split", 1): 2, ("index", 1): 3}
    by_number = await docs.catalog.made_by(await docs.dataset(), [2, 1, 99])
    assert sorted(by_number) == [1, 2]
    stages = {one.route: (one.from_stage, one.stage) for one in by_number[1]}
    assert stages == {
        "convert": ("input", "pages"),
        "split": ("pages", SEGMENTS),
        "index": (SEGMENTS, f"{SINK}index"),
    }


async def test_results_of_a_stage_are_listed_by_their_first_objects_in_pages(docs: Publisher):
    run = await docs.run(a="x y", b="x", c="x")
    await docs.publish(run)
    dataset = await docs.dataset()

    async def listed(stage: str = SEGMENTS, after: str = "", limit: int = 9) -> list[tuple[str, str]]:
        found = await docs.catalog.results_in(dataset, 1, stage=stage, after=after, limit=limit)
        return [(one.path, one.received) for one in found]

    assert await listed() == [("a/1", "a"), ("b/1", "b"), ("c/1", "c")]
    assert await listed(after="a/1", limit=1) == [("b/1", "b")]
    assert await listed("input") == [], "an input is not a result"
    [first, *_] = await docs.catalog.results_in(dataset, 1, stage=f"{SINK}index", after="", limit=1)
    assert (first.path, first.key, first.received) == (f"{SEGMENTS}/a/1", None, "a/1")
    [page, *_] = await docs.catalog.results_in(dataset, 1, stage="pages", after="", limit=1)
    [of_route] = [one for one in (await docs.catalog.made_by(dataset, [1]))[1] if one.route == "convert"]
    assert (page.key, page.made_by) == (f"{run}/pages/a", of_route.id)


async def test_objects_whose_newest_replay_has_failed_are_known_by_route(docs: Publisher):
    run = await docs.run(a="x y", b="x", c="x", fails=["c"])
    await docs.publish(run)
    a, b, c = (f"{run}/pages/{path}" for path in "abc")

    async def failed() -> dict[tuple[str, str], str]:
        return await docs.catalog.failed_replays([a, b, c, f"{run}/input/a"])

    assert await docs.catalog.failed_replays([]) == await failed() == {}, "c has failed in the run itself"
    await docs.replay(run, a="z", b="z", fails=["a", "b"])
    assert await failed() == {(a, "split"): "adapter_error", (b, "split"): "adapter_error"}
    await docs.replay(run, a="z")
    assert await failed() == {(b, "split"): "adapter_error"}
    [page, *_] = await docs.catalog.results_in(await docs.dataset(), 1, stage=SEGMENTS, after="", limit=1)
    assert page.received_key == a


async def test_what_readers_see_follows_a_rollback(docs: Publisher, clock: Clock):
    run = await docs.run(a="x y", b="x")
    await docs.publish(run)
    clock.advance(60)
    await docs.publish(await docs.replay(run, a="z"))
    clock.advance(10)

    [shown] = await docs.catalog.shown()
    assert (shown.config, shown.dataset, shown.n, shown.objects) == ("docs", "docs", 2, 2 + 2 + 2)
    assert shown.age_seconds == pytest.approx(10, abs=1)
    assert {one.route for one in shown.made_by} == {"convert", "split", "index"}

    await docs.catalog.roll_back(await docs.dataset(), to=1, expect_seq=None, reason=None)
    [shown] = await docs.catalog.shown()
    assert (shown.n, shown.objects) == (1, 2 + 2 + 3)
    assert shown.age_seconds == pytest.approx(70, abs=1), "since it was decided"


async def test_the_steps_of_decided_publications_are_timed(docs: Publisher, clock: Clock):
    draft = await docs.begin(await docs.run(a="x"), lease=1000)
    clock.advance(7)
    await docs.finish(draft)
    clock.advance(5)
    await docs.stage()
    assert await docs.catalog.staged(draft)
    assert await docs.catalog.publication_times() == []

    await docs.catalog.decide_draft(draft)

    [times] = await docs.catalog.publication_times()
    assert times == pytest.approx((7, 5), abs=0.5)


async def test_protected_bytes_are_those_of_the_newest_and_of_all_publications(docs: Publisher):
    run = await docs.run(a="xx yy", b="x")
    one = await docs.publish(run)
    newest = await docs.publish(await docs.replay(run, a="zzz"))
    await docs.catalog.roll_back(await docs.dataset(), to=1, expect_seq=None, reason=None)

    [found] = await docs.catalog.protected_bytes()

    assert one.bytes_protected == 2 * (5 + 1) + 4 + 1
    assert newest.bytes_protected == 2 * (5 + 1) + 3 + 1
    assert found == ("docs", "docs", 2, newest.bytes_protected, one.bytes_protected + 3)
