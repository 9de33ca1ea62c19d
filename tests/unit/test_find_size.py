"""What Find costs with many objects, in statements and instructions of SQLite: no machine changes them."""

from __future__ import annotations

import pytest

from playhead.services.find import FindService
from playhead.services.resolve import ResolveService
from tests.lab import MemoryDeployment

SMALL, LARGE = 5_000, 20_000
TEXTS = ("Needle", "folder/page", "input/folder/page-0001234.md", "zz", "nowhere", "lang=e", "ValueError")


async def place_with(objects: int) -> MemoryDeployment:
    """Return a deployment with this number of objects, of which one has another name, and all are indexed."""
    place = MemoryDeployment()
    await place.lab.beat("w1")
    paths = [f"folder/page-{n:07}.md" for n in range(objects - 1)]
    execution = await place.lab.opened()
    inputs = [place.lab.input("a needle in it.md"), *map(place.lab.input, paths)]
    for at in range(0, objects, 1000):
        await place.catalog.bind_inputs(execution, inputs[at : at + 1000])
    assert await place.catalog.seal(execution)
    while await place.catalog.index_terms():
        pass
    return place


class Cost:
    """Counts the statements, and the instructions of SQLite in hundreds."""

    def __init__(self, place: MemoryDeployment) -> None:
        self.statements = self.steps = 0
        place.catalog.con.set_progress_handler(self._step, 100)
        place.catalog.con.set_trace_callback(self._statement)

    def _step(self) -> int:
        self.steps += 1
        return 0

    def _statement(self, text: str) -> None:
        self.statements += not text.startswith("--")  # SQLite's own statements in tables of FTS5


async def costs(objects: int) -> dict[str, tuple[int, int]]:
    place = await place_with(objects)
    find = FindService(place.catalog, place.store, ResolveService(place.catalog))
    found = {}
    for text in TEXTS:
        cost = Cost(place)
        answer = await find.everything(text)
        found[text] = cost.statements, cost.steps
        if text == "Needle":
            [group] = answer.groups
            assert [one.title.partition(" of ")[0] for one in group.items] == [
                "Object input/a needle in it.md"
            ]
    return found


async def test_a_search_costs_the_same_with_four_times_the_objects():
    small, large = await costs(SMALL), await costs(LARGE)

    assert {text: of[0] for text, of in small.items()} == {text: of[0] for text, of in large.items()}
    assert max(statements for statements, _ in large.values()) <= 30
    for text in TEXTS:
        assert large[text][1] <= small[text][1] * 1.3 + 20, text


async def test_a_page_of_the_index_costs_the_same_with_four_times_the_objects():
    counted = []
    for objects in (SMALL, LARGE):
        place = await place_with(objects)
        await place.lab.sealed(*(f"new/{n}.md" for n in range(100)))
        cost = Cost(place)
        await place.catalog.index_terms()
        counted.append(cost)
    small, large = counted

    assert large.statements <= small.statements
    assert large.steps == pytest.approx(small.steps, rel=0.3)
