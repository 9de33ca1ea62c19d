"""The contract of `ports.catalog.browse`, for every catalog."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import pytest

from playhead.ids import moment
from playhead.model import MOST_OUTPUT_KEYS, Counts
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter, ExecutionFilter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from playhead.model import ChainLink
    from tests.lab import Clock, Lab, Started


def added(*counts: Counts) -> Counts:
    return Counts(*(sum(getattr(c, f.name) for c in counts) for f in fields(Counts)))


def shape(page: tuple[list[ChainLink], UUID | None]) -> list[tuple[int, str, UUID]]:
    """A chain's links, of its first page."""
    links, _ = page
    return [(link.distance, link.via, link.correlation_id) for link in links]


# -- executions ------------------------------------------------------------------------------------


async def test_an_id_that_never_existed_is_not_found_and_nothing_can_be_done_with_it(
    catalog: Catalog, lab: Lab
):
    unknown = lab.unknown()

    assert await catalog.execution(unknown) is None
    assert await catalog.cancel(unknown) is None
    assert await catalog.replay(unknown) is None
    assert await catalog.acquire(unknown, owner="w1", lease=lab.LEASE) is None
    assert not await catalog.is_listed(unknown)
    assert await catalog.lineage(unknown) is None
    assert await catalog.lineage_of_object(f"{unknown}/pages/a.md") == []
    assert await catalog.chain(unknown, direction="both", limit=10) == ([], None)
    assert await catalog.set_active("nowhere", True) is None
    assert list(await catalog.config_versions("nowhere")) == []


async def test_several_executions_are_read_at_once_as_one_by_one(catalog: Catalog, lab: Lab):
    done, runs = await lab.started("a.md", tags=["t"]), await lab.started("b.md", "c.md")
    await lab.work(done.ids[0])
    assert await catalog.end_executions([done.execution]) == [done.execution]

    found = await catalog.executions_named([done.execution, lab.unknown(), runs.execution, done.execution])

    assert {one.execution_id: one for one in found} == {
        run.execution: await lab.execution(run.execution) for run in (done, runs)
    }
    assert len(found) == 2
    assert await catalog.executions_named([]) == []


async def test_replays_are_read_at_once_by_their_batches(catalog: Catalog, lab: Lab):
    source = (await lab.started("a.md")).execution
    replays = [await lab.replayed(source) for _ in range(2)]
    batches = [one.replay_batch_id for one in replays]

    found = await catalog.replays_named([batches[0], lab.unknown(), batches[1], batches[0]])

    newest, _ = await catalog.replays()
    assert sorted(found, key=lambda one: batches.index(one.replay_batch_id)) == list(reversed(newest))
    assert await catalog.replays_named([]) == []


async def test_executions_and_batches_are_found_by_the_ends_of_their_ids(catalog: Catalog, lab: Lab):
    runs = [lab.unknown().hex[:-8] + end for end in ("0abc1234", "1abc1234", "0abc1235")]
    version = await lab.save()
    for run in runs:
        await catalog.open_run(UUID(run), "docs", version, tags=(), owner="w1", lease=lab.LEASE)
    replay = await lab.replayed((await lab.started("a.md")).execution)

    async def found(digits: str) -> list[str]:
        return sorted(identity.hex for identity in await catalog.ids_ending("execution", digits))

    assert await found("1234") == await found("abc1234") == sorted(runs[:2])
    assert await found("0abc1234") == await found(runs[0]) == [runs[0]]
    assert await found("4123") == await found("2abc1234") == await found("f" + runs[0][1:]) == []
    batch = replay.replay_batch_id
    assert await catalog.ids_ending("batch", batch.hex[-12:]) == [batch]
    assert await catalog.ids_ending("batch", replay.execution_id.hex[-12:]) == []
    assert await catalog.ids_ending("execution", replay.execution_id.hex[-12:]) == [replay.execution_id]


