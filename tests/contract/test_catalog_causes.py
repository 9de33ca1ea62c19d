"""Causes: one error over all routes and executions, its open objects, and its acknowledgement."""

from __future__ import annotations

from uuid import UUID

import pytest

from playhead.failures import cause_of, group_number
from playhead.model import Cause
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.causes import CauseFilter, Until
from playhead.ports.catalog.jobs import Listed
from tests.lab import Clock, Lab

TRACE = 'Traceback (most recent call last):\n  File "/a/steps.py", line {}, in parse\nKeyError: {}\n'


async def listed(catalog: Catalog, **where: object) -> list[Cause]:
    found, _ = await catalog.causes(CauseFilter(**where))  # type: ignore[arg-type]
    return found


async def fail(lab: Lab, identity: UUID, error: str, code: str = "adapter_error") -> None:
    await lab.fail(await lab.claim(identity), code=code, error=error)


def text_of(cause: Cause) -> str:
    return "".join(f"<{part.text}>" if part.varies else part.text for part in cause.error)


async def test_one_error_in_several_routes_and_executions_is_one_cause(catalog: Catalog, lab: Lab):
    one = await lab.started("a.md", "b.md")
    (child,) = lab.ids(await lab.work(one.ids[1], lab.output("b.md")))
    await fail(lab, one.ids[0], "page 1 is torn")
    await fail(lab, child, "page 22 is torn")
    two = await lab.started("a.md")
    lab.clock.advance(5)
    await fail(lab, two.ids[0], "page 333 is torn")

    [cause] = await listed(catalog)

    assert text_of(cause) == "page <333> is torn"
    assert cause.id == f"{cause_of('adapter_error', 'page 1 is torn'):012x}"
    assert (cause.objects, cause.letters, cause.executions, cause.processed) == (2, 3, 2, 0)
    assert [(one.config, one.route, one.objects) for one in cause.routes] == [
        ("docs", "convert", 1),
        ("docs", "split", 1),
    ]
    assert (cause.state, cause.is_new, cause.route_count) == ("open", True, 2)
    assert (cause.newest, cause.execution_id) == (two.ids[0], two.execution)
    assert cause.input_key == f"{two.execution}/input/a.md"
    assert cause.last_failed_at > cause.first_failed_at


@pytest.mark.parametrize(("paths", "objects"), [("ab", 2), ("bd", 3), ("cd", 4)])
async def test_an_object_that_fails_in_two_routes_is_counted_once(
    catalog: Catalog, lab: Lab, paths: str, objects: int
):
    one = await lab.started("a.md", "b.md", "c.md", "d.md")
    keys = [f"{one.execution}/input/{path}.md" for path in paths]
    replay = await lab.started_replay(one.execution, *keys, route="split")
    for identity in (*one.ids[:2], *replay.ids):
        await fail(lab, identity, "torn")

    [cause] = await listed(catalog)

    assert (cause.objects, cause.letters, cause.route_count) == (objects, 4, 2)


