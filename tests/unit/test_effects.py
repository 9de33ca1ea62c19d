"""What a replay does in routes with side effects: how it is decided, and when a replay is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from playhead.errors import Conflict, NotFound
from playhead.ids import uuid7
from playhead.model import Config, OnReplay, ReplayRequest, Route, RouteEffects, is_skipped, skips_effects
from playhead.replay import effects
from tests.lab import MemoryDeployment


def route(
    name: str,
    *to: str,
    effects: RouteEffects | None = "none",
    on_replay: OnReplay | None = None,
) -> Route:
    return Route(name, f"q.{name}", to=to, effects=effects, on_replay=on_replay)


def config(*routes: Route, name: str = "docs") -> Config:
    return Config(name, routes[0].name, {one.name: one for one in routes})


MAIL = config(
    route("convert", "index", "mail"),
    route("index", "archive"),
    route("mail", "log", effects="external"),
    route("log"),
    route("archive", effects="external", on_replay="skip"),
)
"""`convert` leads to two routes with external effects. The config says that `archive` is skipped."""


@pytest.mark.parametrize(
    ("asked", "decided"),
    [
        ({}, {"archive": "skip"}),
        ({"*": "run"}, {"archive": "skip", "*": "run"}),
        ({"*": "skip"}, {"mail": "skip", "archive": "skip", "*": "skip"}),
        ({"*": "refuse"}, {"mail": "refuse", "archive": "refuse", "*": "refuse"}),
        # A named route, whatever its effects are.
        ({"mail": "refuse"}, {"mail": "refuse", "archive": "skip"}),
        ({"index": "skip"}, {"index": "skip", "archive": "skip"}),
        ({"*": "skip", "mail": "run"}, {"mail": "run", "archive": "skip", "*": "skip"}),
        ({"*": "skip", "index": "run"}, {"index": "run", "mail": "skip", "archive": "skip", "*": "skip"}),
        # The config may only be made stricter.
        ({"archive": "run"}, {"archive": "skip"}),
        ({"archive": "refuse"}, {"archive": "refuse"}),
    ],
)
def test_the_stricter_of_config_and_request_applies(
    asked: Mapping[str, OnReplay], decided: Mapping[str, OnReplay]
):
    assert effects.resolved(MAIL, asked) == decided
    # A plan stores what was decided, and its replay asks for that.
    assert effects.resolved(MAIL, effects.resolved(MAIL, asked)) == decided


def test_effects_that_are_not_known_are_left_to_the_worker_unless_they_are_refused():
    unknown = config(route("convert", "mail"), route("mail", effects=None))

    skip = effects.resolved(unknown, {"*": "skip"})
    assert (skip, is_skipped(skip, "mail"), skips_effects(skip, "mail")) == ({"*": "skip"}, False, True)
    assert effects.resolved(unknown, {"*": "refuse"}) == {"mail": "refuse", "*": "refuse"}
    assert effects.resolved(unknown, {}) == {}


def test_a_declaration_of_run_does_not_keep_a_worker_from_skipping_effects_that_it_finds():
    declared = config(route("convert", "mail"), route("mail", on_replay="run"))

    assert effects.resolved(declared, {}) == {}
    skip = effects.resolved(declared, {"*": "skip"})
    assert skips_effects(skip, "mail")
    assert not skips_effects(effects.resolved(declared, {"*": "skip", "mail": "run"}), "mail")


def test_nothing_follows_a_skipped_route():
    everything: dict[str, OnReplay] = {}
    assert effects.reached(MAIL, "convert", everything) == ["convert", "index", "mail", "archive", "log"]
    assert effects.reached(MAIL, "convert", {"mail": "skip"}) == ["convert", "index", "mail", "archive"]
    assert effects.reached(MAIL, "mail", everything) == ["mail", "log"]
    # `log` is also reached on another way.
    both = config(route("a", "b", "c"), route("b", "c"), route("c"))
    assert effects.reached(both, "a", {"b": "skip"}) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("target", "decided", "refused"),
    [
        ("convert", {"mail": "refuse", "archive": "refuse"}, ["mail", "archive"]),
        ("convert", {"mail": "skip", "log": "refuse"}, []),  # it is not reached
        ("convert", {"mail": "skip"}, []),
        ("mail", {"mail": "skip"}, ["mail"]),
        ("mail", {"mail": "run", "log": "refuse"}, ["log"]),
        ("mail", {"archive": "refuse"}, []),
        ("convert", {"convert": "skip"}, ["convert"]),
    ],
)
def test_a_replay_is_refused_for_a_reachable_refuse_and_for_a_skipped_target(
    target: str, decided: Mapping[str, OnReplay], refused: list[str]
):
    assert effects.refused(MAIL, target, decided) == refused


def request(asked: OnReplay | Mapping[str, OnReplay] | None = None, **fields: Any) -> ReplayRequest:
    return ReplayRequest(uuid7(), "pages", None, "convert", effects=asked, **fields)


def test_the_error_lists_the_routes_with_the_reason_of_each():
    asked = request({"mail": "refuse"})

    with pytest.raises(Conflict) as caught:
        effects.check(MAIL, "convert", {"mail": "refuse", "archive": "refuse"}, asked)
    assert caught.value.code == "effects_refused"
    assert "mail (effects: refuse in the request)" in caught.value.detail
    assert "archive (effects: refuse in the request)" in caught.value.detail
    with pytest.raises(Conflict, match=r"archive \(on_replay: skip in the config, and it is the target\)"):
        effects.check(MAIL, "archive", {"archive": "skip"}, request())
    with pytest.raises(Conflict, match=r"mail \(effects: skip of the replay that it replays"):
        effects.check(MAIL, "mail", {"mail": "skip"}, request())
    effects.check(MAIL, "convert", {"archive": "skip"}, request())


# -- replays of replays ----------------------------------------------------------------------------


class World(MemoryDeployment):
    """A run, and replays of replays of it."""

    async def replayed(self, config: Config, decided: Mapping[str, OnReplay]) -> Any:
        """Return the execution of a replay that was opened with these effects."""
        run = await self.lab.started("a.md", config=config)
        replay = await self.lab.replayed(run.execution, config=config, effects=decided)
        return await self.lab.execution(replay.execution_id)

    async def resolve(
        self,
        source: Any,
        asked: OnReplay | Mapping[str, OnReplay] | None = None,
        config: Config = MAIL,
    ) -> Mapping[str, OnReplay]:
        return await effects.resolve(self.catalog, request(asked), source, config)


async def test_a_request_without_a_value_takes_over_those_of_the_replay_that_it_replays():
    world = World()
    source = await world.replayed(MAIL, effects.resolved(MAIL, {"*": "skip", "index": "run"}))

    decided = {"index": "run", "mail": "skip", "archive": "skip", "*": "skip"}
    assert await world.resolve(source) == decided
    assert await world.resolve(source, {"log": "skip"}) == decided | {"log": "skip"}
    assert await world.resolve(source, {"mail": "run"}) == decided | {"mail": "run"}
    assert await world.resolve(source, "run") == {"archive": "skip", "*": "run"}


async def test_a_replay_of_a_run_takes_over_nothing():
    world = World()
    run = await world.lab.started("a.md", config=MAIL)

    assert await world.resolve(await world.lab.execution(run.execution)) == {"archive": "skip"}


async def test_routes_of_a_newer_version_are_skipped_too():
    world = World()
    source = await world.replayed(MAIL, effects.resolved(MAIL, {"*": "skip"}))
    newer = config(
        route("convert", "index", "letter", "archive"),
        route("index"),
        route("letter", effects="external"),
        route("archive", on_replay="run"),
    )

    assert await world.resolve(source, config=newer) == {
        "letter": "skip",
        "archive": "skip",
        "*": "skip",
        "docs/mail": "skip",
    }


async def test_an_older_version_has_the_stricter_values_of_the_newest_one():
    world = World()
    older = config(
        route("convert", "mail", "archive", "gone"),
        route("mail", effects="external"),
        route("archive", on_replay="refuse"),
        route("gone", on_replay="skip"),
    )
    await world.lab.save(older)
    await world.lab.save(
        config(route("convert"), route("mail", on_replay="skip"), route("archive", on_replay="run"))
    )

    found = await effects.with_newest(world.catalog, older)

    assert found.on_replay == {"mail": "skip", "archive": "refuse", "gone": "skip"}
    assert found.routes["mail"].effects == "external"


async def test_routes_of_another_config_with_the_same_names_are_not_those_of_the_source():
    world = World()
    other = config(route("convert", "index", "mail"), route("index"), route("mail"), name="other")

    source = await world.replayed(MAIL, {"index": "skip"})
    assert await world.resolve(source, config=other) == {"docs/index": "skip"}
    source = await world.replayed(MAIL, {"index": "skip", "*": "skip"})
    assert await world.resolve(source, config=other) == {"*": "skip", "docs/index": "skip"}


@pytest.mark.parametrize("between", [None, {"*": "run"}])
async def test_skipped_effects_stay_skipped_after_a_replay_into_another_config(
    between: Mapping[str, OnReplay] | None,
):
    world = World()
    other = config(Route("convert", "q.other", effects="none"), name="other")

    source = await world.replayed(MAIL, {"mail": "skip"})
    source = await world.replayed(other, await world.resolve(source, between, config=other))

    assert await world.resolve(source) == {"mail": "skip", "archive": "skip", **(between or {})}
    # A request for all routes of the config means this route, too.
    assert await world.resolve(source, "run") == {"archive": "skip", "*": "run"}


async def test_skipped_effects_stay_skipped_if_the_route_is_renamed():
    world = World()
    source = await world.replayed(MAIL, {"mail": "skip"})
    newer = config(
        route("convert", "letter", "count", "log"),
        route("letter", effects="external"),
        route("count"),
        route("log", effects="external"),
    )
    await world.lab.save(newer)

    assert await world.resolve(source, config=newer) == {"letter": "skip", "docs/mail": "skip"}
    assert await world.resolve(source, {"letter": "run"}, newer) == {"letter": "run", "docs/mail": "skip"}


async def test_a_route_that_the_config_does_not_have_is_reported():
    world = World()
    run = await world.lab.started("a.md", config=MAIL)
    source = await world.lab.execution(run.execution)

    with pytest.raises(NotFound, match=r"no route 'male'; its routes: convert, index, mail") as caught:
        await world.resolve(source, {"male": "skip"})
    assert caught.value.code == "route_not_found"
    assert await world.resolve(source, {"*": "skip"})