async def test_messages_are_found_by_the_ends_of_their_ids_if_dead_or_in_an_execution(
    catalog: Catalog, lab: Lab
):
    run, other = await lab.started("a.md", "b.md"), await lab.started("c.md")
    dead, pending = run.ids
    ends = {identity: identity.hex[-12:] for identity in run.ids}
    running = await lab.claim(dead)

    assert await catalog.ids_ending("message", ends[dead]) == []
    assert await catalog.ids_ending("message", ends[pending], execution=run.execution) == [pending]
    assert await catalog.ids_ending("message", ends[pending], execution=other.execution) == []
    assert await catalog.ids_ending("message", ends[pending], execution=lab.unknown()) == []

    await lab.fail(running)
    assert await catalog.ids_ending("message", ends[dead]) == [dead]
    assert await catalog.ids_ending("message", ends[dead], execution=run.execution) == [dead]


async def test_executions_are_listed_newest_first_in_pages(catalog: Catalog, lab: Lab):
    made = [await lab.sealed("a.md") for _ in range(5)]

    pages = await lab.pages(lambda before: catalog.executions(ExecutionFilter(), before=before, limit=2))

    assert [[e.execution_id for e in page] for page in pages] == [
        [made[4], made[3]],
        [made[2], made[1]],
        [made[0]],
    ]


async def test_a_list_that_grows_between_pages_shows_nothing_twice(catalog: Catalog, lab: Lab):
    made = [await lab.sealed("a.md") for _ in range(4)]

    first, before = await catalog.executions(ExecutionFilter(), limit=2)
    await lab.sealed("a.md")
    rest, _ = await catalog.executions(ExecutionFilter(), before=before, limit=2)

    assert [e.execution_id for e in [*first, *rest]] == made[::-1]


async def test_the_newest_execution_is_the_last_run_or_replay(catalog: Catalog, lab: Lab):
    assert await catalog.newest_execution() is None
    run = await lab.started("a.md")
    assert await catalog.newest_execution() == run.execution
    replay = (await lab.replayed(run.execution)).execution_id
    await catalog.adopt(lab.unknown())

    assert await catalog.newest_execution() == replay


async def test_executions_match_all_given_filters(catalog: Catalog, lab: Lab):
    tagged = await lab.sealed("a.md", tags=["nightly", "eu"])
    done = await lab.started("b.md", tags=["nightly"])
    await lab.work(done.ids[0])
    await catalog.end_executions([done.execution])
    other = lab.config("other", lab.route("only", queue="other.only"))
    elsewhere = await lab.sealed("c.md", config=other)
    replay = (await lab.replayed(done.execution)).execution_id
    adopted = (await catalog.adopt(lab.unknown())).execution_id

    async def found(**where: object) -> list[UUID]:
        page, _ = await catalog.executions(ExecutionFilter(**where))  # type: ignore[arg-type]
        return [e.execution_id for e in page]

    assert await found() == [adopted, replay, elsewhere, done.execution, tagged]
    assert await found(status="completed") == [adopted, done.execution]
    assert await found(config="other") == [elsewhere]
    assert await found(kind="replay") == [replay]
    assert await found(kind="adopted") == [adopted]
    assert await found(tag="nightly") == [done.execution, tagged]
    assert await found(parent=done.execution) == [replay]
    assert await found(tag="nightly", status="running") == [tagged]
    assert await found(tag="night") == []


async def test_executions_match_a_period_from_its_first_moment_to_before_its_end(
    catalog: Catalog, lab: Lab, clock: Clock
):
    made = []
    for hour in range(4):
        clock.now += 3600
        made.append(await lab.sealed("a.md", tags=["odd"] if hour % 2 else []))
    at = [(await lab.execution(one)).created_at for one in made]

    async def found(**where: Any) -> list[UUID]:
        pages = await lab.pages(
            lambda before: catalog.executions(ExecutionFilter(**where), before=before, limit=1)
        )
        return [e.execution_id for page in pages for e in page]

    assert await found(since=at[1]) == [made[3], made[2], made[1]]
    assert await found(until=at[2]) == [made[1], made[0]]
    assert await found(since=at[1], until=at[3]) == [made[2], made[1]]
    assert await found(since=at[1], until=at[3], tag="odd") == [made[1]]
    assert await found(since=at[0], status="running", tag="odd") == [made[3], made[1]]
    assert await found(since=at[0], status="completed") == []
    assert await found(since=moment(clock.now + 1)) == []
    assert await found(until=at[0]) == []
    assert await found(since=at[3], until=at[0]) == []


