"""Groups of dead letters that failed alike, and the resend of a group as of a time."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from playhead.failures import group_text
from playhead.model import DeadLetterGroup
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.ports.catalog.jobs import Listed
from tests.lab import Clock, Lab, Started


async def fail(lab: Lab, run: Started, *errors: str, code: str = "adapter_error") -> None:
    """Make the first messages of a run dead letters, one for each error."""
    for identity, error in zip(run.ids, errors, strict=False):
        await lab.fail(await lab.claim(identity), code=code, error=error)


async def groups(catalog: Catalog, **where: object) -> list[DeadLetterGroup]:
    found, _ = await catalog.dead_letter_groups(**where)  # type: ignore[arg-type]
    return found


def counts(found: Sequence[DeadLetterGroup]) -> list[tuple[str, int, int]]:
    return [(one.pattern, one.count, one.executions) for one in found]


async def members(catalog: Catalog, group: str, *, before: int | None = None, **where: object) -> list[UUID]:
    conditions = DeadLetterFilter(group=group, **where)  # type: ignore[arg-type]
    letters, _ = await catalog.dead_letters(conditions, before=before)
    return [letter.correlation_id for letter in letters]


async def test_dead_letters_with_similar_errors_are_one_group(catalog: Catalog, lab: Lab):
    one = await lab.started("a.md", "b.md", "c.md")
    await fail(lab, one, "page 1 is torn", "page 22 is torn", "no ink")
    two = await lab.started("d.md")
    lab.clock.advance(5)
    await fail(lab, two, "page 3 is torn")

    torn, ink = await groups(catalog)

    assert counts([torn, ink]) == [("page <n> is torn", 3, 2), ("no ink", 1, 1)]
    assert (torn.error, torn.newest) == ("page 3 is torn", two.ids[0])
    assert torn.input_key == f"{two.execution}/input/d.md"
    letters, _ = await catalog.dead_letters(DeadLetterFilter(group=torn.group))
    assert torn.last_failed_at == letters[0].failed_at > torn.first_failed_at == letters[-1].failed_at
    assert [letter.correlation_id for letter in letters] == [two.ids[0], one.ids[1], one.ids[0]]
    assert {letter.group for letter in letters} == {torn.group}
    detail = await catalog.dead_letter(two.ids[0])
    assert detail is not None
    assert detail.group == torn.group


async def test_a_group_belongs_to_one_route_and_one_code(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md")
    (child, _) = lab.ids(await lab.work(run.ids[2], lab.output("a.md"), lab.output("b.md")))
    await fail(lab, run, "it broke")
    await lab.fail(await lab.claim(run.ids[1]), code="rejected", error="it broke")
    await lab.fail(await lab.claim(child), error="it broke")

    found = await groups(catalog)

    assert [(one.route, one.error_code) for one in found] == [
        ("split", "adapter_error"),
        ("convert", "rejected"),
        ("convert", "adapter_error"),
    ]
    assert len({one.group for one in found}) == 3
    assert await groups(catalog, route="split") == found[:1]
    assert await groups(catalog, route="docs/convert") == found[1:]
    assert await groups(catalog, route="other/convert") == []
    assert await groups(catalog, config="docs", execution=run.execution) == found
    assert await groups(catalog, config="other") == []


async def test_the_group_of_a_failure_outlives_a_new_version_of_the_config(catalog: Catalog, lab: Lab):
    one = await lab.started("a.md", config=lab.config("docs", lab.route("convert")))
    two = await lab.started("b.md", config=lab.config("docs", lab.route("convert"), lab.route("more")))
    for run in (one, two):
        await fail(lab, run, "it broke")

    assert counts(await groups(catalog)) == [("it broke", 2, 2)]


async def test_groups_of_an_execution_count_only_its_dead_letters(catalog: Catalog, lab: Lab):
    one, two = await lab.started("a.md", "b.md"), await lab.started("c.md")
    await fail(lab, one, "it broke", "it broke")
    await fail(lab, two, "it broke")

    (group,) = await groups(catalog, execution=one.execution)

    assert (group.count, group.executions, group.newest) == (2, 1, one.ids[1])
    assert await members(catalog, group.group, execution=one.execution) == [one.ids[1], one.ids[0]]
    assert await members(catalog, group.group, route="convert") == [*two.ids, one.ids[1], one.ids[0]]
    assert await members(catalog, group.group, route="split") == []
    assert await members(catalog, group.group, code="rejected") == []
    assert await groups(catalog, execution=lab.unknown()) == []


async def test_groups_come_in_pages_the_one_of_the_newest_message_first(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md", "c.md", "d.md")
    await fail(lab, run, "torn", "wet", "torn", "lost")

    first, before = await catalog.dead_letter_groups(limit=2)
    rest, end = await catalog.dead_letter_groups(limit=2, before=before)

    assert [one.pattern for one in first + rest] == ["lost", "torn", "wet"]
    assert before is not None
    assert end is None
    letters, then = await catalog.dead_letters(DeadLetterFilter(group=first[1].group), limit=1)
    assert [letter.correlation_id for letter in letters] == [run.ids[2]]
    assert await members(catalog, first[1].group, before=then) == [run.ids[0]]


async def test_a_text_that_names_no_group_matches_nothing(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md")
    await fail(lab, run, "it broke")

    for text in ("", "x", group_text(1), "%", "-1"):
        assert await members(catalog, text) == []
        assert await catalog.resend(where=DeadLetterFilter(group=text)) == []


async def test_every_way_to_become_a_dead_letter_has_a_group(catalog: Catalog, lab: Lab):
    run = await lab.started("lost.md", "refused.md")
    for worker in ("v1", "v2", "v3"):
        await lab.claim(run.ids[0], worker, alone=True)
        await catalog.depart(worker)
    await lab.refusal(run.ids[0])
    other = await lab.sealed("a.md", "b.md")
    held = await lab.hold(other)
    listed = [Listed(f"{other}/input/a.md", "input"), Listed(f"{other}/input/b.md", "input", "ends with '.'")]
    await lab.record(held, listed, cursor=listed[1].key, last=True)
    window = await catalog.unpublished(held, limit=10)
    assert window
    await catalog.mark(held, 2, refused=[(window.dispatches[0], "too large: 12 bytes")])

    found = await groups(catalog)

    assert [(one.error_code, one.pattern) for one in found[:2]] == [
        ("invalid_key", "the key ends with <text>"),
        ("publish_refused", "too large: <n> bytes"),
    ]
    assert [(one.error_code, one.count) for one in found[2:]] == [("worker_lost", 1)]


async def test_a_resent_dead_letter_leaves_its_group(catalog: Catalog, lab: Lab):
    run = await lab.started("a.md", "b.md")
    await fail(lab, run, "torn", "wet")
    wet, torn = await groups(catalog)

    assert await catalog.resend(where=DeadLetterFilter(group=torn.group)) == [run.ids[0]]

    assert await groups(catalog) == [wet]
    await lab.fail(await lab.claim(run.ids[0]), error="wet")
    assert counts(await groups(catalog)) == [("wet", 2, 1)]


async def test_a_resend_as_of_a_time_leaves_what_failed_later(catalog: Catalog, lab: Lab, clock: Clock):
    run = await lab.started("a.md", "b.md", "c.md", "d.md")
    await fail(lab, run, "torn", "torn", "wet")
    clock.advance(10)
    then = clock()
    await lab.fail(await lab.claim(run.ids[3]), error="torn")
    torn = (await groups(catalog))[0]
    assert torn.count == 3

    assert await catalog.resend(where=DeadLetterFilter(group=torn.group, failed_before=then)) == run.ids[:2]

    assert await members(catalog, torn.group) == [run.ids[3]]
    assert await catalog.resend(where=DeadLetterFilter(execution=run.execution, failed_before=then)) == [
        run.ids[2]
    ]
    assert await catalog.resend(where=DeadLetterFilter(route="convert", failed_before=then)) == []
    assert await catalog.resend(where=DeadLetterFilter(failed_before=then + 1)) == [], (
        "a time alone selects nothing"
    )
    assert await catalog.resend(where=DeadLetterFilter(group=torn.group, failed_before=then + 1)) == [
        run.ids[3]
    ]


async def test_a_repeated_resend_as_of_a_time_leaves_what_has_failed_again(
    catalog: Catalog, lab: Lab, clock: Clock
):
    """As after a process was killed between two steps of a resend."""
    run = await lab.started("a.md", "b.md", "c.md")
    await fail(lab, run, "torn", "torn", "torn")
    (group,) = await groups(catalog)
    clock.advance(1)
    then = clock()
    await catalog.resend(ids=run.ids[2:])  # the first step: the newest messages
    clock.advance(1)
    await lab.fail(await lab.claim(run.ids[2]), error="torn")

    assert await catalog.resend(where=DeadLetterFilter(group=group.group, failed_before=then)) == run.ids[:2]

    assert await members(catalog, group.group) == [run.ids[2]]


async def test_a_large_group_is_resent_in_steps(catalog: Catalog, lab: Lab):
    run = await lab.started(*(f"{n}.md" for n in range(7)))
    await fail(lab, run, *(f"torn {n}" for n in range(7)))
    (group,) = await groups(catalog)
    catalog.sizes.step_rows = 2  # type: ignore[attr-defined]

    assert await catalog.resend(where=DeadLetterFilter(group=group.group)) == run.ids
    assert await groups(catalog) == []


async def test_a_group_is_open_until_its_route_has_processed_all_of_its_objects(catalog: Catalog, lab: Lab):
    async def are_open(**where: object) -> dict[str, bool]:
        return {one.pattern: one.open for one in await groups(catalog, **where)}

    run = await lab.started("a.md", "b.md", "c.md")
    await fail(lab, run, "it broke", "it broke", "no ink")
    first, second, third = [await lab.started(path) for path in ("a.md", "b.md", "c.md")]

    await lab.work(first.ids[0])
    assert await are_open() == {"it broke": True, "no ink": True}

    await lab.work(second.ids[0])
    assert await are_open() == {"it broke": False, "no ink": True}
    assert await are_open(execution=run.execution) == {"it broke": False, "no ink": True}

    await fail(lab, third, "no paper")
    assert await are_open() == {"it broke": False, "no ink": True, "no paper": True}
    await lab.work((await lab.started("c.md")).ids[0])
    assert not any((await are_open()).values())
    # The object of a new failure is open, although the group was not.
    await fail(lab, await lab.started("a.md"), "it broke")
    assert await are_open() == {"it broke": True, "no ink": False, "no paper": False}
