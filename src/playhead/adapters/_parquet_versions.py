"""The rows of `parquet_sink` in a route of a dataset: a folder for each publication.

    .staged/{id}.parquet        the rows of one call of the step; no reader sees them
    .staged/index.db            which of these files has the rows of a result, and the tables of `LiveTables`
    .published/{config}.{route}/{dataset}.{generation}/v{n}/{bucket}-{hash}.parquet
    .published/{config}.{route}/current       a link to the folder `v{n}` that readers see

The hash of its path assigns a row to a bucket. A bucket is one file in `v{n}`, and the name of the file has a
hash of the results in it. So publications with the same rows in a bucket share its file by hard links.

The database decides; folders and the link follow it. After `kill -9`, the call is repeated:

- A file of rows is complete before the database names it. `forget` deletes files that it does not name.
- All pages of a publication are recorded, then its folder is built under another name and renamed. If it is
  missing, the repeated page or the switch builds it.
- A switch is recorded, then the link is replaced. Each switch sets the link to what is recorded, also if it
  comes late or twice. So the link never goes back.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from playhead.adapters._parquet_file import locked, remove_unlocked, rows_in, sync_folder, write_table
from playhead.adapters._sqlite_file import BUSY_SECONDS, transaction, use_wal
from playhead.ids import uuid7
from playhead.ports.sinks import LiveTables, Rows, Script, Shown, SinkContext, StagePage, T, run

if TYPE_CHECKING:
    import pyarrow as pa

TABLES: Final = LiveTables("sqlite", "staged")
RESULT: Final = "_result"
"""The column with the result of a row."""
_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = (
    """CREATE TABLE staged (result TEXT NOT NULL, id TEXT NOT NULL, execution_id TEXT NOT NULL,
         bucket INTEGER NOT NULL, file TEXT NOT NULL, PRIMARY KEY (result, id)) WITHOUT ROWID""",
    "CREATE INDEX staged_execution ON staged (execution_id)",
    "CREATE INDEX staged_bucket ON staged (bucket, result, id)",
    "CREATE INDEX staged_file ON staged (file)",
    *TABLES.schema,
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_CONTENT: Final = f"""
    SELECT bucket, result, id, file FROM staged WHERE {TABLES.has("staged.result")}"""
_MOST_ROWS: Final = 20_000
"""Rows of several small buckets that are in memory together. A large bucket is in memory as a whole."""


class _Bucket(NamedTuple):
    """A file of a publication."""

    number: int
    name: str
    rows: int


class Versions:
    """The publications in the folder of one `parquet_sink`.

    Args:
        schema: of the rows, with the column `RESULT`.
        buckets: in how many files the rows of new publications are.
    """

    def __init__(self, folder: Path, schema: pa.Schema, buckets: int) -> None:
        self._staged = folder / ".staged"
        self._published = folder / ".published"
        self._schema = schema
        self._buckets = buckets
        self._compared: tuple[Path | None, str] = (None, "")

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Store rows that no reader sees yet. Ignores stored ones, and those of executions that are gone."""
        import pyarrow as pa

        known = f"""SELECT {TABLES.is_gone(":execution_id")}
            OR EXISTS (SELECT 1 FROM staged WHERE result = :{RESULT} AND id = :id)"""
        with self._index() as db:
            new = [row for row in rows if not db.execute(known, row).fetchone()[0]]
            if not new:
                return
            file = self._staged / f"{uuid7().hex}.parquet"
            written = file.with_name(f".{file.name}.new")
            # `forget` deletes a file with this name unless it is locked.
            with locked(written):
                write_table(pa.Table.from_pylist(new, self._schema), written)
                with transaction(db):
                    db.executemany(
                        f"""INSERT INTO staged SELECT :{RESULT}, :id, :execution_id, :bucket, :file
                            WHERE NOT {TABLES.is_gone(":execution_id")} ON CONFLICT DO NOTHING""",
                        [{**row, "bucket": self._bucket_of(row), "file": file.name} for row in new],
                    )
                    # `forget` deletes a file with this name unless the database names it.
                    os.rename(written, file)
                    sync_folder(self._staged)

    def stage(self, page: StagePage, ctx: SinkContext) -> list[str]:
        """See `Sink.stage`."""
        with self._index() as db, transaction(db):
            self._drop_lost(db, page.added)
            missing = _run(db, TABLES.stage(page, ctx))
            shown = _run(db, TABLES.shown(ctx))
        if shown and shown.complete == page.n:
            self._build(page.n, ctx)
        return missing

    def switch(self, n: int, seq: int, ctx: SinkContext) -> None:
        """See `Sink.switch`."""
        shown = self.shown(ctx)
        is_next = shown is not None and shown.seq < seq and shown.complete >= n
        if is_next and not self._version(ctx.line, n, ctx).is_dir():
            self._build(n, ctx)
        with self._index() as db, transaction(db):
            _run(db, TABLES.switch(n, seq, ctx))
        # Recorded first: the link of a switch that is not recorded would be taken back by a late older one.
        with self._index() as db, transaction(db):
            if target := self._shown_version(db, ctx):
                self._point_to(target, ctx)

    def forget(
        self, dropped: Sequence[range], upto: int, executions: Sequence[UUID], ctx: SinkContext
    ) -> None:
        """See `Sink.forget`."""
        with self._index() as db:
            with transaction(db):
                _run(db, TABLES.forget(dropped, upto, executions, ctx))
                named = {file for (file,) in db.execute("SELECT DISTINCT file FROM staged")}
                for file in self._staged.glob("[!.]*.parquet"):
                    if file.name not in named:
                        file.unlink()
            for file in self._staged.glob(".*.new"):
                remove_unlocked(file)
            self._delete_versions(db, dropped, ctx)

    def shown(self, ctx: SinkContext) -> Shown | None:
        """See `Sink.shown`."""
        with self._index() as db:
            return _run(db, TABLES.shown(ctx))

    def results(self, n: int, after: str, limit: int, ctx: SinkContext) -> list[str]:
        """See `Sink.results`. Results in a missing or damaged file are missing."""
        version = self._version(ctx.line, n, ctx)
        with self._index() as db:
            if not after or self._compared[0] != version:
                self._compared = version, json.dumps(self._damaged(db, n, ctx))
            rows = db.execute(
                f"""SELECT DISTINCT result FROM ({_CONTENT} AND result > ?3) WHERE result NOT IN (
                      SELECT result FROM staged WHERE bucket IN (SELECT value FROM json_each(?5)))
                    ORDER BY result LIMIT ?4""",
                (ctx.line, n, after, limit, self._compared[1]),
            )
            return [result for (result,) in rows]

    # -- the folder of a publication -------------------------------------------------------------------

    def _build(self, n: int, ctx: SinkContext) -> None:
        """Make the folder of a publication. No effect if it has the right files."""
        version = self._version(ctx.line, n, ctx)
        route = version.parent.parent
        route.mkdir(parents=True, exist_ok=True)
        with locked(route / ".lock"), self._index() as db:
            db.execute("BEGIN")  # all statements see the same rows
            buckets = self._content(db, n, ctx)
            is_there = {one.name for one in version.glob("*")} == {one.name for one in buckets}
            if is_there or version == self._linked(ctx):
                return
            new = _empty(route / ".new")
            stored = {file.name: file for file in route.glob("*/v*/*.parquet")}
            changed = [one for one in buckets if not _link(stored.get(one.name), one, new)]
            for group in _groups(changed):
                self._write(db, group, new, n, ctx)
            sync_folder(new)
            version.parent.mkdir(exist_ok=True)
            _delete(version)
            os.rename(new, version)
            sync_folder(version.parent)
            sync_folder(route)

    def _content(self, db: sqlite3.Connection, n: int, ctx: SinkContext) -> list[_Bucket]:
        """Return the files of a publication. An empty one has a file, so that readers find the columns."""
        ordered = db.execute(f"{_CONTENT} ORDER BY bucket, result, id", (ctx.line, n))
        found: list[_Bucket] = []
        for number, rows in groupby(ordered, key=itemgetter(0)):
            count = 0
            digest = hashlib.sha256(str(self._schema).encode())
            for _, result, key, _ in rows:
                count += 1
                digest.update(f"\n{result} {key}".encode())
            found.append(_Bucket(number, f"{number:03}-{digest.hexdigest()[:32]}.parquet", count))
        return found or [_Bucket(0, "000-empty.parquet", 0)]

    def _write(
        self, db: sqlite3.Connection, buckets: Sequence[_Bucket], folder: Path, n: int, ctx: SinkContext
    ) -> None:
        """Write files of a publication: rows that readers see already are read from there."""
        import pyarrow as pa

        wanted: dict[tuple[str, str], tuple[int, str]] = {}
        for one in buckets:
            rows = db.execute(f"{_CONTENT} AND bucket = ?3", (ctx.line, n, one.number))
            wanted |= {(result, key): (number, file) for number, result, key, file in rows}
        tables, numbers = [self._schema.empty_table()], list[int]()

        def take(table: pa.Table) -> None:
            keys = zip(table[RESULT].to_pylist(), table["id"].to_pylist(), strict=True)
            chosen = [(at, wanted.pop(key)[0]) for at, key in enumerate(keys) if key in wanted]
            tables.append(_fitted(table.take(_places(at for at, _ in chosen)), self._schema))
            numbers.extend(number for _, number in chosen)

        base = self._linked(ctx)
        for file in [file for one in buckets for file in base.glob(f"{one.number:03}-*")] if base else ():
            # The rows of a damaged file are read from where they were staged.
            with suppress(OSError, pa.ArrowException):
                take(_read(file))
        for name in sorted({file for _, file in wanted.values()}):
            take(_read(self._staged / name))
        whole = pa.concat_tables(tables)
        for one in buckets:
            rows = whole.take(_places(at for at, number in enumerate(numbers) if number == one.number))
            write_table(rows.sort_by([("path", "ascending"), ("id", "ascending")]), folder / one.name)

    def _damaged(self, db: sqlite3.Connection, n: int, ctx: SinkContext) -> list[int]:
        """Return the buckets whose rows readers of a publication do not see."""
        version = self._version(ctx.line, n, ctx)
        buckets = self._content(db, n, ctx)
        if self._shown_version(db, ctx) == version != self._linked(ctx):
            return [one.number for one in buckets]
        return [one.number for one in buckets if rows_in(version / one.name) != one.rows]

    def _delete_versions(self, db: sqlite3.Connection, dropped: Sequence[range], ctx: SinkContext) -> None:
        """Delete the folders of dropped publications, and of lines that were replaced."""
        route = self._route(ctx)
        if not route.is_dir():
            return
        with locked(route / ".lock"):
            for left in (".new", ".old"):  # by a killed process
                shutil.rmtree(route / left, ignore_errors=True)
            lines = {_line_folder(line) for line in _run(db, TABLES.lines(ctx))}
            needed = {self._linked(ctx), self._shown_version(db, ctx)}
            for version in route.glob("*/v*"):
                is_old = version.parent.name not in lines
                is_own = version.parent.name == _line_folder(ctx.line)
                is_dropped = is_own and any(int(version.name[1:]) in numbers for numbers in dropped)
                if (is_old or is_dropped) and version not in needed:
                    _delete(version)

    # -- places ----------------------------------------------------------------------------------------

    def _route(self, ctx: SinkContext) -> Path:
        return self._published / f"{ctx.config}.{ctx.route}"

    def _version(self, line: str, n: int, ctx: SinkContext) -> Path:
        return self._route(ctx) / _line_folder(line) / f"v{n}"

    def _shown_version(self, db: sqlite3.Connection, ctx: SinkContext) -> Path | None:
        """Return the folder that readers shall see."""
        shown = [(line, n) for line, n in _run(db, TABLES.lines(ctx)).items() if n]
        return self._version(*shown[0], ctx) if shown else None

    def _linked(self, ctx: SinkContext) -> Path | None:
        """Return the folder that readers see."""
        try:
            return self._route(ctx) / os.readlink(self._route(ctx) / "current")
        except FileNotFoundError:
            return None

    def _point_to(self, version: Path, ctx: SinkContext) -> None:
        """Show a folder. The caller excludes other processes."""
        if version == self._linked(ctx):
            return
        route = self._route(ctx)
        new = route / ".current.new"
        new.unlink(missing_ok=True)
        new.symlink_to(version.relative_to(route))
        os.replace(new, route / "current")
        sync_folder(route)

    def _bucket_of(self, row: dict[str, Any]) -> int:
        name = json.dumps([row["config"], row["stage"], row["path"]])
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % self._buckets

    # -- the database ----------------------------------------------------------------------------------

    @contextmanager
    def _index(self) -> Iterator[sqlite3.Connection]:
        self._staged.mkdir(parents=True, exist_ok=True)
        place = self._staged / "index.db"
        with closing(sqlite3.connect(place, timeout=BUSY_SECONDS, isolation_level=None)) as db:
            use_wal(db)
            if not _version_of(db):
                with transaction(db):
                    for statement in _SCHEMA if not _version_of(db) else ():
                        db.execute(statement)
            yield db

    def _drop_lost(self, db: sqlite3.Connection, results: Sequence[str]) -> None:
        """Delete what the database has of results whose files are lost, so that they are found missing."""
        named = json.dumps(list(results))
        where = "result IN (SELECT value FROM json_each(?1))"
        for (file,) in db.execute(f"SELECT DISTINCT file FROM staged WHERE {where}", (named,)).fetchall():
            if rows_in(self._staged / file) is None:
                db.execute(f"DELETE FROM staged WHERE {where} AND file = ?2", (named, file))


