"""How drafts begin, which process holds them, and how they end: the sentences of `ports.catalog.drafts`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.errors import Conflict, NotFound
from playhead.model import Publication, PublishRequest
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.drafts import Draft, DraftLost
from playhead.ports.catalog.jobs import Key
from playhead.ports.catalog.prune import Candidate
from tests.contract.publishing import SEGMENTS, Publisher, declared
from tests.lab import LEASE

if TYPE_CHECKING:
    from tests.contract.backends import Factory
    from tests.lab import Clock, Lab


@pytest.fixture
def docs(lab: Lab) -> Publisher:
    return Publisher(lab)


async def code_of(work: object) -> str:
    """Return the code with which a call is refused."""
    with pytest.raises((Conflict, NotFound)) as caught:
        await work  # type: ignore[misc]
    return caught.value.code


async def state(docs: Publisher, n: int) -> tuple[str, str | None]:
    found = await docs.catalog.publication(await docs.dataset(), n)
    assert found
    return found.state, found.refusal.code if found.refusal else None


# -- begin -----------------------------------------------------------------------------------------


async def test_a_draft_has_a_number_its_parts_and_its_edges(docs: Publisher):
    run = await docs.run(a="x y", b="x")

    draft = await docs.begin(run, reason="why")

    assert (draft.dataset, draft.n, draft.epoch, draft.base) == (await docs.dataset(), 1, 1, 0)
    assert (draft.name, draft.config, draft.cursor, draft.counts) == ("docs", "docs", "", {})
    assert draft.edges == {("input", "convert"), ("pages", "split"), (SEGMENTS, "index")}
    [part] = draft.parts
    assert (part.id, part.role, part.stage, part.is_run, part.is_foreign) == (
        run,
        "base",
        "input",
        True,
        False,
    )
    assert await state(docs, 1) == ("resolving", None)


async def test_a_second_draft_of_a_dataset_cannot_begin(docs: Publisher):
    run = await docs.run(a="x")
    draft = await docs.begin(run)

    assert await code_of(docs.begin(run)) == "publication_in_progress"

    await docs.catalog.abandon_draft(draft.dataset, draft.n)
    assert (await docs.begin(run)).n == 2, "a number is given once"


async def test_of_processes_that_begin_at_once_one_begins(catalog_factory: Factory[Catalog], docs: Publisher):
    run = await docs.run(a="x")
    other = Publisher(type(docs.lab)(await catalog_factory(), docs.lab.clock), owner="w2")

    found = await asyncio.gather(
        *(one.begin(run) for _ in range(4) for one in (docs, other)), return_exceptions=True
    )

    begun = [one for one in found if isinstance(one, Draft)]
    refused = [one.code for one in found if isinstance(one, Conflict)]
    assert ([one.n for one in begun], refused) == ([1], ["publication_in_progress"] * 7)


async def test_requests_with_one_key_begin_one_draft(catalog_factory: Factory[Catalog], docs: Publisher):
    run = await docs.run(a="x")
    other = await catalog_factory()
    request = PublishRequest([run])

    def begin(catalog: Catalog, body: bytes = b"body"):
        key = Key("publication", "", "k", body, 60)
        return catalog.begin_publication("docs", "docs", request, owner="w1", lease=LEASE, key=key)

    found = await asyncio.gather(*(begin(one) for _ in range(3) for one in (docs.catalog, other)))

    assert sorted((type(one).__name__, one.n) for one in found) == [("Draft", 1)] + [("Publication", 1)] * 5
    assert await code_of(begin(docs.catalog, b"another")) == "idempotency_key_reused"
    await docs.catalog.abandon_draft(await docs.dataset(), 1)
    again = await begin(docs.catalog)
    assert isinstance(again, Publication)
    assert (again.n, again.state) == (1, "abandoned")


async def test_what_cannot_be_published_is_refused(docs: Publisher):
    run = await docs.run(a="x")
    replay = await docs.replay(run, a="y")
    open_run = (await docs.lab.started("a", config=docs.config)).execution
    other = (await docs.lab.started("a", config=docs.lab.config("other", docs.lab.route("one")))).execution
    catalog = docs.catalog

    assert await code_of(docs.begin(docs.lab.unknown())) == "execution_not_found"
    assert await code_of(docs.begin(open_run)) == "execution_running"
    assert await code_of(docs.begin(other)) == "not_a_base"
    assert await code_of(docs.begin(replay)) == "nothing_published"
    assert await code_of(docs.begin(run, base=replay)) == "not_a_base"
    assert await code_of(docs.begin(run, expect_seq=7)) == "publication_moved"
    request = PublishRequest([run])
    for config, name in (("docs", "nothing"), ("nothing", "docs")):
        begun = catalog.begin_publication(config, name, request, owner="w1", lease=LEASE)
        assert await code_of(begun) == "dataset_not_found"
        assert await code_of(catalog.preview_publication(config, name, request)) == "dataset_not_found"
    assert await catalog.publications(await docs.dataset(), every=True) == [], "none has used a number"


async def foreign(lab: Lab, docs: Publisher) -> tuple[UUID, UUID]:
    """Return a run of another config, and a replay of its stage `html` into the route `convert`."""
    pages = lab.config("pages", lab.route("fetch", queue="pages.fetch", stage="html"))
    run = await lab.started("a", config=pages)
    await lab.work(run.ids[0], lab.output("a", "x"))
    await lab.catalog.end_executions([run.execution])
    sent = await lab.started_replay(
        run.execution, f"{run.execution}/html/a", stage="html", config=docs.config
    )
    [split] = await lab.work(sent.ids[0], lab.output("a", "x"))
    [index] = await lab.work(lab.ids([split])[0], lab.output("a/1", "x"))
    await lab.work(lab.ids([index])[0])
    await lab.catalog.end_executions([sent.execution])
    return run.execution, sent.execution


async def test_with_partial_runs_a_replay_of_another_config_adds_inputs(lab: Lab):
    docs = Publisher(lab, declared(runs="partial"))
    await docs.dataset()
    run, replay = await foreign(lab, docs)

    draft = await docs.begin(replay)

    [part] = draft.parts
    assert (part.id, part.role, part.stage, part.route) == (replay, "layer", "html", "convert")
    assert (part.is_foreign, part.adds_inputs, part.has_inputs) == (True, True, True)
    assert ("html", "convert") in draft.edges
    await lab.save(declared())
    taken = await lab.catalog.acquire_draft(draft.dataset, draft.n, owner="w1", lease=LEASE)
    assert taken
    assert taken.parts == draft.parts, "a change of the config does not change the draft"
    assert await lab.catalog.begin_prune([Candidate(run, (), None)]) == [], "its objects may be inputs"


async def test_with_complete_runs_a_replay_of_another_config_adds_inputs_if_it_is_named(lab: Lab):
    docs = Publisher(lab)
    await docs.publish(await docs.run(b="x"))
    _, replay = await foreign(lab, docs)
    catalog = lab.catalog

    [layer] = (await catalog.preview_publication("docs", "docs", PublishRequest([replay]))).parts
    [added] = (await catalog.preview_publication("docs", "docs", PublishRequest(add=[replay]))).parts

    assert (layer.is_foreign, layer.adds_inputs) == (True, False)
    assert (added.role, added.adds_inputs) == ("layer", True)


async def test_a_part_is_not_pruned_while_a_draft_is_open(docs: Publisher):
    run = await docs.run(a="x")
    draft = await docs.begin(run)

    assert await docs.catalog.begin_prune([Candidate(run, (), None)]) == []

    await docs.catalog.abandon_draft(draft.dataset, draft.n)
    assert len(await docs.catalog.begin_prune([Candidate(run, (), None)])) == 1
    assert await code_of(docs.begin(run)) == "execution_pruned"


async def test_the_refusal_of_an_automatic_request_is_recorded_once(docs: Publisher):
    run = await docs.run(a="x")
    await docs.catalog.begin_prune([Candidate(run, (), None)])

    assert await code_of(docs.begin(run, automatic=True)) == "execution_pruned"

    assert await state(docs, 1) == ("abandoned", "execution_pruned")
    assert await code_of(docs.begin(run, automatic=True)) == "publication_moved"
    assert await code_of(docs.begin(run)) == "execution_pruned"
    assert len(await docs.catalog.publications(await docs.dataset(), every=True)) == 1


async def test_a_preview_stores_nothing(docs: Publisher):
    run = await docs.run(a="x y")
    request = PublishRequest([run])

    draft = await docs.catalog.preview_publication("docs", "docs", request)

    assert (draft.n, draft.epoch, draft.base, [one.id for one in draft.parts]) == (0, 0, 0, [run])
    assert await docs.catalog.publications(await docs.dataset(), every=True) == []
    begun = await docs.begin(run)
    again = await docs.catalog.preview_publication("docs", "docs", request)
    assert (again.parts, again.edges) == (begun.parts, begun.edges), "also while a draft is open"


# -- which process holds it ------------------------------------------------------------------------


async def test_a_draft_is_acquired_when_its_lease_has_expired(docs: Publisher, clock: Clock):
    draft = await docs.begin(await docs.run(a="x"))
    catalog, place = docs.catalog, (draft.dataset, draft.n)
    assert await catalog.open_drafts() == []
    assert await catalog.acquire_draft(*place, owner="w2", lease=LEASE) is None

    clock.advance(LEASE / 2)
    assert await catalog.renew_draft(draft, lease=LEASE)
    clock.advance(LEASE - 1)
    assert await catalog.open_drafts() == []
    clock.advance(2)
    assert await catalog.open_drafts() == [place]

    taken = await catalog.acquire_draft(*place, owner="w2", lease=LEASE)
    assert taken == replace(draft, epoch=2)
    assert not await catalog.renew_draft(draft, lease=LEASE)
    await catalog.release_draft(draft)
    assert await catalog.open_drafts() == [], "the former holder releases nothing"


async def test_a_holder_that_acquires_again_has_a_higher_epoch(docs: Publisher):
    draft = await docs.begin(await docs.run(a="x"))

    again = await docs.catalog.acquire_draft(draft.dataset, draft.n, owner="w1", lease=LEASE)

    assert again
    assert again.epoch == 2
    assert not await docs.catalog.renew_draft(draft, lease=LEASE)


async def test_a_released_draft_can_be_acquired_at_once_by_one_process(
    catalog_factory: Factory[Catalog], docs: Publisher
):
    draft = await docs.begin(await docs.run(a="x"))
    await docs.catalog.release_draft(draft)
    assert await docs.catalog.open_drafts() == [(draft.dataset, draft.n)]
    other = await catalog_factory()

    found = await asyncio.gather(
        *(
            one.acquire_draft(draft.dataset, draft.n, owner=f"w{n}{one is other}", lease=LEASE)
            for n in range(3)
            for one in (docs.catalog, other)
        )
    )

    assert [one.epoch for one in found if one] == [2]


async def test_a_draft_that_has_ended_or_does_not_exist_is_not_acquired(docs: Publisher, clock: Clock):
    draft = await docs.begin(await docs.run(a="x"))
    await docs.catalog.abandon_draft(draft.dataset, draft.n)
    clock.advance(2 * LEASE)

    for n in (draft.n, 99):
        assert await docs.catalog.acquire_draft(draft.dataset, n, owner="w1", lease=LEASE) is None
    assert await docs.catalog.open_drafts() == []
    assert not await docs.catalog.renew_draft(draft, lease=LEASE)


async def test_a_former_holder_can_write_nothing(docs: Publisher):
    draft = await docs.begin(await docs.run(a="x"))
    found = await docs.prepare(draft)
    taken = await docs.catalog.acquire_draft(draft.dataset, draft.n, owner="w1", lease=LEASE)
    assert taken
    catalog = docs.catalog

    for write in (
        catalog.undo_abandoned(draft, limit=9),
        catalog.rewind(draft, "newer", after=(0, 0), limit=9),
        catalog.rewind(draft, "older", after=(0, 0), limit=9),
        catalog.write_entries(draft, cursor="late"),
        docs.finish(draft, found),
    ):
        with pytest.raises(DraftLost):
            await write
    assert await state(docs, draft.n) == ("resolving", None)
    await docs.finish(taken, found)
    await docs.stage()
    with pytest.raises(DraftLost):
        await catalog.staged(draft)
    assert await state(docs, draft.n) == ("staging", None)


async def test_a_draft_is_abandoned_if_a_part_runs_again(docs: Publisher):
    run = await docs.run(a="x", b="x", fails="a")
    draft = await docs.begin(run)
    assert await docs.catalog.resend(where=DeadLetterFilter(run))

    assert await code_of(docs.catalog.write_entries(draft, cursor="1")) == "execution_changed"

    assert await state(docs, draft.n) == ("abandoned", "execution_changed")
    with pytest.raises(DraftLost):
        await docs.catalog.write_entries(draft, cursor="1")


# -- how it ends -----------------------------------------------------------------------------------


async def test_a_decision_makes_a_draft_current_once(catalog_factory: Factory[Catalog], docs: Publisher):
    draft = await docs.begin(await docs.run(a="x y"), reason="first")
    await docs.finish(draft)
    await docs.stage()
    assert await docs.catalog.staged(draft)
    assert await docs.catalog.staged(draft), "repeated"
    other = await catalog_factory()

    decided = await asyncio.gather(
        *(one.decide_draft(draft) for _ in range(3) for one in (docs.catalog, other))
    )

    assert {(one.n, one.state) for one in decided} == {(1, "published")}
    switches = await docs.catalog.switches(draft.dataset)
    assert [(one.seq, one.n, one.kind, one.reason) for one in switches] == [(1, 1, "publish", "first")]
    [dataset] = await docs.catalog.datasets()
    assert (dataset.current, dataset.seq, dataset.decided, dataset.draft) == (1, 1, 1, None)
    execution = await docs.lab.execution(decided[0].execution_id)
    assert (execution.kind, execution.status) == ("publication", "completed")


async def test_a_draft_that_is_not_prepared_is_not_decided(docs: Publisher):
    draft = await docs.begin(await docs.run(a="x"))
    assert (await docs.catalog.decide_draft(draft)).state == "resolving"
    assert not await docs.catalog.staged(draft), "its content is not complete"
    await docs.finish(draft)
    assert (await docs.catalog.decide_draft(draft)).state == "staging"
    assert not await docs.catalog.staged(draft), "the sink does not have it"
    assert (await docs.catalog.decide_draft(draft)).state == "staging"


async def test_a_switch_meanwhile_abandons_a_draft(docs: Publisher):
    run = await docs.run(a="x")
    await docs.publish(run)
    await docs.publish(await docs.replay(run, a="y"))
    draft = await docs.begin(await docs.replay(run, a="z"))
    await docs.finish(draft)
    await docs.stage()
    assert await docs.catalog.staged(draft)
    await docs.catalog.roll_back(draft.dataset, to=1, expect_seq=None, reason=None)

    assert await code_of(docs.catalog.decide_draft(draft)) == "publication_moved"

    assert await state(docs, 3) == ("abandoned", "publication_moved")
    assert (await docs.catalog.decide_draft(draft)).state == "abandoned", "a repeated call has no effect"
    [dataset] = await docs.catalog.datasets()
    assert (dataset.current, dataset.draft, dataset.decided) == (1, None, 2)


async def test_of_a_decision_and_a_rollback_at_once_one_switch_follows_the_other(
    catalog_factory: Factory[Catalog], docs: Publisher
):
    other = await catalog_factory()
    run = await docs.run(a="x")
    await docs.publish(run)
    for text in ("y", "z", "v"):
        newest = await docs.publish(await docs.replay(run, a=text), allow=["older"])
        draft = await docs.begin(await docs.replay(run, a=f"{text}!"))
        await docs.finish(draft)
        await docs.stage()
        assert await docs.catalog.staged(draft)
        _, decided = await asyncio.gather(
            other.roll_back(draft.dataset, to=newest.n - 1, expect_seq=None, reason=None),
            docs.catalog.decide_draft(draft),
            return_exceptions=True,
        )
        [dataset] = await docs.catalog.datasets()
        is_decided = isinstance(decided, Publication)
        assert dataset.current == newest.n - 1, "the rollback is the last one, or the only one"
        kinds = [one.kind for one in await docs.catalog.switches(draft.dataset, limit=2)]
        assert kinds == ["rollback", "publish"]
        assert await state(docs, draft.n) == (
            ("published", None) if is_decided else ("abandoned", "publication_moved")
        )
        await docs.publish(await docs.replay(run, a=text), allow=["older"])


async def test_an_abandoned_draft_has_its_reason_and_a_published_one_stays(docs: Publisher):
    run = await docs.run(a="x")
    draft = await docs.begin(run)
    catalog = docs.catalog

    await catalog.abandon_draft(draft.dataset, 1, code="units_failed", detail="why")
    await catalog.abandon_draft(draft.dataset, 1, code="path_conflict", detail="again")
    await catalog.abandon_draft(draft.dataset, 99)

    found = await catalog.publication(draft.dataset, 1)
    assert found
    assert found.refusal
    assert (found.state, found.refusal.code, found.refusal.detail) == ("abandoned", "units_failed", "why")
    [dataset] = await catalog.datasets()
    assert (dataset.draft, dataset.refused) == (None, found)
    assert (await docs.publish(run)).n == 2
    await catalog.abandon_draft(draft.dataset, 2, code="units_failed", detail="late")
    assert await state(docs, 2) == ("published", None)


async def test_a_finished_draft_has_counts_and_is_finished_once(docs: Publisher):
    draft = await docs.begin(await docs.run(a="x y", b="x", fails="b"))
    found = await docs.prepare(draft)
    await docs.finish(draft, found)
    await docs.stage()
    await docs.finish(draft, found)

    made = await docs.catalog.publication(draft.dataset, 1)
    assert made
    assert (made.state, made.digest, made.units.good, made.units.left_out) == ("staging", found.digest, 1, 1)
    assert made.counts[SEGMENTS].total == made.counts[SEGMENTS].added == 2
    assert made.bytes_protected == 2 * len("x y") + len("xy")
    due = await docs.due()
    assert due is None or due.page is None, "the sink has its page already"


async def test_a_dataset_with_other_routes_names_the_edges_that_differ(lab: Lab, docs: Publisher):
    run = await docs.run(a="x")
    await docs.publish(run)
    fewer = Publisher(lab, declared(routes=("convert",), sinks=()))
    await fewer.dataset()

    draft = await fewer.begin(run)

    assert draft.has_other_edges
    assert draft.edges == {("input", "convert")}
