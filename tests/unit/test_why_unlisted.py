"""Why an item has no message: the listing of its execution has not reached it, or ended without it."""

from __future__ import annotations

from playhead.services.why import WhyService
from tests.lab import MemoryDeployment


async def test_an_input_that_its_run_has_not_listed_is_explained():
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    run = await lab.sealed("a.md", "b.md")
    await lab.list_all(await lab.hold(run), f"{run}/input/a.md", last=False)
    service = WhyService(deployment.catalog, deployment.store)

    listed, unlisted = [await service.explain(run, name) for name in ("a.md", "b.md")]

    assert (listed.outcome, unlisted.outcome) == ("pending", "not_listed")
    assert unlisted.explanation == "route convert: the run has not recorded a message for it"
    assert [route.outcome for route in unlisted.routes] == ["not_listed"]


async def test_an_input_of_a_cancelled_run_is_cancelled_even_if_it_was_not_listed():
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    run = await lab.sealed("a.md")
    await deployment.catalog.cancel(run)

    answer = await WhyService(deployment.catalog, deployment.store).explain(run, "a.md")

    assert answer.outcome == "cancelled"


async def test_an_object_is_not_replayed_only_after_the_replay_has_listed_its_stage():
    deployment = MemoryDeployment()
    lab = deployment.lab
    await lab.beat("w1")
    run = await lab.started("a.md", "b.md")
    replay = await lab.replayed(run.execution)
    held = await lab.hold(replay.execution_id)
    service = WhyService(deployment.catalog, deployment.store)

    before = await service.explain(replay.execution_id, "b.md")
    await lab.list_all(held, f"{run.execution}/input/a.md")
    after = await service.explain(replay.execution_id, "b.md")

    assert (before.outcome, after.outcome) == ("not_listed", "not_replayed")
    assert before.explanation == "route convert: the replay still lists the objects of stage input"
    assert (await service.explain(replay.execution_id, "a.md")).outcome == "pending"
