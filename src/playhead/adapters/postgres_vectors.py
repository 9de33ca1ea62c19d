"""`postgres_vectors`: store vectors in a table of PostgreSQL with pgvector."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from playhead import Context, Item, RateLimited, Reject, Retry, adapter
from playhead.adapters._network import Guard
from playhead.adapters._sink import NEWEST, VectorRow, VectorSinkConfig, need, vector_rows
from playhead.ports.sinks import LiveTables, Script, SinkContext, SqlSink, run_async

if TYPE_CHECKING:
    import asyncpg  # type: ignore[import-untyped]

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?", re.ASCII)
_BATCH: Final = 100
_CONNECTIONS: Final = 10
_COOLDOWN_SECONDS: Final = 10.0
_COMMAND_SECONDS: Final = 60.0
_PORT: Final = 5432
_SHORT: Final = 50
_CREATING: Final = 0x706C617968656164
"""Number of the lock for `CREATE`: PostgreSQL does not serialize `CREATE … IF NOT EXISTS`."""

_CREATE: Final = """
    CREATE EXTENSION IF NOT EXISTS vector;
    CREATE TABLE IF NOT EXISTS {table} (
      written bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      id text NOT NULL,
      execution_id uuid NOT NULL,
      config text NOT NULL,
      route text NOT NULL,
      stage text NOT NULL,
      document text NOT NULL,
      path text NOT NULL,
      text text NOT NULL,
      metadata jsonb NOT NULL,
      embedding {vector} NOT NULL,
      result text NOT NULL,
      UNIQUE (result, id));
    CREATE INDEX IF NOT EXISTS "{name}_document" ON {table} (config, stage, document, execution_id);
    CREATE INDEX IF NOT EXISTS "{name}_id" ON {table} (id, execution_id);
    CREATE INDEX IF NOT EXISTS "{name}_execution" ON {table} (execution_id)"""
_EXISTS: Final = "SELECT to_regclass($1) IS NOT NULL"
_CREATE_VIEW: Final = "CREATE OR REPLACE VIEW {view} AS SELECT * FROM {table} WHERE {visible}"
_LOCK: Final = "SELECT pg_advisory_xact_lock($1)"
_DELETE_OLDER: Final = """
    DELETE FROM {table} WHERE {unused} AND
      ((config = $1 AND stage = $2 AND document = $3 AND execution_id < $4::uuid)
       OR (id = $5 AND execution_id <= $4::uuid AND result <> $6))"""
_WRITE: Final = """
    INSERT INTO {table}
      (id, execution_id, config, route, stage, document, path, text, metadata, embedding, result)
    SELECT $1, $2::uuid, $3, $4, $5, $6, $7, $8, $9, $10::text::vector, $11
    WHERE NOT {gone} AND ($12::boolean OR NOT EXISTS (
      SELECT FROM {table} WHERE execution_id > $2::uuid
      AND (id = $1 OR (config = $3 AND stage = $5 AND document = $6))))
    ON CONFLICT DO NOTHING"""


class PostgresVectorsConfig(VectorSinkConfig):
    """The settings of `postgres_vectors`."""

    url: SecretStr = Field(
        description="Address of the database, as a reference to a secret: `${env:VECTORS_URL}` with "
        "postgresql://USER:PASSWORD@HOST/DATABASE."
    )
    table: str = Field(
        "playhead_vectors",
        description="The table, or `schema.table`. The step creates it if it does not exist.",
    )
    dimensions: int | None = Field(
        None, ge=1, le=16_000, description="Dimensions of a new table; unset: those of the first vector."
    )

    @field_validator("table")
    @classmethod
    def _is_a_name(cls, table: str) -> str:
        if not _NAME.fullmatch(table):
            raise ValueError(
                "it must be a name in lower case, like playhead_vectors or public.playhead_vectors"
            )
        return table

    @model_validator(mode="after")
    def _is_installed(self) -> PostgresVectorsConfig:
        need("asyncpg", "postgres")
        return self


@adapter("postgres_vectors", effects="idempotent", batch=_BATCH, sink=True)
class PostgresVectors(SqlSink):
    """Store a vector with its text and attributes in PostgreSQL with pgvector. The step has no output.

    The item is a JSON object with a vector, such as the output of `embed_text`. Readers use the view
    `playhead_vectors_current`: it has what the dataset of the route publishes; without one, the newest
    vectors of each document. The first row creates table and view. While the database is unreachable, the
    route waits.
    """

    def __init__(self, config: PostgresVectorsConfig) -> None:
        self._config = config
        self._pool: asyncpg.Pool | None = None
        self._has_table = False
        self._opening = asyncio.Lock()
        schema, dot, self._name = config.table.rpartition(".")
        # Names are at most 63 characters long, and PostgreSQL shortens longer ones.
        self._short = self._name[:_SHORT]
        of_schema = f'"{schema}"{dot}' if dot else ""
        self._table = f'{of_schema}"{self._name}"'
        self._view = f'{of_schema}"{self._short}_current"'
        self.tables = LiveTables("postgresql", self._table, prefix=f"{of_schema}{self._short}_")
        unused, gone = self.tables.is_unused, self.tables.is_gone("($2::uuid)::text")
        self._delete_older = _DELETE_OLDER.format(table=self._table, unused=unused)
        self._insert = _WRITE.format(table=self._table, gone=gone)

    async def __call__(self, items: Sequence[Item], ctx: Sequence[Context]) -> list[Reject | None]:
        results = vector_rows(items, ctx, self._config)
        rows = [row for row in results if isinstance(row, VectorRow)]
        if rows:
            async with self._errors():
                pool = await self._opened(ctx[0].internal_hosts, len(rows[0].vector))
                await self._write(pool, rows)
        return [one if isinstance(one, Reject) else None for one in results]

    async def perform(self, script: Script[Any], ctx: SinkContext) -> Any:
        """Run a script in one transaction. A table that does not exist yet has no rows."""
        async with self._errors():
            pool = await self._opened(ctx.internal_hosts, None)
            async with pool.acquire() as connection, connection.transaction():

                async def execute(statement: str, values: tuple[Any, ...]) -> Sequence[Any]:
                    if not self._has_table and self._table in statement:
                        return []
                    found: list[Any] = await connection.fetch(statement, *values)
                    return found

                return await run_async(script, execute)

    async def _opened(self, allowed: Sequence[str], dimensions: int | None) -> asyncpg.Pool:
        async with self._opening:
            pool = self._pool or await self._connected(allowed)
            if not self._has_table:
                try:
                    self._has_table = await self._create(pool, self._config.dimensions or dimensions)
                except BaseException:
                    self._drop_pool()
                    raise
            return pool

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def _drop_pool(self) -> None:
        """Begin again with the next call: it connects, and creates what does not exist."""
        if self._pool is not None:
            self._pool.terminate()
        self._pool, self._has_table = None, False

    async def _connected(self, allowed: Sequence[str]) -> asyncpg.Pool:
        import asyncpg

        guard = Guard(allowed)

        async def connect(dsn: str, **options: Any) -> asyncpg.Connection:
            return await asyncpg.connect(dsn, **{**options, **await _target(dsn, guard)})

        self._pool = await asyncpg.create_pool(
            self._config.url.get_secret_value(),
            min_size=0,
            max_size=_CONNECTIONS,
            command_timeout=_COMMAND_SECONDS,
            connect=connect,
            server_settings={"application_name": "playhead"},
        )
        return self._pool

    async def _create(self, pool: asyncpg.Pool, dimensions: int | None) -> bool:
        """Create what does not exist; return whether the table exists.

        Without dimensions, it is not created: an index of vectors needs their number. So a publication that
        comes before the first row creates only the tables of the publications.
        """
        async with pool.acquire() as connection, connection.transaction():
            # `CREATE … IF NOT EXISTS` needs the right to create tables even if the table exists.
            if await connection.fetchval(_EXISTS, self._view):
                return True
            await connection.execute(_LOCK.replace("$1", str(_CREATING)))
            for statement in self.tables.schema:
                await connection.execute(statement)
            if not dimensions and not await connection.fetchval(_EXISTS, self._table):
                return False
            shape = f"vector({dimensions})" if dimensions else "vector"
            await connection.execute(_CREATE.format(table=self._table, vector=shape, name=self._short))
            newest = NEWEST.format(table=self._table, row=self._table, key="id")
            visible = self.tables.visible(self._table, newest)
            await connection.execute(_CREATE_VIEW.format(view=self._view, table=self._table, visible=visible))
            return True

    async def _write(self, pool: asyncpg.Pool, rows: Sequence[VectorRow]) -> None:
        """Write rows in one transaction: all or none."""
        # In the order of the locks, so that two transactions do not wait for each other.
        locked = sorted((self._lock_of(row), n, row) for n, row in enumerate(rows))
        async with pool.acquire() as connection, connection.transaction():
            for lock, _, row in locked:
                place = row.place
                scope = (place.config, place.stage, place.document)
                # Without the lock, a row of an older execution that is not committed yet would remain.
                await connection.execute(_LOCK, lock)
                if not place.is_published:
                    await connection.execute(
                        self._delete_older, *scope, place.execution_id, place.id, place.result
                    )
                await connection.execute(
                    self._insert,
                    *(place.id, place.execution_id, place.config, place.route, place.stage, place.document),
                    *(place.path, row.text, row.metadata, json.dumps(row.vector)),
                    *(place.result, place.is_published),
                )

    def _lock_of(self, row: VectorRow) -> int:
        scope = json.dumps([self._config.table, row.place.config, row.place.stage, row.place.document])
        return int.from_bytes(hashlib.sha256(scope.encode()).digest()[:8], signed=True)

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        """Translate the errors of the database."""
        import asyncpg

        try:
            yield
        except asyncpg.DataError as exc:  # such as a wrong number of dimensions, or a NUL in a text
            raise Reject(f"table {self._config.table}: {exc}") from exc
        except (
            OSError,
            TimeoutError,
            asyncpg.InterfaceError,
            asyncpg.PostgresConnectionError,
            asyncpg.CannotConnectNowError,
            asyncpg.InsufficientResourcesError,  # such as too many connections, or a full disk
            asyncpg.OperatorInterventionError,
        ) as exc:
            # Not the fault of the item, so it must use up no attempt.
            reason = f"the database of postgres_vectors is unavailable: {str(exc) or type(exc).__name__}"
            raise RateLimited(reason, after=_COOLDOWN_SECONDS) from exc
        except (
            asyncpg.InvalidAuthorizationSpecificationError,
            asyncpg.InvalidCatalogNameError,
            asyncpg.InvalidSchemaNameError,
            asyncpg.FeatureNotSupportedError,  # pgvector is not installed
            asyncpg.UndefinedFileError,  # the same in earlier versions of PostgreSQL
            asyncpg.SyntaxOrAccessError,  # such as missing rights, or a table with other columns
        ) as exc:
            # It concerns all rows, so `Retry`: the step must not be called again with halves of them.
            if isinstance(exc, asyncpg.UndefinedTableError):
                self._drop_pool()
            raise Retry(f"table {self._config.table}: {exc}") from exc


async def _target(url: str, guard: Guard) -> dict[str, Any]:
    """Return the address and the password for a connection.

    Raises:
        Reject: the address is not supported or not allowed.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORT
        options = parse_qs(parts.query)
    except ValueError:
        host, port, options = "", 0, {}
    if (
        not host
        or "," in host
        or {"host", "hostaddr", "port", "service", "password", "passfile"} & options.keys()
    ):
        raise Reject(
            "the url of postgres_vectors must have the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        )
    addresses = await guard.resolve(host, port)
    if options.get("sslmode") == ["verify-full"]:  # needs the name, and checks the server by it
        addresses = [host]
    # Without a password here, asyncpg would send that of the environment of the worker.
    return {"host": addresses, "port": [port] * len(addresses), "password": unquote(parts.password or "")}
