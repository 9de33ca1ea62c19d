"""Sites to measure on: servers of the bench's own, and for each round an installation that nobody used.

The servers are those of the tests (`tests/servers`), with their data on tmpfs where there is one.
PostgreSQL runs without fsync, which tmpfs has none of anyway; all else is as its maker ships it.
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
"""The brokers as the table names them. PostgreSQL is the catalog of every site."""

S3 = "s3"
"""In the place of a store: the S3 server of the bench."""

_AS_SHIPPED: Mapping[str, Sequence[str]] = {"s3": ("--dir-cache-time", "5m")}
"""Over what the tests start a server with: rclone remembers what is in a folder."""

STEPS = Path(__file__).with_name("steps.py")
"""Adapters that do as little, or as much, as a measurement wants."""


class Absent(Exception):
    """A server can't be had here; the text says which, why, and what brings it."""


@dataclass(frozen=True)
class Site:
    """One installation: a home of its own, a database of its own, and queues that nobody else has.

    Attributes:
        servers: those that it uses, by name.
        prefix: of its queues.
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
        """Of its processes: this one's, with these settings of Playhead and no other."""
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
        """The processes of its servers, by the server's name."""
        return {name: server.processes() for name, server in self.servers.items()}


class Stand:
    """Servers that are started when they are first needed, and what is made on them.

    Args:
        memory: where their data lie; None for the disk.
    """

    def __init__(self, memory: Path | None) -> None:
        self._memory = memory
        self._servers: dict[str, Server] = {}
        self._absent: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.close()

    def server(self, name: str, *arguments: str) -> Server:
        """A server of this name, started the first time.

        Raises:
            Absent: it can't be had here.
        """
        if name in self._absent:
            raise Absent(self._absent[name])
        if name not in self._servers:
            before, tempfile.tempdir = tempfile.tempdir, str(self._memory) if self._memory else None
            try:
                self._servers[name] = fresh(name, *_AS_SHIPPED.get(name, ()), *arguments)
            except (Missing, DidNotStart) as exc:
                self._absent[name] = str(exc)
                raise Absent(str(exc)) from exc
            finally:
                tempfile.tempdir = before
        return self._servers[name]

    @contextmanager
    def site(self, broker: str, *, store: Path | str | None = None) -> Iterator[Site]:
        """An installation on a broker (`nats`, `rabbitmq`, `postgres`) and PostgreSQL; gone afterwards.

        Args:
            store: a folder, or the URL of a store; `S3` for a prefix of its own on the S3 server, None for a
                folder of its own.

        Raises:
            Absent: one of its servers can't be had here.
        """
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
                yield Site(
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
    """Delete queues of a RabbitMQ server; those that are not there are no matter."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        for name in names:
            await channel.queue_delete(name)
    finally:
        await connection.close()
