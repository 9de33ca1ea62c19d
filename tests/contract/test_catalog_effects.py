"""How every catalog closes the messages of routes that a replay skips: `effects` of `Jobs.open_replay`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.ids import uuid7
from playhead.model import EFFECTS_SKIPPED, Config, OnReplay
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.runs import Reusable
from playhead.ports.catalog.work import Done, Refusal
from tests.lab import Lab, Started

if TYPE_CHECKING:
    from tests.contract.backends import Factory

SKIP: dict[str, OnReplay] = {"mail": "skip", "publish": "skip"}


def mailing(lab: Lab, name: str = "docs") -> Config:
    """convert feeds two routes with effects, of which other programs consume one, and index."""
    return lab.config(
        name,
        lab.route("convert", queue=f"{name}.convert", stage="pages", to=("mail", "publish", "index")),
        lab.route("mail", queue=f"{name}.mail", stage="sent", to=("log",)),
        lab.route("publish", queue=f"{name}.publish", external=True),
        lab.route("index", queue=f"{name}.index"),
        lab.route("log", queue=f"{name}.log"),
    )


async def source(lab: Lab) -> Started:
    """A run whose input is replayed."""
    return await lab.started("a.md", config=mailing(lab))


async def replay(lab: Lab, effects: Mapping[str, OnReplay] = SKIP) -> Started:
    """A replay of one object into `convert`."""
    run = await source(lab)
    return await lab.started_replay(
        run.execution, f"{run.execution}/input/a.md", config=mailing(lab), effects=effects
    )


async def by_route(lab: Lab, execution: UUID) -> dict[str, tuple[str, str | None]]:
    """Return state and reason of the messages of an execution, each in another route."""
    rows, _ = await lab.catalog.lineage_list(execution=execution)
    assert len({row.route for row in rows}) == len(rows)
    return {row.route: (row.status, row.skip_reason) for row in rows}


SKIPPED = ("skipped", EFFECTS_SKIPPED.reason)


async def test_children_in_skipped_routes_are_closed_by_the_transaction_that_ends_their_parent(lab: Lab):
    started = await replay(lab)

    children = await lab.work(started.ids[0], lab.output("a.md"))

    assert [child.headers.route for child in children] == ["index"]
    assert await by_route(lab, started.execution) == {
        "convert": ("completed", None),
        "mail": SKIPPED,
        "publish": SKIPPED,
        "index": ("pending", None),
    }
    rows, _ = await lab.catalog.lineage_list(execution=started.execution, status="skipped")
    for row in rows:
        assert (row.attempts, row.output_count, row.error, row.started_at) == (0, 0, None, None)
        assert row.parent_correlation_id == started.ids[0]
        assert row.input_key == f"{started.execution}/pages/a.md"
        assert row.ended_at is not None


async def test_an_execution_ends_when_only_skipped_messages_follow(catalog: Catalog, lab: Lab):
    started = await replay(lab, SKIP | {"index": "skip"})

    assert await lab.work(started.ids[0], lab.output("a.md"), lab.output("b.md")) == []

    assert await catalog.end_executions([started.execution]) == [started.execution]
    found = await lab.execution(started.execution)
    assert (found.status, found.counts.completed, found.counts.pending) == ("completed", 7, 0)


async def test_a_run_and_a_replay_without_a_policy_skip_nothing(lab: Lab):
    run = await source(lab)
    started = await replay(lab, {"mail": "run"})

    for identity in (run.ids[0], started.ids[0]):
        children = await lab.work(identity, lab.output("a.md"))
        assert [child.headers.route for child in children] == ["mail", "publish", "index"]


async def test_children_of_a_cancelled_replay_are_cancelled(catalog: Catalog, lab: Lab):
    started = await replay(lab)
    claim = await lab.claim(started.ids[0])
    await catalog.cancel(started.execution)

    assert await lab.done(claim, lab.output("a.md")) == []

    assert {state for state, _ in (await by_route(lab, started.execution)).values()} == {
        "completed",
        "cancelled",
    }


async def test_skipped_children_are_not_published_by_the_reconciler_or_again_by_their_worker(
    catalog: Catalog, lab: Lab
):
    started = await replay(lab, SKIP | {"index": "skip"})
    claim = await lab.claim(started.ids[0])
    bound = await lab.bind(claim, lab.output("a.md"))
    done = Done(claim.correlation_id, claim.attempt, [one.key for one in bound])
    await catalog.finish("w1", [done])
    await lab.die("w1")

    assert await catalog.orphans("w2", limit=10) == []
    assert await catalog.due("w2", limit=10) == []
    assert await catalog.waiting_queues() == ["docs.convert"]  # of the source
    (again,) = await catalog.finish("w1", [done])
    assert again is not None
    assert again.children == []
    assert (await lab.refusal(started.ids[0], "w2")).children == ()


async def test_a_skipped_message_is_closed_for_every_claim(lab: Lab):
    started = await replay(lab)
    await lab.work(started.ids[0], lab.output("a.md"))
    rows, _ = await lab.catalog.lineage_list(execution=started.execution, status="skipped")

    for row in rows:
        assert (await lab.refusal(row.correlation_id)).reason == "closed"


# -- how `skip` could leak -------------------------------------------------------------------------


async def test_a_retry_of_the_parent_skips_its_children(lab: Lab):
    started = await replay(lab)
    await lab.fail(await lab.claim(started.ids[0]), delay=0)

    children = await lab.work(started.ids[0], lab.output("a.md"))

    assert [child.headers.route for child in children] == ["index"]


async def test_a_resend_of_the_parent_skips_its_children(catalog: Catalog, lab: Lab):
    started = await replay(lab)
    await lab.kill(started.ids[0])
    await catalog.end_executions()
    assert await catalog.resend(where=DeadLetterFilter(execution=started.execution)) == [started.ids[0]]

    children = await lab.work(started.ids[0], lab.output("a.md"))

    assert [child.headers.route for child in children] == ["index"]


async def test_another_worker_that_takes_the_parent_over_skips_its_children(
    catalog_factory: Factory[Catalog], catalog: Catalog, lab: Lab
):
    started = await replay(lab)
    await lab.claim(started.ids[0])
    await catalog.depart("w1")
    other = Lab(await catalog_factory(), lab.clock)
    await other.beat("w2")

    children = await other.work(started.ids[0], other.output("a.md"), worker="w2")

    assert [child.headers.route for child in children] == ["index"]


async def test_a_newer_version_of_the_config_changes_no_replay(lab: Lab):
    started = await replay(lab)
    newer = mailing(lab)
    await lab.save(newer, digest="sha256:newer")

    children = await lab.work(started.ids[0], lab.output("a.md"))

    assert [child.headers.route for child in children] == ["index"]


async def into_mail(lab: Lab, *, effects: Mapping[str, OnReplay] = SKIP) -> Started:
    """A message in a route that its replay skips, as no service would insert it."""
    run = await source(lab)
    return await lab.started_replay(
        run.execution, f"{run.execution}/input/a.md", route="mail", config=mailing(lab), effects=effects
    )


@pytest.mark.parametrize("policy", ["skip", "refuse"])
async def test_a_claim_closes_a_message_of_a_skipped_route(catalog: Catalog, lab: Lab, policy: OnReplay):
    started = await into_mail(lab, effects={"mail": policy})

    refusal = await lab.refusal(started.ids[0])

    assert (refusal.reason, refusal.children, refusal.execution_id) == ("skipped", (), started.execution)
    assert await by_route(lab, started.execution) == {"mail": SKIPPED}
    assert (await lab.refusal(started.ids[0])).reason == "closed"
    assert await catalog.end_executions([started.execution]) == [started.execution]
    assert (await lab.execution(started.execution)).status == "completed"


async def test_a_message_twice_in_one_claim_is_skipped_once(catalog: Catalog, lab: Lab):
    started = await into_mail(lab)

    answers = await catalog.claim("w1", [started.ids[0]] * 2)

    assert [answer.reason for answer in answers if isinstance(answer, Refusal)] == ["skipped", "closed"]


# -- effects that a worker finds -------------------------------------------------------------------


async def test_claims_tell_whether_effects_that_are_found_are_skipped(lab: Lab):
    started = await replay(lab, {"*": "skip", "index": "run", "mail": "skip"})

    claim = await lab.claim(started.ids[0])
    (index, publish) = sorted(await lab.done(claim, lab.output("a.md")), key=lambda one: one.headers.route)

    assert claim.skips_effects
    assert (index.headers.route, publish.headers.route) == ("index", "publish")
    assert not (await lab.claim(lab.ids([index])[0])).skips_effects
    assert not (await lab.claim((await source(lab)).ids[0])).skips_effects


async def test_a_route_that_a_worker_has_found_is_skipped_from_then_on(catalog: Catalog, lab: Lab):
    started = await replay(lab, {"*": "refuse"})
    mail, _, index = await lab.work(started.ids[0], lab.output("a.md"))
    claim = await lab.claim(lab.ids([mail])[0])
    assert claim.skips_effects

    await catalog.skip_route(started.execution, "mail")
    await catalog.skip_route(started.execution, "mail")
    await lab.fail(claim, delay=0)

    assert (await lab.refusal(lab.ids([mail])[0])).reason == "skipped"
    await lab.claim(lab.ids([index])[0])
    assert started.batch is not None
    found = await lab.replay(started.batch)
    assert found.effects == {"*": "refuse", "mail": "skip"}
    assert found.objects_skipped == 1


async def test_another_process_that_remembers_the_replay_finds_the_effects_itself(
    catalog_factory: Factory[Catalog], catalog: Catalog, lab: Lab
):
    started = await replay(lab, {"*": "skip"})
    other = Lab(await catalog_factory(), lab.clock)
    children = await other.work(started.ids[0], other.output("a.md"))
    await catalog.skip_route(started.execution, "mail")

    assert (await other.claim(lab.ids(children)[0])).skips_effects


async def test_outputs_of_an_attempt_before_the_route_was_found_are_superseded(catalog: Catalog, lab: Lab):
    started = await replay(lab, {"*": "skip"})
    mail, *_ = await lab.work(started.ids[0], lab.output("a.md"))
    claim = await lab.claim(lab.ids([mail])[0])
    (bound,) = await lab.bind(claim, lab.output("a.md"))
    await catalog.skip_route(started.execution, "mail")
    await catalog.depart("w1")

    assert (await lab.refusal(claim.correlation_id, "w2")).reason == "skipped"

    assert await catalog.unstored([bound.key]) == {bound.key}


# -- what people see -------------------------------------------------------------------------------


async def test_a_replay_shows_its_effects_and_counts_its_skipped_messages(catalog: Catalog, lab: Lab):
    started = await replay(lab)
    assert started.batch is not None
    before = await lab.replay(started.batch)
    claim = await lab.claim(started.ids[0])
    (index, _) = await lab.done(claim, lab.output("a.md"), lab.output("b.md"))
    # A message that a condition has dropped is not counted.
    await lab.skip(await lab.claim(lab.ids([index])[0]), "the condition of step dropped it")

    found = await lab.replay(started.batch)

    assert (before.objects_skipped, before.effects) == (0, SKIP)
    assert (found.objects_skipped, found.effects) == (4, SKIP)
    await catalog.cancel(started.execution)
    await catalog.cancel_stragglers()
    assert (await lab.replay(started.batch)).objects_skipped == 4
    assert [one.objects_skipped for one in (await catalog.replays())[0]] == [4]


async def test_a_replay_without_a_policy_has_no_effects_to_show(lab: Lab):
    started = await replay(lab, {})
    assert started.batch is not None

    found = await lab.replay(started.batch)

    assert (found.objects_skipped, found.effects) == (0, {})


# -- a run since another one -----------------------------------------------------------------------


async def test_no_run_takes_over_that_a_replay_has_skipped_a_route(catalog: Catalog, lab: Lab):
    config = mailing(lab)
    run = await source(lab)
    await lab.kill(run.ids[0])
    await catalog.end_executions()
    started = await lab.started_replay(
        run.execution, f"{run.execution}/input/a.md", config=config, effects={"publish": "skip"}
    )
    mail, index = await lab.work(started.ids[0], lab.output("a.md"))
    await lab.work(lab.ids([mail])[0])
    await lab.work(lab.ids([index])[0])
    assert await catalog.end_executions() == [started.execution]

    # `None`: results without the number of a code, as those of external routes.
    routes = dict.fromkeys(config.routes)
    execution = (
        await catalog.open_run(
            uuid7(),
            "docs",
            await lab.save(config),
            tags=(),
            owner="w1",
            lease=lab.LEASE,
            reuse=Reusable(run.execution, routes, {started.execution: routes}),
        )
    ).execution_id
    await catalog.bind_inputs(execution, [lab.input("a.md")], takes_over=True)
    assert await catalog.seal(execution)
    await lab.list_all(await lab.hold(execution), f"{execution}/input/a.md")

    states = await by_route(lab, execution)
    assert states["convert"][0] == states["index"][0] == states["mail"][0] == "taken_over"
    assert states["publish"] == ("pending", None)
