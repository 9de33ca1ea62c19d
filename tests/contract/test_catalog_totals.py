"""The contract of `ports.catalog.totals`, for every catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from playhead.ids import uuid7
from playhead.model import AdapterCode
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.prune import Candidate
from playhead.ports.catalog.runs import Reusable
from playhead.ports.catalog.work import Done

if TYPE_CHECKING:
    from playhead.ports.catalog.prune import Pruning
    from tests.contract.backends import Factory
    from tests.lab import Lab, Started

CODE = [AdapterCode("step", "1", "sha256:aa")]
Sizes = dict[str, tuple[int, int]]
"""Objects and bytes of each stage that has any."""


async def totals(catalog: Catalog, execution: UUID) -> tuple[Sizes, bool]:
    found = await catalog.stage_totals(execution)
    assert found is not None, "there is such an execution"
    sizes = {one.stage: (one.objects, one.bytes) for one in found.stages if one.objects or one.bytes}
    return sizes, found.is_final


async def ended(lab: Lab, *paths: str) -> Started:
    """A run that has stored a page of four bytes for each input, and no segment."""
    run = await lab.started(*paths)
    for identity, path in zip(run.ids, paths, strict=True):
        [split] = lab.ids(await lab.work(identity, lab.output(path, "page")))
        await lab.work(split)
    assert await lab.catalog.end_executions([run.execution])
    return run


async def begun(lab: Lab, execution: UUID, *stages: str) -> list[Pruning]:
    return await lab.catalog.begin_prune([Candidate(execution, stages, None)])


async def prune(lab: Lab, pruning: Pruning, *, pages: int | None = None) -> None:
    """Prune one object a page, to the end unless `pages` is given."""
    last, done = None, 0
    while done != pages and (page := await lab.catalog.prune_page(pruning, deleted=last, limit=1)):
        last, done = page.last, done + 1
    if pages is None:
        await lab.catalog.end_prune(pruning)


async def test_an_unknown_or_adopted_execution_has_no_totals(catalog: Catalog, lab: Lab):
    adopted = await catalog.adopt(lab.unknown())

    assert await catalog.stage_totals(lab.unknown()) is None
    assert await catalog.stage_totals(adopted.execution_id) is None


async def test_a_running_execution_has_totals_of_all_stages_in_the_order_of_the_config(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md", "b.md")
    await lab.work(run.ids[0], lab.output("a.md", "page"))

    found = await catalog.stage_totals(run.execution)

    assert found is not None
    assert [one.stage for one in found.stages] == ["input", "pages", "segments/small"]
    assert [one.objects for one in found.stages] == [2, 1, 0]
    assert not found.is_final


async def test_only_stored_outputs_are_counted(catalog: Catalog, lab: Lab):
    waiting = await lab.opened()
    await catalog.bind_inputs(waiting, [lab.input("a.md", "text")])
    run = await lab.started("a.md", "b.md", "c.md")
    lost = await lab.claim(run.ids[0])
    await lab.bind(lost, lab.output("lost.md", "longer"))
    await lab.fail(lost)
    await lab.bind(await lab.claim(run.ids[1]), lab.output("b.md", "page"))
    again = await lab.claim(run.ids[2])
    await lab.bind(again, lab.output("first.md", "long"))
    await lab.fail(again, delay=0.0)
    await lab.done(await lab.claim(run.ids[2]), lab.output("second.md", "2nd"))

    assert await totals(catalog, waiting) == ({}, False)
    assert await totals(catalog, run.execution) == ({"input": (3, 0), "pages": (1, 3)}, False)


async def test_totals_are_final_after_the_end_and_every_process_reads_the_same(
    catalog_factory: Factory[Catalog], catalog: Catalog, lab: Lab
):
    run = await ended(lab, "a.md", "b.md")
    other = await ended(lab, "c.md")

    expected = {"input": (2, 0), "pages": (2, 8)}, True
    assert await totals(catalog, run.execution) == expected
    assert await totals(catalog, run.execution) == expected
    assert await totals(await catalog_factory(), run.execution) == expected
    assert await totals(catalog, other.execution) == ({"input": (1, 0), "pages": (1, 4)}, True)


async def test_a_replay_has_its_own_outputs_and_no_inputs(catalog: Catalog, lab: Lab):
    run = await ended(lab, "a.md")
    replay = await lab.started_replay(run.execution, f"{run.execution}/input/a.md")
    await lab.work(replay.ids[0], lab.output("a.md", "replayed"))
    found = await catalog.stage_totals(replay.execution)

    assert found is not None
    assert [(one.stage, one.objects) for one in found.stages] == [
        *(("input", 0), ("pages", 1), ("segments/small", 0))
    ]


async def test_totals_are_counted_again_when_dead_letters_are_resent(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.kill(run.ids[0])
    await lab.work(run.ids[1])
    assert await catalog.end_executions([run.execution])
    assert await totals(catalog, run.execution) == ({"input": (2, 0)}, True)

    await catalog.resend(ids=[run.ids[0]])
    assert await totals(catalog, run.execution) == ({"input": (2, 0)}, False)
    [split] = lab.ids(await lab.work(run.ids[0], lab.output("a.md", "page")))
    assert await totals(catalog, run.execution) == ({"input": (2, 0), "pages": (1, 4)}, False)

    await lab.work(split, lab.output("a.md/1", "p"), lab.output("a.md/2", "age"))
    assert (await totals(catalog, run.execution))[1] is False
    rows, _ = await catalog.lineage_list(execution=run.execution, status="pending")
    for row in rows:
        await lab.work(row.correlation_id)
    assert await catalog.end_executions([run.execution])
    expected = {"input": (2, 0), "pages": (1, 4), "segments/small": (2, 4)}
    assert await totals(catalog, run.execution) == (expected, True)


async def test_totals_of_a_cancelled_execution_wait_for_its_running_attempts(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    running = await lab.claim(run.ids[0])
    [bound] = await lab.bind(running, lab.output("a.md", "page"))
    await catalog.cancel(run.execution)
    await catalog.cancel_stragglers()
    assert await totals(catalog, run.execution) == ({"input": (2, 0)}, False)

    await catalog.finish("w1", [Done(running.correlation_id, running.attempt, [bound.key])])
    await catalog.cancel_stragglers()

    assert await totals(catalog, run.execution) == ({"input": (2, 0), "pages": (1, 4)}, True)


async def test_a_pruned_stage_has_no_objects_whether_or_not_its_total_was_read_before(
    catalog: Catalog, lab: Lab
):
    for is_read in (True, False):
        run = await ended(lab, "a.md", "b.md")
        if is_read:
            assert await totals(catalog, run.execution) == ({"input": (2, 0), "pages": (2, 8)}, True)

        [pruning] = await begun(lab, run.execution, "pages")
        assert await totals(catalog, run.execution) == ({"input": (2, 0)}, True)
        await prune(lab, pruning, pages=1)
        assert await totals(catalog, run.execution) == ({"input": (2, 0)}, True)
        await prune(lab, pruning)
        assert await totals(catalog, run.execution) == ({"input": (2, 0)}, True)

        [pruning] = await begun(lab, run.execution)
        await prune(lab, pruning)
        assert await totals(catalog, run.execution) == ({}, True)


async def test_results_that_were_taken_over_count_with_their_size(catalog: Catalog, lab: Lab):
    first = await lab.started("a.md")
    claim = await lab.claim(first.ids[0])
    keys = [bound.key for bound in await lab.bind(claim, lab.output("a.md", "page"))]
    ran = await catalog.record_code(CODE)
    await catalog.finish("w1", [Done(claim.correlation_id, claim.attempt, keys, ran=ran)])
    await catalog.cancel(first.execution)
    await catalog.cancel_stragglers()
    again = await catalog.open_run(
        *(uuid7(), "docs", await lab.save()),
        tags=(),
        owner="w1",
        lease=lab.LEASE,
        reuse=Reusable(first.execution, {"convert": [CODE]}, {}),
    )
    run = again.execution_id
    await catalog.bind_inputs(run, [lab.input("a.md")], takes_over=True)
    assert await catalog.seal(run)
    held = await lab.hold(run)
    await catalog.record(held, [], cursor="", last=False)
    await lab.list_all(held, f"{run}/input/a.md")

    assert await totals(catalog, run) == ({"input": (1, 0), "pages": (1, 4)}, False)


async def test_totals_of_a_run_that_lost_its_inputs_are_final_and_empty(catalog: Catalog, lab: Lab):
    run = await lab.opened(owner="w2")
    await catalog.bind_inputs(run, [lab.input("a.md", "text")])
    await lab.die("w2")
    assert await catalog.fail_unsealed() == [run]

    assert await totals(catalog, run) == ({}, True)
