"""Plans and replays warn before a part of the objects, or objects of an older run, reach a sink."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args
from uuid import UUID

import pytest

from playhead.environment import Environment
from playhead.model import Config, ReplayRequest, Route, Selection, Step, Warning
from playhead.model.warnings import SinkWarning
from playhead.ports.adapter import AdapterSpec, Item, adapter, spec_of
from playhead.services.plan import PlanService
from playhead.services.replay import ReplayService
from playhead.warningtext import warning_text
from tests.lab import MemoryDeployment

SOME = Selection(include=["a.md"])
SINK = ["index (rows)"]


def config(name: str = "docs", sink: str = "rows") -> Config:
    routes = (
        Route("convert", f"{name}.convert", (Step("clean"),), stage="pages", to=("split",)),
        Route("split", f"{name}.split", (Step("sections"),), stage="segments", to=("index",)),
        Route("index", f"{name}.index", (Step(sink),)),
        Route("check", f"{name}.check", (Step("check"),)),
    )
    return Config(name, "convert", {route.name: route for route in routes})


@adapter("rows", sink=True)
def rows(item: Item) -> None:
    """Write nothing."""


def adapters() -> dict[str, AdapterSpec]:
    spec = spec_of(rows)
    assert spec
    return {"rows": spec}


class Site(MemoryDeployment):
    """A deployment in memory. Adapters of the type `rows` are sinks."""

    async def run(self, of: Config) -> UUID:
        """Return a run with two inputs."""
        await self.lab.beat("w1")
        run = await self.lab.started("a.md", "b.md", config=of)
        await self.put(*(f"{run.execution}/input/{path}" for path in ("a.md", "b.md")))
        return run.execution

    async def warnings(self, source: UUID, route: str = "convert", **given: Any) -> Sequence[Warning]:
        """Return the warnings about sinks of a plan. The replay of the same objects has the same ones."""
        env = Environment("w1", clock=self.clock)
        plans = PlanService(self.backends, env, seconds=100, most_objects=10, adapters=adapters())
        replays = ReplayService(self.backends, env, lease=100, settle=1, adapters=adapters())
        request = ReplayRequest(source, "input", given.pop("from_path", None), route, **given)
        found: list[Warning] = []
        await replays.create(request, found.append)
        of_plan = (await plans.create(request)).warnings
        assert [one for one in of_plan if one.code in get_args(SinkWarning)] == found
        return found


@pytest.fixture
async def site() -> Site:
    return Site()


async def test_a_replay_of_all_objects_of_the_newest_run_causes_no_warning(site: Site):
    assert await site.warnings(await site.run(config())) == []


@pytest.mark.parametrize("part", [{"selection": SOME}, {"from_path": "a.md"}])
@pytest.mark.parametrize("route", ["convert", "index"])
async def test_a_part_of_the_objects_into_a_route_that_ends_in_a_sink_is_a_warning(
    site: Site, part: dict[str, Any], route: str
):
    (warning,) = await site.warnings(await site.run(config()), route, **part)
    assert warning == Warning("partial_into_sink", route, places=SINK)
    assert "only a part of the objects is replayed into index (rows)" in warning_text(warning)


async def test_objects_of_a_run_that_is_not_the_newest_one_are_a_warning(site: Site):
    older = await site.run(config())
    newer = await site.run(config())
    await site.run(config("blog"))
    (warning,) = await site.warnings(older)
    assert warning == Warning("older_into_sink", str(older), places=SINK, detail=str(newer))
    assert f"run {newer} is newer" in warning_text(warning)
    assert await site.warnings(newer) == []


async def test_a_replay_of_a_replay_comes_from_the_run_and_the_part_of_the_first(site: Site):
    older = await site.run(config())
    newer = await site.run(config())
    env = Environment("w1", clock=site.clock)
    replays = ReplayService(site.backends, env, lease=100, settle=1)
    request = ReplayRequest(older, "input", None, "convert", selection=SOME)
    first = (await replays.create(request)).replay.execution_id
    await site.put(f"{first}/input/a.md")
    found = await site.warnings(first)
    assert [(one.code, one.subject, one.detail) for one in found] == [
        ("partial_into_sink", "convert", ""),
        ("older_into_sink", str(older), str(newer)),
    ]


async def test_routes_without_a_sink_below_and_skipped_sinks_cause_no_warning(site: Site):
    run = await site.run(config())
    assert await site.warnings(run, "check", selection=SOME) == []
    assert await site.warnings(run, selection=SOME, effects={"index": "skip"}) == []
    other = await site.run(config("blog", sink="mail"))
    assert await site.warnings(other, selection=SOME) == []


async def test_objects_of_another_program_are_of_no_run(site: Site):
    await site.run(config())
    source = await site.external(1)
    request = {"from_stage": "pages"}
    env = Environment("w1", clock=site.clock)
    plans = PlanService(site.backends, env, seconds=100, most_objects=10, adapters=adapters())
    plan = ReplayRequest(source, request["from_stage"], None, "docs/convert")
    assert (await plans.create(plan)).warnings == []
    assert (await plans.create(replace(plan, selection=Selection(limit=1)))).warnings == [
        Warning("partial_into_sink", "convert", places=SINK)
    ]
