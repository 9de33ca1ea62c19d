"""From addresses to backends: which class an address means, and how all three are opened and closed.

A backend on a server is imported when an address asks for it: its library is an extra, and a process
that does not use it should not pay for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from playhead import events
from playhead.backends._sqlite import Database
from playhead.backends.broker_sqlite import SqliteBroker
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.backends.store_fs import FileStore
from playhead.errors import (
    CannotStart,
    PlayheadError,
    Unavailable,
    broker_unavailable,
    catalog_unavailable,
)
from playhead.ports.broker import Broker
from playhead.ports.catalog import Catalog
from playhead.ports.diagnosis import Diagnosed
from playhead.ports.store import Store
from playhead.services.doctor import DoctorService, Patient
from playhead.settings import without_password

if TYPE_CHECKING:
    from playhead.backends._postgres import Postgres
    from playhead.settings import Settings

_STORES: Final = "file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
_BROKERS: Final = "sqlite:///file, nats://host:4222, amqp://user:password@host or postgresql://host/database"
_CATALOGS: Final = "sqlite:///file or postgresql://host/database"
_POSTGRES: Final = ("postgresql", "postgres")
_OPEN_AGAIN_SECONDS: Final = 2.0


class AStore(Store, Diagnosed, Protocol): ...


class ABroker(Broker, Diagnosed, Protocol): ...


class ACatalog(Catalog, Diagnosed, Protocol): ...


@dataclass(frozen=True)
class Backends:
    """The three, open.

    Attributes:
        upkeep: what the reconciler's holder does beside the catalog's own housekeeping.
    """

    store: AStore
    broker: ABroker
    catalog: ACatalog
    upkeep: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def doctor(self) -> DoctorService:
        """Who examines them."""
        patients = [
            Patient("store", self.store),
            Patient("broker", self.broker),
            Patient("catalog", self.catalog),
        ]
        return DoctorService(patients, self.catalog, self.broker)


async def open_backends(settings: Settings, stack: AsyncExitStack) -> Backends:
    """Open what the settings name; `stack` closes it.

    Without its catalog a process knows nothing, so that has to answer now. A store or a broker that is
    away is told, and used as soon as it is back.

    Raises:
        CannotStart: an address that can't be right, or a library that is not installed.
        Unavailable: the catalog can't be reached.
    """
    upkeep: list[Callable[[], Awaitable[None]]] = []
    catalog, database = await _open_catalog(settings, stack)
    broker = await _open_broker(settings, stack, database, upkeep)
    store = await _open_store(settings, stack)
    return Backends(store, broker, catalog, upkeep)


async def open_for_doctor(settings: Settings, stack: AsyncExitStack) -> DoctorService:
    """Open whatever can be opened, each by itself; `stack` closes it."""
    patients: list[Patient] = []
    catalog: ACatalog | None = None
    broker: ABroker | None = None
    database: Database | Postgres | None = None
    try:
        catalog, database = await _open_catalog(settings, stack)
        patients.append(Patient("catalog", catalog))
    except PlayheadError as exc:
        patients.append(Patient("catalog", None, exc.detail))
    try:
        broker = await _open_broker(settings, stack, database, [])
        patients.append(Patient("broker", broker))
    except PlayheadError as exc:
        patients.append(Patient("broker", None, exc.detail))
    try:
        patients.append(Patient("store", await _open_store(settings, stack)))
    except PlayheadError as exc:
        patients.append(Patient("store", None, exc.detail))
    return DoctorService(patients, catalog, broker)


async def _open_catalog(settings: Settings, stack: AsyncExitStack) -> tuple[ACatalog, Database | Postgres]:
    """The catalog, and the database it lies in."""
    url, beat = settings.catalog, settings.heartbeat_seconds
    if _scheme(url) in _POSTGRES:
        with _extra("postgres", url):
            from playhead.backends.catalog_postgres import PostgresCatalog
        postgres = _postgres(url or "", stack)
        catalog = PostgresCatalog(postgres, heartbeat_seconds=beat)
        await catalog.open()
        return catalog, postgres
    sqlite = Database(sqlite_path(settings, url, "CATALOG"))
    stack.push_async_callback(sqlite.close)
    await sqlite.open()
    return SqliteCatalog(sqlite, heartbeat_seconds=beat), sqlite


async def _open_broker(
    settings: Settings,
    stack: AsyncExitStack,
    catalogs: Database | Postgres | None,
    upkeep: list[Callable[[], Awaitable[None]]],
) -> ABroker:
    """The broker; in the catalog's database (`catalogs`) where that is the same."""
    url, visibility, prefix = settings.broker, settings.visibility_seconds, settings.queue_prefix
    scheme = _scheme(url)
    if scheme in _POSTGRES:
        with _extra("postgres", url):
            from playhead.backends.broker_postgres import PostgresBroker
        shared = catalogs if settings.catalog == url and not isinstance(catalogs, Database) else None
        database = shared or _postgres(url or "", stack)
        queues = PostgresBroker(database, visibility=visibility)
        stack.push_async_callback(queues.close)
        await _open_or_tell(stack, queues.open)
        return queues
    if scheme in ("nats", "tls"):
        with _extra("nats", url):
            from playhead.backends.broker_nats import NatsBroker
        nats = NatsBroker(url or "", visibility=visibility, prefix=prefix)
        stack.push_async_callback(nats.close)
        await _open_or_tell(stack, nats.open)
        return nats
    if scheme in ("amqp", "amqps"):
        with _extra("rabbitmq", url):
            from playhead.backends.broker_rabbitmq import RabbitBroker
        rabbit = RabbitBroker(url or "", visibility=visibility, prefix=prefix)
        stack.push_async_callback(rabbit.close)
        await _open_or_tell(stack, rabbit.open)
        return rabbit
    path = sqlite_path(settings, url, "BROKER")
    if isinstance(catalogs, Database) and catalogs.path == path:
        sqlite = SqliteBroker(catalogs, visibility=visibility)
    else:
        own = Database(path)
        stack.push_async_callback(own.close)
        await own.open()
        sqlite = SqliteBroker(own, visibility=visibility)
        upkeep.append(sqlite.maintain)  # the catalog sees to its own file only
    stack.push_async_callback(sqlite.close)
    return sqlite


