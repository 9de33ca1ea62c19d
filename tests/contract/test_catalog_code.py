"""Which code ran, and which code processes have loaded (`ports.catalog.code`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from playhead.model import (
    AdapterCode,
    CodeCondition,
    LoadedAdapter,
    LoadedCode,
    MadeByCondition,
    RanCode,
    RouteCode,
    Skip,
    WorkerCondition,
)
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.upkeep import Process
from playhead.ports.catalog.work import Done, Failed, Released, Result
from tests.contract.test_catalog_control import listed

if TYPE_CHECKING:
    from tests.lab import Lab

OLD = AdapterCode("sections", "1", "sha256:aa")
NEW = AdapterCode("sections", "1", "sha256:bb")
CLEAN = AdapterCode("clean", "3\0", "steps 1.0")
STORED = AdapterCode("clean", "3\N{REPLACEMENT CHARACTER}", "steps 1.0")


async def ran(catalog: Catalog, message: UUID) -> list[AdapterCode]:
    """What lineage shows as the code of a message."""
    found = await catalog.lineage(message)
    assert found is not None
    return found.adapters


async def end(lab: Lab, message: UUID, kind: str, number: int | None) -> None:
    """Claim a message, and end the attempt in one of the ways."""
    claim = await lab.claim(message)
    token = claim.correlation_id, claim.attempt
    results: dict[str, Result] = {
        "done": Done(*token, ran=number),
        "skipped": Done(*token, skip=Skip("no_output", "no output"), ran=number),
        "dead": Failed(*token, "adapter_error", "it broke", ran=number),
        "retry": Failed(*token, "adapter_error", "it broke", delay=0.0, ran=number),
        "released": Released(*token, 0.0),
    }
    (answer,) = await lab.catalog.finish("w1", [results[kind]])
    assert answer is not None, "the token holds"


async def test_equal_lists_of_adapters_have_the_same_number(catalog: Catalog):
    number = await catalog.record_code([OLD, CLEAN])
    assert await catalog.record_code([OLD, CLEAN]) == number
    assert len({number, await catalog.record_code([CLEAN, OLD]), await catalog.record_code([NEW])}) == 3


async def test_recorded_adapters_are_found_by_their_types(catalog: Catalog):
    assert await catalog.recorded_code(["sections"]) == set()
    await catalog.record_code([OLD, CLEAN, OLD])
    await catalog.record_code([NEW])
    assert await catalog.recorded_code(["sections", "other"]) == {OLD, NEW}
    assert await catalog.recorded_code([]) == set()


async def test_lineage_shows_the_code_of_each_outcome(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md", "d.md", "e.md")
    old, new = await catalog.record_code([OLD]), await catalog.record_code([NEW, OLD])
    for message, kind in zip(run.ids, ("done", "skipped", "dead", "retry"), strict=False):
        assert await ran(catalog, message) == []
        await end(lab, message, kind, new if kind == "skipped" else old)
    assert [await ran(catalog, message) for message in run.ids] == [[OLD], [NEW, OLD], [OLD], [OLD], []]
    links, _ = await catalog.chain(run.ids[0], direction="both", limit=10)
    assert [link.adapters for link in links] == [[OLD]]


async def test_the_code_that_ran_in_an_execution_is_counted_by_route(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md", "d.md", "e.md")
    await lab.started("a.md")
    old, new = await catalog.record_code([OLD]), await catalog.record_code([NEW, OLD])
    assert await catalog.code_of(run.execution) == []
    for message, kind in zip(run.ids, ("done", "skipped", "dead", "retry"), strict=False):
        await end(lab, message, kind, new if kind == "skipped" else old)
    assert await catalog.code_of(run.execution) == [
        RouteCode("convert", [RanCode([OLD], 3), RanCode([NEW, OLD], 1)])
    ]
    assert await catalog.code_of(lab.unknown()) == []


async def test_outcomes_with_different_code_are_ended_in_one_call(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    numbers = [await catalog.record_code([OLD]), await catalog.record_code([NEW]), None]
    claims = [await lab.claim(message) for message in run.ids]
    await catalog.finish(
        "w1",
        [
            Done(claim.correlation_id, claim.attempt, ran=number)
            for claim, number in zip(claims, numbers, strict=True)
        ],
    )
    assert [await ran(catalog, message) for message in run.ids] == [[OLD], [NEW], []]


async def test_a_released_attempt_keeps_the_code_of_the_attempt_before_and_a_later_one_replaces_it(
    catalog: Catalog, lab: Lab
):
    (message,) = (await lab.started("a.md")).ids
    await end(lab, message, "retry", await catalog.record_code([OLD]))
    await end(lab, message, "released", None)
    assert await ran(catalog, message) == [OLD]
    await end(lab, message, "done", await catalog.record_code([NEW]))
    assert await ran(catalog, message) == [NEW]


async def test_an_adapter_whose_declaration_has_unusual_characters_is_recorded(catalog: Catalog, lab: Lab):
    (message,) = (await lab.started("a.md")).ids
    await end(lab, message, "done", await catalog.record_code([CLEAN]))
    assert await ran(catalog, message) in ([CLEAN], [STORED])
    assert await catalog.recorded_code(["clean"]) in ({CLEAN}, {STORED})


async def test_live_processes_show_what_they_have_loaded(catalog: Catalog, lab: Lab):
    loaded = LoadedCode("0.1.0", (LoadedAdapter("sections", "1", "sha256:aa", "/x/steps.py"),))
    process = Process("w9", "worker", "host", 9)
    await catalog.heartbeat(process, ["docs.convert"], loaded=loaded)
    found = {worker.worker_id: worker for worker in await catalog.worker_code()}
    worker = found["w9"]
    assert (worker.version, worker.queues, worker.pid) == ("0.1.0", ["docs.convert"], 9)
    assert 0 <= worker.heartbeat_age_seconds < lab.HEARTBEAT
    (adapter,) = worker.adapters
    assert (adapter.type, adapter.version, adapter.code) == ("sections", "1", "sha256:aa")
    assert (adapter.source, adapter.notes) == ("/x/steps.py", [])
    assert (found["w1"].version, found["w1"].adapters) == ("", []), "it has reported none"


async def test_a_process_reports_with_later_heartbeats_which_adapters_have_changed(catalog: Catalog):
    steps = LoadedAdapter("sections", "1", "sha256:aa", "/x/steps.py")
    other = LoadedAdapter("clean", "1", "sha256:bb", "/x/other.py")
    process = Process("w9", "worker", "host", 9)

    async def notes() -> list[list[str]]:
        (worker,) = [one for one in await catalog.worker_code() if one.worker_id == "w9"]
        return [list(adapter.notes) for adapter in worker.adapters]

    await catalog.heartbeat(process, loaded=LoadedCode("0.1.0", (steps, other)))
    await catalog.heartbeat(process, loaded=LoadedCode("0.1.0", (steps, other), ("sections",)))
    assert await notes() == [["changed"], []]
    await catalog.heartbeat(process)
    assert await notes() == [["changed"], []], "a heartbeat without it changes nothing"
    await catalog.heartbeat(process, loaded=LoadedCode("0.1.0", (steps, other)))
    assert await notes() == [[], []]
    await catalog.depart("w9")
    assert "w9" not in {one.worker_id for one in await catalog.worker_code()}


# -- what code and workers have made ---------------------------------------------------------------


async def made(catalog: Catalog, by: MadeByCondition, **where: Any) -> list[tuple[UUID, str, str, int]]:
    """The routes with results of `by`: execution, route, received stage, and number of results."""
    found: list[tuple[UUID, str, str, int]] = []
    before: int | None = None
    while True:
        some, before = await catalog.made_in(by, before=before, limit=2, **where)
        found += [(one.execution_id, one.route, one.from_stage, one.results) for _, one in some]
        if before is None:
            return found


async def test_results_are_found_by_the_version_or_the_code_that_made_them(catalog: Catalog, lab: Lab):
    old, new = await catalog.record_code([OLD]), await catalog.record_code([CLEAN, NEW])
    first, second = await lab.started("a.md", "b.md"), await lab.started("a.md", "b.md", "c.md")
    for run, codes in ((first, [old, new]), (second, [old, old, new])):
        for identity, number in zip(run.ids, codes, strict=True):
            await end(lab, identity, "done", number)
    await lab.started("d.md")

    assert await made(catalog, CodeCondition.at("sections@sha256:a")) == [
        (second.execution, "convert", "input", 2),
        (first.execution, "convert", "input", 1),
    ]
    assert [one[-1] for one in await made(catalog, CodeCondition.at("sections@1"))] == [3, 2]
    assert [one[-1] for one in await made(catalog, CodeCondition.of("clean=steps 1.0"))] == []
    assert await made(catalog, CodeCondition.at("sect%@1")) == []
    assert await made(catalog, CodeCondition.at("sections@1"), execution=first.execution) == [
        (first.execution, "convert", "input", 2)
    ]
    assert await made(catalog, CodeCondition.at("sections@1"), since=4e9) == []


async def test_results_are_found_by_the_worker_that_made_them(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md", "d.md")
    await lab.work(run.ids[0], lab.output("a.md"), worker="w2")
    await lab.work(run.ids[1], worker="w1")
    await lab.skip(await lab.claim(run.ids[2], "w2"), "nothing to do")
    await lab.kill(run.ids[3])
    by = WorkerCondition("w2")

    assert await made(catalog, by) == [(run.execution, "convert", "input", 1)]
    [message], _ = await catalog.lineage_list(execution=run.execution, made_by=by)
    assert message.correlation_id == run.ids[0]
    key = f"{run.execution}/input/a.md"
    assert await catalog.received_from(run.execution, ("docs", "convert"), "input", by, limit=9) == [key]
    assert await catalog.received_from(run.execution, ("docs", "split"), "input", by, limit=9) == []


async def test_results_of_a_replay_name_the_source_of_their_objects(catalog: Catalog, lab: Lab):
    replay, held = await listed(lab, count=2)
    allowed = await catalog.unpublished(held, limit=10)
    assert allowed
    assert await catalog.mark(held, allowed.upto)
    for identity in lab.ids(allowed.dispatches):
        await lab.work(identity, worker="w2")

    [(_, one)], _ = await catalog.made_in(WorkerCondition("w2"), limit=9)

    assert (one.execution_id, one.kind, one.results) == (replay.execution_id, "replay", 2)
    assert (one.from_execution_id, one.from_stage) == (replay.from_execution_id, replay.from_stage)
    assert (one.in_replay, one.made_by) == (replay.replay_batch_id, "worker:w2")
