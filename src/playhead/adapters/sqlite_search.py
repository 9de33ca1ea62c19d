"""`sqlite_search`: a full-text index of a stage in one SQLite file, and its search.

A row belongs to one attempt at a message, so writing it again changes nothing. A search reads what is
published. If nothing is, it reads the rows of the newest execution of each document, as in the other sinks
(`_sink.py`), so the order in which workers write does not matter. Replaced rows stay, so that a search can
still read one execution.

Each index is a file directly in the data folder. SQLite opens its files by path, so a subfolder that is
replaced by a link could lead it elsewhere. A link with the name of an index is refused. SQLite itself does
not follow links named like its own files (`-wal`, `-shm`, `-journal`).
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar
from uuid import UUID

from pydantic import Field, field_validator

from playhead import Context, Item, Reject, Retry, adapter
from playhead.adapters._data_folder import data_place, refusal
from playhead.adapters._sink import NEWEST, Place, SinkConfig, place_of
from playhead.adapters._sqlite_file import (
    BUSY_SECONDS,
    OpenedFile,
    create_tables,
    file_problem,
    transaction,
    use_wal,
)
from playhead.errors import BadRequest, NotFound, Unavailable
from playhead.ports.sinks import LiveTables, Script, SinkContext, SqlSink, run

_TABLES: Final = LiveTables(
    "sqlite",
    "entry",
    deletes=(
        "DELETE FROM entry_text WHERE rowid IN (SELECT written FROM entry WHERE {dead})",
        "DELETE FROM entry WHERE {dead}",
    ),
)
_NEWEST: Final = NEWEST.format(table="entry", row="entry", key="key")
_SCHEMA_VERSION: Final = 4
_SCHEMA: Final = (
    """CREATE TABLE entry (
         written INTEGER PRIMARY KEY,
         key TEXT NOT NULL,
         execution_id TEXT NOT NULL,
         config TEXT NOT NULL,
         route TEXT NOT NULL,
         stage TEXT NOT NULL,
         document TEXT NOT NULL,
         path TEXT NOT NULL,
         result TEXT NOT NULL,
         UNIQUE (result, key))""",
    "CREATE INDEX entry_key ON entry (key, execution_id)",
    "CREATE INDEX entry_execution ON entry (execution_id)",
    "CREATE INDEX entry_document ON entry (config, stage, document, execution_id)",
    "CREATE VIRTUAL TABLE entry_text USING fts5 (title, body, tokenize = 'unicode61 remove_diacritics 2')",
    *_TABLES.schema,
    f"""CREATE VIEW entry_current AS SELECT entry.*, title, body
         FROM entry JOIN entry_text ON entry_text.rowid = entry.written
         WHERE {_TABLES.visible("entry", _NEWEST)}""",
)
_VISIBLE: Final = _TABLES.visible("entry", _NEWEST, publication=":publication")
_SEARCH: Final = f"""
    WITH found AS (SELECT rowid AS written, -bm25(entry_text, 4.0, 1.0) AS score FROM entry_text
      WHERE entry_text MATCH :words ORDER BY score DESC, rowid DESC LIMIT -1),
    best AS (SELECT entry.*, score FROM found CROSS JOIN entry ON entry.written = found.written
      WHERE CASE WHEN :execution IS NOT NULL THEN execution_id = :execution
        AND NOT EXISTS (SELECT 1 FROM entry AS newer WHERE newer.key = entry.key
                        AND newer.execution_id = entry.execution_id AND newer.written > entry.written)
        ELSE {_VISIBLE} END LIMIT :limit)
    SELECT key, execution_id, path, title, snippet(entry_text, 1, '[', ']', '…', 24), score
    FROM best CROSS JOIN entry_text ON entry_text.rowid = best.written AND entry_text MATCH :words
    ORDER BY score DESC, key"""
"""The words also match rows that readers do not see, such as those of other publications. So rows are looked
up in the order of their scores, until there are enough. `LIMIT -1` makes SQLite sort before it joins."""
_EARLIER: Final = f"""
    key = :id AND execution_id = :execution_id AND result <> :result AND {_TABLES.is_unused}"""
_DELETE_EARLIER: Final = (
    f"DELETE FROM entry_text WHERE rowid IN (SELECT written FROM entry WHERE {_EARLIER})",
    f"DELETE FROM entry WHERE {_EARLIER}",
)
_NO_ROOM: Final = 64 << 10
T = TypeVar("T")
_MAKING: Final = threading.Lock()
"""Held while a new file is closed, so that no other thread has locked the file."""


class SqliteSearchConfig(SinkConfig):
    """The settings of `sqlite_search`."""

    path: str = Field(description="The name of the index, a file in the data folder of the home: search.db.")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if why := file_problem(path, "search.db"):
            raise ValueError(why)
        return path


@dataclass(slots=True, eq=False)
class _Row:
    place: Place
    title: str
    body: str
    written: bool = False


@adapter("sqlite_search", sink=True)
class SqliteSearch(SqlSink):
    """Add text to a full-text index. The step has no output.

    The title is the attribute `title`. A search reads what the dataset of the route publishes. Without a
    dataset, and until its first publication, it reads the newest entries of each document. With
    `--execution`, it reads those of one execution, also if they were replaced. Other programs read the view
    `entry_current`, which has what a search reads. Any number of threads and processes may write to one
    index.
    """

    tables = _TABLES

    def __init__(self, config: SqliteSearchConfig) -> None:
        self._path = config.path
        self._replace = config.replace
        self._db: sqlite3.Connection | None = None
        self._file: OpenedFile | None = None
        self._turn = threading.Lock()
        self._waiting: deque[_Row] = deque()

    def __call__(self, item: Item, ctx: Context) -> None:
        title = item.attributes.get("title")
        row = _Row(
            place=place_of(item, ctx, self._replace),
            title=title if isinstance(title, str) else "",
            body=item.text,
        )
        self._waiting.append(row)
        # The thread with the lock writes the rows of all waiting threads: a commit costs the same for many.
        with self._turn:
            if row.written:
                return
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if row not in batch:  # another thread took it and failed
                batch.append(row)
            # If this fails, the other threads write their own rows.
            try:
                self._write(batch, ctx.data_dir)
            except (OSError, sqlite3.Error) as exc:
                if not _is_full(exc, ctx.data_dir):
                    raise
                raise Retry(
                    f"the index {self._path} cannot be written: {exc}; the disk of {ctx.data_dir} is full: "
                    "free some space there, and resend the dead letters"
                ) from exc
            for each in batch:
                each.written = True

    def perform(self, script: Script[T], ctx: SinkContext) -> T:
        """Run a script in one transaction of the index."""
        with self._turn:
            db = self._opened(ctx.data_dir)
            with transaction(db):
                return run(script, lambda statement, values: db.execute(statement, values).fetchall())

    def close(self) -> None:
        with self._turn:
            self._close()

    def _close(self) -> None:
        if self._db:
            self._db.close()
            self._db = None

    def _write(self, rows: Sequence[_Row], data_dir: str) -> None:
        db = self._opened(data_dir)
        self._insert(db, rows)
        while (again := self._opened(data_dir)) is not db:  # the file was removed or replaced meanwhile
            db = again
            self._insert(db, rows)

    def _insert(self, db: sqlite3.Connection, rows: Sequence[_Row]) -> None:
        with transaction(db):
            for row in rows:
                place = asdict(row.place)
                # Nobody reads the rows of an execution that was pruned. If the row exists, this attempt has
                # written it before.
                new = db.execute(
                    f"""INSERT INTO entry (key, execution_id, config, route, stage, document, path, result)
                        SELECT :id, :execution_id, :config, :route, :stage, :document, :path, :result
                        WHERE NOT {_TABLES.is_gone(":execution_id")} ON CONFLICT DO NOTHING""",
                    place,
                )
                if not new.rowcount:
                    continue
                db.execute(
                    "INSERT INTO entry_text (rowid, title, body) VALUES (?, ?, ?)",
                    (new.lastrowid, row.title, row.body),
                )
                if row.place.is_published:
                    continue
                for statement in _DELETE_EARLIER:
                    db.execute(statement, place)

    def _opened(self, data_dir: str) -> sqlite3.Connection:
        """Return the open index; another one, if the file was removed or replaced."""
        if self._db is None or self._file is None or not self._file.is_in_place:
            self._close()
            self._db = self._open(data_dir)
        return self._db

    def _open(self, data_dir: str) -> sqlite3.Connection:
        try:
            file = index_file(data_dir, self._path)
            file.parent.mkdir(parents=True, exist_ok=True)
            with _MAKING:
                _make(file)
                self._file = OpenedFile(file)
                # Used by one thread at a time: by the one that has the turn.
                db = _connect(file, "rw")
        except BadRequest as exc:
            raise Reject(exc.detail) from exc
        try:
            use_wal(db)
            create_tables(db, file, _SCHEMA_VERSION, _SCHEMA)
        except BaseException:
            db.close()
            raise
        return db


@dataclass(frozen=True, slots=True)
class Hit:
    """One hit. `snippet` has the found words in brackets. A higher `score` is better."""

    key: str
    execution_id: UUID
    path: str
    title: str
    snippet: str
    score: float


def search(
    path: str | Path,
    words: str | Iterable[str],
    execution: UUID | None = None,
    limit: int = 10,
    publication: int | None = None,
) -> list[Hit]:
    """Return the best hits of an index, best first. A hit has at least one of the words.

    Args:
        path: the index file, from `index_file`.
        words: plain words; no character has a special meaning.
        execution: the execution whose rows to search; None: what is published, or else the newest rows of
            each document.
        limit: the most hits.
        publication: number of a kept publication to search; None: the one that readers see.

    Raises:
        NotFound: `index_not_found`: there is no file, or it is not an index.
        BadRequest: `invalid_path`: it is a link.
        Unavailable: it cannot be read now.
    """
    texts = [words] if isinstance(words, str) else words
    # Quoted, a word is text to FTS5; bare, `AND` or `c++` would be syntax.
    quoted = ['"{}"'.format(w.replace('"', '""')) for text in texts for w in text.replace("\0", " ").split()]
    if not quoted:
        return []
    given = {
        "words": " OR ".join(quoted),
        "execution": str(execution) if execution else None,
        "limit": max(limit, 0),
        "publication": publication,
    }
    with _reading(Path(path).absolute()) as db:
        rows = db.execute(_SEARCH, given).fetchall()
    return [
        Hit(key, UUID(found), place, title, text, score) for key, found, place, title, text, score in rows
    ]


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Open an index to read it, and translate its errors."""
    if not file.is_file():
        raise NotFound("index_not_found", f"no index at {file}: run a route with a sqlite_search step first")
    try:
        with closing(_connect(file, "ro")) as db:
            yield db
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB):
            raise Unavailable("index_unavailable", f"{file} cannot be read now: {exc}") from exc
        raise NotFound("index_not_found", f"{file} is not an index of a sqlite_search step: {exc}") from exc


