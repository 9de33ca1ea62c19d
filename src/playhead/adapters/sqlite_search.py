"""`sqlite_search`: a full-text index of a stage in one SQLite file, and the question asked of it.

Rows are keyed by execution and object, so that a replay stands beside what it replays: the old
answers stay, and the new ones are never mixed with them. Writing a row again changes nothing.

Each index is a file in the data folder itself. SQLite opens its files by path, so a folder below it that
somebody turns into a link would lead it elsewhere. A link in the place of an index is refused, and none in
the place of the files beside it (`-wal`, `-shm`, `-journal`) is followed by SQLite.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import stat
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from playhead import Context, Item, Reject, Retry, adapter
from playhead.errors import BadRequest, NotFound, PlayheadError, Unavailable

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = (
    """CREATE TABLE entry (
         id INTEGER PRIMARY KEY,
         execution_id TEXT NOT NULL,
         key TEXT NOT NULL,
         path TEXT NOT NULL,
         UNIQUE (execution_id, key))""",
    "CREATE VIRTUAL TABLE entry_text USING fts5 (title, body, tokenize = 'unicode61 remove_diacritics 2')",
    f"PRAGMA user_version = {_SCHEMA_VERSION}",
)
_BUSY_SECONDS: Final = 30.0
_NO_ROOM: Final = 64 << 10
_BESIDE: Final = ("-wal", "-shm", "-journal")
_MAKING: Final = threading.Lock()
"""While a new file is closed, no other thread may have locked it."""


class SqliteSearchConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="The name of the index, a file in the home's data folder: search.db.")

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        if why := _path_problem(path):
            raise ValueError(why)
        return path


@dataclass(slots=True, eq=False)
class _Row:
    execution_id: str
    key: str
    path: str
    title: str
    body: str
    written: bool = False


@adapter("sqlite_search")
class SqliteSearch:
    """Put text into a full-text index, and end there: it gives no output.

    The title is the attribute `title`. Any number of threads and processes may write one index.
    """

    def __init__(self, config: SqliteSearchConfig) -> None:
        self._path = config.path
        self._db: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._waiting: deque[_Row] = deque()

    def __call__(self, item: Item, ctx: Context) -> None:
        title = item.attributes.get("title")
        execution = str(ctx.execution_id)
        row = _Row(
            execution_id=execution,
            key=item.key or f"{execution}/{item.stage}/{item.path}",
            path=item.path,
            title=title if isinstance(title, str) else "",
            body=item.text,
        )
        self._waiting.append(row)
        # Whoever has the turn writes for all that wait: a commit costs the same for one row and for many.
        with self._turn:
            if row.written:
                return
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            if row not in batch:  # taken by a turn that failed
                batch.append(row)
            # Should this one fail, the others are left unwritten, and each takes its own turn.
            try:
                self._write(batch, ctx.data_dir)
            except (OSError, sqlite3.Error) as exc:
                if not _is_full(exc, ctx.data_dir):
                    raise
                raise Retry(
                    f"the index {self._path} can't be written: {exc}; the disk of {ctx.data_dir} is full: "
                    "make room there, and send what is dead by then again"
                ) from exc
            for each in batch:
                each.written = True

    def close(self) -> None:
        with self._turn:
            if self._db:
                self._db.close()
                self._db = None

    def _write(self, rows: Sequence[_Row], data_dir: str) -> None:
        if self._db is None:
            self._db = self._open(data_dir)
        db = self._db
        with _transaction(db):
            for row in rows:
                place = (row.execution_id, row.key)
                db.execute(
                    "INSERT OR IGNORE INTO entry (execution_id, key, path) VALUES (?, ?, ?)",
                    (*place, row.path),
                )
                (entry,) = db.execute(
                    "SELECT id FROM entry WHERE execution_id = ? AND key = ?", place
                ).fetchone()
                db.execute("DELETE FROM entry_text WHERE rowid = ?", (entry,))
                db.execute(
                    "INSERT INTO entry_text (rowid, title, body) VALUES (?, ?, ?)",
                    (entry, row.title, row.body),
                )

    def _open(self, data_dir: str) -> sqlite3.Connection:
        try:
            file = index_file(data_dir, self._path)
            file.parent.mkdir(parents=True, exist_ok=True)
            with _MAKING:
                _make(file)
                # Used by one thread at a time: by the one that has the turn.
                db = _connect(file, "rw")
        except BadRequest as exc:
            raise Reject(exc.detail) from exc
        try:
            _prepare(db, file)
        except BaseException:
            db.close()
            raise
        return db


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer. `snippet` has the words found in brackets; the higher the `score`, the better."""

    key: str
    execution_id: UUID
    path: str
    title: str
    snippet: str
    score: float


