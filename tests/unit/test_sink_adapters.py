"""The sinks that write files: vectors in SQLite, and rows in Parquet."""

from __future__ import annotations

import itertools
import json
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import apsw
import pyarrow.dataset
import pytest

from playhead import Context, Item, Reject, Retry
from playhead.adapters.parquet_sink import ParquetSink, ParquetSinkConfig
from playhead.adapters.sqlite_vectors import SqliteVectors, SqliteVectorsConfig, search
from playhead.errors import BadRequest, NotFound, PlayheadError
from playhead.extras import install_command
from playhead.ids import uuid7

OLD, NEW = uuid7(), uuid7()


def context(data_dir: Path, execution: UUID = OLD, config: str = "docs") -> Context:
    return Context(execution, uuid7(), config, 1, "index", 1, None, str(data_dir), logging.getLogger("test"))


def segment(path: str, execution: UUID = OLD, vector: Sequence[float] = (1.0, 0.0), **more: Any) -> Item:
    fields = {"text": f"text of {path} in {execution}", "vector": list(vector), **more}
    key = f"{execution}/segments/{path}"
    return Item(path, json.dumps(fields).encode(), attributes={"title": "T"}, stage="segments", key=key)


class Sqlite:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sink(self, **config: Any) -> SqliteVectors:
        return SqliteVectors(SqliteVectorsConfig(path="rows", **config))

    def rows(self) -> list[tuple[str, str]]:
        db = apsw.Connection(str(self.folder / "rows"))
        found = db.execute("SELECT path, execution_id FROM vector ORDER BY path, execution_id").fetchall()
        return [(str(path), str(execution)) for path, execution in found]


class Parquet:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def sink(self, **config: Any) -> ParquetSink:
        return ParquetSink(
            ParquetSinkConfig(path="rows", columns={"vector": "vector", "text": "text"}, **config)
        )

    def rows(self) -> list[tuple[str, str]]:
        found = table(self.folder / "rows")
        return sorted((row["path"], row["execution_id"]) for row in found)


def table(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pyarrow.dataset.dataset(folder, format="parquet").to_table().to_pylist()
    return found


@pytest.fixture(params=[Sqlite, Parquet], ids=["sqlite_vectors", "parquet_sink"])
def target(request, tmp_path):
    return request.param(tmp_path)


def store(sink: SqliteVectors | ParquetSink, item: Item, ctx: Context) -> None:
    """Write one item. Raises `Reject`."""
    (result,) = sink([item], [ctx])
    if result is not None:
        raise result


def write(sink: Any, folder: Path, items: Iterable[tuple[Item, UUID]], config: str = "docs") -> None:
    for item, execution in items:
        store(sink, item, context(folder, execution, config))
    if hasattr(sink, "close"):
        sink.close()


# -- both ------------------------------------------------------------------------------------------


def test_writing_an_item_again_changes_nothing(target, tmp_path):
    write(target.sink(), tmp_path, [(segment("a/1.json"), OLD)] * 3)
    write(target.sink(), tmp_path, [(segment("a/1.json"), OLD)])
    assert target.rows() == [("a/1.json", str(OLD))]


def test_vectors_are_not_written_to_a_file_that_was_removed(tmp_path):
    sqlite = Sqlite(tmp_path)
    sink = sqlite.sink()
    sink([segment("a.json")], [context(tmp_path)])
    for path in tmp_path.glob("rows*"):
        path.unlink()
    sink([segment("b.json")], [context(tmp_path)])
    assert sqlite.rows() == [("b.json", str(OLD))]
    sink.close()


def test_a_replay_of_the_same_objects_keeps_one_row_for_each(target, tmp_path):
    write(target.sink(), tmp_path, [(segment("a/1.json"), OLD), (segment("a/1.json"), NEW)])
    assert target.rows() == [("a/1.json", str(NEW))]


EVENTS = [(segment(f"a/{n}.json", OLD), OLD) for n in (1, 2, 3)] + [
    (segment(f"a/{n}.json", NEW), NEW) for n in (1, 2)
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(5)))[::5], ids=str)
def test_the_rows_of_the_newest_execution_remain_in_any_order_of_the_writes(target, tmp_path, order):
    write(target.sink(replace="folder"), tmp_path, [EVENTS[n] for n in order])
    assert target.rows() == [("a/1.json", str(NEW)), ("a/2.json", str(NEW))]


def test_a_late_write_of_an_older_execution_does_not_remove_the_row_of_the_same_object(target, tmp_path):
    write(target.sink(), tmp_path, [(segment("a/1.json"), NEW), (segment("a/1.json"), OLD)])
    assert target.rows() == [("a/1.json", str(NEW))]


