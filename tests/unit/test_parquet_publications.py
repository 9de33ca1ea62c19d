"""Publications of `parquet_sink`, with random histories, and with a rule removed, which must be found."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.dataset
import pytest

from playhead import Context, Item, adapter
from playhead.adapters._parquet_versions import RESULT, Versions, _Bucket
from playhead.adapters.parquet_sink import ParquetSink, ParquetSinkConfig, current
from playhead.errors import BadRequest
from playhead.ids import uuid7
from playhead.ports.sinks import SinkContext, StagePage
from playhead.testing import check_sink

ITEM = Item("a.md", b"the text")
SINK: dict[str, Any] = {"path": "rows", "buckets": 3}
RUN = uuid7()


def rows_of(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pyarrow.dataset.dataset(folder, format="parquet").to_table().to_pylist()
    return found


class _Read(ParquetSink):
    """Finds results in the files that readers open, not in the database."""

    kind = Versions

    def results(self, n: int, after: str, limit: int, ctx: SinkContext) -> list[str]:
        folder = self._folder(ctx.data_dir)
        shown = self.shown(ctx)
        if shown and shown.n == n:
            place = current(folder, f"{ctx.config}.{ctx.route}")
        else:
            place = folder / ".published" / f"{ctx.config}.{ctx.route}" / "docs.0" / f"v{n}"
        found = sorted(row[RESULT] for row in rows_of(place))
        assert found == super().results(n, "", 1_000, ctx)
        return [one for one in found if one > after][:limit]

    def _versions(self, folder: Path) -> Versions:
        made = super()._versions(folder)
        made.__class__ = self.kind
        return made


def test_readers_see_whole_publications_in_any_history():
    check_sink(adapter("read_parquet", sink=True, batch=100)(_Read), ITEM, SINK, schedules=4)


class _LinksGiven(Versions):
    """Shows what a switch names, also if it is late."""

    def switch(self, n: int, seq: int, ctx: SinkContext) -> None:
        super().switch(n, seq, ctx)
        self._point_to(self._version(ctx.line, n, ctx), ctx)


class _NamesWithoutResults(Versions):
    """Shares a file with an earlier publication that has as many rows in the bucket."""

    def _content(self, *given: Any) -> list[_Bucket]:
        return [
            _Bucket(one.number, f"{one.number:03}-x.parquet", one.rows) for one in super()._content(*given)
        ]


class _BuildsEarly(Versions):
    """Makes the folder with the first page, and never again."""

    def stage(self, page: StagePage, ctx: SinkContext) -> list[str]:
        self._build(page.n, ctx)
        return super().stage(page, ctx)

    def _build(self, n: int, ctx: SinkContext) -> None:
        if not self._version(ctx.line, n, ctx).exists():
            super()._build(n, ctx)


class _ForgetsAll(Versions):
    """Forgets what a list of numbers does not protect."""

    def _delete_versions(self, db: Any, dropped: Sequence[range], ctx: SinkContext) -> None:
        super()._delete_versions(db, [range(1_000)], ctx)


class _DeletesStaged(Versions):
    """Deletes rows that a publication has already."""

    def forget(
        self, dropped: Sequence[range], upto: int, executions: Sequence[UUID], ctx: SinkContext
    ) -> None:
        super().forget(dropped, upto, executions, ctx)
        for file in self._staged.glob("[!.]*.parquet"):
            file.unlink()


@pytest.mark.parametrize(
    ("broken", "first_seed"),
    [  # a history that finds it is one of the first from this seed on
        (_LinksGiven, 3),
        (_NamesWithoutResults, 19),
        (_BuildsEarly, 2),
        (_ForgetsAll, 0),
        (_DeletesStaged, 3),
    ],
)
def test_a_rule_that_is_removed_is_found(broken: type[Versions], first_seed: int):
    @adapter("broken_parquet", sink=True, batch=100)
    class Broken(_Read):
        kind = broken

    with pytest.raises((AssertionError, FileNotFoundError)):
        check_sink(Broken, ITEM, SINK, schedules=30, first_seed=first_seed)


# -- one history -----------------------------------------------------------------------------------


class Followed:
    """A sink, and what its readers see."""

    def __init__(self, home: Path, route: str = "index", **config: Any) -> None:
        self.folder = home / "rows"
        self.sink = ParquetSink(ParquetSinkConfig(path="rows", **{"buckets": 8, **config}))
        self.home = str(home)
        self.ctx = SinkContext("docs", "docs", route, self.home)
        self.open: list[str] = []
        self.newest = 0

    def write(self, *paths: str, execution: UUID = RUN) -> list[str]:
        contexts = [
            Context(
                *(execution, uuid7(), "docs", 1, self.ctx.route, 1, None, self.home),
                log=logging.getLogger("test"),
                dataset="docs",
            )
            for _ in paths
        ]
        items = [Item(path, path.encode(), stage="seg", key=f"{execution}/seg/{path}") for path in paths]
        assert self.sink(items, contexts) == [None] * len(paths)
        return [one.result for one in contexts]

    def stage(self, results: Sequence[str]) -> list[str]:
        self.newest += 1
        added = [one for one in results if one not in self.open]
        removed = [one for one in self.open if one not in results]
        self.open = list(results)
        return self.sink.stage(StagePage(self.newest, 0, 1, self.newest - 1, added, removed), self.ctx)

    def publish(self, results: Sequence[str]) -> None:
        assert self.stage(results) == []
        self.sink.switch(self.newest, self.newest, self.ctx)

    @property
    def shown(self) -> list[str]:
        return sorted(row["path"] for row in rows_of(current(self.folder)))


def test_rows_are_visible_when_they_are_published_and_a_reader_keeps_its_folder(tmp_path: Path):
    of = Followed(tmp_path)
    one, two = of.write("a", "b")
    assert current(of.folder) == of.folder
    assert of.stage([one]) == []
    assert current(of.folder) == of.folder, "a publication that is not decided"
    of.sink.switch(1, 1, of.ctx)
    earlier = current(of.folder)
    of.publish([one, two])
    assert of.shown == ["a", "b"]
    assert [row["path"] for row in rows_of(earlier)] == ["a"]
    of.sink.switch(1, 3, of.ctx)
    assert current(of.folder) == earlier


def test_an_empty_publication_has_columns_and_no_rows(tmp_path: Path):
    of = Followed(tmp_path)
    of.publish([])
    table = pyarrow.dataset.dataset(current(of.folder), format="parquet").to_table()
    assert (len(table), table.column_names[0]) == (0, "id")


def test_a_bucket_that_did_not_change_is_the_same_file(tmp_path: Path):
    of = Followed(tmp_path)
    rows = of.write(*(f"{n}" for n in range(40)))
    of.publish(rows)
    first = {file.name: file.stat().st_ino for file in current(of.folder).iterdir()}
    of.publish(rows[:-1])
    second = {file.name: file.stat().st_ino for file in current(of.folder).iterdir()}
    assert len(first) == len(second) == 8
    assert len(set(first.items()) & set(second.items())) == 7


def test_other_columns_write_all_files_again_and_another_type_is_an_error(tmp_path: Path):
    def item(path: str) -> Item:
        return Item(path, b'{"n": 1, "more": "x"}', stage="seg", key=f"{RUN}/seg/{path}")

    of = Followed(tmp_path, columns={"n": "integer"})
    ctx = Context(
        *(RUN, uuid7(), "docs", 1, "index", 1, None, of.home), log=logging.getLogger("test"), dataset="docs"
    )
    of.sink([item("a")], [ctx])
    of.publish([ctx.result])
    of.sink = ParquetSink(ParquetSinkConfig(path="rows", buckets=8, columns={"n": "integer", "more": "text"}))
    of.publish([ctx.result])
    assert [(row["n"], row["more"]) for row in rows_of(current(of.folder))] == [(1, None)]
    of.sink = ParquetSink(ParquetSinkConfig(path="rows", buckets=8, columns={"n": "text"}))
    with pytest.raises(ValueError, match=r"column 'n' has the type int64 .* name another `path`"):
        of.stage([ctx.result])
    assert [row["n"] for row in rows_of(current(of.folder))] == [1]


def test_routes_have_separate_publications_in_one_folder(tmp_path: Path):
    one, other = Followed(tmp_path), Followed(tmp_path, "other")
    one.publish(one.write("a"))
    assert one.shown == ["a"]
    other.publish(other.write("b"))
    with pytest.raises(BadRequest, match=r"name one: docs\.index, docs\.other"):
        current(one.folder)
    assert [row["path"] for row in rows_of(current(one.folder, "index"))] == ["a"]
    assert [row["path"] for row in rows_of(current(one.folder, "docs.other"))] == ["b"]


def test_rows_whose_file_is_lost_are_missing_and_those_of_a_damaged_publication_too(tmp_path: Path):
    of = Followed(tmp_path)
    [one] = of.write("a")
    of.publish([one])
    [two] = of.write("b")
    for file in (of.folder / ".staged").glob("*.parquet"):
        file.unlink()
    assert of.stage([one, two]) == [two], "the first one is in a publication"
    [damaged] = current(of.folder).iterdir()
    damaged.write_bytes(b"PAR1")
    assert of.sink.results(1, "", 10, of.ctx) == []


def test_a_line_that_replaces_another_one_does_not_share_its_damaged_files(tmp_path: Path):
    of = Followed(tmp_path)
    rows = of.write("a", "b", "c")
    of.publish(rows)
    for file in current(of.folder).iterdir():
        file.write_bytes(b"PAR1")
    assert of.sink.results(1, "", 10, of.ctx) == []
    of.ctx = SinkContext("docs", "docs", "index", of.home, generation=1)
    assert of.sink.stage(StagePage(1, 0, 1, 0, rows, []), of.ctx) == []
    of.sink.switch(1, 2, of.ctx)
    assert of.shown == ["a", "b", "c"]
    of.sink.forget([], 1, [], of.ctx)
    assert list((of.folder / ".published" / "docs.index").glob("*/v*")) == [current(of.folder)]


def test_rows_of_an_execution_that_is_gone_are_deleted_and_not_written_again(tmp_path: Path):
    of = Followed(tmp_path)
    keep, gone = uuid7(), uuid7()
    rows = of.write("a", execution=keep)
    of.write("b", execution=gone)
    of.publish(rows)
    of.sink.forget([], 1, [keep, gone], of.ctx)
    assert len(list((of.folder / ".staged").glob("*.parquet"))) == 1
    of.write("b", execution=gone)
    assert len(list((of.folder / ".staged").glob("*.parquet"))) == 1
    assert of.shown == ["a"]
