"""How every catalog takes over results of an earlier run: `since` of `ports.catalog.jobs`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.errors import Conflict, NotFound
from playhead.ids import uuid7
from playhead.model import AdapterCode, PruneFilter, Skip
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import Reference
from playhead.ports.catalog.jobs import LeasedJob
from playhead.ports.catalog.prune import Candidate
from playhead.ports.catalog.runs import Input, Reusable, ReusableRoutes, Unread
from playhead.ports.catalog.work import Claim, Done, NewOutput, Unbound
from playhead.services.resolve import ResolveService
from tests.lab import Clock, Lab, Started

if TYPE_CHECKING:
    from playhead.envelope import Dispatch
    from tests.contract.backends import Factory

CODE = [AdapterCode("step", "1", "sha256:aa")]
OTHER = [AdapterCode("step", "2", "sha256:bb")]
SAME: ReusableRoutes = {"convert": [CODE], "split": [CODE], "index": [CODE]}


async def work(
    lab: Lab,
    identity: UUID,
    *outputs: NewOutput,
    skip: Skip | None = None,
    code: Sequence[AdapterCode] = CODE,
) -> list[Dispatch]:
    """Process a message."""
    claim = await lab.claim(identity)
    keys = [bound.key for bound in await lab.bind(claim, *outputs)] if outputs else []
    ran = await lab.catalog.record_code(code)
    result = Done(identity, claim.attempt, keys, skip=skip, ran=ran)
    (answer,) = await lab.catalog.finish("w1", [result])
    assert answer is not None, "the token holds"
    return answer.children


async def item(lab: Lab, identity: UUID, path: str) -> None:
    """Process an input and all that follows from it: one page, and two segments."""
    [split] = lab.ids(await work(lab, identity, lab.output(path, "page")))
    for index in lab.ids(await work(lab, split, lab.output(f"{path}/1", "a"), lab.output(f"{path}/2", "b"))):
        await work(lab, index)


async def finished(lab: Lab, *paths: str) -> Started:
    """A run that has processed all of its inputs."""
    run = await lab.started(*paths)
    for identity, path in zip(run.ids, paths, strict=True):
        await item(lab, identity, path)
    assert await lab.catalog.end_executions([run.execution]) == [run.execution]
    return run


async def bound(
    lab: Lab,
    source: UUID,
    *inputs: Input,
    routes: ReusableRoutes = SAME,
    replays: Mapping[UUID, ReusableRoutes] = MappingProxyType({}),
) -> tuple[UUID, set[str]]:
    """Open and seal a run since another one; return its id, and the inputs that need not be stored."""
    execution = await lab.catalog.open_run(
        uuid7(),
        "docs",
        await lab.save(),
        tags=(),
        owner="w1",
        lease=lab.LEASE,
        reuse=Reusable(source, routes, replays),
    )
    assert execution.changed_since == source
    referred = await lab.catalog.bind_inputs(execution.execution_id, inputs, takes_over=True)
    assert await lab.catalog.seal(execution.execution_id)
    return execution.execution_id, referred


async def since(
    lab: Lab,
    source: UUID,
    *inputs: Input,
    routes: ReusableRoutes = SAME,
    replays: Mapping[UUID, ReusableRoutes] = MappingProxyType({}),
) -> tuple[UUID, list[Dispatch]]:
    """Run inputs since another run; return its id, and the dispatches of its entry route."""
    execution, _ = await bound(lab, source, *inputs, routes=routes, replays=replays)
    held = await lab.hold(execution)
    dispatches = await lab.list_all(held, *(f"{execution}/input/{one.path}" for one in inputs))
    if dispatches:
        assert await lab.catalog.mark(held, dispatches[-1].ordinal or 0)
    assert await lab.catalog.close_job(held)
    return execution, dispatches


async def states(catalog: Catalog, execution: UUID) -> list[tuple[str, str, str]]:
    """Route, state and input of each message of an execution, in order."""
    rows, _ = await catalog.lineage_list(execution=execution)
    return [(one.route, one.status, one.input_key.partition("/")[2]) for one in reversed(rows)]


async def left(catalog: Catalog) -> list[Dispatch]:
    """Return the dispatches that the reconciler has to publish."""
    return await catalog.orphans("w1", limit=100, without=())


async def prune(catalog: Catalog, execution: UUID, *stages: str) -> tuple[list[str], int]:
    """Prune to the end; returns the keys of the bytes to delete, and the number of counted objects."""
    keys: list[str] = []
    objects = 0
    totals = await catalog.count_prunable(Candidate(execution, stages, None))
    counted = sum(one.objects for one in totals)
    for pruning in await catalog.begin_prune([Candidate(execution, stages, None)]):
        last = None
        while page := await catalog.prune_page(pruning, deleted=last, limit=2):
            keys += page.keys
            objects += page.objects
            last = page.last
        await catalog.end_prune(pruning)
    assert objects == counted, "a prune deletes what it has announced"
    return sorted(keys), objects


def under(execution: UUID, *paths: str) -> list[str]:
    return [f"{execution}/{path}" for path in paths]


ALL = ("input/a", "pages/a", "segments/small/a/1", "segments/small/a/2")


# -- what is taken over ----------------------------------------------------------------------------


async def test_an_unchanged_input_is_taken_over_with_all_that_followed(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a", "b")

    run, dispatches = await since(lab, source.execution, lab.input("a"), lab.input("b"))

    assert dispatches == []
    assert await left(catalog) == []
    assert await catalog.end_executions([run]) == [run]
    counts = await lab.counts(run)
    assert (counts.total, counts.completed, counts.taken_over, counts.pending) == (8, 8, 8, 0)
    assert {one.route: one.counts.taken_over for one in await catalog.route_counts(run)} == {
        "convert": 2,
        "split": 2,
        "index": 4,
    }
    assert sorted(await states(catalog, run)) == sorted(
        [(route, "taken_over", key) for route, _, key in await states(catalog, source.execution)]
    )


async def test_a_taken_over_output_is_a_reference_to_the_object(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a", "b")

    run, _ = await since(lab, source.execution, lab.input("a"))

    found = await catalog.references(str(run), limit=100)
    assert [(one.key, one.location) for one in found] == list(
        zip(under(run, *ALL), under(source.execution, *ALL), strict=True)
    )
    assert [one.size for one in found] == [0, 4, 1, 1]
    assert await catalog.unstored([one.key for one in found]) == set()
    assert await catalog.references(str(source.execution), limit=100) == []


async def test_references_are_listed_by_whole_segments_and_by_pages(catalog: Catalog, lab: Lab):
    paths = ("a", "a-b", "a.md", "a/x", "b")
    source = await lab.started(*paths)
    run, _ = await since(lab, source.execution, *map(lab.input, paths))

    async def keys(path: str, after: str = "", limit: int = 100) -> list[str]:
        found = await catalog.references(f"{run}/{path}", after=after, limit=limit)
        return [one.key.partition("/input")[2] for one in found]

    assert await keys("input") == ["/a", "/a-b", "/a.md", "/a/x", "/b"]
    assert await keys("input/a") == ["/a", "/a/x"]
    assert await keys("input/a", after=f"{run}/input/a") == ["/a/x"]
    assert await keys("input", after=f"{run}/input/a-b", limit=2) == ["/a.md", "/a/x"]
    assert await keys("inp") == []


async def test_lineage_names_the_message_that_was_processed(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a")
    second, _ = await since(lab, source.execution, lab.input("a"))
    third, _ = await since(lab, second, lab.input("a"))
    lab.clock.advance(1)

    rows, _ = await catalog.lineage_list(execution=third, route="convert")
    originals, _ = await catalog.lineage_list(execution=source.execution, route="convert")

    [row], [original] = rows, originals
    assert (row.taken_over_from, original.taken_over_from) == (original.correlation_id, None)
    assert (row.attempts, row.started_at, row.error) == (0, None, None)
    assert row.adapters == CODE
    assert (row.output_keys, row.output_count) == (under(third, "pages/a"), 1)


async def test_a_run_since_a_run_that_took_over_refers_to_the_first_object(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a")
    second, _ = await since(lab, source.execution, lab.input("a"))

    third, dispatches = await since(lab, second, lab.input("a"))

    assert dispatches == []
    found = await catalog.references(str(third), limit=100)
    assert [one.location for one in found] == under(source.execution, *ALL)


async def test_new_and_changed_inputs_are_processed(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a", "b", "gone")

    run, dispatches = await since(
        lab, source.execution, lab.input("a"), lab.input("b", "changed"), lab.input("new")
    )

    assert [one.object_key for one in dispatches] == under(run, "input/b", "input/new")
    assert [one.ordinal for one in dispatches] == [2, 3]
    for identity, path in zip(lab.ids(dispatches), ("b", "new"), strict=True):
        await item(lab, identity, path)
    assert await catalog.end_executions([run]) == [run]
    counts = await lab.counts(run)
    assert (counts.total, counts.taken_over) == (12, 4)


async def test_an_input_whose_bytes_are_stored_already_needs_no_copy(catalog: Catalog, lab: Lab):
    source = await lab.started("a", "b")

    run, referred = await bound(
        lab, source.execution, lab.input("a"), lab.input("b", "changed"), lab.input("c")
    )

    assert referred == set(under(run, "input/a"))
    assert await catalog.inputs(run, after="", limit=10) == under(run, "input/a", "input/b", "input/c")
    assert await catalog.bind_inputs(run, [lab.input("a"), lab.input("c")], takes_over=True) == referred


async def test_a_file_that_was_not_read_is_taken_over_if_its_size_and_its_stamp_are_the_same(
    catalog: Catalog, lab: Lab
):
    source = await lab.opened()
    stamps = {"a": "1 1", "b": "1 2", "c": "1 3", "d": None}
    inputs = [lab.input(path, "text")._replace(stamp=stamp) for path, stamp in stamps.items()]
    await catalog.bind_inputs(source, inputs)
    assert await catalog.seal(source)

    async def unread(source: UUID, *files: Unread) -> tuple[UUID, set[str]]:
        run = await catalog.open_run(
            *(uuid7(), "docs", await lab.save()), tags=(), owner="w1", lease=lab.LEASE, reuse=Reusable(source)
        )
        referred = await catalog.refer_inputs(run.execution_id, files)
        return run.execution_id, {key.partition("/")[2] for key in referred}

    a, b, c, d = (Unread(path, 4, stamp or "2 2") for path, stamp in stamps.items())
    run, referred = await unread(source, a, b._replace(stamp="2 2"), c._replace(size=5), d)
    assert referred == {"input/a"}
    changed = [lab.input("b", "text")._replace(stamp="2 2")]
    assert await catalog.bind_inputs(run, changed, takes_over=True) == {f"{run}/input/b"}
    assert await catalog.seal(run)

    # The stamps are those of the newest run.
    _, referred = await unread(run, a, b)
    assert referred == {"input/a"}
    _, referred = await unread(run, b._replace(stamp="2 2"))
    assert referred == {"input/b"}


# -- where it ends ---------------------------------------------------------------------------------


async def test_only_the_routes_from_the_first_changed_one_are_processed(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a", "b")

    run, dispatches = await since(
        lab, source.execution, lab.input("a"), lab.input("b"), routes={"convert": [CODE], "split": [OTHER]}
    )

    assert dispatches == []
    assert sorted(await states(catalog, run)) == [
        ("convert", "taken_over", "input/a"),
        ("convert", "taken_over", "input/b"),
        ("split", "pending", "pages/a"),
        ("split", "pending", "pages/b"),
    ]
    children = await left(catalog)
    assert sorted(one.object_key for one in children) == under(run, "pages/a", "pages/b")
    claim = await lab.claim(lab.ids(children)[0])
    assert claim.source is not None
    assert claim.source.location == f"{source.execution}/pages/{claim.path}"


async def test_a_message_that_did_not_succeed_is_processed(catalog: Catalog, lab: Lab):
    source = await lab.started("dead", "open", "running", "skipped")
    dead, _, running, skipped = source.ids
    await lab.kill(dead)
    await lab.claim(running)
    await work(lab, skipped, skip=Skip("no_output", "split returned no output"))

    run, dispatches = await since(
        lab, source.execution, *map(lab.input, ("dead", "open", "running", "skipped"))
    )

    assert [one.object_key for one in dispatches] == under(run, "input/dead", "input/open", "input/running")
    [row], _ = await catalog.lineage_list(execution=run, status="taken_over")
    assert row.input_key == f"{run}/input/skipped"
    assert (row.skip_code, row.skip_reason) == ("no_output", "split returned no output")


async def test_an_item_is_followed_up_to_its_failure(catalog: Catalog, lab: Lab):
    source = await lab.started("a")
    [split] = lab.ids(await work(lab, source.ids[0], lab.output("a", "page")))
    one, other = lab.ids(await work(lab, split, lab.output("a/1"), lab.output("a/2")))
    await work(lab, one)
    await lab.kill(other)

    run, _ = await since(lab, source.execution, lab.input("a"))

    assert sorted(await states(catalog, run)) == [
        ("convert", "taken_over", "input/a"),
        ("index", "pending", "segments/small/a/2"),
        ("index", "taken_over", "segments/small/a/1"),
        ("split", "taken_over", "pages/a"),
    ]


async def test_results_of_a_cancelled_run_are_taken_over(catalog: Catalog, lab: Lab):
    source = await lab.started("a", "b")
    await work(lab, source.ids[0], lab.output("a", "page"))
    await catalog.cancel(source.execution)

    run, dispatches = await since(lab, source.execution, lab.input("a"), lab.input("b"))

    assert [one.object_key for one in dispatches] == under(run, "input/b")
    assert ("split", "pending", "pages/a") in await states(catalog, run)


@pytest.mark.parametrize("routes", [{}, {"split": [CODE], "index": [CODE]}, {**SAME, "convert": [OTHER]}])
async def test_nothing_is_taken_over_from_a_route_that_has_changed(
    catalog: Catalog, lab: Lab, routes: ReusableRoutes
):
    source = await finished(lab, "a")

    run, dispatches = await since(lab, source.execution, lab.input("a"), routes=routes)

    assert [one.object_key for one in dispatches] == under(run, "input/a")
    assert await states(catalog, run) == [("convert", "pending", "input/a")]


async def test_a_route_may_accept_several_codes(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a")
    earlier = [AdapterCode("step", "1", "sha256:00")]
    routes = {"convert": [OTHER, CODE], "split": [earlier, OTHER, CODE], "index": [earlier, OTHER]}

    run, _ = await since(lab, source.execution, lab.input("a"), routes=routes)

    assert sorted((route, state) for route, state, _ in await states(catalog, run)) == [
        ("convert", "taken_over"),
        *(("index", "pending"), ("index", "pending")),
        ("split", "taken_over"),
    ]


async def test_a_key_that_another_message_has_bound_is_a_conflict_as_in_any_run(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a", "b")
    run, _ = await bound(lab, source.execution, lab.input("a", "changed"), lab.input("b"))
    held = await lab.hold(run)
    [first] = await lab.list_all(held, *under(run, "input/a"), last=False)
    await lab.bind(await lab.claim(lab.ids([first])[0]), lab.output("b", "not that of b"))

    [second] = await lab.list_all(held, *under(run, "input/b"))

    assert second.object_key == f"{run}/input/b"
    assert await catalog.references(f"{run}/pages", limit=10) == []
    answer = await lab.try_bind(await lab.claim(lab.ids([second])[0]), lab.output("b", "page"))
    assert isinstance(answer, Unbound)
    assert answer.code == "output_conflict"


async def test_what_other_programs_received_is_not_sent_again(catalog: Catalog, lab: Lab):
    config = lab.config("docs", lab.route("out", external=True))
    source = await lab.started("a", config=config)
    version = await lab.save(config)
    run = uuid7()
    given = Reusable(source.execution, {"out": None})
    await catalog.open_run(run, "docs", version, tags=(), owner="w1", lease=lab.LEASE, reuse=given)
    await catalog.bind_inputs(run, [lab.input("a"), lab.input("new")], takes_over=True)
    assert await catalog.seal(run)

    dispatches = await lab.list_all(await lab.hold(run), *under(run, "input/a", "input/new"))

    assert [one.object_key for one in dispatches] == under(run, "input/new")


async def test_previous_is_the_newest_run_of_the_config_that_has_processed_all_inputs(
    catalog: Catalog, lab: Lab
):
    names = ResolveService(catalog)
    for name in ("previous", "previous:docs"):
        with pytest.raises(NotFound, match=r"no run of config 'docs'.*without --changed-since"):
            await names.earlier_run(name, "docs")
    complete = await finished(lab, "a")
    with_dead = await lab.started("a")
    await lab.kill(with_dead.ids[0])
    assert await catalog.end_executions([with_dead.execution]) == [with_dead.execution]
    cancelled = await lab.sealed("a")
    await catalog.cancel(cancelled)
    await lab.opened()
    await catalog.depart("w1")
    [killed] = await catalog.fail_unsealed()
    await lab.beat("w1")
    await lab.started("a")
    other = await lab.started("a", config=lab.config("other", lab.route("keep", external=True)))
    replay = await lab.replayed(complete.execution)

    for name in ("previous", "previous:docs"):
        assert await names.earlier_run(name, "docs") == with_dead.execution
    assert await names.earlier_run("previous:docs", "other") == with_dead.execution
    assert await names.earlier_run("latest:replay", "docs") == replay.execution_id
    assert await names.earlier_run(str(killed), "docs") == killed
    assert await names.execution("latest") == other.execution


# -- replays of the earlier run --------------------------------------------------------------------


async def replayed(lab: Lab, source: UUID, stage: str, route: str, paths: str) -> Started:
    """A replay that has processed objects of a stage, and all that followed from them."""
    keys = under(source, *(f"{stage}/{path}" for path in paths.split()))
    return await lab.started_replay(source, *keys, stage=stage, route=route)


async def test_a_result_of_a_replay_is_used_if_that_of_the_run_is_not_valid(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a", "b")
    replay = await replayed(lab, source.execution, "pages", "split", "a")
    [split] = replay.ids
    [index] = lab.ids(await work(lab, split, lab.output("a/3", "c"), code=OTHER))
    await work(lab, index)
    routes = {**SAME, "split": [OTHER]}

    run, dispatches = await since(
        *(lab, source.execution, lab.input("a"), lab.input("b")),
        routes=routes,
        replays={replay.execution: routes},
    )

    assert dispatches == []
    assert sorted(await states(catalog, run)) == [
        ("convert", "taken_over", "input/a"),
        ("convert", "taken_over", "input/b"),
        ("index", "taken_over", "segments/small/a/3"),
        ("split", "pending", "pages/b"),
        ("split", "taken_over", "pages/a"),
    ]
    [reference] = await catalog.references(f"{run}/segments", limit=10)
    assert (reference.key, reference.location) == (
        f"{run}/segments/small/a/3",
        f"{replay.execution}/segments/small/a/3",
    )
    rows, _ = await catalog.lineage_list(execution=run, route="split", status="taken_over")
    assert [one.taken_over_from for one in rows] == [split]


async def test_the_run_comes_before_its_replays_and_the_newest_replay_before_others(
    catalog: Catalog, lab: Lab
):
    source = await finished(lab, "a")
    replays = [await replayed(lab, source.execution, "input", "convert", "a") for _ in range(3)]
    for replay, content, code in zip(replays, "123", (CODE, CODE, OTHER), strict=True):
        await work(lab, replay.ids[0], lab.output("a", content), code=code)
    of_replays = dict.fromkeys((one.execution for one in replays), SAME)

    first, _ = await since(lab, source.execution, lab.input("a"), replays=of_replays)
    second, _ = await since(lab, source.execution, lab.input("a"), routes={}, replays=of_replays)

    [page] = await catalog.references(f"{first}/pages", limit=10)
    assert page.location == f"{source.execution}/pages/a"
    [page] = await catalog.references(f"{second}/pages", limit=10)
    assert page.location == f"{replays[1].execution}/pages/a"


async def test_a_replay_is_not_used_for_objects_that_another_replay_has_stored(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a")
    convert = await replayed(lab, source.execution, "input", "convert", "a")
    [child] = lab.ids(await work(lab, convert.ids[0], lab.output("a", "another page"), code=OTHER))
    await lab.kill(child)
    split = await replayed(lab, source.execution, "pages", "split", "a")
    await work(lab, split.ids[0], lab.output("a/3", "of the page of the run"))
    routes = {**SAME, "convert": [OTHER]}

    run, _ = await since(
        *(lab, source.execution, lab.input("a")),
        routes=routes,
        replays=dict.fromkeys((convert.execution, split.execution), routes),
    )

    assert sorted(await states(catalog, run)) == [
        ("convert", "taken_over", "input/a"),
        ("split", "pending", "pages/a"),
    ]


async def test_a_replay_is_kept_until_the_run_has_settled_and_its_bytes_until_the_run_is_pruned(
    catalog: Catalog, lab: Lab
):
    source = await finished(lab, "a")
    replay = await replayed(lab, source.execution, "input", "convert", "a")
    await work(lab, replay.ids[0], lab.output("a", "another page"), code=OTHER)
    await catalog.cancel(replay.execution)
    routes = {"convert": [OTHER]}
    again = partial(
        since, lab, source.execution, lab.input("a"), routes=routes, replays={replay.execution: routes}
    )
    run, _ = await again()
    [candidate], _ = await catalog.prune_candidates(PruneFilter(execution_ids=[replay.execution]))
    assert candidate.kept == "replayed"
    await catalog.cancel(run)

    assert await prune(catalog, replay.execution) == ([], 0)
    second, dispatches = await again()

    assert [one.object_key for one in dispatches] == under(second, "input/a"), "the replay is pruned"
    assert (await prune(catalog, run))[0] == [f"{replay.execution}/pages/a"]


# -- jobs ------------------------------------------------------------------------------------------


async def test_a_new_owner_continues_after_the_page_that_was_recorded(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a", "b")
    run, _ = await bound(lab, source.execution, lab.input("a"), lab.input("b"))
    lost = await lab.hold(run)
    await lab.list_all(lost, *under(run, "input/a"), last=False)
    lab.clock.advance(lab.LEASE + 1)
    await lab.beat("w1", "w2")

    held = await lab.hold(run, "w2")
    assert held.cursor == f"{run}/input/a"
    assert await lab.record(lost, [], cursor=f"{run}/input/b", last=True) is None
    await lab.list_all(held, *under(run, "input/b"))

    assert await catalog.close_job(held)
    assert (await lab.counts(run)).taken_over == 8


async def test_a_job_says_how_many_inputs_a_page_has_and_whether_there_are_references(
    catalog: Catalog, lab: Lab
):
    def of(held: LeasedJob) -> tuple[bool, bool]:
        return held.page is not None, held.has_references

    source = await lab.started("a")
    run, _ = await bound(lab, source.execution, lab.input("a"))
    replays = [await lab.replayed(one) for one in (source.execution, run)]

    assert of(await lab.hold(run))[0]
    assert [of(await lab.hold(one.execution_id)) for one in replays] == [(False, False), (False, True)]


async def test_a_run_since_one_whose_inputs_are_not_listed_yet_has_full_pages(catalog: Catalog, lab: Lab):
    source = await lab.sealed("a", "b", "c")

    run, _ = await bound(lab, source, lab.input("a"))

    assert (await lab.hold(run)).page == 1000


# -- prune -----------------------------------------------------------------------------------------


async def test_the_source_is_kept_until_the_run_has_settled(catalog: Catalog, lab: Lab):
    source = await finished(lab, "a")

    async def kept() -> str | None:
        [found], _ = await catalog.prune_candidates(PruneFilter(execution_ids=[source.execution]))
        return found.kept

    run, _ = await bound(lab, source.execution, lab.input("a"))
    assert await kept() == "replayed"
    held = await lab.hold(run)
    await lab.list_all(held, *under(run, "input/a"))
    assert await kept() == "replayed"
    await catalog.close_job(held)
    assert await catalog.end_executions([run]) == [run]
    assert await kept() is None


async def test_bytes_are_deleted_with_the_last_execution_that_uses_them(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a", "b")).execution
    second, _ = await since(lab, source, lab.input("a"))
    third, _ = await since(lab, second, lab.input("a"))
    await catalog.end_executions([second, third])
    mine = under(source, "input/b", "pages/b", "segments/small/b/1", "segments/small/b/2")

    assert await prune(catalog, source) == (mine, 4)
    assert await catalog.unstored(under(source, *ALL)) == set(under(source, *ALL))
    assert await prune(catalog, second) == ([], 0)
    assert await catalog.references(str(second), limit=10) == []
    assert len(await catalog.references(str(third), limit=10)) == 4
    assert await prune(catalog, third) == (under(source, *ALL), 4)


async def test_references_to_a_pruned_run_may_be_taken_over(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a")).execution
    second, _ = await since(lab, source, lab.input("a"))
    await catalog.end_executions([second])
    assert await prune(catalog, source) == ([], 0)

    third, dispatches = await since(lab, second, lab.input("a"))
    await catalog.end_executions([third])

    assert dispatches == []
    assert [one.location for one in await catalog.references(str(third), limit=10)] == under(source, *ALL)
    assert await prune(catalog, second) == ([], 0)
    assert await prune(catalog, third) == (under(source, *ALL), 4)


async def test_references_that_are_pruned_first_delete_no_bytes(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a")).execution
    run, _ = await since(lab, source, lab.input("a"))
    await catalog.end_executions([run])

    assert await prune(catalog, run) == ([], 0)
    assert await prune(catalog, source) == (under(source, *ALL), 4)


async def test_two_prunes_at_once_delete_the_bytes_that_both_used(
    catalog_factory: Factory[Catalog], lab: Lab, clock: Clock
):
    other = Lab(await catalog_factory(), clock)
    for _ in range(5):
        source = (await finished(lab, "a")).execution
        run, _ = await since(lab, source, lab.input("a"))
        await lab.catalog.end_executions([run])

        found = await asyncio.gather(*(_deleted(one.catalog, e) for one, e in ((lab, source), (other, run))))

        assert sorted(found[0] + found[1]) == under(source, *ALL)


async def _deleted(catalog: Catalog, execution: UUID) -> list[str]:
    keys: list[str] = []
    for pruning in await catalog.begin_prune([Candidate(execution, (), None)]):
        last = None
        while page := await catalog.prune_page(pruning, deleted=last, limit=1):
            keys += page.keys
            last = page.last
    return keys


async def test_late_objects_are_only_those_that_no_execution_uses(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a", "b")).execution
    run, _ = await since(lab, source, lab.input("a"))
    await catalog.end_executions([run])
    keys = under(source, "pages/a", "pages/b", "pages/x")
    assert await catalog.late_among(keys) == set()

    await prune(catalog, source)

    assert await catalog.late_among(keys) == set(under(source, "pages/b"))


async def test_a_message_of_a_pruned_stage_is_processed(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a")).execution
    await prune(catalog, source, "segments/small")

    run, _ = await since(lab, source, lab.input("a"))

    assert await states(catalog, run) == [
        ("convert", "taken_over", "input/a"),
        ("split", "pending", "pages/a"),
    ]


async def test_pruned_inputs_are_stored_again_and_still_compared(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a", "b")).execution
    await prune(catalog, source, "input")

    run, referred = await bound(lab, source, lab.input("a"), lab.input("b", "changed"))
    dispatches = await lab.list_all(await lab.hold(run), *under(run, "input/a", "input/b"))

    assert referred == set()
    assert [one.object_key for one in dispatches] == under(run, "input/b")


async def test_nothing_can_be_taken_over_from_a_pruned_run(catalog: Catalog, lab: Lab):
    source = (await finished(lab, "a")).execution
    await prune(catalog, source)

    with pytest.raises(Conflict) as caught:
        await bound(lab, source, lab.input("a"))

    assert caught.value.code == "execution_pruned"
    assert str(source) in caught.value.detail


async def test_a_reference_is_read_from_its_location(catalog: Catalog, lab: Lab):
    source = (await lab.started("a")).execution
    _, [dispatch] = await since(lab, source, lab.input("a"))

    [claim] = await catalog.claim("w1", lab.ids([dispatch]))

    assert isinstance(claim, Claim)
    assert claim.source is not None
    assert claim.source.location == f"{source}/input/a"
    assert isinstance((await catalog.references(claim.object_key, limit=1))[0], Reference)
