"""The contract of `ports.catalog.trace`, for every catalog. `test_catalog_browse` has chains of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from uuid import UUID

import pytest

from playhead.ids import moment
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.trace import LONGEST_TEXT

if TYPE_CHECKING:
    from playhead.model import ChainLink
    from tests.lab import Lab


def shape(page: tuple[list[ChainLink], UUID | None]) -> list[tuple[int, str, UUID]]:
    return [(link.distance, link.via, link.correlation_id) for link in page[0]]


class Siblings:
    """A run whose page has two segments. Both went on, the first was also replayed.

    `root` and `child` are the messages above; `first` and `second` received the segments; `again` is the
    message of the replay, and `below` its child.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def grow(self) -> Siblings:
        lab = self._lab
        run = await lab.started("a.md")
        self.run = run.execution
        (self.root,) = run.ids
        (self.child,) = lab.ids(await lab.work(self.root, lab.output("page.md")))
        segments = [lab.output("1.md"), lab.output("2.md")]
        self.first, self.second = lab.ids(await lab.work(self.child, *segments))
        self.page = f"{self.run}/pages/page.md"
        self.keys = [f"{self.run}/segments/small/{n}.md" for n in (1, 2)]
        replay = await lab.started_replay(self.run, self.keys[0], stage="segments/small", route="convert")
        self.replay = replay.execution
        (self.again,) = replay.ids
        (self.below,) = lab.ids(await lab.work(self.again, lab.output("again.md")))
        return self


async def test_the_takers_of_an_object_are_children_of_its_producer_and_roots_of_replays(
    catalog: Catalog, lab: Lab
):
    family = await Siblings(lab).grow()

    assert await catalog.takers(family.keys[0], limit=10) == [family.first, family.again]
    assert await catalog.takers(family.keys[1], limit=10) == [family.second]
    assert await catalog.takers(f"{family.run}/input/a.md", limit=10) == [family.root]
    assert await catalog.takers(family.keys[0], limit=1) == [family.first]
    for execution, taker in ((family.run, family.first), (family.replay, family.again)):
        assert await catalog.takers(family.keys[0], execution=execution, limit=10) == [taker]
    assert await catalog.takers(family.keys[0], execution=lab.unknown(), limit=10) == []
    assert await catalog.takers(f"{family.run}/segments/small/3.md", limit=10) == []


@pytest.mark.parametrize("direction", ["up", "down", "both"])
async def test_the_chain_of_an_object_has_no_messages_of_its_siblings(
    catalog: Catalog, lab: Lab, direction: Literal["up", "down", "both"]
):
    family = await Siblings(lab).grow()

    links = shape(await catalog.chain(family.keys[0], direction=direction, limit=100))

    up = [(-1, "parent", family.root), (0, "self", family.child)]
    down = [(1, "parent", family.first), (1, "replay", family.again), (2, "parent", family.below)]
    assert links == {"up": up, "down": down, "both": up + down}[direction]


async def test_the_chain_of_an_input_begins_at_the_messages_that_read_it(catalog: Catalog, lab: Lab):
    family = await Siblings(lab).grow()
    key = f"{family.run}/input/a.md"
    replay = await lab.started_replay(family.run, key)

    down = shape(await catalog.chain(key, direction="down", limit=100))

    assert down[:2] == [(0, "self", family.root), (0, "self", replay.ids[0])]
    assert {identity for _, _, identity in down[2:]} == {
        *(family.child, family.first, family.second, family.again, family.below)
    }
    assert shape(await catalog.chain(key, direction="up", limit=100)) == down[:2]


async def test_an_object_without_messages_has_an_empty_chain(catalog: Catalog, lab: Lab):
    family = await Siblings(lab).grow()

    for direction in ("up", "down", "both"):
        assert await catalog.chain(f"{lab.unknown()}/input/a", direction=direction, limit=10) == ([], None)
    unread = f"{family.replay}/pages/again.md"
    assert shape(await catalog.chain(unread, direction="down", limit=10)) == [(1, "parent", family.below)]