async def test_executions_match_a_period_although_the_clock_was_set_back(
    catalog: Catalog, lab: Lab, clock: Clock
):
    made = []
    for step in (0, 7200, -3600, 10):
        clock.now += step
        made.append(await lab.sealed("a.md"))
    at = [(await lab.execution(one)).created_at for one in made]

    async def found(**where: Any) -> list[UUID]:
        page, _ = await catalog.executions(ExecutionFilter(**where))
        return [e.execution_id for e in page]

    assert await found(since=at[2], until=at[1]) == [made[3], made[2]]
    assert await found(since=at[3]) == [made[3], made[1]]
    assert await found(until=at[3]) == [made[2], made[0]]


async def test_a_filtered_list_has_pages_too(catalog: Catalog, lab: Lab):
    mine = []
    for _ in range(3):
        mine.append(await lab.sealed("a.md", tags=["mine"]))
        await lab.sealed("a.md")

    where = ExecutionFilter(tag="mine")
    pages = await lab.pages(lambda before: catalog.executions(where, before=before, limit=2))

    assert [[e.execution_id for e in page] for page in pages] == [[mine[2], mine[1]], [mine[0]]]


async def one_row_in_every_state(lab: Lab) -> Started:
    run = await lab.started("pending.md", "running.md", "retry.md", "done.md", "dead.md")
    await lab.claim(run.ids[1])
    await lab.fail(await lab.claim(run.ids[2]), delay=10)
    await lab.work(run.ids[3], lab.output("1.md"), lab.output("2.md"))
    await lab.kill(run.ids[4])
    return run


async def test_counts_are_sums_over_the_states_of_rows(catalog: Catalog, lab: Lab):
    run = await one_row_in_every_state(lab)

    assert await lab.counts(run.execution) == Counts(pending=5, completed=1, failed=1, total=7, processed=1)

    await catalog.cancel(run.execution)
    assert await lab.counts(run.execution) == Counts(
        pending=1, completed=1, failed=1, cancelled=4, total=7, processed=1
    )


async def test_counts_by_route_come_in_the_order_of_the_config_and_add_up(catalog: Catalog, lab: Lab):
    run = await one_row_in_every_state(lab)

    routes = await catalog.route_counts(run.execution)

    assert [(r.route, r.queue) for r in routes] == [
        ("convert", "docs.convert"),
        ("split", "docs.split"),
        ("index", "docs.index"),
    ]
    assert [r.counts.total for r in routes] == [5, 2, 0]
    assert added(*(r.counts for r in routes)) == await lab.counts(run.execution)


async def test_an_execution_without_a_config_has_no_routes(catalog: Catalog, lab: Lab):
    adopted = (await catalog.adopt(lab.unknown())).execution_id

    assert await catalog.route_counts(adopted) == []
    assert await catalog.route_counts(lab.unknown()) == []


