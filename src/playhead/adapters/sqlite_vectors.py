"""`sqlite_vectors`: store vectors in one SQLite file, and search them.

The vectors are in an ordinary table, in the format of sqlite-vec: 32-bit floats. sqlite-vec computes the
distances. Its virtual tables are not used, because they do not free the space of deleted rows.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import Field, field_validator, model_validator

from playhead import Context, Item, Reject, Retry, adapter
from playhead.adapters._data_folder import data_place
from playhead.adapters._sink import NEWEST, VectorRow, VectorSinkConfig, need, vector_rows
from playhead.adapters._sqlite_file import (
    BUSY_SECONDS,
    OpenedFile,
    create_tables,
    file_problem,
    transaction,
    use_wal,
)
from playhead.errors import BadRequest, NotFound, PlayheadError
from playhead.ports.sinks import LiveTables, Script, SinkContext, SqlSink, run

if TYPE_CHECKING:
    from apsw import Connection

_TABLES: Final = LiveTables("sqlite", "vector")
_NEWEST: Final = NEWEST.format(table="vector", row="vector", key="id")
_SCHEMA_VERSION: Final = 2
_SCHEMA: Final = (
    """CREATE TABLE vector (
         written INTEGER PRIMARY KEY,
         id TEXT NOT NULL,
         execution_id TEXT NOT NULL,
         config TEXT NOT NULL,
         route TEXT NOT NULL,
         stage TEXT NOT NULL,
         document TEXT NOT NULL,
         path TEXT NOT NULL,
         text TEXT NOT NULL,
         metadata TEXT NOT NULL,
         embedding BLOB NOT NULL,
         result TEXT NOT NULL,
         UNIQUE (result, id))""",
    "CREATE INDEX vector_document ON vector (config, stage, document, execution_id)",
    "CREATE INDEX vector_id ON vector (id, execution_id)",
    "CREATE INDEX vector_execution ON vector (execution_id)",
    *_TABLES.schema,
    f"CREATE VIEW vector_current AS SELECT * FROM vector WHERE {_TABLES.visible('vector', _NEWEST)}",
)
_NEWER: Final = """
    SELECT 1 FROM vector WHERE execution_id > :execution_id
    AND (id = :id OR (config = :config AND stage = :stage AND document = :document)) LIMIT 1"""
_DELETE_OLDER: Final = f"""
    DELETE FROM vector WHERE {_TABLES.is_unused} AND
      ((config = :config AND stage = :stage AND document = :document AND execution_id < :execution_id)
       OR (id = :id AND result <> :result))"""
_WRITE: Final = f"""
    INSERT INTO vector
      (id, execution_id, config, route, stage, document, path, text, metadata, embedding, result)
    SELECT :id, :execution_id, :config, :route, :stage, :document, :path, :text, :metadata, :embedding,
      :result WHERE NOT {_TABLES.is_gone(":execution_id")}
    ON CONFLICT DO NOTHING"""
_VISIBLE: Final = _TABLES.visible("vector", _NEWEST, publication=":publication")
_NEAREST: Final = f"""
    SELECT id, execution_id, path, text, metadata, vec_distance_cosine(embedding, :vector) AS distance
    FROM vector WHERE {_VISIBLE} AND distance IS NOT NULL ORDER BY distance, id LIMIT :limit"""
T = TypeVar("T")
_EXTRA: Final = "vectors"
_BATCH: Final = 100


class SqliteVectorsConfig(VectorSinkConfig):
    """The settings of `sqlite_vectors`."""

    path: str = Field(description="The name of the file, in the data folder of the home: vectors.db.")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if why := file_problem(path, "vectors.db"):
            raise ValueError(why)
        return path

    @model_validator(mode="after")
    def _is_installed(self) -> SqliteVectorsConfig:
        need("apsw", _EXTRA)
        return self


@adapter("sqlite_vectors", batch=_BATCH, sink=True)
class SqliteVectors(SqlSink):
    """Store a vector with its text and attributes in a SQLite file. The step has no output.

    The item is a JSON object with a vector, such as the output of `embed_text`. All vectors of a file have
    the same number of dimensions. Readers use the view `vector_current`: it has what the dataset of the route
    publishes; without one, the newest vectors of each document. Any number of threads and processes may write
    to one file.
    """

    tables = _TABLES

    def __init__(self, config: SqliteVectorsConfig) -> None:
        self._config = config
        self._db: Connection | None = None
        self._file: OpenedFile | None = None

    def __call__(self, items: Sequence[Item], ctx: Sequence[Context]) -> list[Reject | None]:
        rows = vector_rows(items, ctx, self._config)
        with _retried(self._config.path):
            db = self._open(ctx[0].data_dir)
            results = _write(db, rows)
            while (again := self._open(ctx[0].data_dir)) is not db:  # the file was removed or replaced
                db = again
                results = _write(db, rows)
            return results

    def perform(self, script: Script[T], ctx: SinkContext) -> T:
        """Run a script in one transaction of the file."""
        db = self._open(ctx.data_dir)
        with transaction(db):
            return run(script, lambda statement, values: db.execute(statement, values).fetchall())

    def _open(self, data_dir: str) -> Connection:
        """Return the open file; another one, if it was removed or replaced."""
        if self._db is None or self._file is None or not self._file.is_in_place:
            self.close()
            try:
                file = data_place(data_dir, self._config.path, "index")
            except BadRequest as exc:
                raise Reject(exc.detail) from exc
            file.parent.mkdir(parents=True, exist_ok=True)
            self._db = _open_to_write(file)
            self._file = OpenedFile(file)
        return self._db

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


@dataclass(frozen=True, slots=True)
class VectorHit:
    """A stored vector near the searched one. `id` is the key of its object; a lower `distance` is nearer."""

    id: str
    execution_id: str
    path: str
    text: str
    metadata: Mapping[str, Any]
    distance: float


def search(
    file: str | Path, vector: Sequence[float], limit: int = 10, publication: int | None = None
) -> list[VectorHit]:
    """Return the nearest vectors of a file by cosine distance, nearest first. Reads all vectors.

    A vector of zeros has no distance to other vectors, so it is not found.

    Args:
        file: the file that a `sqlite_vectors` step wrote: `.playhead/data/vectors.db`.
        vector: a vector of the same model.
        limit: the most hits.
        publication: number of a kept publication to search; None: the one that readers see.

    Raises:
        NotFound: `index_not_found`: there is no file.
        BadRequest: `invalid_vector`: the vector has another number of dimensions, or consists of zeros.
        PlayheadError: `library_missing`: a library is not installed.
    """
    try:
        need("apsw", _EXTRA)
        need("sqlite_vec", _EXTRA)
    except ValueError as exc:
        raise PlayheadError("library_missing", str(exc)) from exc
    import apsw
    import sqlite_vec

    if not any(vector):
        raise BadRequest("invalid_vector", "the vector consists of zeros, so it has no distance to others")
    if not Path(file).is_file():
        raise NotFound(
            "index_not_found", f"no vectors at {file}: run a route with a sqlite_vectors step first"
        )
    with closing(apsw.Connection(str(file), apsw.SQLITE_OPEN_READONLY)) as db:
        db.set_busy_timeout(int(BUSY_SECONDS * 1000))
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        db.enable_load_extension(False)
        if (stored := _dimensions(db)) not in (None, len(vector)):
            raise BadRequest(
                "invalid_vector",
                f"the vector has {len(vector)} dimensions, and those of {file} have {stored}",
            )
        rows = db.execute(
            _NEAREST,
            {"vector": _packed(vector), "limit": max(limit, 0), "publication": publication},
        ).fetchall()
    return [
        VectorHit(
            str(key), str(execution), str(path), str(text), json.loads(str(metadata)), float(str(distance))
        )
        for key, execution, path, text, metadata, distance in rows
    ]


def _open_to_write(file: Path) -> Connection:
    """Open a file for writing, and create it and its table if they do not exist."""
    import apsw

    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_NOFOLLOW
    db = apsw.Connection(str(file), flags)
    try:
        db.set_busy_timeout(int(BUSY_SECONDS * 1000))
        use_wal(db, lambda exc: isinstance(exc, apsw.BusyError))
        create_tables(db, file, _SCHEMA_VERSION, _SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _write(db: Connection, rows: Sequence[VectorRow | Reject]) -> list[Reject | None]:
    """Write rows in one transaction, and return why some of them cannot be written."""
    results: list[Reject | None] = []
    with transaction(db):
        stored = _dimensions(db)
        for row in rows:
            if isinstance(row, Reject):
                results.append(row)
                continue
            if stored not in (None, len(row.vector)):
                results.append(
                    Reject(
                        f"its vector has {len(row.vector)} dimensions, and those of the file have {stored}; "
                        "use another path for another model"
                    )
                )
                continue
            stored = len(row.vector)
            results.append(None)
            values = asdict(row.place) | {
                "text": row.text,
                "metadata": row.metadata,
                "embedding": _packed(row.vector),
            }
            if not row.place.is_published:
                if db.execute(_NEWER, values).fetchone():
                    continue
                db.execute(_DELETE_OLDER, values)
            db.execute(_WRITE, values)
    return results


@contextmanager
def _retried(path: str) -> Iterator[None]:
    """Raise `Retry` for an error of the file, such as a full disk. It concerns all rows.

    Any other error would let the step be called again with halves of its items, and each of many such calls
    could wait for a lock.
    """
    import apsw

    try:
        yield
    except (
        apsw.BusyError,
        apsw.CantOpenError,
        apsw.CorruptError,
        apsw.FullError,
        apsw.IOError,
        apsw.NotADBError,
        apsw.ReadOnlyError,
    ) as exc:
        raise Retry(f"the file {path} of vectors cannot be written: {exc}") from exc


def _dimensions(db: Connection) -> int | None:
    """Return the number of dimensions of the stored vectors; None if the table is empty."""
    row = db.execute("SELECT length(embedding) / 4 FROM vector LIMIT 1").fetchone()
    return None if row is None else int(str(row[0]))


def _packed(vector: Sequence[float]) -> bytes:
    return array("f", vector).tobytes()
