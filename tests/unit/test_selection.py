"""Selections: the values of a request, and the objects that they select page by page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, strategies as st

from playhead.errors import NotFound
from playhead.ids import moment, uuid7
from playhead.model import Selection
from playhead.ports.catalog.browse import Reference
from playhead.ports.catalog.work import Source
from playhead.ports.store import Entry
from playhead.replay.selection import Selector, selector_of
from playhead.times import fixed_time
from tests.lab import Clock, Lab, MemoryDeployment

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC).timestamp()
SOURCE = uuid7()
PREFIX = f"{SOURCE}/pages"

# -- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "fixed"),
    [
        ("2026-01-31T18:00:00Z", "2026-01-31T18:00:00Z"),
        ("2026-01-31t18:00:00z", "2026-01-31T18:00:00Z"),
        ("2026-01-31 18:00:00+02:00", "2026-01-31T16:00:00Z"),
        ("2026-01-31T18:00:00.1234567-00:30", "2026-01-31T18:30:00.123456Z"),
        ("-90s", "2026-03-01T11:58:30.250000Z"),
        ("-30m", "2026-03-01T11:30:00.250000Z"),
        ("-24h", "2026-02-28T12:00:00.250000Z"),
        ("-7d", "2026-02-22T12:00:00.250000Z"),
        ("-2w", "2026-02-15T12:00:00.250000Z"),
    ],
)
def test_a_time_is_fixed_in_utc(given: str, fixed: str):
    assert fixed_time(given, NOW) == fixed
    assert fixed_time(fixed, NOW + 1000) == fixed


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "24h", "+24h", "-24", "-1.5h", "-24 h", "- 24h", "-24y", "-999999999w", "-٣h"),
        *("1772366400", "2026-01-31", "2026-01-31T18:00:00", "2026-01-31T18:00Z", "20260131T180000Z"),
        *("2026-02-30T00:00:00Z", "2026-01-31T24:30:00Z", "2026-01-31T18:00:00+25:00"),
        *("0001-01-01T00:00:00+01:00", "2026-W05-1T00:00:00Z"),
    ],
)
def test_any_other_text_is_not_a_time(text: str):
    with pytest.raises(ValueError, match=r"is not a time: .*-24h"):
        fixed_time(text, NOW)


@given(st.floats(0, 4e9))
@example(0.9999999)
def test_the_time_that_a_listing_shows_selects_the_object_by_after_and_not_by_before(modified: float):
    shown = moment(modified)
    entry = Entry(f"{PREFIX}/a", 1, modified)
    assert Chosen(modified_after=shown).takes(entry)
    assert not Chosen(modified_before=shown).takes(entry)


# -- other values ----------------------------------------------------------------------------------


def test_a_resolved_selection_has_fixed_times_and_is_otherwise_as_given():
    given = Selection(
        include=["*.md"], content_type=["text/*"], only="failed", modified_after="-24h", limit=3
    )
    fixed = given.fixed(NOW)
    assert fixed == Selection(
        include=["*.md"],
        content_type=["text/*"],
        only="failed",
        modified_after="2026-02-28T12:00:00.250000Z",
        limit=3,
    )
    assert fixed.fixed(NOW + 1000) == fixed


# -- objects ---------------------------------------------------------------------------------------


class Rows:
    """The rows of objects, and the objects of each outcome. Counts the queries."""

    def __init__(
        self, sources: Mapping[str, Source], failed: Sequence[str], unfinished: Sequence[str]
    ) -> None:
        self.known = sources
        self.failed = set(failed)
        self.open = {*failed, *unfinished}
        self.queries: list[tuple[str, int]] = []

    async def replay(self, batch: UUID) -> None:
        return None

    async def sources(self, keys: Sequence[str]) -> dict[str, Source]:
        self.queries.append(("sources", len(keys)))
        return {key: self.known[key] for key in keys if key in self.known}

    async def failed_below(
        self, keys: Sequence[str], execution: UUID, route: str, *, unfinished: bool
    ) -> set[str]:
        assert (execution, route) == (SOURCE, "docs/split")
        self.queries.append(("unfinished" if unfinished else "failed", len(keys)))
        return (self.open if unfinished else self.failed) & set(keys)

    async def records_deleted(self, executions: Sequence[UUID]) -> dict[UUID, str]:
        return {}


KINDS = {"a.md": "text/html; charset=utf-8", "b.md": "text/markdown", "c/d.md": "image/png"}
MADE: Mapping[str, Mapping[str, Any]] = {
    "a.md": {"lang": "en", "n": 1, "list": [1, {"deep": True}]},
    "b.md": {"lang": "de", "n": True},
    "c/d.md": {},
}
EXTERNAL = ("e.html", "f.bin")
PATHS = (*MADE, *EXTERNAL)
ENTRIES = [Entry(f"{PREFIX}/{path}", 1, NOW + n) for n, path in enumerate(PATHS)]


class Chosen:
    """A selection of these objects. `b.md` failed, and `c/d.md` was cancelled."""

    def __init__(self, *, explain: bool = False, **fields: Any) -> None:
        sources = {f"{PREFIX}/{p}": Source(KINDS[p], MADE[p], 1, bytes(32)) for p in MADE}
        self.rows = Rows(sources, [f"{PREFIX}/b.md"], [f"{PREFIX}/c/d.md"])
        self.selector = Selector(
            self.rows,
            Selection(**fields).fixed(NOW),
            prefix=PREFIX,
            executions=[SOURCE],
            target="docs/split",
            explain=explain,
        )

    def takes(self, one: Entry | Reference) -> bool:
        return self.selector._listed(one)

    async def paths(self, sources: Mapping[str, Source] | None = None) -> list[str]:
        found = await self.selector.select(ENTRIES, sources)
        return [one.key.removeprefix(PREFIX + "/") for one in found]


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({}, PATHS),
        ({"include": ["*.md"]}, ["a.md", "b.md"]),
        ({"include": ["a.*", "c/**"]}, ["a.md", "c/d.md"]),
        ({"exclude": ["**/*.md"]}, ["e.html", "f.bin"]),
        ({"include": ["*.md"], "exclude": ["a*"]}, ["b.md"]),
        ({"modified_after": moment(NOW + 2)}, ["c/d.md", "e.html", "f.bin"]),
        ({"modified_before": moment(NOW + 2)}, ["a.md", "b.md"]),
        ({"modified_after": "-1s", "modified_before": moment(NOW + 1)}, ["a.md"]),
        ({"modified_after": moment(NOW + 9)}, []),
        ({"content_type": ["text/html"]}, ["a.md", "e.html"]),
        ({"content_type": ["Text/*"]}, ["a.md", "b.md", "e.html"]),
        ({"content_type": ["image/*", "application/octet-stream"]}, ["c/d.md", "f.bin"]),
        ({"attributes": {"lang": "en"}}, ["a.md"]),
        ({"attributes": {"n": 1}}, ["a.md"]),
        ({"attributes": {"n": True}}, ["b.md"]),
        ({"attributes": {"list": [1, {"deep": True}]}}, ["a.md"]),
        ({"attributes": {"list": [1, {"deep": 1}]}}, []),
        ({"attributes": {"lang": "en", "n": True}}, []),
        ({"attributes": {"missing": None}}, []),
        ({"only": "failed"}, ["b.md"]),
        ({"only": "unfinished"}, ["b.md", "c/d.md"]),
        ({"only": "unfinished", "include": ["c/*"]}, ["c/d.md"]),
    ],
)
async def test_an_object_must_meet_all_conditions(fields: dict[str, Any], paths: Sequence[str]):
    assert await Chosen(**fields).paths() == list(paths)


async def test_rows_are_read_only_if_a_condition_needs_them_and_for_objects_that_meet_the_others():
    by_name = Chosen(include=["*.md"], modified_after="-1d")
    await by_name.paths()
    assert by_name.rows.queries == []

    by_all = Chosen(include=["*.md"], content_type=["text/markdown"], only="failed")
    await by_all.paths()
    assert by_all.rows.queries == [("sources", 2), ("failed", 1)]

    of_none = Chosen(include=["none"], attributes={"lang": "en"}, only="unfinished")
    assert await of_none.paths() == []
    assert of_none.rows.queries == []

    known = Chosen(attributes={"lang": "en"})
    assert await known.paths(known.rows.known) == ["a.md"]
    assert known.rows.queries == []


async def test_times_are_asked_of_the_store_only_if_a_condition_needs_them():
    assert not Chosen(include=["*"], content_type=["text/*"], only="failed").selector.needs_times
    assert Chosen(modified_after="-1d").selector.needs_times
    assert Chosen(modified_before="-1d").selector.needs_times


async def test_objects_that_are_left_out_are_counted_by_reason():
    chosen = Chosen(only="failed", exclude=["a*"], explain=True)
    for _ in range(2):
        assert await chosen.paths() == ["b.md"]
    assert chosen.selector.left_out == {"filtered": 2, "not_failed": 4, "aborted_not_selected": 2}

    unfinished = Chosen(only="unfinished", explain=True)
    await unfinished.paths()
    assert unfinished.selector.left_out == {"filtered": 0, "not_failed": 3, "aborted_not_selected": 0}
    assert ("failed", 3) not in unfinished.rows.queries


async def test_the_time_of_a_reference_is_that_of_its_row():
    reference = Reference(f"{PREFIX}/a.md", "elsewhere/pages/a.md", 1, NOW)
    assert Chosen(modified_after=moment(NOW)).takes(reference)
    assert not Chosen(modified_after=moment(NOW + 1)).takes(reference)


# -- the execution that `only` is about ------------------------------------------------------------


async def test_only_is_about_the_source_or_about_a_replay_of_it():
    deployment = MemoryDeployment(clock=Clock())
    lab: Lab = deployment.lab
    run = await deployment.started("a.md")
    other = await lab.started("b.md")
    replay = await lab.replayed(run.execution)

    async def execution(**fields: Any) -> UUID:
        selector = await selector_of(
            deployment.catalog,
            Selection(only="failed", **fields),
            source=run.execution,
            stage="input",
            target="docs/convert",
        )
        [found] = selector.executions
        return found

    assert await execution() == run.execution
    assert await execution(in_replay=replay.replay_batch_id) == replay.execution_id
    for batch in ((await lab.replayed(other.execution)).replay_batch_id, replay.execution_id, lab.unknown()):
        with pytest.raises(NotFound, match=f"execution {run.execution} has no replay {batch}") as caught:
            await execution(in_replay=batch)
        assert caught.value.code == "replay_not_found"