async def _open_store(settings: Settings, stack: AsyncExitStack) -> AStore:
    if _scheme(settings.store) in (None, "file"):
        files = FileStore(
            _store_root(settings),
            durability=settings.durability,
            max_object_bytes=settings.max_object_bytes,
        )
        stack.push_async_callback(files.close)
        return files
    if _scheme(settings.store) not in ("s3", "gs", "az"):
        raise _unknown("STORE", settings.store, _STORES)
    with _extra("s3", settings.store):
        from playhead.backends.store_object import ObjectStore
    store = ObjectStore(settings.store or "", max_object_bytes=settings.max_object_bytes)
    stack.push_async_callback(store.close)
    await _open_or_tell(stack, store.open)
    return store


async def _open_or_tell(stack: AsyncExitStack, open_it: Callable[[], Awaitable[None]]) -> None:
    """Open now, or say that it is away and go on trying; its methods raise `Unavailable` until then."""
    try:
        await open_it()
    except Unavailable as exc:
        events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, code=exc.code, detail=exc.detail)
        later = asyncio.create_task(_open_later(open_it))
        stack.callback(later.cancel)


async def _open_later(open_it: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(_OPEN_AGAIN_SECONDS * random.uniform(0.5, 1.0))  # a fleet does not come as one
        try:
            await open_it()
        except Unavailable:
            continue
        except Exception as exc:
            # Told, and tried again: else what an operator mends (a schema, a file) would need a restart.
            detail = f"can't be opened: {type(exc).__name__}: {exc}"
            events.emit(events.LOOP_FAILED, logging.ERROR, detail=detail)
            continue
        events.emit(events.BACKEND_BACK)
        return


def _postgres(url: str, stack: AsyncExitStack) -> Postgres:
    with _extra("postgres", url):
        from playhead.backends._postgres import Postgres
    database = Postgres(url)
    stack.push_async_callback(database.close)
    return database


# -- migrations ------------------------------------------------------------------------------------


async def migrate(settings: Settings, check: bool) -> list[str]:
    """Bring the databases to this version's schema (or only look); returns `name: number` each.

    Raises:
        CannotStart: a database of a newer version, or one that can't be changed.
        Unavailable: a database can't be reached.
    """
    steps: dict[str, list[int]] = {}
    for url, what, unavailable in (
        (settings.catalog, "CATALOG", catalog_unavailable),
        (settings.broker, "BROKER", broker_unavailable),
    ):
        if _scheme(url) in _POSTGRES:
            with _extra("postgres", url):
                from playhead.backends._postgres import Postgres, Unreachable
            postgres = Postgres(url or "")
            try:
                if postgres.address not in steps:
                    steps[postgres.address] = await (postgres.pending() if check else postgres.migrate())
            except Unreachable as exc:
                raise unavailable(str(exc)) from exc
            finally:
                await postgres.close()
        elif _scheme(url) in (None, "sqlite"):
            db = Database(sqlite_path(settings, url, what))
            if str(db.path) not in steps:
                steps[str(db.path)] = await asyncio.to_thread(db.pending if check else db.migrate)
    return [f"{Path(name).name}: {n}" for name, numbers in steps.items() for n in numbers]


# -- addresses -------------------------------------------------------------------------------------


def _scheme(url: str | None) -> str | None:
    return None if url is None else url.partition(":")[0].lower()


def sqlite_path(settings: Settings, url: str | None, what: str) -> Path:
    """The file of the embedded catalog or broker. Raises `CannotStart` where the address is no such file."""
    if url is None:
        return settings.home / "playhead.db"
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc:
        raise _unknown(what, url, _CATALOGS if what == "CATALOG" else _BROKERS)
    return Path(unquote(parts.path))


def _store_root(settings: Settings) -> Path:
    if settings.store is None:
        return settings.home / "objects"
    parts = urlsplit(settings.store)
    if parts.netloc:
        raise _unknown("STORE", settings.store, _STORES)
    return Path(unquote(parts.path))


def _unknown(what: str, url: str | None, known: str) -> CannotStart:
    return CannotStart(
        "setup_invalid",
        f"PLAYHEAD_{what}={without_secrets(url or '')}: no such backend; there are {known}; unset, it lies "
        "under PLAYHEAD_HOME",
    )


def without_secrets(url: str) -> str:
    """An address as people may see it: without what stands before an `@`, and without its options."""
    return without_password(url).partition("?")[0]


@contextmanager
def _extra(name: str, url: str | None) -> Iterator[None]:
    """Say how to get a library that is not installed."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.startswith("playhead"):
            raise
        raise CannotStart(
            "setup_invalid",
            f"{without_secrets(url or '')} needs the library {exc.name}, which is not installed: "
            f"pip install 'playhead[{name}]'",
        ) from exc