@pytest.mark.parametrize("replace", ["path", "folder", "none"])
def test_a_batch_stores_the_same_rows_as_single_items(target, tmp_path, replace):
    write(target.sink(replace=replace), tmp_path, EVENTS)
    alone = target.rows()
    other = type(target)(tmp_path / "other")
    items = [item for item, _ in EVENTS]
    contexts = [context(tmp_path / "other", execution) for _, execution in EVENTS]
    assert other.sink(replace=replace)(items, contexts) == [None] * 5
    assert other.rows() == alone


def test_an_unusable_item_of_a_batch_is_rejected_and_the_others_are_stored(target, tmp_path):
    items = [segment("a.json"), Item("b.json", b"text"), segment("c.json")]
    first, second, third = target.sink()(items, [context(tmp_path)] * 3)
    assert (first, third) == (None, None)
    assert isinstance(second, Reject)
    assert [path for path, _ in target.rows()] == ["a.json", "c.json"]


def test_a_row_replaces_by_default_the_rows_of_earlier_executions_with_the_same_path(target, tmp_path):
    write(target.sink(), tmp_path, EVENTS)
    assert target.rows() == [("a/1.json", str(NEW)), ("a/2.json", str(NEW)), ("a/3.json", str(OLD))]


def test_rows_of_all_executions_can_be_kept(target, tmp_path):
    write(target.sink(replace="none"), tmp_path, EVENTS)
    assert len(target.rows()) == 5


def test_items_at_the_top_level_are_documents_of_their_own(target, tmp_path):
    items = [(segment("a.json", OLD), OLD), (segment("b.json", OLD), OLD), (segment("a.json", NEW), NEW)]
    write(target.sink(replace="folder"), tmp_path, items)
    assert target.rows() == [("a.json", str(NEW)), ("b.json", str(OLD))]


def test_rows_of_another_config_are_not_replaced(target, tmp_path):
    write(target.sink(), tmp_path, [(segment("a/1.json", OLD), OLD)], "one")
    write(target.sink(), tmp_path, [(segment("a/1.json", NEW), NEW)], "two")
    assert target.rows() == [("a/1.json", str(OLD)), ("a/1.json", str(NEW))]


def test_items_of_two_messages_with_the_same_path_inside_a_chain_have_a_row_each(target, tmp_path):
    # An earlier step has turned `report.md` and `report.txt` into `report.json`.
    item = replace(segment("report.json"), key=None)
    first, second = context(tmp_path), context(tmp_path)
    sink = target.sink()
    for ctx in (first, second, first):
        store(sink, item, ctx)
    assert target.rows() == [("report.json", str(OLD))] * 2
    store(sink, item, context(tmp_path, NEW))
    assert target.rows() == [("report.json", str(NEW))]


def test_a_file_or_folder_that_cannot_be_written_is_an_error_of_the_whole_batch(target, tmp_path):
    if isinstance(target, Sqlite):
        (tmp_path / "rows").write_bytes(b"not a database" * 100)
    else:
        (tmp_path / "rows").mkdir()
        for n in range(256):
            (tmp_path / "rows" / f"{n:02x}").touch()
    items = [segment(f"{n}.json") for n in range(3)]
    with pytest.raises(Retry, match=r"rows .*cannot be written"):
        target.sink()(items, [context(tmp_path)] * 3)


def test_threads_that_write_at_the_same_time_lose_no_row(target, tmp_path):
    shared = target.sink(replace="folder")
    failures: list[BaseException] = []

    def work(name: int) -> None:
        # As in a route: one instance per thread, or one for all if the class is thread-safe.
        sink = shared if isinstance(shared, ParquetSink) else target.sink(replace="folder")
        try:
            for n in range(10):
                store(sink, segment(f"same/{name}-{n}.json"), context(tmp_path))
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(target.rows()) == 80


def _work_in_process(kind: type[Sqlite | Parquet], folder: Path, execution: UUID, name: int) -> None:
    items = [(segment(f"same/{name}-{n}.json", execution), execution) for n in range(20)]
    write(kind(folder).sink(replace="folder"), folder, items)


def test_processes_that_start_and_write_at_once_lose_no_row(target, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    args = [(type(target), tmp_path, OLD, name) for name in range(3)]
    processes = [spawn.Process(target=_work_in_process, args=each) for each in args]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert len(target.rows()) == 60


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "", ".", "a/", "a\\b", "a\0b"])
def test_a_path_outside_the_data_folder_is_refused(path):
    for model in (SqliteVectorsConfig, ParquetSinkConfig):
        with pytest.raises(ValueError):
            model(path=path)


