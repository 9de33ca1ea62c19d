"""Lookups of what a text may name."""

from __future__ import annotations

from uuid import UUID

from playhead.ports.catalog import Catalog
from playhead.ports.catalog.find import FoundRow, RouteNames
from tests.lab import Lab

FIRST, LAST = UUID(int=0), UUID(int=(1 << 128) - 1)


async def test_a_row_of_each_kind_is_found_by_its_id(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.kill(run.ids[1])
    again = await lab.started_replay(run.execution, f"{run.execution}/input/a.md")
    assert again.batch is not None

    async def found(kind: str, identity: UUID) -> list[FoundRow]:
        return await catalog.ids_between(kind, identity, identity, limit=5)  # type: ignore[arg-type]

    key = f"{run.execution}/input/"
    assert await found("execution", run.execution) == [
        FoundRow("execution", run.execution, run.execution, "docs", "", "running", "run")
    ]
    (replay,) = await found("replay", again.batch)
    assert replay[:5] == ("replay", again.batch, again.execution, "docs", "convert")
    assert await found("message", run.ids[0]) == [
        FoundRow("message", run.ids[0], run.execution, "docs", "convert", "pending", f"{key}a.md")
    ]
    assert await found("message", run.ids[1]) == [
        FoundRow("dead_letter", run.ids[1], run.execution, "docs", "convert", "adapter_error", f"{key}b.md")
    ]
    for kind in ("execution", "replay", "message", "plan"):
        assert await found(kind, lab.unknown()) == []


async def test_ids_in_a_range_are_found_newest_first(catalog: Catalog, lab: Lab):
    runs = [await lab.started("a.md") for _ in range(3)]
    ids = sorted(run.execution for run in runs)

    found = await catalog.ids_between("execution", ids[0], ids[1], limit=5)
    assert [row.id for row in found] == [ids[1], ids[0]]
    found = await catalog.ids_between("execution", FIRST, LAST, limit=2)
    assert [row.id for row in found] == [ids[2], ids[1]]
    assert len(await catalog.ids_between("message", FIRST, LAST, limit=2)) == 2


async def test_tags_are_found_by_their_beginning_with_their_newest_execution(catalog: Catalog, lab: Lab):
    await lab.started("a.md", tags=("nightly", "night_2"))
    newest = await lab.started("b.md", tags=("nightly",))
    await lab.started("c.md", tags=("nigh%", "other"))

    async def found(prefix: str, limit: int = 9) -> list[str]:
        return [tag for tag, _ in await catalog.tags_from(prefix, limit=limit)]

    assert await found("night") == ["night_2", "nightly"]
    assert await found("nigh") == ["nigh%", "night_2", "nightly"]
    assert await found("nigh", 2) == ["nigh%", "night_2"]
    assert await found("nigh%") == ["nigh%"]
    assert (await found("nightlyx"), await found("z")) == ([], [])
    [(_, row)] = await catalog.tags_from("nightly", limit=1)
    assert row == FoundRow("execution", newest.execution, newest.execution, "docs", "", "running", "run")


async def test_the_names_of_routes_are_those_of_the_newest_version(catalog: Catalog, lab: Lab):
    await lab.save(lab.config("old", lab.route("gone")))
    await lab.save(lab.config("old", lab.route("kept", stage="pages"), lab.route("last", stage=None)))

    assert await catalog.route_names() == [
        RouteNames("old", "kept", "docs.kept", "pages"),
        RouteNames("old", "last", "docs.last", None),
    ]
