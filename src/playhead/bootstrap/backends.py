"""Choose the backend for each address; open and close the store, the broker and the catalog.

A backend that needs an optional library is imported only if an address names it.
"""

from __future__ import annotations

import asyncio
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
from playhead.errors import CannotStart, PlayheadError, Unavailable
from playhead.extras import install_command
from playhead.ports.broker import Broker
from playhead.ports.catalog import Catalog
from playhead.ports.diagnosis import Diagnosed, ProcessRole
from playhead.ports.store import Store
from playhead.ports.webhook import Webhooks
from playhead.services.doctor import DoctorService, Patient
from playhead.settings import without_password

if TYPE_CHECKING:
    from playhead.backends._postgres import Postgres
    from playhead.settings import Settings

_STORES: Final = "file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
_BROKERS: Final = "sqlite:///file, nats://host:4222, amqp://user:password@host or postgresql://host/database"
_CATALOGS: Final = "sqlite:///file or postgresql://host/database"
POSTGRES: Final = ("postgresql", "postgres")
_OPEN_AGAIN_SECONDS: Final = 2.0


class AStore(Store, Diagnosed, Protocol): ...


class ABroker(Broker, Diagnosed, Protocol): ...


class ACatalog(Catalog, Diagnosed, Protocol): ...


@dataclass(frozen=True)
class Backends:
    """The three opened backends.

    Attributes:
        upkeep: maintenance tasks in addition to those of the catalog. The process that holds the reconciler
            lease runs them.
    """

    store: AStore
    broker: ABroker
    catalog: ACatalog
    upkeep: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    def doctor(self) -> DoctorService:
        """Return a service that examines these backends."""
        patients = [
            Patient("store", self.store),
            Patient("broker", self.broker),
            Patient("catalog", self.catalog),
        ]
        return DoctorService(patients, self.catalog, self.broker)


def data_folder(settings: Settings) -> Path:
    """Return the folder for files of adapters."""
    return settings.home / "data"


async def open_backends(
    settings: Settings, stack: AsyncExitStack, role: ProcessRole | None = None
) -> Backends:
    """Open the backends that the settings name; `stack` closes them. `doctor` checks the rights of `role`.

    The catalog must be reachable, because no process works without it. If the store or the broker is
    unavailable, a warning is logged, and the backend is opened in the background.

    Raises:
        CannotStart: an address is invalid, or a library is not installed.
        Unavailable: the catalog is unreachable.
    """
    upkeep: list[Callable[[], Awaitable[None]]] = []
    catalog, database = await open_catalog(settings, stack, role)
    broker = await _open_broker(settings, stack, database, upkeep, role)
    store = await _open_store(settings, stack)
    return Backends(store, broker, catalog, upkeep)


async def open_for_doctor(
    settings: Settings, stack: AsyncExitStack, role: ProcessRole | None
) -> DoctorService:
    """Open each backend independently, for an examination; `stack` closes them.

    A backend that cannot be opened becomes a finding instead of an error.
    """
    patients: list[Patient] = []
    catalog: ACatalog | None = None
    broker: ABroker | None = None
    database: Database | Postgres | None = None
    try:
        catalog, database = await open_catalog(settings, stack, role)
        patients.append(Patient("catalog", catalog))
    except PlayheadError as exc:
        patients.append(Patient("catalog", None, exc.detail))
    try:
        broker = await _open_broker(settings, stack, database, [], role)
        patients.append(Patient("broker", broker))
    except PlayheadError as exc:
        patients.append(Patient("broker", None, exc.detail))
    try:
        patients.append(Patient("store", await _open_store(settings, stack)))
    except PlayheadError as exc:
        patients.append(Patient("store", None, exc.detail))
    return DoctorService(patients, catalog, broker, role)


async def open_catalog(
    settings: Settings, stack: AsyncExitStack, role: ProcessRole | None = None
) -> tuple[ACatalog, Database | Postgres]:
    """Return the catalog and its database."""
    url, beat = settings.catalog, settings.heartbeat_seconds
    if scheme(url) in POSTGRES:
        with extra("postgres", url):
            from playhead.backends.catalog_postgres import PostgresCatalog
        postgres = _postgres(url or "", stack, role)
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
    catalog_database: Database | Postgres | None,
    upkeep: list[Callable[[], Awaitable[None]]],
    role: ProcessRole | None,
) -> ABroker:
    """Return the broker. It shares the catalog's database (`catalog_database`) if the address is the same."""
    url, visibility, prefix = settings.broker, settings.visibility_seconds, settings.queue_prefix
    kind = scheme(url)
    if kind in POSTGRES:
        with extra("postgres", url):
            from playhead.backends.broker_postgres import PostgresBroker
        shared = (
            catalog_database
            if settings.catalog == url and not isinstance(catalog_database, Database)
            else None
        )
        database = shared or _postgres(url or "", stack, role)
        queues = PostgresBroker(database, visibility=visibility)
        queues.is_shared = shared is not None
        stack.push_async_callback(queues.close)
        await open_or_retry(stack, queues.open)
        return queues
    if kind in ("nats", "tls"):
        with extra("nats", url):
            from playhead.backends.broker_nats import NatsBroker
        nats = NatsBroker(url or "", visibility=visibility, prefix=prefix)
        stack.push_async_callback(nats.close)
        await open_or_retry(stack, nats.open)
        return nats
    if kind in ("amqp", "amqps"):
        with extra("rabbitmq", url):
            from playhead.backends.broker_rabbitmq import RabbitBroker
        rabbit = RabbitBroker(url or "", visibility=visibility, prefix=prefix)
        stack.push_async_callback(rabbit.close)
        await open_or_retry(stack, rabbit.open)
        return rabbit
    path = sqlite_path(settings, url, "BROKER")
    if isinstance(catalog_database, Database) and catalog_database.path == path:
        sqlite = SqliteBroker(catalog_database, visibility=visibility)
        sqlite.is_shared = True
    else:
        own = Database(path)
        stack.push_async_callback(own.close)
        await own.open()
        sqlite = SqliteBroker(own, visibility=visibility)
        upkeep.append(sqlite.maintain)  # the catalog maintains only its own file
    stack.push_async_callback(sqlite.close)
    return sqlite