async def test_only_keys_whose_row_is_not_stored_are_unstored(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    claim = await lab.claim(run.ids[0])
    await lab.bind(claim, lab.output("superseded.md", "1"))
    await lab.fail(claim, delay=0)
    await lab.work(run.ids[0], lab.output("stored.md"))
    await lab.bind(await lab.claim(run.ids[1]), lab.output("writing.md"))
    asked = [f"{run.execution}/pages/{name}.md" for name in ("superseded", "others", "stored", "writing")]

    assert await catalog.unstored(asked) == {asked[0], asked[3]}
    assert await catalog.unstored(asked[1:3]) == set()
    assert await catalog.unstored([]) == set()


# -- lineage ---------------------------------------------------------------------------------------


async def test_the_lineage_of_a_message_has_all_its_fields(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    began = lab.clock.now
    lab.clock.advance(1.5)
    (child,) = await lab.done(claim, lab.output("1.md"))

    row = await lab.row(run.ids[0])

    assert (row.correlation_id, row.parent_correlation_id) == (run.ids[0], None)
    assert (row.execution_id, row.replay_batch_id) == (run.execution, None)
    assert (row.config, row.config_version, row.route) == ("docs", 1, "convert")
    assert (row.status, row.attempts, row.error) == ("completed", 1, None)
    assert row.input_key == f"{run.execution}/input/a.md"
    assert row.output_keys == [f"{run.execution}/pages/1.md"]
    assert (row.started_at, row.ended_at) == (moment(began), moment(began + 1.5))
    assert row.duration_ms == 1500
    below = await lab.row(lab.ids([child])[0])
    assert (below.parent_correlation_id, below.route, below.status) == (run.ids[0], "split", "pending")
    assert (below.started_at, below.ended_at, below.duration_ms) == (None, None, None)
    assert (below.attempts, below.output_keys) == (0, [])


async def test_the_lineage_of_a_message_has_its_first_outputs_and_their_number(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    many = MOST_OUTPUT_KEYS + 1
    await lab.work(run.ids[0], *(lab.output(f"{n:03}.md") for n in reversed(range(many))))

    row, other = [await lab.row(one) for one in run.ids]

    assert row.output_keys == [f"{run.execution}/pages/{n:03}.md" for n in reversed(range(1, many))]
    assert (row.output_count, other.output_count) == (many, 0)


async def test_outputs_that_are_not_stored_are_in_no_lineage(lab: Lab):
    run = await lab.started("a.md")
    claim = await lab.claim(run.ids[0])
    await lab.bind(claim, lab.output("1.md"))

    assert (await lab.row(run.ids[0])).output_keys == []


async def test_the_lineage_of_an_object_is_the_message_that_produced_it(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.work(run.ids[0], lab.output("1.md"))

    (made,) = await catalog.lineage_of_object(f"{run.execution}/pages/1.md")

    assert made.correlation_id == run.ids[0]


async def test_the_lineage_of_an_input_is_the_messages_that_read_it_newest_first(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    key = f"{run.execution}/input/a.md"
    replay = await lab.started_replay(run.execution, key)

    took = await catalog.lineage_of_object(key)

    assert [row.correlation_id for row in took] == [replay.ids[0], run.ids[0]]


async def test_the_lineage_of_an_external_object_is_the_messages_that_read_it(catalog: Catalog, lab: Lab):
    adopted = (await catalog.adopt(lab.unknown())).execution_id
    key = f"{adopted}/scans/a.png"
    replays = [await lab.started_replay(adopted, key, stage="scans") for _ in range(2)]

    took = await catalog.lineage_of_object(key)

    assert [row.correlation_id for row in took] == [replay.ids[0] for replay in reversed(replays)]


async def test_messages_of_an_execution_are_listed_newest_first_in_pages(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    await lab.started("other.md")
    children = lab.ids(await lab.work(run.ids[0], lab.output("1.md"), lab.output("2.md")))
    newest_first = [*run.ids, *children][::-1]

    pages = await lab.pages(
        lambda before: catalog.lineage_list(execution=run.execution, before=before, limit=2)
    )

    assert [[row.correlation_id for row in page] for page in pages] == [
        newest_first[:2],
        newest_first[2:4],
        newest_first[4:],
    ]


async def test_messages_are_listed_by_route_and_status(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    (child,) = lab.ids(await lab.work(run.ids[0], lab.output("1.md")))

    async def found(**where: str) -> list[UUID]:
        page, _ = await catalog.lineage_list(
            execution=run.execution, route=where.get("route"), status=where.get("status")
        )
        return [row.correlation_id for row in page]

    assert await found(route="convert") == run.ids[::-1]
    assert await found(route="split") == await found(route="docs/split") == [child]
    assert await found(status="pending") == [child, run.ids[1]]
    assert await found(status="pending", route="convert") == [run.ids[1]]
    assert await found(status="dead") == []


async def test_messages_of_a_batch_are_its_roots_and_all_their_descendants(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    replay = await lab.started_replay(run.execution, f"{run.execution}/input/a.md")
    children = lab.ids(await lab.work(replay.ids[0], lab.output("1.md"), lab.output("2.md")))
    await lab.started_replay(replay.execution, f"{replay.execution}/pages/1.md", stage="pages", route="split")

    found, then = await catalog.lineage_list(batch=replay.batch)

    assert [row.correlation_id for row in found] == [*replay.ids, *children][::-1]
    assert {row.replay_batch_id for row in found} == {replay.batch}
    assert then is None
    assert await catalog.lineage_list(batch=lab.unknown()) == ([], None)


# -- chains ----------------------------------------------------------------------------------------


class Family:
    """A run whose page was replayed, and whose replayed segment was replayed again.

    `root` made a page and `child` split it; `again` is the replay's message on that page, whose segment
    `index` was to take; `twice` is the message of the second replay on that segment.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    async def grow(self) -> Family:
        lab = self._lab
        run = await lab.started("a.md")
        self.root = run.ids[0]
        (self.child,) = lab.ids(await lab.work(self.root, lab.output("page.md")))
        page = f"{run.execution}/pages/page.md"
        replay = await lab.started_replay(run.execution, page, stage="pages", route="split")
        (self.again,) = replay.ids
        (self.index,) = lab.ids(await lab.work(self.again, lab.output("segment.md")))
        segment = f"{replay.execution}/segments/small/segment.md"
        second = await lab.started_replay(replay.execution, segment, stage="segments/small", route="index")
        (self.twice,) = second.ids
        return self


@pytest.mark.parametrize(
    ("of", "direction", "links"),
    [
        ("twice", "up", [(-2, "replay", "root"), (-1, "replay", "again"), (0, "self", "twice")]),
        ("index", "up", [(-2, "replay", "root"), (-1, "parent", "again"), (0, "self", "index")]),
        (
            *("root", "down"),
            [
                (0, "self", "root"),
                *((1, "parent", "child"), (1, "replay", "again")),
                *((2, "parent", "index"), (2, "replay", "twice")),
            ],
        ),
        (
            *("again", "both"),
            [
                (-1, "replay", "root"),
                (0, "self", "again"),
                *((1, "parent", "index"), (1, "replay", "twice")),
            ],
        ),
    ],
)
async def test_a_chain_has_parents_children_and_replays_ordered_by_distance(
    catalog: Catalog, lab: Lab, of: str, direction: Literal["up", "down", "both"], links: Any
):
    family = await Family(lab).grow()

    chain = await catalog.chain(getattr(family, of), direction=direction, limit=100)

    assert shape(chain) == [(distance, via, getattr(family, who)) for distance, via, who in links]
    if direction == "both":
        assert chain[0][2].parent_correlation_id == family.again
        assert chain[0][0].output_keys


async def test_a_replay_of_inputs_has_no_parent(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    replay = await lab.started_replay(run.execution, f"{run.execution}/input/a.md")

    for identity in (run.ids[0], replay.ids[0]):
        assert shape(await catalog.chain(identity, direction="both", limit=10)) == [(0, "self", identity)]


async def test_a_chain_ends_at_external_objects(catalog: Catalog, lab: Lab):
    adopted = (await catalog.adopt(lab.unknown())).execution_id
    replay = await lab.started_replay(adopted, f"{adopted}/scans/a.png", stage="scans")

    up = await catalog.chain(replay.ids[0], direction="up", limit=10)

    assert shape(up) == [(0, "self", replay.ids[0])]


@pytest.mark.parametrize("direction", ["up", "down", "both"])
async def test_a_chain_stops_at_its_limit_with_the_nearest(
    catalog: Catalog, lab: Lab, direction: Literal["up", "down", "both"]
):
    run = await lab.started("a.md")
    middle, *others = lab.ids(await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(3))))
    children = lab.ids(await lab.work(middle, *(lab.output(f"{n}.md") for n in range(3))))

    links = shape(await catalog.chain(middle, direction=direction, limit=2))

    nearest = {
        "up": [(-1, "parent", run.ids[0]), (0, "self", middle)],
        "down": [(0, "self", middle), (1, "parent", children[0])],
    }
    assert others
    assert links in ([*nearest.values()] if direction == "both" else [nearest[direction]])


async def _chain_in_pages(
    catalog: Catalog,
    of: UUID,
    direction: Literal["up", "down", "both"],
    limit: int,
    between: Callable[[], Awaitable[object]] | None = None,
) -> list[list[tuple[int, str, UUID]]]:
    """The pages of a chain; `between` is done after the first."""
    pages, after = [], None
    while True:
        page = await catalog.chain(of, direction=direction, after=after, limit=limit)
        pages.append(shape(page))
        if (after := page[1]) is None:
            return pages
        if between and len(pages) == 1:
            await between()


@pytest.mark.parametrize("direction", ["up", "down", "both"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_the_pages_of_a_chain_are_the_chain_nearest_first(
    catalog: Catalog, lab: Lab, direction: Literal["up", "down", "both"], limit: int
):
    family = await Family(lab).grow()
    whole = shape(await catalog.chain(family.again, direction=direction, limit=100))

    pages = await _chain_in_pages(catalog, family.again, direction, limit)

    assert sorted(link for page in pages for link in page) == sorted(whole)
    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert 0 < len(pages[-1]) <= limit
    nearness = [max(abs(distance) for distance, _, _ in page) for page in pages]
    assert nearness == sorted(nearness)


async def test_a_chain_that_grows_between_pages_shows_nothing_twice_and_misses_nothing(
    catalog: Catalog, lab: Lab
):
    run = await lab.started("a.md")
    first, second, third = lab.ids(await lab.work(run.ids[0], *(lab.output(f"{n}.md") for n in range(3))))
    grown = lab.ids(await lab.work(third, *(lab.output(f"c{n}.md") for n in range(3))))

    async def grow() -> None:
        # Before those that are not read yet: children of a message that stands before their parent.
        await lab.work(first, *(lab.output(f"a{n}.md") for n in range(2)))
        await lab.work(second, lab.output("b.md"))

    pages = await _chain_in_pages(catalog, run.ids[0], "down", 5, between=grow)

    seen = [identity for page in pages for _, _, identity in page]
    assert len(seen) == len(set(seen))
    assert {run.ids[0], first, second, third, *grown} <= set(seen)


# -- dead letters ----------------------------------------------------------------------------------


async def test_a_dead_letter_has_its_error_route_and_time(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=0)
    lab.clock.advance(5)
    await lab.kill(run.ids[0])

    (listed,), _ = await catalog.dead_letters()
    letter = await catalog.dead_letter(run.ids[0])

    assert letter is not None
    assert (letter.correlation_id, letter.execution_id) == (run.ids[0], run.execution)
    assert (letter.config, letter.config_version) == ("docs", 1)
    assert (letter.route, letter.queue) == ("convert", "docs.convert")
    assert (letter.input_key, letter.attempts) == (f"{run.execution}/input/a.md", 2)
    assert (letter.error_code, letter.error) == ("adapter_error", "it broke")
    assert (letter.failed_at, letter.traceback) == (moment(lab.clock.now), "Traceback: …")
    assert all(getattr(letter, f.name) == getattr(listed, f.name) for f in fields(listed))


async def test_a_message_that_is_not_dead_is_not_a_dead_letter(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await lab.fail(await lab.claim(run.ids[0]), delay=0)

    assert await catalog.dead_letter(run.ids[0]) is None
    assert await catalog.dead_letter(lab.unknown()) is None
    assert await catalog.dead_letters() == ([], None)


async def test_dead_letters_are_listed_newest_first_in_pages(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md", "fine.md")
    for identity in run.ids[:3]:
        lab.clock.advance(1)
        await lab.kill(identity)

    pages = await lab.pages(lambda before: catalog.dead_letters(before=before, limit=2))

    assert [[letter.correlation_id for letter in page] for page in pages] == [
        [run.ids[2], run.ids[1]],
        [run.ids[0]],
    ]


async def test_dead_letters_are_listed_by_execution_and_route(catalog: Catalog, lab: Lab):
    one, two = await lab.started("a.md", "b.md"), await lab.started("c.md")
    (child,) = lab.ids(await lab.work(one.ids[0], lab.output("1.md")))
    for identity in (one.ids[1], two.ids[0], child):
        await lab.kill(identity)

    async def found(execution: UUID | None = None, route: str | None = None) -> set[UUID]:
        page, _ = await catalog.dead_letters(DeadLetterFilter(execution=execution, route=route))
        return {letter.correlation_id for letter in page}

    assert await found() == {one.ids[1], two.ids[0], child}
    assert await found(execution=one.execution) == {one.ids[1], child}
    assert await found(route="convert") == {one.ids[1], two.ids[0]}
    config = (await lab.execution(one.execution)).config
    assert await found(route=f"{config}/convert") == {one.ids[1], two.ids[0]}
    assert await found(route="other/convert") == set()
    assert await found(one.execution, "split") == {child}
    assert await found(one.execution, f"{config}/split") == {child}
    assert await found(lab.unknown()) == set()


async def test_open_messages_are_counted_by_config_route_and_state(catalog: Catalog, lab: Lab):
    assert await catalog.open_by_route() == {}
    run = await lab.started("a.md", "b.md", "c.md", "d.md")
    await lab.work(run.ids[0], lab.output("1.md"))
    await lab.claim(run.ids[1])
    await lab.fail(await lab.claim(run.ids[2]), delay=60)
    ended = await lab.started("e.md")
    await lab.kill(ended.ids[0])
    await catalog.end_executions([ended.execution])
    stopped = await lab.started("f.md")
    await catalog.cancel(stopped.execution)

    newer = lab.config("docs", *lab.DOCS.routes.values(), lab.route("extra", queue="docs.extra"))
    await lab.started("g.md", config=newer)

    assert await catalog.open_by_route() == {
        ("docs", "convert", "pending"): 2,  # of two versions
        ("docs", "convert", "running"): 1,
        ("docs", "convert", "retry"): 1,
        ("docs", "split", "pending"): 1,
    }


async def test_retries_are_counted_by_config_and_route(catalog: Catalog, lab: Lab):
    assert await catalog.retries_by_route() == {}
    run = await lab.started("a.md", "b.md", "c.md")
    for identity, delay in ((run.ids[0], 300), (run.ids[1], 60)):
        await lab.fail(await lab.claim(identity), delay=delay)

    [(route, retries)] = (await catalog.retries_by_route()).items()

    assert (route, retries.messages) == (("docs", "convert"), 2)
    assert 0 < retries.seconds <= 60


async def test_dead_letters_are_counted_by_config_and_route(catalog: Catalog, lab: Lab):
    assert await catalog.dead_by_route() == {}
    run = await lab.started("a.md", "b.md", "c.md")
    (child,) = lab.ids(await lab.work(run.ids[0], lab.output("1.md")))
    other = await lab.started("d.md", config=lab.config("other", lab.route("convert", queue="other.convert")))
    for identity in (run.ids[1], run.ids[2], child, other.ids[0]):
        await lab.kill(identity)

    assert await catalog.dead_by_route() == {
        ("docs", "convert"): 2,
        ("docs", "split"): 1,
        ("other", "convert"): 1,
    }