async def test_the_place_of_an_error_is_that_of_the_newest_one(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    for identity, line in zip(run.ids, (16, 18), strict=True):
        held = await lab.claim(identity)
        await lab.fail(held, error="KeyError: 'a'", traceback=TRACE.format(line, "'a'"))

    [cause] = await listed(catalog)

    assert (cause.place, cause.objects) == ("steps.py:18", 2)


async def test_a_cause_is_closed_when_its_objects_were_processed_since(catalog: Catalog, lab: Lab):
    one = await lab.started("a.md", "b.md")
    for identity in one.ids:
        await fail(lab, identity, "torn")
    lab.clock.advance(5)
    await catalog.resend(ids=one.ids[:1])
    [waiting] = await listed(catalog)
    assert (waiting.state, waiting.objects) == ("open", 2), "it is not processed before it has succeeded"
    await lab.work(one.ids[0], lab.output("a.md"))
    [half] = await listed(catalog)
    assert (half.state, half.objects, half.processed) == ("open", 1, 1)

    two = await lab.started("b.md", "c.md")
    await lab.work(two.ids[1], lab.output("c.md"))
    assert [one.state for one in await listed(catalog)] == ["open"]
    await lab.work(two.ids[0], lab.output("b.md"))

    [cause] = await listed(catalog)
    assert (cause.state, cause.objects, cause.processed, cause.letters) == ("closed", 2, 2, 2)
    assert cause.closed_at is not None
    assert cause.closed_at > cause.last_failed_at
    assert await listed(catalog, state="open") == []
    assert await listed(catalog, state="closed") == [cause]

    three = await lab.started("b.md")
    await fail(lab, three.ids[0], "torn")
    [again] = await listed(catalog, state="open")
    assert (again.id, again.objects, again.processed, again.closed_at) == (cause.id, 1, 1, None)


async def test_success_in_another_route_or_of_an_earlier_message_closes_nothing(catalog: Catalog, lab: Lab):
    early = await lab.started("a.md")
    run = await lab.started("a.md")
    await fail(lab, run.ids[0], "torn")

    (child,) = lab.ids(await lab.work(early.ids[0], lab.output("a.md")))
    await lab.work(child)

    assert [(one.state, one.objects) for one in await listed(catalog)] == [("open", 1)]


async def test_a_message_that_fails_again_is_one_letter(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await fail(lab, run.ids[0], "torn")
    await catalog.resend(ids=run.ids)
    await fail(lab, run.ids[0], "torn")

    assert [(one.objects, one.letters) for one in await listed(catalog)] == [(1, 1)]


async def test_every_way_to_become_a_dead_letter_has_a_cause(catalog: Catalog, lab: Lab):
    run = await lab.started("lost.md")
    for worker in ("v1", "v2", "v3"):
        await lab.claim(run.ids[0], worker, alone=True)
        await catalog.depart(worker)
    await lab.refusal(run.ids[0])
    other = await lab.sealed("a.md", "b.md")
    held = await lab.hold(other)
    objects = [
        Listed(f"{other}/input/a.md", "input"),
        Listed(f"{other}/input/b.md", "input", "ends with '.'"),
    ]
    await lab.record(held, objects, cursor=objects[1].key, last=True)
    window = await catalog.unpublished(held, limit=10)
    assert window
    await catalog.mark(held, 2, refused=[(window.dispatches[0], "too large: 12 bytes")])

    found = {one.error_code: (one.objects, text_of(one)[:12]) for one in await listed(catalog)}

    assert found == {
        "worker_lost": (1, "its worker d"),
        "invalid_key": (1, "the key ends"),
        "publish_refused": (1, "too large: <"),
    }


async def test_causes_come_in_pages_the_newest_failure_first(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md", "d.md")
    for identity, error in zip(run.ids, ("torn", "wet", "lost", "torn"), strict=True):
        lab.clock.advance(1)
        await fail(lab, identity, error)

    first, before = await catalog.causes(limit=2)
    rest, end = await catalog.causes(before=before, limit=2)

    assert [text_of(one) for one in first + rest] == ["torn", "lost", "wet"]
    assert before is not None
    assert end is None
    assert [text_of(one) for one in await listed(catalog, route="docs/convert", state="open")] == [
        text_of(one) for one in first + rest
    ]
    assert await listed(catalog, route="split") == []


async def test_causes_of_a_period(catalog: Catalog, lab: Lab, clock: Clock):
    run = await lab.started("a.md", "b.md")
    await fail(lab, run.ids[0], "torn")
    clock.advance(100)
    then = clock()
    await fail(lab, run.ids[1], "wet")

    assert [(text_of(one), one.is_new) for one in await listed(catalog, since=then)] == [("wet", True)]
    assert [text_of(one) for one in await listed(catalog, until=then)] == ["torn"]
    clock.advance(86_401)
    assert [one.is_new for one in await listed(catalog)] == [False, False]


async def test_an_acknowledgement_ends_at_its_time_or_on_request(catalog: Catalog, lab: Lab, clock: Clock):
    run = await lab.started("a.md")
    await fail(lab, run.ids[0], "torn")
    n = group_number((await listed(catalog))[0].id)

    assert await catalog.acknowledge(n, "known", "ann", Until(at=clock() + 60))
    [cause] = await listed(catalog, state="acknowledged")
    assert (cause.state, cause.is_new) == ("acknowledged", False)
    assert cause.acknowledgement is not None
    assert (cause.acknowledgement.reason, cause.acknowledgement.requested_by) == ("known", "ann")
    assert not cause.acknowledgement.ended
    assert await listed(catalog, state="open") == []

    clock.advance(61)
    [cause] = await listed(catalog, state="open")
    assert cause.acknowledgement is not None
    assert cause.acknowledgement.ended
    assert not cause.is_new, "a cause that was acknowledged is known"

    await catalog.acknowledge(n, "for good", "", Until())
    assert [one.state for one in await listed(catalog)] == ["acknowledged"]
    assert await catalog.end_acknowledgement(n)
    [cause] = await listed(catalog)
    assert (cause.state, cause.acknowledgement) == ("open", None)
    assert not await catalog.acknowledge(1, "x", "", Until())
    assert not await catalog.end_acknowledgement(1)
    assert await catalog.cause(1) is None


async def test_an_acknowledgement_ends_with_a_version_of_a_config(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", config=lab.config("docs", lab.route("convert")))
    await fail(lab, run.ids[0], "torn")
    [cause] = await listed(catalog)
    await catalog.acknowledge(group_number(cause.id), "fixed in 2", "", Until("docs", 2))
    [cause] = await listed(catalog, state="acknowledged")
    assert cause.acknowledgement
    assert cause.acknowledgement.until_version == "docs@2"

    await lab.started("b.md", config=lab.config("docs", lab.route("convert"), lab.route("more")))

    assert [one.state for one in await listed(catalog)] == ["open"]


async def test_the_open_objects_of_a_cause_are_listed_by_source_the_newest_first(catalog: Catalog, lab: Lab):
    old, new = await lab.started("a.md", "b.md", "c.md"), await lab.started("c.md", "d.md")
    for identity in (*new.ids, *old.ids[:2]):
        await fail(lab, identity, "torn")
    [cause] = await listed(catalog)
    number = group_number(cause.id)

    found = await catalog.failing(number, limit=10)

    assert [(UUID(one.place.source), one.place.path) for one in found] == [
        *((new.execution, path) for path in ("input/d.md", "input/c.md")),
        *((old.execution, path) for path in ("input/b.md", "input/a.md")),
    ]
    assert {(one.stage, one.place.config, one.place.route) for one in found} == {("input", "docs", "convert")}
    for n, one in enumerate(found, 1):
        assert await catalog.failing(number, after=one.place, limit=2) == found[n : n + 2]
        assert await catalog.count_failing(number, after=one.place) == len(found) - n
    assert await catalog.count_failing(number) == 4

    # One of them fails again in a replay of its source, and another one is processed.
    replay = await lab.started_replay(new.execution, f"{new.execution}/input/d.md")
    await fail(lab, replay.ids[0], "torn")
    assert await catalog.failing(number, limit=10) == found
    await catalog.resend(ids=[new.ids[0]])
    await lab.work(new.ids[0], lab.output("c.md"))
    assert await catalog.failing(number, limit=10) == [found[0], *found[2:]]


async def test_the_objects_of_a_cause_are_listed_by_pages_the_newest_failure_first(
    catalog: Catalog, lab: Lab
):
    one = await lab.started("a.md", "b.md", "c.md", "d.md")
    for n, identity in enumerate(one.ids[:3]):
        await fail(lab, identity, f"page {n} is torn")
        lab.clock.advance(5)
    await fail(lab, one.ids[3], "another error")
    [cause] = [cause for cause in await listed(catalog) if cause.objects == 3]
    number = group_number(cause.id)

    first, place = await catalog.objects(number, is_open=True, limit=2)
    rest, then = await catalog.objects(number, is_open=True, after=place, limit=2)

    assert [found.path for found in (*first, *rest)] == ["input/c.md", "input/b.md", "input/a.md"]
    assert then is None
    newest = first[0]
    assert (newest.config, newest.route, newest.letters, newest.processed_at) == ("docs", "convert", 1, None)
    assert (newest.correlation_id, newest.input_key) == (one.ids[2], f"{one.execution}/input/c.md")
    assert newest.failed_at > rest[0].failed_at
    assert [found.error for found in (newest, *rest)] == ["page 2 is torn", "page 0 is torn"]

    again = await lab.started("c.md")
    await lab.work(again.ids[0])

    assert [found.path for found in (await catalog.objects(number, is_open=True, limit=9))[0]] == [
        "input/b.md",
        "input/a.md",
    ]
    [[done], _] = await catalog.objects(number, is_open=False, limit=9)
    assert (done.path, done.processed_at is not None) == ("input/c.md", True)
