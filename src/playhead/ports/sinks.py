"""Sinks that follow publications: the interface for adapters, and an implementation in SQL.

    class Notes(SqlSink):
        tables = LiveTables("sqlite", rows="note")

        def perform(self, script, ctx):
            return run(script, self.execute)

An adapter class with the methods of `Sink` follows publications, if it is the last step of a route that
belongs to a dataset. No reader sees the rows that the step writes, until they are published. A publication
adds and removes *results*. A result is all rows of one attempt at a message, so a later attempt never changes
a row that readers see. A switch changes one row, whatever the size of the publication.

`LiveTables` keeps the intervals of publications in which a result is visible. It yields statements and
receives their rows, so plain and async sinks share it: see `run` and `run_async`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar
from uuid import UUID

T = TypeVar("T")
Rows = Sequence[Sequence[Any]]
Script = Generator[tuple[str, tuple[Any, ...]], Rows, T]
"""Yields statements with their values, receives the rows of each, and returns a result."""
Dialect = Literal["sqlite", "postgresql"]

SINK_METHODS: Final = ("stage", "switch", "forget", "shown", "results")


@dataclass(frozen=True, slots=True)
class SinkContext:
    """The sink that a publication is about.

    Attributes:
        config, dataset, route: names. A sink keeps a separate state for each such triple.
        data_dir: as in `Context`.
        internal_hosts: as in `Context`.
        generation: number of the line of publications. A new one begins with the whole content, and replaces
            the one before when it is switched to.
    """

    config: str
    dataset: str
    route: str
    data_dir: str
    internal_hosts: Sequence[str] = ()
    generation: int = 0

    @property
    def line(self) -> str:
        """The identity of the line of publications that the sink follows here."""
        return f"{self.config}/{self.dataset}/{self.route}#{self.generation}"


@dataclass(frozen=True, slots=True)
class StagePage:
    """A part of what a publication changes in a sink. Pages may come late, twice, and in any order.

    Attributes:
        n: number of the publication.
        k: number of this page, from 0.
        of: how many pages the publication has.
        after: highest number that readers had seen when the publication was staged; 0 if the sink has no
            earlier publication.
        added, removed: results, see `Context.result`.
    """

    n: int
    k: int
    of: int
    after: int
    added: Sequence[str]
    removed: Sequence[str]


class Shown(NamedTuple):
    """What a sink shows: number of the publication, and of the switch that made it visible.

    Attributes:
        complete: highest publication of which it has all pages.
    """

    n: int
    seq: int
    complete: int


class SinkBehind(Exception):
    """The sink lacks an earlier publication, for example because it was restored from a backup."""


class Sink(Protocol):
    """The methods of an adapter class that follows publications. Each may be plain or async."""

    def stage(self, page: StagePage, ctx: SinkContext) -> Any:
        """Record a page, in one transaction. Nothing becomes visible.

        Returns those of `page.added` that have no rows here. Ignores a page of an older publication than the
        newest that was staged. Removes what abandoned publications after `page.after` have left.

        Raises:
            SinkBehind: `page.after` is above the highest publication of which the sink has all pages.
        """

    def switch(self, n: int, seq: int, ctx: SinkContext) -> Any:
        """Show publication `n`, unless a higher `seq` was applied or pages of it are missing."""

    def forget(
        self, dropped: Sequence[range], upto: int, executions: Sequence[UUID], ctx: SinkContext
    ) -> Any:
        """Delete what only dropped publications need, and rows of executions that are never published.

        Args:
            dropped: numbers that no reader asks for any more. Neighbours are joined.
            upto: highest number that readers have seen; intervals that end later stay.
            executions: their rows are deleted unless a publication shows them; later ones are not written.
        """

    def shown(self, ctx: SinkContext) -> Any:
        """Return a `Shown`; None if nothing was staged."""

    def results(self, n: int, after: str, limit: int, ctx: SinkContext) -> Any:
        """Return results with rows that publication `n` shows, in order, after one of them."""


def joined(numbers: Sequence[int]) -> list[range]:
    """Return sorted numbers as ranges, for `Sink.forget`. Neighbours are in one range."""
    found: list[range] = []
    for n in numbers:
        if found and found[-1].stop == n:
            found[-1] = range(found[-1].start, n + 1)
        else:
            found.append(range(n, n + 1))
    return found


def follows(target: object) -> bool:
    """Whether a class has the methods of `Sink`."""
    return all(callable(getattr(target, name, None)) for name in SINK_METHODS)


class LiveTables:
    """The statements of a sink in SQL, for any number of sinks in one database.

    The table of rows has the columns `result`, `execution_id` (in PostgreSQL a uuid), `config` and `route`,
    and an index of `execution_id`.

    Args:
        dialect: of the statements.
        rows: name of the table with the rows.
        prefix: of the names of its own tables.
        deletes: statements that delete rows; `{dead}` is a condition on columns of `rows`.
    """

    def __init__(self, dialect: Dialect, rows: str, *, prefix: str = "", deletes: Sequence[str] = ()) -> None:
        self._is_sqlite = dialect == "sqlite"
        self._rows = rows
        quote = "" if self._is_sqlite else '"'
        schema, dot, name = prefix.rpartition(".")
        self._names = {
            one: f"{schema}{dot}{quote}{name}{one}{quote}" for one in ("live", "head", "pages", "gone")
        }
        self._index = f"{quote}{name}live_{{}}{quote}"
        self._deletes = deletes or (f"DELETE FROM {rows} WHERE {{dead}}",)

    @property
    def schema(self) -> Sequence[str]:
        """The statements that create the tables, if they do not exist."""
        live, head, pages, gone = self._names.values()
        in_bytes = "" if self._is_sqlite else ' COLLATE "C"'
        return (
            f"""CREATE TABLE IF NOT EXISTS {live} (line text NOT NULL, result text{in_bytes} NOT NULL,
                first bigint NOT NULL, last bigint, PRIMARY KEY (result, line, first))""",
            f"CREATE UNIQUE INDEX IF NOT EXISTS {self._index.format('open')} ON {live} (line, result) "
            "WHERE last IS NULL",
            f"CREATE INDEX IF NOT EXISTS {self._index.format('first')} ON {live} (line, first)",
            f"CREATE INDEX IF NOT EXISTS {self._index.format('last')} ON {live} (line, last) "
            "WHERE last IS NOT NULL",
            f"""CREATE TABLE IF NOT EXISTS {head} (line text PRIMARY KEY, config text NOT NULL,
                dataset text NOT NULL, route text NOT NULL, n bigint NOT NULL, seq bigint NOT NULL,
                staged bigint NOT NULL, complete bigint NOT NULL)""",
            f"""CREATE TABLE IF NOT EXISTS {pages} (line text NOT NULL, k bigint NOT NULL,
                PRIMARY KEY (line, k))""",
            f"CREATE TABLE IF NOT EXISTS {gone} (execution text PRIMARY KEY)",
        )

    def visible(self, row: str, newest: str, publication: str = "NULL") -> str:
        """Return the condition under which readers see a row.

        Args:
            row: name of the row in the statement.
            newest: the condition as long as nothing of its route is published.
            publication: expression for the number to read; NULL: the one that is shown.
        """
        live, head, *_ = self._names.values()
        n = f"coalesce({publication}, h.n)"
        return f"""CASE WHEN EXISTS (SELECT 1 FROM {head} h
              WHERE h.config = {row}.config AND h.route = {row}.route AND h.n > 0)
            THEN EXISTS (SELECT 1 FROM {live} l JOIN {head} h ON h.line = l.line
              WHERE l.result = {row}.result AND h.n > 0
                AND l.first <= {n} AND (l.last IS NULL OR l.last > {n}))
            ELSE ({newest}) END"""

    @property
    def shown_datasets(self) -> str:
        """The query for the datasets that readers see here, each with the number of its publication."""
        head = self._names["head"]
        return f"SELECT DISTINCT config, dataset, n FROM {head} WHERE n > 0 ORDER BY config, dataset"

    @property
    def is_unused(self) -> str:
        """The condition that no publication needs the rows of a result."""
        return f"NOT EXISTS (SELECT 1 FROM {self._names['live']} l WHERE l.result = {self._rows}.result)"

    def is_gone(self, execution: str) -> str:
        """Return the condition that rows of an execution are not written any more."""
        return f"EXISTS (SELECT 1 FROM {self._names['gone']} g WHERE g.execution = {execution})"

    # -- scripts; the caller runs each in one transaction ----------------------------------------------

    def stage(self, page: StagePage, ctx: SinkContext) -> Script[list[str]]:
        """See `Sink.stage`."""
        live, head, pages, _ = self._names.values()
        line = ctx.line
        yield (
            f"INSERT INTO {head} VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0) ON CONFLICT DO NOTHING",
            (line, ctx.config, ctx.dataset, ctx.route),
        )
        # Locked, so that two processes that stage the same draft follow one another.
        lock = "" if self._is_sqlite else " FOR UPDATE"
        ((staged, complete),) = yield f"SELECT staged, complete FROM {head} WHERE line = ?1{lock}", (line,)
        if page.n < staged:
            return []
        if page.after > complete:
            raise SinkBehind(f"it has publications up to {complete}, and {page.after} was published")
        if page.n > staged:
            yield f"DELETE FROM {pages} WHERE line = ?1", (line,)
            yield f"UPDATE {head} SET staged = ?2 WHERE line = ?1", (line, page.n)
        yield f"INSERT INTO {pages} VALUES (?1, ?2) ON CONFLICT DO NOTHING", (line, page.k)
        # What abandoned drafts have left: their numbers are between `after` and this one.
        given = line, page.after, page.n
        yield f"DELETE FROM {live} WHERE line = ?1 AND first > ?2 AND first < ?3", given
        yield f"UPDATE {live} SET last = NULL WHERE line = ?1 AND last > ?2 AND last < ?3", given
        yield (
            f"UPDATE {live} SET last = ?2 WHERE line = ?1 AND last IS NULL AND result IN ({self._each(3)})",
            (line, page.n, json.dumps(list(page.removed))),
        )
        rows = yield (
            f"SELECT DISTINCT r.result FROM {self._rows} r WHERE r.result IN ({self._each(1)})",
            (json.dumps(list(page.added)),),
        )
        there = [str(result) for (result,) in rows]
        yield (
            f"""INSERT INTO {live} (line, result, first, last) SELECT ?1, e.value, ?2, NULL
                FROM ({self._each(3)}) e WHERE true ON CONFLICT DO NOTHING""",
            (line, page.n, json.dumps(there)),
        )
        yield (
            f"""UPDATE {head} SET complete = ?2 WHERE line = ?1 AND complete < ?2
                AND (SELECT count(*) FROM {pages} p WHERE p.line = ?1) = ?3""",
            (line, page.n, page.of),
        )
        found = set(there)
        return [one for one in page.added if one not in found]

    def switch(self, n: int, seq: int, ctx: SinkContext) -> Script[None]:
        """See `Sink.switch`. Forwards only: a late or repeated switch has no effect."""
        head = self._names["head"]
        yield (
            f"UPDATE {head} SET n = ?2, seq = ?3 WHERE line = ?1 AND seq < ?3 AND complete >= ?2",
            (ctx.line, n, seq),
        )
        # In the same transaction, so that readers never see two generations, or none.
        yield (
            f"""DELETE FROM {head} WHERE config = ?2 AND route = ?3 AND line <> ?1
                AND EXISTS (SELECT 1 FROM {head} h WHERE h.line = ?1 AND h.n = ?4 AND h.seq = ?5)""",
            (ctx.line, ctx.config, ctx.route, n, seq),
        )

    def forget(
        self, dropped: Sequence[range], upto: int, executions: Sequence[UUID], ctx: SinkContext
    ) -> Script[None]:
        """See `Sink.forget`."""
        live, head, _, gone = self._names.values()
        for numbers in dropped:
            yield (
                f"""DELETE FROM {live} WHERE line = ?1 AND last <= ?2 AND first >= ?3 AND last <= ?4
                    AND NOT EXISTS (SELECT 1 FROM {head} h
                      WHERE h.line = ?1 AND first <= h.n AND h.n < last)""",
                (ctx.line, upto, numbers.start, numbers.stop),
            )
        yield (
            f"INSERT INTO {gone} (execution) SELECT e.value FROM ({self._each(1)}) e WHERE true "
            "ON CONFLICT DO NOTHING",
            (json.dumps([str(one) for one in executions]),),
        )
        yield f"DELETE FROM {live} WHERE NOT EXISTS (SELECT 1 FROM {head} h WHERE h.line = {live}.line)", ()
        # So that an index of `execution_id` finds the few rows among all.
        execution = "execution" if self._is_sqlite else "execution::uuid"
        dead = f"{self._rows}.execution_id IN (SELECT {execution} FROM {gone}) AND {self.is_unused}"
        for delete in self._deletes:
            yield delete.format(dead=dead), ()

    def shown(self, ctx: SinkContext) -> Script[Shown | None]:
        """See `Sink.shown`."""
        rows = yield f"SELECT n, seq, complete FROM {self._names['head']} WHERE line = ?1", (ctx.line,)
        return Shown(*map(int, rows[0])) if rows else None

    def lines(self, ctx: SinkContext) -> Script[dict[str, int]]:
        """Return the lines of a route, each with the publication that readers see; 0: none."""
        head = self._names["head"]
        rows = yield (
            f"SELECT line, n FROM {head} WHERE config = ?1 AND route = ?2",
            (ctx.config, ctx.route),
        )
        return {str(line): int(n) for line, n in rows}

    def has(self, result: str) -> str:
        """Return the condition that publication ?2 of line ?1 has a result."""
        return f"""EXISTS (SELECT 1 FROM {self._names["live"]} l WHERE l.result = {result} AND l.line = ?1
            AND l.first <= ?2 AND (l.last IS NULL OR l.last > ?2))"""

    def results(self, n: int, after: str, limit: int, ctx: SinkContext) -> Script[list[str]]:
        """See `Sink.results`."""
        rows = yield (
            f"""SELECT l.result FROM {self._names["live"]} l WHERE l.line = ?1 AND l.result > ?3
                AND l.first <= ?2 AND (l.last IS NULL OR l.last > ?2)
                AND EXISTS (SELECT 1 FROM {self._rows} r WHERE r.result = l.result)
                ORDER BY l.result LIMIT ?4""",
            (ctx.line, n, after, limit),
        )
        return [str(result) for (result,) in rows]

    def _each(self, value: int) -> str:
        """Return a query for the strings of a JSON list."""
        if self._is_sqlite:
            return f"SELECT value FROM json_each(?{value})"
        return f"SELECT value FROM jsonb_array_elements_text(?{value}::text::jsonb) AS value"


def run(script: Script[T], execute: Callable[[str, tuple[Any, ...]], Rows]) -> T:
    """Run a script with a function that runs one statement and returns its rows."""
    try:
        statement, values = next(script)
        while True:
            statement, values = script.send(execute(statement, values))
    except StopIteration as end:
        result: T = end.value
        return result


async def run_async(script: Script[T], execute: Callable[[str, tuple[Any, ...]], Awaitable[Rows]]) -> T:
    """Run a script with an async function. Values are numbered as PostgreSQL numbers them: `$1`."""
    try:
        statement, values = next(script)
        while True:
            statement, values = script.send(await execute(statement.replace("?", "$"), values))
    except StopIteration as end:
        result: T = end.value
        return result


class SqlSink:
    """The methods of a sink for a class with `tables` and `perform`.

    `perform` runs a script in one transaction, on the database of the sink; plain with `run`, or async with
    `run_async`.
    """

    tables: LiveTables

    def perform(self, script: Script[Any], ctx: SinkContext) -> Any:
        raise NotImplementedError

    def stage(self, page: StagePage, ctx: SinkContext) -> Any:
        return self.perform(self.tables.stage(page, ctx), ctx)

    def switch(self, n: int, seq: int, ctx: SinkContext) -> Any:
        return self.perform(self.tables.switch(n, seq, ctx), ctx)

    def forget(
        self, dropped: Sequence[range], upto: int, executions: Sequence[UUID], ctx: SinkContext
    ) -> Any:
        return self.perform(self.tables.forget(dropped, upto, executions, ctx), ctx)

    def shown(self, ctx: SinkContext) -> Any:
        return self.perform(self.tables.shown(ctx), ctx)

    def results(self, n: int, after: str, limit: int, ctx: SinkContext) -> Any:
        return self.perform(self.tables.results(n, after, limit, ctx), ctx)
