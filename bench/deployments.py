"""Deployments for the benchmarks: separate servers, and a new deployment on them for each round.

The servers are started as in the tests (`tests/servers`), with their data on tmpfs if the system has it.
PostgreSQL runs without fsync, which has no effect on tmpfs. All other settings are the defaults.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aiormq
import asyncpg  # type: ignore[import-untyped]

from bench.machine import scratch
from playhead.backends.broker_nats import streams
from playhead.backends.broker_nats.address import parse
from playhead.backends.broker_nats.link import Link
from playhead.settings import Settings
from tests.servers import DidNotStart, Missing, Server, fresh

BROKERS: Mapping[str, str] = {"nats": "NATS", "rabbitmq": "RabbitMQ", "postgres": "PostgreSQL"}
"""The brokers by their names in the table. Every deployment has its catalog in PostgreSQL."""

S3 = "s3"
"""As `store`: a prefix on the S3 server of the testbed."""

_AS_SHIPPED: Mapping[str, Sequence[str]] = {"s3": ("--dir-cache-time", "5m")}
"""Arguments in addition to those of the tests: rclone caches the contents of folders."""

STEPS = Path(__file__).with_name("steps.py")
"""Adapters with a known cost."""


class ServerMissing(Exception):
    """A server is not available on this machine. The text says which one, why, and how to install it."""


@dataclass(frozen=True)
class Deployment:
    """One deployment with its own home, database and queues.

    Attributes:
        servers: the servers that it uses, by name.
        prefix: the prefix of its queue names.
    """

    home: Path
    servers: Mapping[str, Server]
    store: str
    broker: str
    catalog: str
    prefix: str

    @property
    def settings(self) -> Settings:
        return Settings(
            home=self.home,
            store=self.store,
            broker=self.broker,
            catalog=self.catalog,
            queue_prefix=self.prefix,
            adapters=(str(STEPS),),
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes: that of this process, with only these Playhead settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PLAYHEAD_")}
        return {
            **kept,
            "PLAYHEAD_HOME": str(self.home),
            "PLAYHEAD_STORE": self.store,
            "PLAYHEAD_BROKER": self.broker,
            "PLAYHEAD_CATALOG": self.catalog,
            "PLAYHEAD_QUEUE_PREFIX": self.prefix,
            "PLAYHEAD_ADAPTERS": str(STEPS),
            "PLAYHEAD_LOG_LEVEL": "warning",
        }

    def programs(self) -> dict[str, list[int]]:
        """Return the process ids of its servers by server name."""
        return {name: server.processes() for name, server in self.servers.items()}


class Testbed:
    """Servers that are started on first use, and deployments on them.

    Args:
        memory: the folder for the data of the servers; None for the default folder of temporary files.
    """

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._servers: dict[str, Server] = {}
        self._missing: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def __enter__(self) -> Testbed:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.close()

    def server(self, name: str, *arguments: str) -> Server:
        """Return the server of this name, and start it on first use.

        Raises:
            ServerMissing: it is not available on this machine.
        """
        if name in self._missing:
            raise ServerMissing(self._missing[name])
        if name not in self._servers:
            before, tempfile.tempdir = tempfile.tempdir, str(self._memory) if self._memory else None
            try:
                self._servers[name] = fresh(name, *_AS_SHIPPED.get(name, ()), *arguments)
            except (Missing, DidNotStart) as exc:
                self._missing[name] = str(exc)
                raise ServerMissing(str(exc)) from exc
            finally:
                tempfile.tempdir = before
        return self._servers[name]

    @contextmanager
    def deployment(self, broker: str, *, store: Path | str | None = None) -> Iterator[Deployment]:
        """Create a deployment on a broker (`nats`, `rabbitmq`, `postgres`) and PostgreSQL. Delete it on exit.

        `sqlite` is an embedded deployment, with all data in its home.

        Args:
            store: a folder, the URL of a store, `S3` for a new prefix on the S3 server, or None for a new
                folder.

        Raises:
            ServerMissing: one of its servers is not available on this machine.
        """
        if broker == "sqlite":
            with scratch(self._memory) as home:
                database = f"sqlite:///{home}/playhead.db"
                folder = store if isinstance(store, Path) else home / "objects"
                yield Deployment(home, {}, folder.as_uri(), database, database, "")
            return
        names = ["postgres", broker] if broker != "postgres" else ["postgres"]
        servers = {name: self.server(name) for name in names}
        number = next(self._numbers)
        if store == S3:
            servers["s3"] = self.server("s3")
            where = urlsplit(servers["s3"].url)
            store = urlunsplit(where._replace(path=f"/bench-{number}"))
        database = f"bench_{number}"
        prefix = f"bench{number}-"
        postgres = urlsplit(servers["postgres"].url)
        catalog = urlunsplit(postgres._replace(path=f"/{database}"))
        asyncio.run(_execute(servers["postgres"].url, f"CREATE DATABASE {database}"))
        try:
            with scratch(self._memory) as home:
                yield Deployment(
                    home,
                    servers,
                    store=(store or home / "objects").as_uri() if isinstance(store, Path | None) else store,
                    broker=catalog if broker == "postgres" else servers[broker].url,
                    catalog=catalog,
                    prefix="" if broker == "postgres" else prefix,
                )
        finally:
            asyncio.run(_execute(servers["postgres"].url, f"DROP DATABASE {database} WITH (FORCE)"))
            if broker == "nats":
                asyncio.run(delete_streams(servers["nats"].url))
            elif broker == "rabbitmq":
                asyncio.run(
                    delete_queues(
                        servers["rabbitmq"].url, [f"{prefix}bench.{r}" for r in ("first", "second")]
                    )
                )


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def delete_streams(url: str) -> None:
    """Delete every stream of a NATS server."""
    link = await Link.connect(parse(url))
    try:
        found = await streams.ask(link, "STREAM.NAMES")
        for name in found.get("streams") or ():
            await streams.ask(link, f"STREAM.DELETE.{name}")
    finally:
        await link.close()


async def delete_queues(url: str, names: Sequence[str]) -> None:
    """Delete queues of a RabbitMQ server. Ignore those that do not exist."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for name in names:
            await channel.queue_delete(name)
    finally:
        await connection.close()