def shown(path: str | Path) -> list[tuple[str, int]]:
    """Return the datasets whose publications a search of an index reads, with their numbers.

    Raises what `search` raises.
    """
    with _reading(Path(path).absolute()) as db:
        return [(dataset, n) for _, dataset, n in db.execute(_TABLES.shown_datasets).fetchall()]


def index_file(data_dir: str | Path, path: str) -> Path:
    """Return the file of an index, directly in the data folder. `/` in `path` is `%2F` in the file name.

    Raises:
        BadRequest: `invalid_path`: it is absolute, leaves the folder, or cannot be a file.
    """
    if why := file_problem(path, "search.db"):
        raise BadRequest("invalid_path", f"index path {path!r} {why}")
    return data_place(data_dir, path, "index")


def _is_full(exc: Exception, folder: str) -> bool:
    """Whether a write failed because the disk is full; SQLite may report an I/O error instead."""
    if isinstance(exc, OSError):
        return exc.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return shutil.disk_usage(folder).free < _NO_ROOM
    return code == sqlite3.SQLITE_FULL


def _make(file: Path) -> None:
    """Create an empty file if it does not exist. SQLite would follow a link and create its target.

    Closing a file releases all locks that this process has on it, so an existing file is not opened here.
    """
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        pass


def _connect(file: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Open an index, and check that SQLite did not follow a link.

    Raises:
        BadRequest: `invalid_path`: it is a link. Its target was neither read nor written.
    """
    db = sqlite3.connect(
        f"{file.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # SQLite has resolved the path and opened the file, and has not read it yet.
        ((_, _, opened),) = db.execute("PRAGMA database_list")
        if Path(opened) != file.parent.resolve() / file.name:
            raise refusal(file, stat.S_IFLNK, "index")
    except BaseException:
        db.close()
        raise
    return db
