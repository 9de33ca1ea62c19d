"""The contract of `ports.catalog.configs`, for every catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from playhead.errors import Conflict
from playhead.model import Condition, Config, ErrorHandling, OnReplay, Route, RouteEffects, Step
from playhead.ports.catalog import Catalog

if TYPE_CHECKING:
    from tests.lab import Lab


def one_route(name: str, queue: str, *, route: str = "convert") -> Config:
    return Config(name, route, {route: Route(route, queue)})


async def save(catalog: Catalog, config: Config, digest: str = "sha256:1") -> int:
    version, _ = await catalog.save_config(config, source="…", digest=digest)
    return version.version


async def test_the_first_version_of_a_config_is_1_and_active(catalog: Catalog, lab: Lab):
    version, new = await catalog.save_config(lab.DOCS, source="name: docs", digest="sha256:1")

    assert new
    assert (version.name, version.version, version.hash, version.active) == ("docs", 1, "sha256:1", True)
    assert (version.entry, version.source) == ("convert", "name: docs")
    assert version.routes == ["convert", "split", "index"]
    assert version.stages == ["pages", "segments/small"]


async def test_a_config_is_read_as_it_was_saved(catalog: Catalog):
    rich = Config(
        "rich",
        "a",
        {
            "a": Route(
                "a",
                "q.a",
                steps=(
                    Step("split", {"deep": {"list": [1, "ü", None]}}, Condition("size", "gt", 3, "drop")),
                    Step("plain"),
                ),
                stage="made/here",
                to=("b",),
                prefetch=7,
                timeout_seconds=1.5,
                errors=ErrorHandling(9, 0.5, 1.5, 60),
                description="first",
                on_replay="refuse",
                effects="none",
            ),
            "b": Route("b", "q.b", external=True, on_replay="skip", effects="external"),
            "c": Route("c", "q.c"),
        },
        "what it is for",
    )
    await save(catalog, rich)

    loaded = await catalog.config("rich")

    assert loaded is not None
    assert loaded.config == rich
    assert loaded.version.routes == ["a", "b", "c"]
    assert [one.config for one in await catalog.active_configs()] == [rich]


async def test_the_hash_of_the_newest_version_creates_no_new_version(catalog: Catalog, lab: Lab):
    await save(catalog, lab.DOCS, "sha256:1")

    version, new = await catalog.save_config(lab.DOCS, source="another text", digest="sha256:1")

    assert not new
    assert (version.version, version.source) == (1, "…")


async def test_another_on_replay_creates_a_new_version_although_the_hash_is_the_same(catalog: Catalog):
    def config(on_replay: OnReplay | None) -> Config:
        return Config("docs", "send", {"send": Route("send", "q.send", on_replay=on_replay)})

    versions = [await save(catalog, config(one)) for one in (None, "skip", "skip", "run")]

    assert versions == [1, 2, 2, 3]
    found = [await catalog.config("docs", version) for version in (1, 2, 3)]
    assert [one.config.routes["send"].on_replay for one in found if one] == [None, "skip", "run"]
    assert {one.version.hash for one in found if one} == {"sha256:1"}


async def test_the_newest_version_gets_the_effects_that_adapters_declare_now(catalog: Catalog):
    def config(effects: RouteEffects | None) -> Config:
        return Config("docs", "send", {"send": Route("send", "q.send", effects=effects)})

    versions = [await save(catalog, config(one)) for one in (None, "none", "external")]

    assert versions == [1, 1, 1]
    found = await catalog.config("docs")
    assert found is not None
    assert found.config.routes["send"].effects == "external"


async def test_another_hash_creates_a_new_version_even_if_an_older_version_had_it(catalog: Catalog, lab: Lab):
    versions = [await save(catalog, lab.DOCS, digest) for digest in ("sha256:1", "sha256:2", "sha256:1")]

    assert versions == [1, 2, 3]


async def test_an_older_version_does_not_change(catalog: Catalog, lab: Lab):
    await save(catalog, lab.DOCS, "sha256:1")
    await save(catalog, one_route("docs", "docs.other"), "sha256:2")

    first = await catalog.config("docs", 1)
    newest = await catalog.config("docs")

    assert first is not None
    assert (first.version.version, first.config) == (1, lab.DOCS)
    assert newest is not None
    assert newest.version.version == 2
    assert newest.config.routes["convert"].queue == "docs.other"


async def test_an_unknown_config_or_version_is_not_found(catalog: Catalog, lab: Lab):
    await save(catalog, lab.DOCS)

    assert await catalog.config("other") is None
    assert await catalog.config("docs", 2) is None
    assert await catalog.config("docs", 0) is None


async def test_a_new_version_does_not_activate_a_deactivated_config(catalog: Catalog, lab: Lab):
    await save(catalog, lab.DOCS, "sha256:1")
    await catalog.set_active("docs", False)

    version, new = await catalog.save_config(lab.DOCS, source="…", digest="sha256:2")

    assert new
    assert not version.active


# -- queues ----------------------------------------------------------------------------------------


async def test_a_queue_of_another_active_config_is_taken(catalog: Catalog):
    await save(catalog, one_route("first", "shared.queue", route="mine"))

    with pytest.raises(Conflict) as caught:
        await save(catalog, one_route("second", "shared.queue"))

    assert caught.value.code == "queue_taken"
    for word in ("shared.queue", "first", "mine"):
        assert word in caught.value.detail
    assert await catalog.config("second") is None


async def test_a_config_may_keep_its_own_queues(catalog: Catalog):
    await save(catalog, one_route("first", "q"), "sha256:1")

    assert await save(catalog, one_route("first", "q", route="renamed"), "sha256:2") == 2


async def test_a_queue_is_free_when_the_newest_version_does_not_name_it(catalog: Catalog):
    await save(catalog, one_route("first", "q"), "sha256:1")
    await save(catalog, one_route("first", "q2"), "sha256:2")

    assert await save(catalog, one_route("second", "q")) == 1


async def test_a_queue_is_free_when_its_config_is_deactivated(catalog: Catalog):
    await save(catalog, one_route("first", "q"))
    await catalog.set_active("first", False)

    assert await save(catalog, one_route("second", "q")) == 1


async def test_activating_a_config_whose_queue_was_taken_meanwhile_is_a_conflict(catalog: Catalog):
    await save(catalog, one_route("first", "q"))
    await catalog.set_active("first", False)
    await save(catalog, one_route("second", "q"))

    with pytest.raises(Conflict) as caught:
        await catalog.set_active("first", True)

    assert caught.value.code == "queue_taken"
    loaded = await catalog.config("first")
    assert loaded is not None
    assert not loaded.version.active


async def test_owners_of_queues_are_routes_of_active_configs(catalog: Catalog):
    await save(catalog, one_route("first", "q1", route="a"))
    await save(catalog, one_route("second", "q2", route="b"))
    await save(catalog, one_route("asleep", "q3"))
    await catalog.set_active("asleep", False)

    owners = await catalog.queue_owners(["q1", "q2", "q3", "q4"], except_config="third")

    assert owners == {"q1": ("first", "a"), "q2": ("second", "b")}


async def test_owners_of_queues_exclude_the_given_config_and_older_versions(catalog: Catalog):
    await save(catalog, one_route("first", "q1"), "sha256:1")
    await save(catalog, one_route("first", "q2"), "sha256:2")

    assert await catalog.queue_owners(["q1", "q2"], except_config="first") == {}
    assert await catalog.queue_owners(["q1"], except_config="second") == {}
    assert await catalog.queue_owners([], except_config="second") == {}


# -- active or not ---------------------------------------------------------------------------------


async def test_deactivating_and_activating_answer_with_the_newest_version(catalog: Catalog, lab: Lab):
    await save(catalog, lab.DOCS, "sha256:1")
    await save(catalog, lab.DOCS, "sha256:2")

    off = await catalog.set_active("docs", False)
    on = await catalog.set_active("docs", True)

    assert off is not None
    assert (off.version, off.active) == (2, False)
    assert on is not None
    assert (on.version, on.active) == (2, True)


async def test_active_configs_are_listed_with_their_newest_versions(catalog: Catalog):
    await save(catalog, one_route("a", "qa"), "sha256:1")
    await save(catalog, one_route("a", "qa", route="newer"), "sha256:2")
    await save(catalog, one_route("b", "qb"))
    await save(catalog, one_route("c", "qc"))
    await catalog.set_active("b", False)

    active = await catalog.active_configs()

    assert {(one.version.name, one.version.version) for one in active} == {("a", 2), ("c", 1)}
    assert {route for one in active for route in one.config.routes} == {"newer", "convert"}


# -- lists -----------------------------------------------------------------------------------------


async def test_configs_are_listed_with_their_newest_version_and_newest_first(catalog: Catalog, lab: Lab):
    for name in ("a", "b", "c"):
        await save(catalog, one_route(name, f"q{name}"))
        lab.clock.advance(1)
    await save(catalog, one_route("c", "qc"), "sha256:2")

    assert [(one.name, one.version) for one in await catalog.configs()] == [("c", 2), ("b", 1), ("a", 1)]


async def test_the_list_of_configs_continues_after_a_name(catalog: Catalog, lab: Lab):
    for name in ("b", "c", "a", "d"):
        await save(catalog, one_route(name, f"q{name}"))
        lab.clock.advance(1)

    first = await catalog.configs(limit=3)
    rest = await catalog.configs(before=first[-1].name, limit=3)

    assert [one.name for one in first] == ["d", "a", "c"]
    assert [one.name for one in rest] == ["b"]


async def test_versions_are_listed_newest_first_and_in_pages(catalog: Catalog):
    for n in range(1, 6):
        await save(catalog, one_route("a", "q"), f"sha256:{n}")

    first = await catalog.config_versions("a", limit=3)
    rest = await catalog.config_versions("a", before=first[-1].version, limit=3)

    assert [one.version for one in first] == [5, 4, 3]
    assert [one.version for one in rest] == [2, 1]
    assert [one.hash for one in rest] == ["sha256:2", "sha256:1"]
