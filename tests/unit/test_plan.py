"""Plans of replays: what they find, and a replay that publishes exactly that or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from playhead.environment import Environment
from playhead.errors import BadRequest, Conflict, NotFound, PlanChanged, PlayheadError, Unavailable
from playhead.keys import sidecar_key
from playhead.model import (
    ChangedObject,
    Config,
    LeftOut,
    ObjectState,
    Plan,
    PlannedObject,
    PlanProblems,
    RatePace,
    Replay,
    ReplayRequest,
    Selection,
    Warning,
)
from playhead.ports.store import Blob, Entry
from playhead.replay.survey import Survey
from playhead.services.plan import PlanService
from playhead.services.replay import ReplayService
from tests.lab import Lab, MemoryDeployment
from tests.store_memory import MemoryStore

DAY = 86_400.0


class CountingStore(MemoryStore):
    """Counts the listed pages, and which were listed with sizes. It fails on demand."""

    def __init__(self) -> None:
        super().__init__()
        self.sized = 0
        self.named = 0
        self.error: PlayheadError | None = None

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        async for entries in super().list(prefix, after=after, sizes=sizes, page=page):
            if self.error:
                raise self.error
            if sizes:
                self.sized += 1
            else:
                self.named += 1
            yield entries


class Site:
    """A deployment in memory with a run whose stage `pages` has objects, and services over it."""

    def __init__(self, *, most_objects: int = 1_000_000) -> None:
        self.store = CountingStore()
        self.deployment = MemoryDeployment(store=self.store)
        self.lab: Lab = self.deployment.lab
        self.tasks: list[asyncio.Task[None]] = []
        env = Environment("w1", clock=self.deployment.clock, sleep=self._sleep, spawn=self._spawn)
        self.plans = PlanService(self.deployment.backends, env, seconds=DAY, most_objects=most_objects)
        self.replays = ReplayService(self.deployment.backends, env, lease=self.lab.LEASE, settle=30)
        self.source = UUID(int=0)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.append(task)
        return task

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def run(self, contents: dict[str, str]) -> Site:
        """Store these objects, each with its sidecar, as the outputs of a run."""
        await self.lab.beat("w1", "w2")
        started = await self.lab.started(*[f"{number}.md" for number in range(len(contents))])
        self.source = started.execution
        for identity, (path, text) in zip(started.ids, contents.items(), strict=True):
            await self.lab.work(identity, self.lab.output(path, text))
            await self.write(path, text)
        return self

    def key(self, path: str) -> str:
        return f"{self.source}/pages/{path}"

    async def write(self, path: str, text: str, *, sidecar: bool = True) -> None:
        blobs = [Blob(sidecar_key(self.key(path)), b"{}")] if sidecar else []
        await self.store.write([[*blobs, Blob(self.key(path), text.encode())]])

    async def delete(self, path: str) -> None:
        await self.store.delete([self.key(path)])

    def request(self, **given: Any) -> ReplayRequest:
        selection = given.pop("selection", None)
        names = {"from_path": None, "to_route": "split"} | given
        return ReplayRequest(
            self.source, "pages", **names, selection=Selection(**selection) if selection else None
        )

    async def plan(self, *, verify: bool = False, **given: Any) -> Plan:
        return await self.plans.create(self.request(**given), verify=verify)

    async def objects(self, plan: Plan) -> list[PlannedObject]:
        found: list[PlannedObject] = []
        cursor = None
        while True:
            page = await self.plans.objects(plan.plan_id, cursor, 2)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def paths(self, plan: Plan) -> list[str]:
        return [one.key.removeprefix(self.key("")) for one in await self.objects(plan)]

    async def replay(self, plan: Plan, **given: Any) -> Replay:
        request = replace(ReplayRequest.of_plan(plan.plan_id), **given)
        replay = await self.replays.execute(request)
        await asyncio.gather(*self.tasks)
        return replay

    async def published(self) -> list[str]:
        """Paths of the messages in the queue of the target."""
        found = await self.deployment.broker.peek("docs.split", 1000)
        return [one.payload["object_key"].removeprefix(self.key("")) for one in found]


@pytest.fixture
async def site() -> Site:
    return await Site().run({"a.md": "one", "b/c.md": "two", "d.txt": "three"})


# -- what a plan finds -----------------------------------------------------------------------------


async def test_a_plan_has_the_objects_of_a_stage_with_their_records(site: Site):
    plan = await site.plan()

    assert (plan.state, plan.objects, plan.bytes) == ("ready", 3, 11)
    assert (plan.to_config, plan.to_config_version, plan.to_queue) == ("docs", 1, "docs.split")
    assert plan.first_keys == [site.key(path) for path in ("a.md", "b/c.md", "d.txt")]
    assert plan.last_key == site.key("d.txt")
    assert plan.content_types == {"text/markdown": 2, "text/plain": 1}
    assert (plan.left_out, plan.problems) == (LeftOut(sidecars=3), PlanProblems(no_sidecar=0))
    assert plan.digest
    objects = await site.objects(plan)
    sha = site.lab.output("a.md", "one").sha256
    assert objects[0] == PlannedObject(site.key("a.md"), 3, f"r:{sha.hex()[:32]}")
    assert await site.plans.get(plan.plan_id) == plan
    assert (await site.plans.list(None, 10)).items == [plan]


async def test_plans_of_the_same_set_have_the_same_digest(site: Site):
    first, second = await site.plan(), await site.plan(to_route="index")
    other = await site.plan(from_path="b")

    assert first.digest == second.digest
    assert other.digest != first.digest
    assert await site.paths(other) == ["b/c.md"]


async def test_names_are_enough_for_objects_with_records_and_sizes_are_listed_from_the_first_other_one(
    site: Site,
):
    await site.plan()
    assert site.store.sized == 0

    await site.write("e.bin", "other", sidecar=False)
    plan = await site.plan()

    assert site.store.sized == 1
    assert await site.paths(plan) == ["a.md", "b/c.md", "d.txt", "e.bin"]
    [other] = [one for one in await site.objects(plan) if one.key == site.key("e.bin")]
    assert other.size == 5
    assert other.tag.startswith("s:")
    assert plan.left_out.sidecars == 3
    assert plan.content_types["application/octet-stream"] == 1


async def test_the_objects_of_another_program_are_planned_with_the_tags_of_the_store():
    site = Site()
    await site.lab.save()
    site.source = await site.deployment.external(3)

    plan = await site.plan(to_route="docs/split")

    assert (plan.objects, plan.bytes, plan.problems.no_sidecar) == (3, 0, 0)
    assert all(one.tag.startswith("s:") for one in await site.objects(plan))
    assert await site.deployment.catalog.execution(site.source) is None


async def test_a_plan_counts_what_it_leaves_out_and_what_may_fail(site: Site):
    await site.write("unaccompanied.md", "x", sidecar=False)
    await site.write("bad\\name", "x", sidecar=False)
    await site.store.delete([sidecar_key(site.key("a.md"))])
    started = await site.lab.started("late.md")
    claim = await site.lab.claim(started.ids[0])
    bound = (await site.lab.bind(claim, site.lab.output("late.md", "late")))[0].key
    await site.store.write([[Blob(bound, b"late")]])
    other = Site.__new__(Site)
    other.__dict__ = dict(site.__dict__)
    other.source = started.execution

    plan = await site.plan()
    assert plan.left_out == LeftOut(sidecars=2)
    assert plan.problems == PlanProblems(invalid_key=1, no_sidecar=1)
    assert Warning("no_sidecars", count=1) in plan.warnings
    assert Warning("invalid_keys", count=1) in plan.warnings
    with pytest.raises(NotFound) as raised:
        await other.plan()
    assert raised.value.code == "no_objects"
    await site.store.write([[Blob(f"{started.execution}/pages/x.md", b"x")]])
    assert (await other.plan()).left_out == LeftOut(not_stored=1)


async def test_verify_compares_the_bytes_with_the_records(site: Site):
    await site.write("a.md", "ONE")
    await site.delete("d.txt")
    await site.write("external.md", "x", sidecar=False)

    plan = await site.plan(verify=True)

    assert (await site.plan()).problems.hash_differs is None
    assert plan.problems.hash_differs == 1
    assert "bytes_differ" in {one.code for one in plan.warnings}


async def test_a_plan_applies_a_selection_and_a_limit(site: Site):
    plan = await site.plan(selection={"include": ["**/*.md"], "limit": 1})

    assert await site.paths(plan) == ["a.md"]
    assert plan.left_out == LeftOut(sidecars=3, filtered=1, over_limit=1)
    assert plan.request["include"] == ["**/*.md"]
    assert plan.request["limit"] == 1
    assert (plan.last_key, plan.bytes) == (site.key("a.md"), 3)


async def test_a_plan_with_too_many_objects_fails():
    site = await Site(most_objects=2).run({"a.md": "1", "b.md": "2", "c.md": "3"})

    with pytest.raises(Conflict) as raised:
        await site.plan()

    assert raised.value.code == "too_many_objects"
    await asyncio.gather(*site.tasks, return_exceptions=True)
    [failed] = (await site.plans.list(None, 10)).items
    assert (failed.state, failed.error) == ("failed", raised.value.detail)


async def test_a_pace_or_an_earlier_replay_provides_the_estimate(site: Site):
    assert (await site.plan()).seconds is None
    assert (await site.plan(pace=RatePace(2.0))).seconds == 1.5


async def test_pages_of_many_objects_are_listed_completely():
    site = await Site().run({f"{number:05}.md": "x" for number in range(25)})
    await site.write("00003-other.bin", "x", sidecar=False)
    for page in (2, 3, 7, 100):
        survey = Survey(
            site.deployment.catalog,
            site.store,
            f"{site.source}/pages",
            recorded=True,
            has_references=False,
            page=page,
        )
        found = [key.removeprefix(site.key("")) async for some in survey.items() for key, _, _ in some]
        assert found == sorted([*(f"{number:05}.md" for number in range(25)), "00003-other.bin"])
        assert (survey.asides, survey.unaccompanied) == (25, 0)


# -- plans that fail -------------------------------------------------------------------------------


async def test_a_plan_fails_if_the_store_cannot_be_read(site: Site):
    plan = await site.plans.begin(site.request())
    site.store.error = Unavailable("store_unavailable", "no store")
    await asyncio.gather(*site.tasks)
    await asyncio.gather(*site.tasks)

    failed = await site.plans.get(plan.plan_id)
    assert (plan.state, failed.state, failed.error) == ("listing", "failed", "no store")
    with pytest.raises(Conflict) as raised:
        await site.plans.objects(plan.plan_id, None, 10)
    assert raised.value.code == "plan_not_ready"
    with pytest.raises(Conflict) as raised:
        await site.replay(plan)
    assert raised.value.code == "plan_not_ready"


# -- the replay of a plan --------------------------------------------------------------------------


async def test_the_config_version_of_the_plan_runs(site: Site):
    plan = await site.plan()
    await site.lab.save(site.lab.DOCS, digest="another")

    assert (await site.replay(plan)).to_config_version == plan.to_config_version == 1


@pytest.mark.parametrize("given", [{}, {"effects": "skip"}, {"effects": {"index": "skip"}}])
async def test_a_replay_of_a_plan_has_its_effects(site: Site, given: dict[str, Any]):
    await site.lab.save(indexing(site.lab, effects="external"))
    plan = await site.plan(effects="skip")
    # They are decided: the route has no effects any more, or another version says `run`.
    await site.lab.save(indexing(site.lab, effects="none"))
    await site.lab.save(indexing(site.lab, effects="none", on_replay="run"), digest="another")

    replay = await site.replay(plan, **given)

    assert replay.effects == {"index": "skip", "*": "skip"}


async def test_a_plan_whose_effects_are_refused_starts_no_replay(site: Site):
    await site.lab.save(indexing(site.lab, effects="external"))
    plan = await site.plan()
    await site.lab.save(indexing(site.lab, effects="external", on_replay="refuse"), digest="another")

    with pytest.raises(Conflict) as raised:
        await site.replay(plan)

    assert raised.value.code == "effects_refused"
    assert (await site.plans.get(plan.plan_id)).state == "ready"


def indexing(lab: Lab, **index: Any) -> Config:
    """A version of the config in which `index` is declared in this way."""
    return lab.config(
        "docs",
        lab.route("convert", stage="pages", to=("split",), effects="none"),
        lab.route("split", stage="segments/small", to=("index",), effects="none"),
        lab.route("index", to=("log",), **index),
        lab.route("log"),
    )


CHANGES = {
    "gone": (1, 0),
    "changed": (0, 1),
    "same size": (0, 1),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_nothing_is_published_if_an_object_of_another_program_is_gone_or_has_changed(
    site: Site, what: str
):
    await site.write("e.bin", "other", sidecar=False)
    plan = await site.plan()
    if what == "gone":
        await site.delete("e.bin")
    else:
        await site.write("e.bin", "longer than before" if what == "changed" else "OTHER", sidecar=False)

    with pytest.raises(PlanChanged) as raised:
        await site.replay(plan)

    await asyncio.gather(*site.tasks)
    difference: Any = raised.value.difference
    assert (difference.gone, difference.changed) == CHANGES[what]
    [first] = difference.first
    assert (first.key, first.planned.size) == (site.key("e.bin"), 5)
    assert await site.published() == []
    refused = (await site.deployment.catalog.replays())[0][0]
    assert (refused.state, refused.status, refused.objects_found) == ("refused", "partial_failure", 0)
    execution = await site.lab.execution(refused.execution_id)
    assert execution.status == "failed"
    assert execution.error
    assert execution.error.code == "plan_changed"
    with pytest.raises(PlanChanged) as again:
        await site.replay(plan)
    assert again.value.difference == difference


async def test_nothing_is_published_if_one_of_the_objects_of_the_run_is_gone(site: Site):
    plan = await site.plan()
    await site.delete("b/c.md")

    with pytest.raises(PlanChanged) as raised:
        await site.replay(plan)

    tag = f"r:{site.lab.output('', 'two').sha256.hex()[:32]}"
    assert raised.value.difference.first == [  # type: ignore[attr-defined]
        ChangedObject(site.key("b/c.md"), "gone", ObjectState(3, tag), None)
    ]


async def test_the_same_bytes_that_a_late_attempt_writes_again_are_no_change(site: Site):
    await site.write("e.bin", "other", sidecar=False)
    plan = await site.plan()
    await site.write("a.md", "one")

    assert (await site.replay(plan)).objects_published == 4


async def test_an_object_that_changes_after_the_check_is_published(site: Site):
    await site.write("e.bin", "other", sidecar=False)
    plan = await site.plan()
    created, _ = await site.replays.create(ReplayRequest.of_plan(plan.plan_id))
    held = await site.lab.hold(created.execution_id)
    assert await site.deployment.catalog.pass_check(held)
    await site.deployment.catalog.release(held)
    await site.write("e.bin", "after", sidecar=False)
    await site.delete("a.md")

    await site.replays.drives.drive(created.execution_id)

    assert await site.published() == ["a.md", "b/c.md", "d.txt", "e.bin"]


async def test_a_takeover_continues_with_the_plan_and_not_with_the_store(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    plan = await site.plan()
    created, _ = await site.replays.create(ReplayRequest.of_plan(plan.plan_id))
    held = await site.lab.hold(created.execution_id)
    await site.deployment.catalog.pass_check(held)
    await site.lab.list_all(held, site.key("a.md"), last=False)
    await site.deployment.catalog.release(held)
    await site.write("aa-new.md", "new", sidecar=False)
    await site.delete("b/c.md")

    await site.replays.drives.drive(created.execution_id)

    assert await site.published() == ["a.md", "b/c.md", "d.txt"]
    ended = await site.lab.replay(created.replay_batch_id)
    assert (ended.state, ended.objects_found) == ("publishing_complete", 3)


async def test_a_retried_listing_whose_pages_were_deleted_is_given_up_again(site: Site):
    plan = await site.plan()
    created, _ = await site.replays.create(ReplayRequest.of_plan(plan.plan_id))
    held = await site.lab.hold(created.execution_id)
    await site.deployment.catalog.pass_check(held)
    await site.lab.list_all(held, site.key("a.md"), last=False)
    await site.deployment.catalog.release(held)
    site.deployment.catalog.con.execute("DELETE FROM plan_pages")

    await site.replays.drives.drive(created.execution_id)

    ended = await site.lab.replay(created.replay_batch_id)
    assert (ended.state, ended.objects_published) == ("partial_failure", 1)
    assert ended.errors
    assert "not kept any more" in ended.errors[0]


async def test_a_damaged_page_fails_the_listing(site: Site):
    plan = await site.plan()
    created, _ = await site.replays.create(ReplayRequest.of_plan(plan.plan_id))
    site.deployment.catalog.con.execute("UPDATE plan_pages SET sha256 = zeroblob(32)")

    await site.replays.drives.drive(created.execution_id)

    ended = await site.lab.replay(created.replay_batch_id)
    assert (ended.state, ended.objects_found) == ("partial_failure", 0)
    assert ended.errors
    assert "damaged" in ended.errors[0]


@pytest.mark.parametrize(
    "given",
    [
        {"from_execution_id": UUID(int=1)},
        {"from_stage": "input"},
        {"from_path": "a"},
        {"to_route": "index"},
        {"config_version": 7},
        {"effects": "skip"},
        {"effects": {"index": "refuse"}},
        {"selection": Selection(limit=1)},
        {"selection": Selection(include=["**"], exclude=["x"])},
    ],
)
async def test_fields_that_differ_from_the_plan_are_refused(site: Site, given: dict[str, Any]):
    plan = await site.plan(selection={"include": ["**"]})

    with pytest.raises(BadRequest) as raised:
        await site.replay(plan, **given)

    assert raised.value.code == "plan_mismatch"
    assert (await site.plans.get(plan.plan_id)).state == "ready"


async def test_fields_that_are_equal_to_the_plan_are_accepted(site: Site):
    plan = await site.plan(from_path="b", selection={"include": ["**"]})

    replay = await site.replay(
        plan,
        from_execution_id=site.source,
        from_stage="pages",
        from_path="b",
        to_route="split",
        config_version=1,
        selection=Selection(include=["**"]),
        reason="as planned",
    )

    assert (replay.objects_published, replay.reason) == (1, "as planned")


async def test_the_objects_of_a_plan_are_not_kept_after_its_replay_has_listed_them(site: Site):
    plan = await site.plan()
    await site.replay(plan)
    assert len(await site.objects(plan)) == 3
    await site.deployment.catalog.fail_lost_plans()

    with pytest.raises(Conflict) as raised:
        await site.objects(plan)
    assert raised.value.code == "plan_expired"


async def test_the_config_of_a_planned_route_is_decided_by_the_plan():
    site = await Site().run({"a.md": "A"})
    await site.lab.save(Lab.config("other", Lab.route("mail", queue="other.mail")))
    plan = await site.plan(to_route="mail")
    # The config of the source comes first, but it did not have this route when the plan was made.
    await site.lab.save(Lab.config("docs", *Lab.DOCS.routes.values(), Lab.route("mail")))

    replay = await site.replay(plan)

    assert (replay.to_config, replay.to_queue) == ("other", "other.mail")