@pytest.mark.parametrize("direction", ["up", "down", "both"])
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_the_pages_of_the_chain_of_an_object_are_the_chain(
    catalog: Catalog, lab: Lab, direction: Literal["up", "down", "both"], limit: int
):
    family = await Siblings(lab).grow()
    whole = shape(await catalog.chain(family.keys[0], direction=direction, limit=100))

    seen: list[tuple[int, str, UUID]] = []
    after = None
    while True:
        page = await catalog.chain(family.keys[0], direction=direction, after=after, limit=limit)
        assert 0 < len(page[0]) <= limit
        seen += shape(page)
        if (after := page[1]) is None:
            break

    assert sorted(seen) == sorted(whole)


async def test_descendants_are_the_nearest_first_with_what_explains_their_state(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    first, second, third = lab.ids(await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(3))))
    await lab.fail(await lab.claim(first), delay=60)
    due = moment(lab.clock.now + 60)
    await lab.kill(second)
    await lab.skip(await lab.claim(third), "it is empty")

    found, is_all = await catalog.descendants([run.ids[0]], across_replays=True, limit=10)

    assert is_all
    assert [(d.correlation_id, d.distance, d.status, d.attempts) for d in found] == [
        (run.ids[0], 0, "completed", 1),
        (first, 1, "retry", 1),
        (second, 1, "dead", 1),
        (third, 1, "skipped", 1),
    ]
    assert [(d.error_code, d.text, d.retry_at) for d in found] == [
        (None, None, None),
        ("adapter_error", "it broke", due),
        ("adapter_error", "it broke", None),
        ("no_output", "it is empty", None),
    ]
    root = found[0]
    assert (root.execution_id, root.config, root.config_version) == (run.execution, "docs", 1)
    assert (root.route, root.input_key) == ("convert", f"{run.execution}/input/a.md")


async def test_descendants_end_at_a_limit(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    children = lab.ids(await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(4))))

    for limit in range(1, 7):
        found, is_all = await catalog.descendants(run.ids, across_replays=limit % 2 == 0, limit=limit)
        assert [one.correlation_id for one in found] == [run.ids[0], *children][:limit]
        assert is_all == (limit >= 5)


async def test_descendants_follow_replays_if_asked_to(catalog: Catalog, lab: Lab):
    family = await Siblings(lab).grow()

    async def below(*, across_replays: bool) -> set[UUID]:
        found, _ = await catalog.descendants([family.child], across_replays=across_replays, limit=100)
        return {one.correlation_id for one in found}

    own = {family.child, family.first, family.second}
    assert await below(across_replays=False) == own
    assert await below(across_replays=True) == own | {family.again, family.below}


async def test_the_family_of_a_message_is_its_chain_with_the_neighbour_of_each(catalog: Catalog, lab: Lab):
    family = await Siblings(lab).grow()

    found, is_all = await catalog.family(family.child, limit=100)

    assert is_all
    assert [(one.correlation_id, one.distance, one.via, one.neighbour) for one in found] == [
        (family.child, 0, "self", None),
        (family.root, -1, "parent", 0),
        (family.first, 1, "parent", 0),
        (family.second, 1, "parent", 0),
        (family.again, 1, "replay", 0),
        (family.below, 2, "parent", 4),
    ]
    assert [(one.route, one.stage, one.outputs) for one in found[:3]] == [
        ("split", "segments/small", 2),
        ("convert", "pages", 1),
        ("index", None, 0),
    ]
    child, root, first, _, again, _ = found
    assert (child.input_key, child.output_key, child.status) == (family.page, family.keys[0], "completed")
    assert (child.config, child.config_version, child.execution_id) == ("docs", 1, family.run)
    assert (root.output_key, first.output_key) == (family.page, None)
    assert (again.execution_id, again.input_key) == (family.replay, family.keys[0])