def test_a_link_with_the_name_of_the_file_or_folder_is_not_followed(target, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tmp_path / "data"
    data.mkdir()
    (data / "rows").symlink_to(outside)
    with pytest.raises(Reject, match="is a link"):
        store(target.sink(), segment("a/1.json"), context(data))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    ("library", "extra", "module", "config"),
    [
        ("apsw", "vectors", "sqlite_vectors", "SqliteVectorsConfig"),
        ("pyarrow", "parquet", "parquet_sink", "ParquetSinkConfig"),
    ],
)
def test_a_missing_library_is_an_error_of_the_config_with_the_install_command(
    tmp_path, library, extra, module, config
):
    # An environment without the library: a folder with links to all other packages.
    packages = Path(apsw.__file__).parent.parent
    for package in packages.iterdir():
        if not package.name.startswith((library, "__editable__", "_pytest")):
            os.symlink(package, tmp_path / package.name)
    source = Path(__file__).parents[2] / "src"
    code = (
        f"from playhead.adapters.{module} import {config} as Config\n"
        "try:\n    Config(path='rows')\n"
        "except ValueError as exc:\n    print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": f"{source}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"the library {library} is not installed. Run: {install_command(extra)}" in done.stdout, (
        done.stderr
    )


def test_loading_the_built_in_adapters_imports_no_optional_library():
    probe = (
        "import sys, playhead.bootstrap\n"
        "print([n for n in ('apsw', 'sqlite_vec', 'pyarrow', 'asyncpg', 'httpx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- vectors in SQLite -----------------------------------------------------------------------------


def test_a_late_write_of_another_config_does_not_replace_a_newer_row_of_the_same_object(tmp_path):
    sqlite = Sqlite(tmp_path)
    item = segment("a/1.json")  # replayed into a route of another config
    write(sqlite.sink(), tmp_path, [(item, OLD)], "one")
    write(sqlite.sink(), tmp_path, [(item, NEW)], "two")
    write(sqlite.sink(), tmp_path, [(item, OLD)], "one")
    assert sqlite.rows() == [("a/1.json", str(NEW))]


def test_the_nearest_vectors_are_found_with_text_and_metadata(tmp_path):
    sink = Sqlite(tmp_path).sink()
    items = [segment("x.json", vector=(1, 0), lang="en"), segment("y.json", vector=(0, 1))]
    write(sink, tmp_path, [(item, OLD) for item in items])
    near, far = search(tmp_path / "rows", [2.0, 0.1])
    assert (near.path, near.id, near.execution_id) == ("x.json", f"{OLD}/segments/x.json", str(OLD))
    assert near.text == f"text of x.json in {OLD}"
    assert near.metadata == {"title": "T", "lang": "en"}
    assert near.distance == pytest.approx(0.00125, abs=1e-4)
    assert far.distance == pytest.approx(0.95, abs=0.01)
    assert [hit.path for hit in search(tmp_path / "rows", [0, 1], limit=1)] == ["y.json"]


def test_a_vector_with_other_dimensions_is_rejected(tmp_path):
    sink = Sqlite(tmp_path).sink()
    store(sink, segment("a.json"), context(tmp_path))
    with pytest.raises(Reject, match="3 dimensions, and those of the file have 2"):
        store(sink, segment("b.json", vector=(1, 2, 3)), context(tmp_path))
    with pytest.raises(BadRequest, match="1 dimensions"):
        search(tmp_path / "rows", [1.0])
    sink.close()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[1]", "not a JSON object"),
        (b"text", "not JSON"),
        (b'{"text": "x"}', "'vector' is not a list of 32-bit numbers"),
        (b'{"vector": []}', "'vector' is not a list of 32-bit numbers"),
        (b'{"vector": [true]}', "'vector' is not a list of 32-bit numbers"),
        (b'{"vector": [NaN]}', "'vector' is not a list of 32-bit numbers"),
        (b'{"vector": [1e39]}', "'vector' is not a list of 32-bit numbers"),
        (b'{"vector": [1' + b"0" * 400 + b"]}", "'vector' is not a list of 32-bit numbers"),
        (b'{"vector": [1], "text": 2}', "'text' is not text"),
        (b'{"vector": [1], "text": "\\ud800"}', "not valid JSON: .*surrogates"),
        (b'{"vector": [1], "x": "\\ud800"}', "not valid JSON: .*surrogates"),
        (b'{"vector": [1], "x": NaN}', "not valid JSON: .*not JSON compliant"),
    ],
)
def test_an_item_without_a_vector_is_rejected(tmp_path, data, why):
    with pytest.raises(Reject, match=why):
        store(Sqlite(tmp_path).sink(), Item("a.json", data), context(tmp_path))


