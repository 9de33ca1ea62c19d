"""Deployments on real servers: several machines that share nothing but the servers.

The *kind* of a deployment says which servers it uses. Each of its processes has its own home, as on separate
machines. Deployments that share servers are kept apart by their own schema, key prefix and queue prefix.
"""

from __future__ import annotations

import re
import secrets
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, urlsplit

from obstore.store import S3Store

from tests.acceptance.brokers import Hand, by_hand, plain, query
from tests.acceptance.processes import SETTINGS, STEPS, Deployment, deployment_folder, outside, variables
from tests.servers import need
from tests.servers.s3 import KEY, SECRET

EXTERNAL: Final = "hand_over"
"""Ends the names of queues whose messages are for others: what is purged there is gone for good."""

_READERS: Final = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """Which servers a deployment has, by their names in `tests.servers`."""

    name: str
    store: str
    broker: str
    catalog: str

    def __str__(self) -> str:
        return self.name

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.store, self.broker, self.catalog)))


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("nats", "s3", "nats", "postgres"),
        Kind("rabbitmq", "s3", "rabbitmq", "postgres"),
        Kind("postgres", "s3", "postgres", "postgres"),
        Kind("nats-three", "s3", "nats-three", "postgres"),
    )
}
"""By their brokers, as that is what differs: the store is on S3, the catalog in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Urls:
    """Where the three backends are, as the settings name them."""

    store: str
    broker: str
    catalog: str

    @classmethod
    def of(cls, kind: Kind, servers: Mapping[str, str]) -> Urls:
        """From the URLs of servers by name."""
        return cls(servers[kind.store], servers[kind.broker], servers[kind.catalog])

    @classmethod
    def shared(cls, kind: Kind) -> Urls:
        """From the servers that all tests share. Skips the test if one is missing."""
        return cls.of(kind, {name: need(name) for name in kind.servers})

    def isolated(self, name: str) -> Urls:
        """The same servers, for an installation that shares them with others."""

        def schema(url: str) -> str:
            return f"{url}?search_path={name}" if url.startswith("postgresql:") else url

        bucket, _, options = self.store.partition("?")
        return Urls(f"{bucket}/{name}?{options}", schema(self.broker), schema(self.catalog))


@dataclass
class ServerDeployment(Deployment):
    """A deployment on servers.

    Attributes:
        direct: where the servers are, whatever lies between them and the processes.
        hand: the broker by hand.
    """

    direct: Urls = field(kw_only=True)
    hand: Hand = field(kw_only=True)
    _taken: dict[str, dict[str, set[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )

    # Those who share a queue of NATS share its visibility, too.
    holds: ClassVar[Mapping[str, str]] = MappingProxyType({})

    def own(self, process: str) -> Mapping[str, str]:
        return {"HOME": str(self.machine(process))}

    def machine(self, process: str) -> Path:
        """The home of a process, by its name."""
        return self.folder / "machines" / process

    # -- counting ----------------------------------------------------------------------------------

    def rows(self, sql: str, *values: object) -> list[Any]:
        places = iter(range(1, len(values) + 1))
        return query(plain(self.direct.catalog), re.sub(r"\?", lambda _: f"${next(places)}", sql), *values)

    def stored(self, execution: str) -> dict[str, bytes]:
        store = self._store
        keys = [meta["path"] for page in store.list(execution) for meta in page]
        with ThreadPoolExecutor(_READERS) as pool:
            data = pool.map(lambda key: store.get(key).bytes().to_bytes(), keys)
            return dict(zip(keys, data, strict=True))

    def noted(self, execution: str) -> list[str]:
        logs = sorted((self.folder / "machines").glob(f"*/data/{execution}.log"))
        return [line for log in logs for line in log.read_text().splitlines()]

    def called(self, queue: str, execution: str) -> set[str]:
        if self.hand.keeps:
            self._taken[queue].clear()
        for headers in self.hand.take(queue):
            self._taken[queue][headers["execution_id"]].add(headers["correlation_id"])
        return self._taken[queue][execution]

    def put(self, key: str, data: bytes = b"") -> None:
        """Write an object as another program would."""
        self._store.put(key, data)

    @cached_property
    def _store(self) -> S3Store:
        parts = urlsplit(self.direct.store)
        options = parse_qs(parts.query)
        return S3Store(
            parts.netloc,
            prefix=parts.path.strip("/"),
            endpoint=options["endpoint"][0],
            region=options["region"][0],
            access_key_id=KEY,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )

    # -- a broker that forgets ---------------------------------------------------------------------

    def queues(self) -> list[str]:
        """The queues that workers consume."""
        found = self.rows("SELECT DISTINCT queue FROM lanes WHERE NOT external ORDER BY queue")
        return [row["queue"] for row in found]

    def forget_held(self) -> None:
        # No broker tells who holds what: all is lost.
        self.hand.purge(self.queues())


@contextmanager
def open_server_deployment(
    urls: Urls, *, through: Urls | None = None, adapters: str = str(STEPS), **settings: str
) -> Iterator[ServerDeployment]:
    """A new deployment on servers, with nothing running; of what it made only what is in the servers stays.

    Args:
        through: the addresses for the processes, instead of `urls`: the same servers behind proxies.
        adapters: files of steps, with commas between.
        settings: over `SETTINGS`, named like those.
    """
    name = f"deployment_{secrets.token_hex(4)}"
    direct = urls.isolated(name)
    told = (through or urls).isolated(name)
    query(plain(urls.catalog), f"CREATE SCHEMA {name}")
    own = {
        "STORE": told.store,
        "BROKER": told.broker,
        "CATALOG": told.catalog,
        "QUEUE_PREFIX": f"{name}.",
        "ADAPTERS": adapters,
    }
    secret = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    with deployment_folder() as folder:
        deployment = ServerDeployment(
            folder,
            outside() | secret | variables({**own, **SETTINGS, **settings}),
            direct=direct,
            hand=by_hand(direct.broker, f"{name}."),
        )
        try:
            yield deployment
        finally:
            deployment.close()
