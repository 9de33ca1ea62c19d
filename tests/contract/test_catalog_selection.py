"""The contract of `sources` and `failed_below` of `ports.catalog.browse`, for every catalog."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from playhead.model import Lineage
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.prune import Candidate
from playhead.ports.catalog.work import Source

if TYPE_CHECKING:
    from tests.lab import Lab, Started

CONVERT, SPLIT = "docs/convert", "docs/split"


class Cases:
    """Executions whose objects have every outcome."""

    def __init__(self, catalog: Catalog, lab: Lab) -> None:
        self.catalog = catalog
        self.lab = lab

    async def failed(self, keys: list[str], execution: UUID, route: str = CONVERT) -> list[str]:
        """Return the ends of the keys of the failed objects."""
        found = await self.catalog.failed_below(keys, execution, route, unfinished=False)
        return sorted(key.rpartition("/")[2] for key in found)

    async def unfinished(self, keys: list[str], execution: UUID, route: str = CONVERT) -> list[str]:
        found = await self.catalog.failed_below(keys, execution, route, unfinished=True)
        return sorted(key.rpartition("/")[2] for key in found)

    async def run(self) -> tuple[Started, list[str]]:
        """Return a cancelled run and the keys of its inputs.

        One is done, one is dead, one has a dead child, one has a dead grandchild, and two were cancelled: one
        itself, of one a child.
        """
        lab = self.lab
        paths = ["a-done", "b-dead", "c-child", "d-grandchild", "e-cancelled", "f-child"]
        run = await lab.started(*paths)
        done, dead, child, grandchild, _, cancelled = run.ids
        (to_split,) = await lab.work(done, lab.output("a.md", "a"))
        (to_index,) = await lab.work(lab.ids([to_split])[0], lab.output("a.md", "a"))
        await lab.work(lab.ids([to_index])[0])
        await lab.kill(dead)
        (split,) = await lab.work(child, lab.output("c.md", "c"))
        await lab.kill(lab.ids([split])[0])
        (split,) = await lab.work(grandchild, lab.output("d.md", "d"))
        children = await lab.work(lab.ids([split])[0], lab.output("1.md", "1"), lab.output("2.md", "2"))
        await lab.work(lab.ids(children)[0])
        await lab.kill(lab.ids(children)[1])
        await lab.work(cancelled, lab.output("f.md", "f"))
        await self.catalog.cancel(run.execution)
        return run, [f"{run.execution}/input/{path}" for path in paths]


@pytest.fixture
def cases(catalog: Catalog, lab: Lab) -> Cases:
    return Cases(catalog, lab)


# -- sources ---------------------------------------------------------------------------------------


async def test_the_rows_of_stored_objects_are_read_by_key(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    made = lab.output("a.html", "text", lang="en", pages=[1, True, None])
    await lab.work(run.ids[0], made)
    await lab.bind(await lab.claim(run.ids[1]), lab.output("b.html", "not stored"))
    stored, bound = f"{run.execution}/pages/a.html", f"{run.execution}/pages/b.html"
    given = f"{run.execution}/input/a.md"

    found = await catalog.sources([given, stored, bound, f"{run.execution}/pages/of-another-program.md"])

    assert found == {
        given: Source("text/markdown", {}, 0, lab.input("a.md").sha256),
        stored: Source("text/html", {"lang": "en", "pages": [1, True, None]}, 4, made.sha256),
    }
    assert await catalog.sources([]) == {}


async def test_pruned_objects_have_no_source(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    for child in await lab.work(run.ids[0], lab.output("a.md", "a")):
        await lab.kill(lab.ids([child])[0])
    await catalog.end_executions([run.execution])
    keys = [f"{run.execution}/pages/a.md", f"{run.execution}/input/a.md"]
    assert set(await catalog.sources(keys)) == set(keys)

    [pruning] = await catalog.begin_prune([Candidate(run.execution, ("pages",), None)])
    await catalog.prune_page(pruning, deleted="", limit=10)

    assert set(await catalog.sources(keys)) == {keys[1]}


# -- outcomes --------------------------------------------------------------------------------------


async def test_an_object_failed_if_a_message_at_or_below_it_is_dead(cases: Cases):
    run, keys = await cases.run()

    assert await cases.failed(keys, run.execution) == ["b-dead", "c-child", "d-grandchild"]
    assert await cases.failed(keys[:1], run.execution) == []
    assert await cases.failed([], run.execution) == []


async def test_cancelled_objects_are_unfinished_but_not_failed(cases: Cases):
    run, keys = await cases.run()

    assert await cases.unfinished(keys, run.execution) == [key.rpartition("/")[2] for key in keys[1:]]


async def test_an_object_without_a_message_is_unfinished_but_not_failed(cases: Cases, lab: Lab):
    run = await lab.started("a.md")
    keys = [f"{run.execution}/input/a.md", f"{run.execution}/input/of-another-program.md"]

    assert await cases.failed(keys, run.execution) == []
    assert await cases.unfinished(keys, run.execution) == ["of-another-program.md"]


async def test_objects_of_another_program_are_unfinished_but_not_failed(
    cases: Cases, catalog: Catalog, lab: Lab
):
    there = lab.unknown()
    keys = [f"{there}/pages/a.md", f"{there}/pages/b.md"]
    for adopted in (False, True):
        if adopted:
            await catalog.adopt(there)
        assert await cases.failed(keys, there) == []
        assert await cases.unfinished(keys, there) == ["a.md", "b.md"]


async def test_the_outcome_of_an_output_is_that_of_the_messages_that_received_it(cases: Cases):
    run, _ = await cases.run()
    pages = [f"{run.execution}/pages/{name}.md" for name in "acdf"]

    assert await cases.failed(pages, run.execution, SPLIT) == ["c.md", "d.md"]
    assert await cases.unfinished(pages, run.execution, SPLIT) == ["c.md", "d.md", "f.md"]
    segments = [f"{run.execution}/segments/small/{n}.md" for n in (1, 2)]
    assert await cases.failed(segments, run.execution, "docs/index") == ["2.md"]


async def test_only_messages_of_the_target_route_count_if_there_are_any(cases: Cases, lab: Lab):
    fork = lab.config(
        "docs",
        lab.route("convert", stage="pages", to=("left", "right")),
        lab.route("left"),
        lab.route("right"),
    )
    run = await lab.started("a.md", "b.md", config=fork)
    for n, identity in enumerate(run.ids):
        children = await lab.work(identity, lab.output(f"{n}.md", str(n)))
        for child in children:
            if child.headers.route == ("left", "right")[n]:
                await lab.kill(lab.ids([child])[0])
            else:
                await lab.work(lab.ids([child])[0])
    keys = [f"{run.execution}/pages/{n}.md" for n in (0, 1)]

    assert await cases.failed(keys, run.execution, "docs/left") == ["0.md"]
    assert await cases.failed(keys, run.execution, "docs/right") == ["1.md"]
    for other in ("docs/convert", "other/left", "docs/nowhere"):
        assert await cases.failed(keys, run.execution, other) == ["0.md", "1.md"]


async def test_a_replay_is_asked_about_its_own_messages(cases: Cases, lab: Lab):
    run, keys = await cases.run()
    pages = [f"{run.execution}/pages/{name}.md" for name in "acd"]
    replay = await lab.started_replay(run.execution, *pages[:2], stage="pages", route="split")
    first, second = replay.ids
    await lab.kill(first)
    await lab.work(second)

    assert await cases.failed(pages, replay.execution, SPLIT) == ["a.md"]
    assert await cases.unfinished(pages, replay.execution, SPLIT) == ["a.md", "d.md"]
    # The replay took none of the run's inputs. The run's own messages are not its.
    assert await cases.failed(keys, replay.execution) == []
    assert await cases.unfinished(keys, replay.execution) == [key.rpartition("/")[2] for key in keys]
    assert await cases.failed(pages, run.execution, SPLIT) == ["c.md", "d.md"]


async def test_the_outputs_of_a_replay_are_asked_about_as_those_of_a_run(cases: Cases, lab: Lab):
    run = await lab.started("a.md", "b.md")
    replay = await lab.started_replay(run.execution, *[f"{run.execution}/input/{n}.md" for n in "ab"])
    for identity, name in zip(replay.ids, "ab", strict=True):
        (child,) = await lab.work(identity, lab.output(f"{name}.md", name))
        if name == "b":
            await lab.kill(lab.ids([child])[0])
        else:
            await lab.work(lab.ids([child])[0])
    keys = [f"{replay.execution}/pages/{name}.md" for name in "ab"]

    assert await cases.failed(keys, replay.execution, SPLIT) == ["b.md"]
    again = await lab.started_replay(replay.execution, *keys, stage="pages", route="split")
    await lab.kill(again.ids[0])
    assert await cases.failed(keys, again.execution, SPLIT) == ["a.md"]


async def test_one_of_many_outputs_of_a_message_is_found(cases: Cases, lab: Lab):
    run = await lab.started("a.md")
    names = [f"{n:04}.md" for n in range(500)]
    children = await lab.work(run.ids[0], *(lab.output(name, name) for name in names))
    await lab.kill(lab.ids(children)[123])
    keys = [f"{run.execution}/pages/{name}" for name in names]

    assert await cases.failed(keys, run.execution, SPLIT) == [names[123]]
    assert await cases.failed(keys[200:], run.execution, SPLIT) == []


# -- against the definition ------------------------------------------------------------------------


def expected(
    rows: list[Lineage], producers: dict[str, UUID], keys: list[str], route: str, *, unfinished: bool
) -> set[str]:
    """What `failed_below` promises, from all messages of the execution."""
    found = set[str]()
    for key in keys:
        tree = [row for row in rows if row.input_key == key and row.parent_correlation_id is None]
        if not tree:
            parent = producers.get(key)
            tree = [row for row in rows if row.input_key == key and row.parent_correlation_id == parent]
        tree = [row for row in tree if f"{row.config}/{row.route}" == route] or tree
        if not tree and unfinished:
            found.add(key)
        while tree:
            if any(row.status == "dead" or (unfinished and row.status == "cancelled") for row in tree):
                found.add(key)
            above = {row.correlation_id for row in tree}
            tree = [row for row in rows if row.parent_correlation_id in above]
    return found


@pytest.mark.parametrize("seed", range(12))
async def test_random_trees_are_judged_as_the_definition_says(catalog: Catalog, lab: Lab, seed: int):
    rnd = random.Random(seed)
    config = lab.config(
        "docs",
        lab.route("convert", stage="pages", to=("split", "index")),
        lab.route("split", stage="segments", to=("index",)),
        lab.route("index"),
    )
    run = await lab.started("a.md", "b.md", "c.md", config=config)
    executions, open_ids, keys = (
        [run.execution],
        list(run.ids),
        [f"{run.execution}/input/{n}.md" for n in "abc"],
    )
    producers: dict[str, UUID] = {}
    for n in range(40):
        if not open_ids or rnd.random() < 0.1:
            source = rnd.choice([e for e in executions if any(key.startswith(str(e)) for key in keys)])
            among = sorted({key for key in keys if key.startswith(str(source))})
            chosen = sorted(rnd.sample(among, rnd.randint(1, min(3, len(among)))))
            replay = await lab.started_replay(
                source, *chosen, route=rnd.choice(("convert", "split")), config=config
            )
            executions.append(replay.execution)
            open_ids += replay.ids
        identity = open_ids.pop(rnd.randrange(len(open_ids)))
        row = await lab.row(identity)
        if rnd.random() < 0.3:
            await lab.kill(identity)
            continue
        made = [lab.output(f"{n}-{m}.md", f"{n}-{m}") for m in range(rnd.randint(0, 3))]
        if row.route == "index":
            made = []
        children = await lab.work(identity, *made)
        open_ids += lab.ids(children)
        stage = "pages" if row.route == "convert" else "segments"
        for one in made:
            key = f"{row.execution_id}/{stage}/{one.path}"
            producers[key] = identity
            keys.append(key)
    for execution in executions:
        if rnd.random() < 0.5 and (await lab.execution(execution)).status == "running":
            await catalog.cancel(execution)
    for execution in executions:
        pages = await lab.pages(
            lambda before, execution=execution: catalog.lineage_list(  # type: ignore[misc]
                execution=execution, before=before, limit=1000
            )
        )
        rows = [row for page in pages for row in page]
        for route in ("docs/convert", "docs/split", "docs/index"):
            for unfinished in (False, True):
                found = await catalog.failed_below(keys, execution, route, unfinished=unfinished)
                assert found == expected(rows, producers, keys, route, unfinished=unfinished)