def test_the_fields_with_vector_and_text_can_have_other_names(tmp_path):
    item = Item("a.json", b'{"embedding": [1, 0], "body": "words"}')
    write(Sqlite(tmp_path).sink(vector_field="embedding", text_field="body"), tmp_path, [(item, OLD)])
    assert [(hit.text, hit.metadata) for hit in search(tmp_path / "rows", [1, 0])] == [("words", {})]


def test_a_vector_of_zeros_is_stored_and_does_not_prevent_a_search(tmp_path):
    write(Sqlite(tmp_path).sink(), tmp_path, [(segment("a", vector=(0, 0)), OLD), (segment("b"), OLD)])
    assert [(hit.path, hit.distance) for hit in search(tmp_path / "rows", [1, 0])] == [("b", 0.0)]
    with pytest.raises(BadRequest, match="consists of zeros"):
        search(tmp_path / "rows", [0, 0])


def test_a_missing_file_of_vectors_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="sqlite_vectors"):
        search(tmp_path / "none", [1.0])


def test_a_file_of_a_newer_version_is_not_changed(tmp_path):
    db = apsw.Connection(str(tmp_path / "rows"))
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(PlayheadError, match="newer version"):
        store(Sqlite(tmp_path).sink(), segment("a.json"), context(tmp_path))


# -- Parquet ---------------------------------------------------------------------------------------


def test_without_columns_a_row_has_the_text_of_the_item(tmp_path):
    sink = ParquetSink(ParquetSinkConfig(path="rows"))
    store(
        sink,
        Item("a.md", "é".encode(), attributes={"n": 1}, stage="s", key=f"{OLD}/s/a.md"),
        context(tmp_path),
    )
    assert table(tmp_path / "rows") == [
        {
            "id": f"{OLD}/s/a.md",
            "execution_id": str(OLD),
            "config": "docs",
            "stage": "s",
            "path": "a.md",
            "attributes": '{"n": 1}',
            "text": "é",
        }
    ]


KINDS = {"t": "text", "i": "integer", "n": "number", "b": "boolean", "v": "vector", "j": "json"}


def typed(tmp_path: Path, fields: object) -> None:
    sink = ParquetSink(ParquetSinkConfig(path="rows", columns=KINDS))
    store(sink, Item("a.json", json.dumps(fields).encode(), key=f"{OLD}/s/a.json"), context(tmp_path))


def test_columns_have_their_types_also_without_a_value(tmp_path):
    for fields in ({}, {"t": "x", "i": 1, "n": 1, "b": True, "v": [1, 0.5], "j": {"a": [1]}}):
        typed(tmp_path, fields)
        schema = pyarrow.dataset.dataset(tmp_path / "rows", format="parquet").schema
        assert [str(schema.field(name).type) for name in KINDS] == [
            "string", "int64", "double", "bool", "list<element: float>", "string",
        ]  # fmt: skip
    (row,) = table(tmp_path / "rows")
    assert {name: row[name] for name in KINDS} == {
        "t": "x", "i": 1, "n": 1.0, "b": True, "v": [1.0, 0.5], "j": '{"a": [1]}',
    }  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"t": 1},
        {"n": 10**400},
        {"v": [1e39]},
        {"v": [True]},
        {"i": 1.5},
        {"i": True},
        {"i": 2**63},
        {"n": "1"},
        {"b": 0},
        {"v": 1},
        {"v": ["x"]},
    ],
    ids=str,
)
def test_a_value_of_another_type_is_rejected(tmp_path, fields):
    with pytest.raises(Reject, match=f"its field '{next(iter(fields))}' is not of the type of its column"):
        typed(tmp_path, fields)


@pytest.mark.parametrize("fields", [{"t": "\ud800"}, {"j": ["\ud800"]}, {"j": float("nan")}], ids=str)
def test_a_value_that_is_not_json_for_all_readers_is_rejected(tmp_path, fields):
    with pytest.raises(Reject, match="not valid JSON"):
        typed(tmp_path, fields)


def test_numbers_are_rounded_to_the_type_of_their_column(tmp_path):
    typed(tmp_path, {"n": 2**64 + 1, "v": [2**24 + 1, 2**64]})
    (row,) = table(tmp_path / "rows")
    assert (row["n"], row["v"]) == (float(2**64), [float(2**24), float(2**64)])


def test_a_column_cannot_have_the_name_of_a_fixed_column():
    with pytest.raises(ValueError, match="'path' already"):
        ParquetSinkConfig(path="rows", columns={"path": "text"})