async def test_the_family_of_an_object_has_no_messages_of_its_siblings(catalog: Catalog, lab: Lab):
    family = await Siblings(lab).grow()

    found, _ = await catalog.family(family.keys[0], limit=100)
    assert [(one.correlation_id, one.distance, one.via, one.neighbour) for one in found] == [
        (family.child, 0, "self", None),
        (family.root, -1, "parent", 0),
        (family.first, 1, "parent", 0),
        (family.again, 1, "replay", 0),
        (family.below, 2, "parent", 3),
    ]
    found, _ = await catalog.family(f"{family.run}/input/a.md", limit=100)
    assert [(one.correlation_id, one.distance, one.via, one.neighbour) for one in found[:2]] == [
        (family.root, 1, "replay", None),
        (family.child, 2, "parent", 0),
    ]
    assert len(found) == 6
    unread = f"{family.replay}/pages/again.md"
    found, _ = await catalog.family(unread, limit=100)
    assert [one.distance for one in found] == [0, -1, -2, 1]
    assert found[1].via == "replay"
    for nothing in (lab.unknown(), f"{lab.unknown()}/input/a"):
        assert await catalog.family(nothing, limit=100) == ([], True)


async def test_a_family_ends_at_a_limit(catalog: Catalog, lab: Lab):
    family = await Siblings(lab).grow()
    for of, size in ((family.child, 6), (family.keys[0], 5), (f"{family.run}/input/a.md", 6)):
        whole, _ = await catalog.family(of, limit=size)
        for limit in range(1, size + 1):
            found, is_all = await catalog.family(of, limit=limit)
            assert (found, is_all) == (whole[:limit], limit == size)


async def test_the_messages_that_an_execution_replayed_are_found_by_the_messages_before(
    catalog: Catalog, lab: Lab
):
    family = await Siblings(lab).grow()
    above = [family.root, family.child]

    assert await catalog.replayed(above, execution=family.replay, limit=10) == [family.again]
    assert await catalog.replayed(above, execution=family.replay, limit=0) == []
    assert await catalog.replayed([family.root], execution=family.replay, limit=10) == []
    assert await catalog.replayed(above, execution=family.run, limit=10) == []
    assert await catalog.replayed(above, execution=lab.unknown(), limit=10) == []
    assert await catalog.replayed([], execution=family.replay, limit=10) == []


async def test_messages_that_do_not_exist_have_no_descendants(catalog: Catalog, lab: Lab):
    for across in (True, False):
        assert await catalog.descendants([lab.unknown()], across_replays=across, limit=10) == ([], True)
        assert await catalog.descendants([], across_replays=across, limit=10) == ([], True)


async def test_the_text_of_a_descendant_is_the_start_of_a_long_error(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), error="x" * (LONGEST_TEXT + 1))

    (dead,), _ = await catalog.descendants(run.ids, across_replays=False, limit=10)

    assert dead.text == "x" * LONGEST_TEXT


async def test_some_outputs_of_a_message_are_stored_ones(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(3)))
    await lab.bind(await lab.claim(run.ids[1]), lab.output("bound.md"))
    keys = [f"{run.execution}/pages/{n}.md" for n in range(3)]

    assert await catalog.some_outputs(run.ids[0], limit=10) == (keys, len(keys))
    some, every = await catalog.some_outputs(run.ids[0], limit=2)
    assert (len(some), every) == (2, len(keys))
    assert await catalog.some_outputs(run.ids[1], limit=10) == ([], 0)
    assert await catalog.some_outputs(lab.unknown(), limit=10) == ([], 0)


async def test_known_keys_are_stored_ones_and_those_of_roots(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.work(run.ids[0], lab.output("stored.md"))
    await lab.bind(await lab.claim(run.ids[1]), lab.output("bound.md"))
    adopted = (await catalog.adopt(lab.unknown())).execution_id
    external = f"{adopted}/scans/a.png"
    await lab.started_replay(adopted, external, stage="scans")
    known = {f"{run.execution}/input/a.md", f"{run.execution}/pages/stored.md", external}
    others = {f"{run.execution}/pages/bound.md", f"{run.execution}/input/c.md", f"{adopted}/scans/b.png"}

    assert await catalog.known_keys(sorted(known | others)) == known
    assert await catalog.known_keys([]) == set()


async def test_stored_keys_are_listed_from_a_place(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    first, last = f"{run.execution}/input/", f"{run.execution}/input0"
    keys = [f"{run.execution}/input/{name}.md" for name in "abc"]

    assert await catalog.stored_after(first, last, limit=10) == keys
    assert await catalog.stored_after(first, last, limit=2) == keys[:2]
    assert await catalog.stored_after(keys[0], last, limit=10) == keys[1:]
