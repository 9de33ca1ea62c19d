"""The contract of `ports.catalog.outcomes`, for every catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.ports.catalog import Catalog
from playhead.ports.catalog.outcomes import ListedObject
from tests.contract.publishing import Publisher

if TYPE_CHECKING:
    from uuid import UUID

    from playhead.ports.catalog.outcomes import OutcomesBelow
    from tests.lab import Lab

CONVERT, SPLIT = "docs/convert", "docs/split"


def shown(found: list[OutcomesBelow]) -> list[tuple[bool, str, str | None, str, int]]:
    return sorted((one.is_top, one.route, one.stage, one.state, one.messages) for one in found)


async def below(catalog: Catalog, execution: UUID, keys: list[str], route: str = CONVERT):
    found = await catalog.outcomes_below(keys, execution, route)
    return {key.rpartition("/")[2]: list(some) for key, some in found.items()}


async def test_listed_objects_are_returned_in_their_order(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    every = await catalog.listed_after(run.execution, 0, limit=10)

    assert [(one.ordinal, one.key, one.stage) for one in every] == [
        (n, f"{run.execution}/input/{name}.md", "input") for n, name in enumerate("abc", 1)
    ]
    assert [one.correlation_id for one in every] == run.ids
    assert isinstance(every[0], ListedObject)
    assert await catalog.listed_after(run.execution, 1, limit=1) == [every[1]]
    assert await catalog.listed_at(run.execution, [3, 1, 9]) == [every[0], every[2]]
    assert await catalog.listed_at(run.execution, []) == []
    assert await catalog.listed_after(lab.unknown(), 0, limit=10) == []


async def test_the_messages_below_an_object_are_counted_by_route_and_state(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    done, dead, _ = run.ids
    (split,) = lab.ids(await lab.work(done, lab.output("a.md", "a")))
    segments = lab.ids(await lab.work(split, *(lab.output(f"{n}.md", str(n)) for n in range(3))))
    await lab.work(segments[0])
    await lab.kill(segments[1])
    await lab.kill(dead)
    keys = [f"{run.execution}/input/{name}.md" for name in "abc"]

    found = await below(catalog, run.execution, [*keys, f"{run.execution}/input/none.md"])

    assert {name: shown(some) for name, some in found.items()} == {
        "a.md": [
            (False, "index", None, "completed", 1),
            (False, "index", None, "dead", 1),
            (False, "index", None, "pending", 1),
            (False, "split", "segments/small", "completed", 1),
            (True, "convert", "pages", "completed", 1),
        ],
        "b.md": [(True, "convert", "pages", "dead", 1)],
        "c.md": [(True, "convert", "pages", "pending", 1)],
    }
    failed = {one.first: one for some in found.values() for one in some if one.state == "dead"}
    assert all(one.failure_group is not None for one in failed.values())
    why = await catalog.failures([*failed, 10**9])
    assert {one.correlation_id for one in why.values()} == {segments[1], dead}
    assert {one.route for one in why.values()} == {"index", "convert"}
    assert all(one.error_code and one.error for one in why.values())
    assert await catalog.failures([]) == {}
    # The same, from an output: the messages that received it.
    page = f"{run.execution}/pages/a.md"
    found = await below(catalog, run.execution, [page], SPLIT)
    assert [one for one in shown(found["a.md"]) if one[0]] == [
        (True, "split", "segments/small", "completed", 1)
    ]
    assert await catalog.outcomes_below([], run.execution, CONVERT) == {}


async def test_the_outputs_below_an_object_are_those_of_its_messages(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    for identity, name in zip(run.ids, "ab", strict=True):
        (split,) = lab.ids(await lab.work(identity, lab.output(f"{name}.md", name)))
        await lab.work(split, *(lab.output(f"{name}{n}.md", str(n)) for n in range(3)))
    key = f"{run.execution}/input/a.md"

    found = await catalog.outputs_below(key, run.execution, CONVERT, limit=10)

    rest = [(one.output.key.partition("/")[2], *one[1:]) for one in found]
    assert rest == [
        ("pages/a.md", True, "convert", "pages"),
        *((f"segments/small/a{n}.md", False, "split", "segments/small") for n in range(3)),
    ]
    assert found[0].output.sha256 == lab.output("a.md", "a").sha256
    assert await catalog.outputs_below(key, run.execution, CONVERT, limit=2) == found[:2]
    assert await catalog.outputs_below(key, lab.unknown(), CONVERT, limit=2) == []


async def test_a_publication_has_the_messages_whose_results_it_has(catalog: Catalog, lab: Lab):
    docs = Publisher(lab)
    run = await docs.run(a="one two", b="three")
    await docs.publish(run)
    replay = await docs.replay(run, fails={"b"}, a="new words here", b="other")
    publication = (await docs.publish(replay)).execution_id

    # The failed object has kept its earlier result.
    keys = [f"{publication}/pages/{name}" for name in "ab"]
    found = await below(catalog, publication, [*keys, f"{run}/pages/a", f"{publication}/pages/c"], SPLIT)
    assert {name: shown(some) for name, some in found.items()} == {
        "a": [
            (False, "index", None, "completed", 3),
            (True, "split", "segments/small", "completed", 1),
        ],
        "b": [
            (False, "index", None, "completed", 1),
            (True, "split", "segments/small", "completed", 1),
        ],
    }
    of_run = await below(catalog, run, [f"{run}/pages/{name}" for name in "ab"], SPLIT)
    of_replay = await below(catalog, replay, [f"{run}/pages/{name}" for name in "ab"], SPLIT)
    for name, same, other in (("a", of_replay, of_run), ("b", of_run, of_replay)):
        digests = [{one.route: one.digest for one in some[name]} for some in (found, same, other)]
        assert digests[0] == digests[1] != digests[2]
    counted = await catalog.messages_below(keys, publication, SPLIT)
    assert {(one.is_top, one.route, one.messages, one.undone) for one in counted[keys[0]]} == {
        (False, "index", 3, 0),
        (True, "split", 1, 0),
    }
    outputs = await catalog.outputs_below(f"{publication}/input/a", publication, CONVERT, limit=10)
    assert [(one.output.key, one.is_top) for one in outputs] == sorted(
        [(f"{run}/pages/a", True), *((f"{replay}/segments/small/a/{n}", False) for n in (1, 2, 3))]
    )


async def test_the_newest_review_of_an_object_counts(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    replay = await lab.started_replay(run.execution, f"{run.execution}/input/a.md")
    both = (replay.execution, run.execution)

    await catalog.record_review(*both, 1, is_right=False, reviewed_by="ada")
    await catalog.record_review(*both, 1, is_right=True, reviewed_by="bob")
    await catalog.record_review(*both, 2, is_right=False, reviewed_by="ada")
    await catalog.record_review(lab.unknown(), run.execution, 1, is_right=True, reviewed_by="ada")

    found = await catalog.reviews(*both)
    assert {n: (one.is_right, one.reviewed_by) for n, one in found.items()} == {
        1: (True, "bob"),
        2: (False, "ada"),
    }
    assert found[1].reviewed_at.endswith("Z")
    assert await catalog.reviews(run.execution, replay.execution) == {}


async def test_digests_are_equal_if_paths_and_contents_of_all_outputs_are(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    key = f"{run.execution}/input/a.md"

    async def digest(*outputs: tuple[str, str]) -> int:
        replay = await lab.started_replay(run.execution, key)
        await lab.work(replay.ids[0], *(lab.output(path, text) for path, text in outputs))
        found = await below(catalog, replay.execution, [key])
        return sum(one.digest for one in found["a.md"])

    first = await digest(("1.md", "one"), ("2.md", "two"))
    assert first
    assert await digest(("2.md", "two"), ("1.md", "one")) == first
    others = [
        await digest(("1.md", "one")),
        await digest(("1.md", "two"), ("2.md", "one")),
        await digest(("1.md", "one"), ("3.md", "two")),
        await digest(),
    ]
    assert first not in others
    assert others[-1] == 0
