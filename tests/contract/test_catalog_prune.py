"""How every catalog prunes: the sentences of `ports.catalog.prune`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.errors import Conflict
from playhead.ids import moment, uuid7
from playhead.model import Config, PrunedStage, PruneFilter, Retention, StageTotal
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.prune import Candidate, PrunedObject, Pruning
from playhead.ports.catalog.work import Claim
from tests.lab import asked

if TYPE_CHECKING:
    from tests.contract.backends import Factory
    from tests.lab import Lab, Started

DAY = 86_400.0


def two(lab: Lab, name: str = "two", retention: Retention | None = None) -> Config:
    """A config whose entry stores in the stage `pages`, and feeds nothing."""
    config = lab.config(name, lab.route("convert", queue=f"{name}.convert", stage="pages"))
    return replace(config, retention=retention)


async def done(lab: Lab, *paths: str, config: Config | None = None, tags: tuple[str, ...] = ()) -> UUID:
    """Return a run whose messages are all completed, each with an output of 4 bytes in `pages`."""
    started = await lab.started(*paths, config=config or two(lab), tags=tags)
    await finish(lab, started, *paths)
    return started.execution


async def finish(lab: Lab, started: Started, *paths: str) -> None:
    for identity, path in zip(started.ids, paths, strict=True):
        await lab.work(identity, lab.output(path, "text"))
    await lab.catalog.end_executions([started.execution])


async def failed(lab: Lab) -> UUID:
    """Return a run with two messages: one is completed, and one is a dead letter."""
    started = await lab.started("a", "b", config=two(lab))
    await lab.work(started.ids[0], lab.output("a", "text"))
    await lab.kill(started.ids[1])
    await lab.catalog.end_executions([started.execution])
    return started.execution


async def begin(catalog: Catalog, execution: UUID, *stages: str) -> list[Pruning]:
    return await catalog.begin_prune([Candidate(execution, stages, None)])


async def prune(catalog: Catalog, execution: UUID, *stages: str) -> list[str]:
    """Prune to the end; returns the keys."""
    keys: list[str] = []
    for pruning in await begin(catalog, execution, *stages):
        deleted = None
        while page := await catalog.prune_page(pruning, deleted=deleted, limit=2):
            keys += page.keys
            deleted = page.last
        await catalog.end_prune(pruning)
    return keys


async def selected(catalog: Catalog, **where: object) -> list[UUID]:
    found, then = await catalog.prune_candidates(PruneFilter(**where), limit=100)  # type: ignore[arg-type]
    assert then is None
    return [one.execution for one in found if one.kept is None]


async def why_kept(catalog: Catalog, execution: UUID) -> str | None:
    [found], _ = await catalog.prune_candidates(PruneFilter(execution_ids=[execution]))
    return found.kept


# -- which executions ------------------------------------------------------------------------------


async def test_conditions_select_executions_oldest_first(catalog: Catalog, lab: Lab):
    old = await done(lab, "a", tags=("nightly",))
    lab.clock.advance(2 * DAY)
    await lab.beat("w1")
    other = await done(lab, "a", config=two(lab, "other"))
    new = await done(lab, "a")

    assert await selected(catalog) == [old, other, new]
    assert await selected(catalog, config="two") == [old, new]
    assert await selected(catalog, tag="nightly") == [old]
    assert await selected(catalog, older_than_seconds=DAY) == [old]
    assert await selected(catalog, execution_ids=[new, other]) == [other, new]
    assert await selected(catalog, execution_ids=[]) == []
    assert await selected(catalog, config="two", tag="none") == []


async def test_keep_last_keeps_the_newest_runs_and_the_newest_replays_of_each_config(
    catalog: Catalog, lab: Lab
):
    runs = [await done(lab, "a", tags=("t",) if n != 1 else ()) for n in range(3)]
    other = await done(lab, "a", config=two(lab, "other"))
    replays = []
    for _ in range(2):
        started = await lab.started_replay(runs[0], f"{runs[0]}/input/a", config=two(lab))
        await finish(lab, started, "a")
        replays.append(started.execution)

    assert await selected(catalog, keep_last=1) == [*runs[:2], replays[0]]
    assert await selected(catalog, keep_last=2) == [runs[0]]
    assert await selected(catalog, keep_last=3) == []
    assert await selected(catalog, keep_last=1, tag="t") == [runs[0]]
    assert await selected(catalog, keep_last=1, config="other") == []
    assert other not in await selected(catalog, keep_last=1)


async def test_keep_last_counts_only_executions_whose_objects_still_exist(catalog: Catalog, lab: Lab):
    runs = [await done(lab, "a") for _ in range(5)]
    await prune(catalog, runs[4])
    await begin(catalog, runs[3])

    assert await selected(catalog, keep_last=2) == [runs[0]]
    assert await selected(catalog, keep_last=3) == []


async def test_keep_last_keeps_the_newest_completed_executions_next_to_the_newest_ones(
    catalog: Catalog, lab: Lab
):
    good = [await done(lab, "a") for _ in range(3)]
    bad = [await failed(lab) for _ in range(3)]

    assert await selected(catalog, keep_last=1) == [*good[:2], *bad[:2]]
    assert await selected(catalog, keep_last=2) == [good[0], bad[0]]
    assert await selected(catalog, keep_last=2, execution_ids=[good[1], bad[0]]) == [bad[0]]
    assert await selected(catalog, keep_last=3) == []


async def test_keep_last_removes_older_executions_although_none_has_completed(catalog: Catalog, lab: Lab):
    bad = [await failed(lab) for _ in range(3)]
    assert await selected(catalog, keep_last=2) == bad[:1]


async def test_names_that_a_prune_may_select_are_listed(catalog: Catalog, lab: Lab):
    assert (await catalog.newest_tags(limit=2), await catalog.stage_names(None)) == ([], [])
    for tag in ("b", "a", "c", "b"):
        await done(lab, "a", tags=(tag,))
    await lab.save(lab.config("other", lab.route("convert", queue="other.convert", stage="a/b")))
    await lab.save(lab.config("other", lab.route("convert", queue="other.convert", stage="new")))

    assert await catalog.newest_tags(limit=2) == ["b", "c"]
    assert await catalog.stage_names("other") == ["a/b", "new"]
    assert await catalog.stage_names(None) == ["a/b", "new", "pages"]
    assert await catalog.stage_names("none") == []


async def test_pages_of_candidates_follow_each_other(catalog: Catalog, lab: Lab):
    runs = [await done(lab, "a") for _ in range(5)]
    found: list[UUID] = []
    after: int | None = 0
    while after is not None:
        page, after = await catalog.prune_candidates(PruneFilter(), after=after, limit=2)
        found += [one.execution for one in page]
    assert found == runs


async def test_stages_select_executions_that_have_them(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    await done(lab, "a", config=lab.config("bare", lab.route("convert", queue="bare.convert", stage="bare")))

    found, _ = await catalog.prune_candidates(PruneFilter(stages=["pages", "none"]))
    assert found == [Candidate(run, ("pages",), None)]
    started = await lab.started_replay(run, f"{run}/input/a", config=two(lab))
    await finish(lab, started, "a")
    found, _ = await catalog.prune_candidates(PruneFilter(config="two", stages=["input", "pages"]))
    assert found == [
        Candidate(run, ("input", "pages"), None),
        Candidate(started.execution, ("pages",), None),  # a replay has no inputs
    ]


async def test_what_is_pruned_is_not_selected_again(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    await prune(catalog, run, "pages")
    assert await selected(catalog, stages=["pages"]) == []
    assert await selected(catalog, stages=["pages", "input"]) == [run]
    assert await selected(catalog) == [run]
    await prune(catalog, run)
    assert await selected(catalog) == []
    assert await selected(catalog, stages=["input"]) == []


# -- protection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [None, ["pages"], ["other"]])
async def test_a_retention_reads_executions_once_in_which_nothing_is_left_to_prune(
    catalog: Catalog, lab: Lab, stages: list[str] | None
):
    rule = PruneFilter(config="two", older_than_seconds=DAY, stages=stages, is_retention=True)
    first, pinned, last = [await done(lab, "a") for _ in range(3)]
    await catalog.pin(pinned, True)
    lab.clock.advance(2 * DAY)
    young = await done(lab, "a")
    found, _ = await catalog.prune_candidates(rule)
    await catalog.begin_prune(found)

    await catalog.prune_candidates(rule)

    left = [] if stages == ["other"] else [Candidate(pinned, tuple(stages or ()), "pinned")]
    assert await catalog.prune_candidates(rule, limit=2) == (left, None)
    # Another retention reads them again, and so does a request.
    other = replace(rule, stages=["input", "pages"])
    again, _ = await catalog.prune_candidates(other)
    gone = {first, last} if stages is None else set()
    assert [one.execution for one in again] == [one for one in (first, pinned, last) if one not in gone]
    lab.clock.advance(2 * DAY)
    found, _ = await catalog.prune_candidates(rule)
    assert [one.execution for one in found] == ([] if stages == ["other"] else [pinned, young])


async def test_a_running_execution_is_kept(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab))
    assert await why_kept(catalog, started.execution) == "running"
    assert await begin(catalog, started.execution) == []
    await finish(lab, started, "a")
    assert await why_kept(catalog, started.execution) is None


async def test_a_cancelled_execution_is_kept_until_its_last_attempt_has_ended(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab))
    claim = await lab.claim(started.ids[0])
    await catalog.cancel(started.execution)
    assert await why_kept(catalog, started.execution) == "running"
    await lab.done(claim, lab.output("a"))
    await catalog.cancel_stragglers()
    assert await why_kept(catalog, started.execution) is None


async def test_a_pinned_execution_is_kept(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    pinned = await catalog.pin(run, True)
    assert pinned is not None
    assert pinned.pinned
    assert await why_kept(catalog, run) == "pinned"
    assert await begin(catalog, run) == []

    unpinned = await catalog.pin(run, False)

    assert unpinned is not None
    assert not unpinned.pinned
    assert len(await begin(catalog, run)) == 1
    assert await catalog.pin(lab.unknown(), True) is None


async def test_the_source_of_a_replay_is_kept_until_the_replay_has_ended(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    replay = await lab.replayed(run, config=two(lab))
    assert await why_kept(catalog, run) == "replayed"
    held = await lab.hold(replay.execution_id)
    dispatches = await lab.list_all(held, f"{run}/input/a")
    await lab.publish_all(held, dispatches)
    assert await why_kept(catalog, run) == "replayed"
    assert await begin(catalog, run) == []
    [identity] = lab.ids(dispatches)
    await lab.kill(identity)
    await catalog.end_executions()
    assert await why_kept(catalog, run) is None

    await catalog.resend(ids=[identity])

    assert await why_kept(catalog, run) == "replayed"
    assert await begin(catalog, run) == []


async def test_adopted_executions_are_kept_and_answered_only_if_named(catalog: Catalog, lab: Lab):
    adopted = await catalog.adopt(lab.unknown())
    assert await selected(catalog) == []
    assert await why_kept(catalog, adopted.execution_id) == "adopted"
    assert await begin(catalog, adopted.execution_id) == []


# -- what a prune does -----------------------------------------------------------------------------


async def test_pages_return_all_objects_of_the_execution_in_order_and_count_the_new_ones(
    catalog: Catalog, lab: Lab
):
    run = await done(lab, "a", "b", "é")
    await done(lab, "a")
    pages = StageTotal("pages", 3, 12)
    assert await catalog.count_prunable(Candidate(run, (), None)) == [StageTotal("input", 3, 0), pages]
    assert await catalog.count_prunable(Candidate(run, ("pages",), None)) == [pages]
    [pruning] = await begin(catalog, run)

    first = await catalog.prune_page(pruning, limit=4)
    assert first is not None
    assert first.keys == [f"{run}/{rest}" for rest in ("input/a", "input/b", "input/é", "pages/a")]
    assert (first.objects, first.bytes) == (4, 4)
    second = await catalog.prune_page(pruning, deleted=first.keys[-1], limit=4)
    assert second is not None
    assert second.keys == [f"{run}/pages/b", f"{run}/pages/é"]
    assert (second.objects, second.bytes) == (2, 8)
    assert await catalog.prune_page(pruning, deleted=second.keys[-1], limit=4) is None
    assert await catalog.count_prunable(Candidate(run, (), None)) == []


async def test_a_page_comes_again_until_the_next_call_names_its_last_key(catalog: Catalog, lab: Lab):
    run = await done(lab, "a", "b")
    [pruning] = await begin(catalog, run)
    first = await catalog.prune_page(pruning, limit=3)
    assert first is not None

    again = await catalog.prune_page(pruning, limit=3)

    assert again is not None
    assert again.keys == first.keys
    assert (again.objects, again.bytes) == (0, 0)  # counted before
    late = await catalog.prune_page(pruning, deleted=first.keys[-1], limit=3)
    assert late is not None
    assert await catalog.prune_page(pruning, deleted=first.keys[0], limit=3) == late._replace(
        objects=0, bytes=0
    ), "the cursor never goes back"


async def test_a_pruning_is_open_until_it_is_ended(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    assert await catalog.open_prunings() == []
    [pruning] = await begin(catalog, run, "pages")
    assert pruning.execution == run
    assert pruning.stage == "pages"
    assert pruning.prefix == f"{run}/pages"
    lab.clock.advance(5)
    assert await catalog.open_prunings(older_than=5) == [pruning]
    assert await catalog.open_prunings(older_than=6) == []

    for _ in range(2):
        await catalog.end_prune(pruning)
        assert await catalog.open_prunings() == []
    assert await catalog.prune_page(pruning, limit=1) is None


async def test_a_pruning_that_began_before_the_clock_was_set_back_is_still_open(catalog: Catalog, lab: Lab):
    [pruning] = await begin(catalog, await done(lab, "a"))
    lab.clock.advance(-2 * DAY)

    assert await catalog.open_prunings() == [pruning]
    assert await catalog.open_prunings(older_than=60) == [pruning], "its process may have died long ago"


async def test_a_pruning_survives_the_process_that_began_it(catalog_factory: Factory[Catalog], lab: Lab):
    run = await done(lab, "a")
    [pruning] = await begin(lab.catalog, run)
    await catalog_factory.close()
    again = await catalog_factory()
    assert await again.open_prunings() == [pruning]


async def test_a_second_prune_begins_nothing(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    assert len(await begin(catalog, run, "pages", "input")) == 2
    assert await begin(catalog, run, "pages") == []
    [whole] = await begin(catalog, run)
    assert whole.stage is None
    assert await begin(catalog, run) == []
    assert await begin(catalog, lab.unknown()) == []


async def test_pruned_objects_are_hidden_and_their_records_are_kept(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab))
    await finish(lab, started, "a")
    run = started.execution
    before = await catalog.execution(run)
    lab.clock.advance(10)
    keys = await prune(catalog, run)
    lab.clock.advance(10)

    assert await catalog.unstored(sorted(keys)) == set(keys)
    assert await catalog.known_keys(keys) == set(keys)
    shown = await catalog.execution(run)
    assert before is not None
    assert shown is not None
    assert shown.counts == before.counts
    assert shown.pruned == [PrunedStage(None, moment(lab.clock.now - 10), moment(lab.clock.now - 10))]
    message = await catalog.lineage(started.ids[0])
    assert message is not None
    assert message.output_keys == [f"{run}/pages/a"]
    assert message.input_pruned_at == message.outputs_pruned_at == moment(lab.clock.now - 10)
    [one], _ = await catalog.descendants(started.ids, across_replays=True, limit=10)
    assert one.outputs_pruned_at == moment(lab.clock.now - 10)


async def test_the_record_of_a_pruned_object_is_kept(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab))
    made = lab.clock.now
    await lab.work(started.ids[0], lab.output("a.md", "text", title="T"))
    await catalog.end_executions()
    key, given = f"{started.execution}/pages/a.md", f"{started.execution}/input/a"
    assert await catalog.pruned_object(key) is None
    lab.clock.advance(10)
    await prune(catalog, started.execution)

    assert await catalog.pruned_object(key) == PrunedObject(
        content_type="text/markdown",
        attributes={"title": "T"},
        size=4,
        sha256=sha256(b"text").digest(),
        created_at=made,
        pruned_at=lab.clock.now,
        message=started.ids[0],
        attempt=1,
    )
    found = await catalog.pruned_object(given)
    assert found is not None
    assert (found.message, found.attempt) == (None, None)
    assert await catalog.pruned_object(f"{started.execution}/pages/none") is None


async def test_a_pruned_stage_leaves_the_others_as_they_are(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab))
    await finish(lab, started, "a")
    run = started.execution
    assert await prune(catalog, run, "input") == [f"{run}/input/a"]
    assert await catalog.unstored([f"{run}/input/a", f"{run}/pages/a"]) == {f"{run}/input/a"}
    message = await catalog.lineage(started.ids[0])
    assert message is not None
    assert message.input_pruned_at is not None
    assert message.outputs_pruned_at is None


async def test_a_stage_whose_name_begins_like_another_is_not_pruned_with_it(catalog: Catalog, lab: Lab):
    config = lab.config(
        "near",
        lab.route("convert", queue="near.convert", stage="pages", to=("split",)),
        lab.route("split", queue="near.split", stage="pages2"),
    )
    started = await lab.started("a", config=config)
    [child] = await lab.work(started.ids[0], lab.output("a"))
    await lab.work(UUID(child.correlation_id), lab.output("a"))
    await catalog.end_executions()
    assert await prune(catalog, started.execution, "pages") == [f"{started.execution}/pages/a"]


async def test_outputs_of_failed_attempts_are_pruned_too(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab))
    claim = await lab.claim(started.ids[0])
    await lab.bind(claim, lab.output("left-over"))
    await lab.fail(claim)
    await catalog.end_executions()
    run = started.execution
    assert await prune(catalog, run) == [f"{run}/input/a", f"{run}/pages/left-over"]
    message = await catalog.lineage(started.ids[0])
    assert message is not None
    assert message.output_keys == []


# -- replays and resends ---------------------------------------------------------------------------


async def test_a_replay_of_a_pruned_stage_is_refused_from_the_begin_of_the_prune(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    await begin(catalog, run, "pages")
    with pytest.raises(Conflict) as refused:
        await lab.replayed(run, "pages", config=two(lab))
    assert refused.value.code == "stage_pruned"
    assert moment(lab.clock.now) in refused.value.detail
    assert (await lab.replayed(run, "input", config=two(lab))).from_stage == "input"


async def test_a_replay_and_a_prune_that_begin_at_once_exclude_each_other(
    catalog_factory: Factory[Catalog], lab: Lab
):
    one = lab.catalog
    other = await catalog_factory()
    config = two(lab)
    version = await lab.save(config)

    async def replay(source: UUID) -> bool:
        try:
            await other.open_replay(
                batch=uuid7(),
                request=asked(source, "pages", "convert"),
                prefix=f"{source}/pages",
                config=config.name,
                version=version,
                route="convert",
            )
        except Conflict:
            return False
        return True

    for _ in range(10):
        run = await done(lab, "a")
        begun, is_open = await asyncio.gather(begin(one, run), replay(run))
        assert bool(begun) != is_open


@pytest.mark.parametrize("stage", ["input", "pages", "pages/folder", "elsewhere"])
async def test_no_stage_of_an_execution_that_was_pruned_as_a_whole_can_be_replayed(
    catalog: Catalog, lab: Lab, stage: str
):
    run = await done(lab, "a")
    await prune(catalog, run)
    with pytest.raises(Conflict, match="pruned"):
        await lab.replayed(run, stage, config=two(lab))


async def test_dead_letters_of_a_pruned_execution_are_not_resent(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab))
    await lab.kill(started.ids[0])
    await catalog.end_executions()
    other = await lab.started("a", config=two(lab))
    await lab.kill(other.ids[0])
    await catalog.end_executions()
    await begin(catalog, started.execution, "pages")

    for named in ({"ids": started.ids}, {"where": DeadLetterFilter(started.execution)}):
        with pytest.raises(Conflict) as refused:
            await catalog.resend(**named)
        assert refused.value.code == "execution_pruned"
    assert await catalog.resend(where=DeadLetterFilter(route="two/convert")) == other.ids


async def test_dead_letters_of_a_replay_are_not_resent_while_its_source_is_pruned(catalog: Catalog, lab: Lab):
    config = lab.config(
        "chain",
        lab.route("convert", queue="chain.convert", stage="pages", to=("split",)),
        lab.route("split", queue="chain.split", stage="parts"),
    )
    run = await done(lab, "a")
    replay = await lab.started_replay(run, f"{run}/input/a", f"{run}/input/b", config=config)
    [child] = await lab.work(replay.ids[0], lab.output("a"))
    below = UUID(child.correlation_id)
    for dead in (replay.ids[1], below):
        await lab.kill(dead)
    await catalog.end_executions()
    [whole] = await begin(catalog, run)

    for named in ({"ids": [below, replay.ids[1]]}, {"where": DeadLetterFilter(replay.execution)}):
        with pytest.raises(Conflict) as refused:
            await catalog.resend(**named)
        assert refused.value.code == "execution_pruned"
    assert await catalog.resend(where=DeadLetterFilter(route="convert")) == []
    assert await catalog.resend(ids=[below]) == [below], "its input is an object of the replay"
    await catalog.end_prune(whole)
    assert await catalog.resend(where=DeadLetterFilter(route="convert")) == [replay.ids[1]], (
        "it cannot read its input any more"
    )


async def test_dead_letters_of_a_replay_are_resent_while_another_stage_is_pruned(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    replay = await lab.started_replay(run, f"{run}/input/a", config=two(lab))
    await lab.kill(replay.ids[0])
    await catalog.end_executions()
    await begin(catalog, run, "pages")
    assert await catalog.resend(ids=replay.ids) == replay.ids


async def test_a_resend_and_a_prune_of_the_source_that_begin_at_once_exclude_each_other(
    catalog_factory: Factory[Catalog], lab: Lab
):
    one = lab.catalog
    other = await catalog_factory()

    async def resend(ids: list[UUID]) -> bool:
        try:
            return await other.resend(ids=ids) == ids
        except Conflict:
            return False

    for _ in range(10):
        run = await done(lab, "a")
        replay = await lab.started_replay(run, f"{run}/input/a", config=two(lab))
        await lab.kill(replay.ids[0])
        await one.end_executions()
        begun, is_open = await asyncio.gather(begin(one, run), resend(replay.ids))
        assert bool(begun) != is_open


async def test_the_claim_of_a_message_knows_that_its_input_was_pruned(catalog: Catalog, lab: Lab):
    run = await done(lab, "a")
    started = await lab.started_replay(run, f"{run}/input/a", config=two(lab))
    await lab.kill(started.ids[0])
    await catalog.end_executions()
    await prune(catalog, run)
    await catalog.resend(ids=started.ids)
    (claim,) = await catalog.claim("w1", started.ids)
    assert isinstance(claim, Claim)
    assert claim.source is not None
    assert claim.source.pruned_at == moment(lab.clock.now)


@pytest.mark.parametrize("stages", [(), ("input",), ("pages",)])
async def test_a_pruned_run_gets_no_more_inputs(catalog: Catalog, lab: Lab, stages: tuple[str, ...]):
    run = await lab.opened(config=two(lab))
    await catalog.bind_inputs(run, [lab.input("a")])
    await catalog.cancel(run)
    await begin(catalog, run, *stages)
    if stages == ("pages",):
        await catalog.bind_inputs(run, [lab.input("b")])
        return
    with pytest.raises(Conflict) as refused:
        await catalog.bind_inputs(run, [lab.input("b")])
    assert refused.value.code == "execution_ended"
    assert await catalog.known_keys([f"{run}/input/b"]) == set()


async def test_an_execution_that_was_pruned_as_a_whole_cannot_be_pinned(catalog: Catalog, lab: Lab):
    run, partly = await done(lab, "a"), await done(lab, "a")
    await begin(catalog, run)
    await begin(catalog, partly, "pages")
    with pytest.raises(Conflict) as refused:
        await catalog.pin(run, True)
    assert refused.value.code == "execution_pruned"
    pinned = await catalog.pin(partly, True)
    assert pinned is not None
    assert pinned.pinned


# -- retention -------------------------------------------------------------------------------------


async def test_the_newest_version_of_a_config_decides_how_long_objects_are_kept(catalog: Catalog, lab: Lab):
    run = await done(lab, "a", config=two(lab, retention=Retention(1)))
    ended = lab.clock.now
    assert await catalog.retentions() == {"two": Retention(1)}

    async def until() -> str | None:
        shown = await catalog.execution(run)
        assert shown is not None
        return shown.replayable_until

    assert await until() == moment(ended + DAY)
    later = Retention(30, 5, ("pages", "input"))
    await lab.save(two(lab, retention=later))
    assert await catalog.retentions() == {"two": later}
    assert await until() == moment(ended + 30 * DAY)
    await catalog.pin(run, True)
    assert await until() is None
    await catalog.pin(run, False)
    await prune(catalog, run, "pages")
    assert await until() == moment(ended + 30 * DAY)
    await prune(catalog, run, "input")
    assert await until() is None
    await lab.save(two(lab))
    assert await catalog.retentions() == {}


async def test_a_running_execution_has_no_end_of_retention(catalog: Catalog, lab: Lab):
    started = await lab.started("a", config=two(lab, retention=Retention(1)))
    shown = await catalog.execution(started.execution)
    assert shown is not None
    assert shown.replayable_until is None