def search(
    path: str | Path, words: str | Iterable[str], execution: UUID | None = None, limit: int = 10
) -> list[Hit]:
    """The best answers of an index, best first; those that hold any of the words.

    Args:
        path: the index file, from `index_file`.
        words: plain words; no character has a special meaning.
        execution: whose rows to search; None: the newest that is in the index.
        limit: at most so many.

    Raises:
        NotFound: `index_not_found`: there is no file, or it is no index.
        BadRequest: `invalid_path`: it is a link.
        Unavailable: it can't be read now.
    """
    file = Path(path).absolute()
    if not file.is_file():
        raise NotFound("index_not_found", f"no index at {file}: run a route with a sqlite_search step first")
    texts = [words] if isinstance(words, str) else words
    # Quoted, a word is text to FTS5; bare, `AND` or `c++` would be syntax.
    quoted = ['"{}"'.format(w.replace('"', '""')) for text in texts for w in text.replace("\0", " ").split()]
    try:
        with closing(_connect(file, "ro")) as db:
            (newest,) = db.execute("SELECT max(execution_id) FROM entry").fetchone()
            if not quoted or newest is None:
                return []
            rows = db.execute(
                """SELECT key, execution_id, path, title, snippet(entry_text, 1, '[', ']', '…', 24),
                          -bm25(entry_text, 4.0, 1.0) AS score
                   FROM entry_text JOIN entry ON entry.id = entry_text.rowid
                   WHERE entry_text MATCH ? AND execution_id = ?
                   ORDER BY score DESC, key LIMIT ?""",
                (" OR ".join(quoted), str(execution) if execution else newest, max(limit, 0)),
            ).fetchall()
    except sqlite3.DatabaseError as exc:
        if exc.sqlite_errorcode not in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB):
            raise Unavailable("index_unavailable", f"{file} can't be read now: {exc}") from exc
        raise NotFound("index_not_found", f"{file} can't be read as an index: {exc}") from exc
    return [
        Hit(key, UUID(found), place, title, text, score) for key, found, place, title, text, score in rows
    ]


def index_file(data_dir: str | Path, path: str) -> Path:
    """Where an index lies: in the data folder itself. A `/` of its `path` is `%2F` in the file's name.

    Raises:
        BadRequest: `invalid_path`: it is absolute, leads out of the folder, or is no place for a file.
    """
    if why := _path_problem(path):
        raise BadRequest("invalid_path", f"index path {path!r} {why}")
    name = str(PurePosixPath(path)).replace("%", "%25").replace("/", "%2F")
    root = Path(data_dir).resolve()
    file = root / name
    # Whoever put one there means it to be followed, and should hear that it is not.
    folders = [root / folder for folder in PurePosixPath(path).parents if folder.name]
    try:
        if link := next((folder for folder in folders if folder.is_symlink()), None):
            raise _no_file(link, stat.S_IFLNK)
        mode = file.lstat().st_mode
    except FileNotFoundError:
        return file
    except OSError as exc:
        raise BadRequest("invalid_path", f"index path {path!r} can't be a file: {exc}") from exc
    if not stat.S_ISREG(mode):
        raise _no_file(file, mode)
    return file


def _path_problem(path: str) -> str | None:
    parts = PurePosixPath(path)
    if parts.is_absolute():
        return "must be relative to the data folder"
    if ".." in parts.parts or "\\" in path:
        return "must stay in the data folder: no `..`, no backslash"
    if not parts.name or path.endswith("/") or not path.isprintable():
        return "must name a file, like search.db"
    if parts.name.endswith(_BESIDE):
        return (
            f"must not end in {parts.name[parts.name.rfind('-') :]}, as SQLite's own files beside an index do"
        )
    return None


def _is_full(exc: Exception, folder: str) -> bool:
    """Whether a write failed for want of room: where a file can't even be begun, SQLite says I/O error."""
    if isinstance(exc, OSError):
        return exc.errno in (errno.ENOSPC, errno.EDQUOT)
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return shutil.disk_usage(folder).free < _NO_ROOM
    return code == sqlite3.SQLITE_FULL


def _no_file(file: Path, mode: int) -> BadRequest:
    what = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no file of data"
    return BadRequest("invalid_path", f"{file} is {what}: remove it, or name another index")


def _make(file: Path) -> None:
    """Make an empty file where there is none, so that SQLite never has to: it would make what a link names.

    Closing a file lets go of all locks that this process has on it, so none that is there is opened.
    """
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        pass


def _connect(file: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Open an index, and see that it is not what a link in its place names.

    Raises:
        BadRequest: `invalid_path`: it is a link. Nothing was read from what that names, nor written.
    """
    db = sqlite3.connect(
        f"{file.as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # It has looked where the path leads and opened that, following no link any more. It did no more yet.
        ((_, _, opened),) = db.execute("PRAGMA database_list")
        if Path(opened) != file.parent.resolve() / file.name:
            raise _no_file(file, stat.S_IFLNK)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, file: Path) -> None:
    """Set up a connection for writing, and the tables if they are not there."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as exc:
            # SQLite's own waiting does not cover this statement, and all workers start at once.
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    # A message is acked once its row is here; with less than FULL, power loss takes the row alone.
    db.execute("PRAGMA synchronous = FULL")
    with _transaction(db):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > _SCHEMA_VERSION:
            raise PlayheadError(
                "index_newer", f"{file} was made by a newer version of Playhead; update this one"
            )
        if version == 0:
            for statement in _SCHEMA:
                db.execute(statement)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