def _run(db: sqlite3.Connection, script: Script[T]) -> T:
    def execute(statement: str, values: tuple[Any, ...]) -> Rows:
        return db.execute(statement, values).fetchall()

    return run(script, execute)


def _version_of(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _line_folder(line: str) -> str:
    """Return the name of the folder of a line, `{config}/{dataset}/{route}#{generation}`."""
    _, dataset, route = line.split("/")
    return f"{dataset}.{route.rpartition('#')[2]}"


def _groups(buckets: Sequence[_Bucket]) -> Iterator[list[_Bucket]]:
    """Yield buckets that are written together, so that a staged file is not read for each of them."""
    group: list[_Bucket] = []
    for one in buckets:
        if group and sum(each.rows for each in group) + one.rows > _MOST_ROWS:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _read(file: Path) -> pa.Table:
    from pyarrow import parquet

    return parquet.ParquetFile(file).read()


def _places(rows: Iterable[int]) -> pa.Array:
    """Return numbers of rows, of which there may be none, for `Table.take`."""
    import pyarrow as pa

    return pa.array(list(rows), pa.int64())


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with the columns that the step has now. Raises `ValueError` if a type differs."""
    import pyarrow as pa

    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
        elif table.schema.field(field.name).type != field.type:
            had = table.schema.field(field.name).type
            raise ValueError(
                f"column {field.name!r} has the type {had} in stored rows, and {field.type} in the config: "
                "name another `path`, and replay the stage into it"
            )
    return table.select(schema.names).cast(schema)


def _link(stored: Path | None, bucket: _Bucket, folder: Path) -> bool:
    """Share an intact file of a publication with another one; return False if it is missing or damaged."""
    if stored is None or rows_in(stored) != bucket.rows:
        return False
    try:
        os.link(stored, folder / bucket.name)
    except OSError:  # such as a file system without hard links
        return False
    return True


def _empty(folder: Path) -> Path:
    """Return an empty folder. What a killed process has left there is deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _delete(version: Path) -> None:
    """Delete a folder. No process finds a half of it under its name."""
    if version.is_dir():
        old = _empty(version.parent.parent / ".old")
        os.rename(version, old)
        shutil.rmtree(old)