async def _open_store(settings: Settings, stack: AsyncExitStack) -> AStore:
    if scheme(settings.store) in (None, "file"):
        files = FileStore(
            _store_root(settings),
            durability=settings.durability,
            max_object_bytes=settings.max_object_bytes,
        )
        stack.push_async_callback(files.close)
        return files
    if scheme(settings.store) not in ("s3", "gs", "az"):
        raise _unknown("STORE", settings.store, _STORES)
    with extra("s3", settings.store):
        from playhead.backends.store_object import ObjectStore
    store = ObjectStore(settings.store or "", max_object_bytes=settings.max_object_bytes)
    stack.push_async_callback(store.close)
    await open_or_retry(stack, store.open)
    return store


async def open_or_retry(
    stack: AsyncExitStack,
    open_backend: Callable[[], Awaitable[None]],
    *,
    retry_seconds: float = _OPEN_AGAIN_SECONDS,
) -> None:
    """Open a backend now. If it is unavailable, log a warning and retry in the background.

    Until the backend is open, its methods raise `Unavailable`.
    """
    try:
        await open_backend()
    except Unavailable as exc:
        events.emit(events.BACKEND_UNAVAILABLE, code=exc.code, detail=exc.detail)
        later = asyncio.create_task(_open_later(open_backend, retry_seconds))
        stack.callback(later.cancel)


async def _open_later(open_backend: Callable[[], Awaitable[None]], retry_seconds: float) -> None:
    while True:
        # Jitter, so that many processes do not reconnect at once.
        await asyncio.sleep(retry_seconds * random.uniform(0.5, 1.0))
        try:
            await open_backend()
        except Unavailable:
            continue
        except Exception as exc:
            # Retry, so that no restart is needed after an operator has fixed the cause (a schema, a file).
            detail = f"cannot open a backend, will retry: {type(exc).__name__}: {exc}"
            events.emit(events.LOOP_FAILED, detail=detail)
            continue
        events.emit(events.BACKEND_BACK)
        return


def _postgres(url: str, stack: AsyncExitStack, role: ProcessRole | None) -> Postgres:
    with extra("postgres", url):
        from playhead.backends._postgres import Postgres
    database = Postgres(url, role=role)
    stack.push_async_callback(database.close)
    return database


# -- addresses -------------------------------------------------------------------------------------


def scheme(url: str | None) -> str | None:
    """Return the scheme of an address, in lower case."""
    return None if url is None else url.partition(":")[0].lower()


def sqlite_path(settings: Settings, url: str | None, what: str) -> Path:
    """Return the file of an embedded database. Raises `CannotStart` if `url` is not `sqlite:///FILE`."""
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
        f"PLAYHEAD_{what}={without_secrets(url or '')} is not a supported address: use {known}, or unset it "
        "to use PLAYHEAD_HOME",
    )


def without_secrets(url: str) -> str:
    """Return an address that may be displayed: without user name, password and query."""
    return without_password(url).partition("?")[0]


@contextmanager
def extra(name: str, url: str | None) -> Iterator[None]:
    """Turn the failed import of an optional library into a `CannotStart` with the install command."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.startswith("playhead"):
            raise
        raise CannotStart(
            "setup_invalid",
            f"{without_secrets(url or '')} needs the library {exc.name}, which is not installed. Run: "
            f"{install_command(name)}",
        ) from exc


# -- webhooks --------------------------------------------------------------------------------------


def open_webhooks(settings: Settings, stack: AsyncExitStack) -> Webhooks | None:
    """Return what sends webhooks; None if the operator allows no host."""
    if not settings.webhook_hosts:
        return None
    # Imported late: its HTTP library takes a tenth of a second.
    from playhead.backends.webhook_http import HttpWebhooks

    webhooks = HttpWebhooks(settings.webhook_hosts, settings.webhook_private_hosts, settings.webhook_secret)
    stack.push_async_callback(webhooks.close)
    return webhooks
