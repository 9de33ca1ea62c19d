"""A table of Parquet files follows what is published: also with lost files, or while it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pyarrow.dataset
import pytest

from playhead.adapters.parquet_sink import current
from tests.inprocess import opened
from tests.integration.test_publications import DOCS, Splitter, published
from tests.integration.test_published_index import Indexed
from tests.waiting import until

TABLE = (
    DOCS.replace("{stage: seg}", "{stage: seg, to: [index]}")
    + """
  index:
    adapters: [{type: parquet_sink, config: {path: rows, buckets: 4}}]
"""
)


class Table(Indexed):
    """A Playhead with a dataset and its table."""

    @property
    def folder(self) -> Path:
        return self.home / "data" / "rows"

    def shown(self, n: int | None = None) -> dict[str, str]:
        rows = pyarrow.dataset.dataset(current(self.folder), format="parquet").to_table().to_pylist()
        assert len({row["path"] for row in rows}) == len(rows)
        return {row["path"]: row["execution_id"] for row in rows}


@pytest.fixture
async def of(tmp_path: Path) -> AsyncIterator[Table]:
    async with opened(tmp_path / "home") as ph:
        assert (await ph.apply(TABLE))["warnings"] == [], "W107: its rows would be visible at once"
        Splitter(ph)
        yield Table(ph, tmp_path / "home")


async def test_a_table_has_what_is_published_also_after_a_replay_and_a_rollback(of: Table):
    one = await of.ph.run({"a": "w w", "b": "w"})
    assert current(of.folder) == of.folder, "as long as nothing is published"
    await published(of.ph, one)
    await of.up_to_date()
    first = {"a/1": one, "a/2": one, "b/1": one}
    assert of.shown() == first
    two = await of.replay(one)
    assert of.shown() == first
    await published(of.ph, two)
    await of.up_to_date()
    assert of.shown() == {"a/1": two, "a/2": two, "b/1": two}
    await of.service.roll_back("docs")
    await of.up_to_date()
    assert of.shown() == first
    three = await of.ph.run({"a": "w"})
    await published(of.ph, three, allow=["removed"])
    await of.up_to_date()
    assert of.shown() == {"a/1": three}
    assert await of.checked() == (0, 0)


async def test_readers_see_one_publication_at_a_time(of: Table):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await of.up_to_date()
    two = await of.replay(one)
    seen: list[set[str]] = []

    async def read() -> None:
        while {two} not in seen:
            seen.append(set((await asyncio.to_thread(of.shown)).values()))

    reader = asyncio.create_task(read())
    await published(of.ph, two)
    await reader
    assert [one_seen for one_seen in seen if one_seen not in ({one}, {two})] == []


async def test_a_damaged_file_is_found_and_written_again(of: Table):
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await of.up_to_date()
    for file in current(of.folder).iterdir():
        file.write_bytes(b"PAR1")
    assert await of.checked() == (3, 0)
    assert await of.checked(repair=True) == (0, 0)
    assert of.shown() == {"a/1": one, "a/2": one, "b/1": one}


async def test_folders_of_dropped_publications_are_deleted(of: Table):
    await of.ph.apply(TABLE.replace("{docs: {}}", "{docs: {keep: 0}}"))
    one = await of.ph.run({"a": "w w", "b": "w"})
    await published(of.ph, one)
    await published(of.ph, await of.replay(one))
    await of.up_to_date()

    async def is_alone() -> bool:
        await of.service.drafts.drop_due()
        await of.service.follow()
        return list(of.folder.glob(".published/*/*/v*")) == [current(of.folder)]

    await until(is_alone)
    assert current(of.folder).name == "v2"
