"""The composition root: the only place that names concrete backends and adapters.

`open_runtime` turns settings into backends, services, and the loops that keep a process's promises:
its heartbeat, its turn as reconciler, and the jobs it drives.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from playhead import config as config_loader
from playhead import events, faults, plugins
from playhead.adapters import html_to_markdown, passthrough, split_markdown, sqlite_search
from playhead.backends._sqlite import Database
from playhead.backends.broker_sqlite import SqliteBroker
from playhead.backends.catalog_sqlite import SqliteCatalog
from playhead.backends.store_fs import FileStore
from playhead.errors import CannotStart, Unavailable
from playhead.ids import uuid7
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog.upkeep import Process
from playhead.services import Services
from playhead.services.browse import BrowseService
from playhead.services.configs import ConfigService
from playhead.services.reconcile import ReconcileService
from playhead.services.recover import RecoverService
from playhead.services.replay import ReplayService
from playhead.services.submit import SubmitService
from playhead.services.worker import WorkerService, WorkerSettings

if TYPE_CHECKING:
    from playhead.settings import Settings

BUILT_IN = (html_to_markdown, passthrough, split_markdown, sqlite_search)
_RECONCILE_SECONDS = 1.0
_JOBS_SECONDS = 0.5
_MOST_JOBS_AT_ONCE = 4


# -- adapters --------------------------------------------------------------------------------------


def load_adapters(settings: Settings) -> Mapping[str, AdapterSpec]:
    """All adapters of this process by name. Raises `CannotStart`, as `plugins.load` does."""
    return plugins.load(BUILT_IN, settings.adapters)


def search_index(
    settings: Settings, index: str, words: str, *, execution: UUID | None = None, limit: int = 10
) -> list[sqlite_search.Hit]:
    """Ask an index that a `sqlite_search` step filled; `index` is the step's `path`."""
    where = sqlite_search.index_file(str(data_folder(settings)), index)
    return sqlite_search.search(where, words, execution, limit)


# -- backends --------------------------------------------------------------------------------------


def data_folder(settings: Settings) -> Path:
    """Where adapters keep their files."""
    return settings.home / "data"


def _sqlite_path(settings: Settings, url: str | None, what: str) -> Path:
    if url is None:
        return settings.home / "playhead.db"
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc:
        raise CannotStart(
            "setup_invalid",
            f"PLAYHEAD_{what}={url}: only sqlite:///path is built in; unset, it lies under PLAYHEAD_HOME",
        )
    return Path(unquote(parts.path))


def _store_root(settings: Settings) -> Path:
    if settings.store is None:
        return settings.home / "objects"
    parts = urlsplit(settings.store)
    if parts.scheme != "file" or parts.netloc:
        raise CannotStart(
            "setup_invalid",
            f"PLAYHEAD_STORE={settings.store}: only file:///path is built in; unset, it lies under "
            "PLAYHEAD_HOME",
        )
    return Path(unquote(parts.path))


def _make_home(settings: Settings) -> None:
    try:
        data_folder(settings).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CannotStart(
            "home_unwritable", f"can't make {settings.home}: {exc.strerror}; name another with PLAYHEAD_HOME"
        ) from exc


def databases(settings: Settings) -> list[Database]:
    """The SQLite files of these settings, each once: the catalog's first, then the broker's."""
    paths = [
        _sqlite_path(settings, settings.catalog, "CATALOG"),
        _sqlite_path(settings, settings.broker, "BROKER"),
    ]
    return [Database(p) for p in dict.fromkeys(paths)]


async def migrate(settings: Settings, check: bool) -> list[str]:
    """Bring the databases to this version's schema (or only look); returns `file: number` each."""
    _make_home(settings)
    steps = []
    for db in databases(settings):
        numbers = await asyncio.to_thread(db.pending if check else db.migrate)
        steps += [f"{db.path.name}: {n}" for n in numbers]
    return steps


# -- a running process -----------------------------------------------------------------------------


@dataclass
class Runtime:
    """A process with its backends open.

    Attributes:
        files: the databases that the catalog and the broker lie in, the catalog's first.
        process: what others see of it; None for a command that only looks.
    """

    settings: Settings
    adapters: Mapping[str, AdapterSpec]
    catalog: SqliteCatalog
    broker: SqliteBroker
    store: FileStore
    services: Services
    reconciler: ReconcileService
    files: Sequence[Database]
    process: Process | None
    worker: WorkerService | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _jobs: dict[UUID, asyncio.Task[None]] = field(default_factory=dict)
    _loops: list[asyncio.Task[None]] = field(default_factory=list)

    async def work(
        self,
        *,
        routes: Sequence[str] = (),
        until_idle: bool = False,
        until: UUID | None = None,
        stop: asyncio.Event | None = None,
    ) -> int:
        """Consume queues in this process; see `WorkerService.run`. Returns the exit code."""
        assert self.process, "a process that only looks does not work"
        settings = WorkerSettings(
            worker=self.process.id,
            visibility=self.settings.visibility_seconds,
            data_dir=str(data_folder(self.settings).resolve()),
            max_object_bytes=self.settings.max_object_bytes,
        )
        self.worker = WorkerService(self.catalog, self.broker, self.store, self.adapters, settings)
        return await self.worker.run(routes=routes, until_idle=until_idle, until=until, stop=stop)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start something that outlives its caller; it is held until it ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()):
            events.emit(events.JOB_LOST, logging.ERROR, detail=f"{type(fault).__name__}: {fault}")
            events.LOG.debug("the job's traceback", exc_info=fault)

    def drive(self, job: UUID) -> None:
        """Drive a job in this process, if it does not already."""
        running = self._jobs.get(job)
        if running is None or running.done():
            self._jobs[job] = self.spawn(self.services.replay.drive(job))

    async def start(self) -> None:
        """Announce the process and start its loops."""
        if self.process is None:
            return
        await self._beat()
        loops = [
            (self._beat, self.settings.heartbeat_seconds),
            (self._reconcile, _RECONCILE_SECONDS),
            (self._renew, self.settings.lease_seconds / 3),
        ]
        if self.process.kind in ("serve", "worker", "replay"):
            loops.append((self._take_over, _JOBS_SECONDS))
        self._loops += [asyncio.create_task(self._forever(*loop)) for loop in loops]

    async def stop(self) -> None:
        """Stop the loops, leave jobs to others, and say goodbye, so that nobody waits for a heartbeat."""
        self.services.replay.stopping = True
        running = [*self._loops, *self._tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self.process:
            # Best effort: where the catalog is away, the missing heartbeat says the same, later.
            with contextlib.suppress(Unavailable):
                await self.catalog.depart(self.process.id)

    async def _forever(self, once: Callable[[], Coroutine[Any, Any, None]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await once()
            except Unavailable as exc:
                events.emit(events.BACKEND_AWAY, logging.WARNING, code=exc.code, detail=exc.detail)
            except Exception as exc:
                # Told in full, and tried again: without its heartbeat or the reconciler, a process that
                # looks alive would leave messages lying for ever.
                detail = f"{once.__name__.strip('_')}: {type(exc).__name__}: {exc}"
                events.emit(events.LOOP_FAILED, logging.ERROR, exc_info=True, detail=detail)

    async def _beat(self) -> None:
        assert self.process
        await self.catalog.heartbeat(self.process, self.worker.queues if self.worker else ())

    async def _reconcile(self) -> None:
        if await self.reconciler.cycle() and len(self.files) > 1:
            await self.broker.maintain()  # the catalog has seen to its own file

    async def _renew(self) -> None:
        await self.services.replay.renew()

    async def _take_over(self) -> None:
        self._jobs = {job: task for job, task in self._jobs.items() if not task.done()}
        for job in await self.catalog.abandoned_jobs():
            if len(self._jobs) >= _MOST_JOBS_AT_ONCE:
                return
            self.drive(job)


def _collect_seldom() -> None:
    """Look for reference cycles less often, and never again at what was imported.

    Pages and batches are thousands of tuples that hold no cycle. Looking at each of them took an eighth
    of a replay's time, and a full look at all modules holds up every answer of a server.
    """
    if not gc.get_freeze_count():
        gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@contextlib.asynccontextmanager
async def open_runtime(settings: Settings, *, kind: str | None = None) -> AsyncIterator[Runtime]:
    """Open the backends that settings name, and close them again.

    Args:
        kind: `serve`, `worker`, `run` or `replay` for a process that works: it has a heartbeat and its
            turn as reconciler, and the first two take over jobs. None for one that only looks.

    Raises:
        CannotStart: what is wrong with the settings or the home, and what to do.
    """
    adapters = load_adapters(settings)
    _make_home(settings)
    if kind:
        faults.arm(settings.fault)
        _collect_seldom()
    files = databases(settings)
    for db in files:
        await db.open()
    identity = f"{kind or 'cli'}-{uuid7()}"
    catalog = SqliteCatalog(files[0], heartbeat_seconds=settings.heartbeat_seconds)
    broker = SqliteBroker(files[-1], visibility=settings.visibility_seconds)
    store = FileStore(
        _store_root(settings), durability=settings.durability, max_object_bytes=settings.max_object_bytes
    )
    runtime: Runtime

    def sealed(job: UUID) -> None:
        # A detached run leaves its job to whoever works; others start at once.
        if kind:
            runtime.drive(job)

    services = Services(
        configs=ConfigService(
            catalog,
            partial(config_loader.parse, adapters=adapters, allowed=settings.adapters_allowed),
        ),
        submit=SubmitService(
            catalog,
            store,
            owner=identity,
            lease=settings.lease_seconds,
            max_object_bytes=settings.max_object_bytes,
            sealed=sealed,
        ),
        replay=ReplayService(
            catalog,
            store,
            broker,
            owner=identity,
            lease=settings.lease_seconds,
            settle=settings.settle_seconds,
            spawn=lambda work: runtime.spawn(work),
        ),
        browse=BrowseService(catalog, store, broker, adapters),
        recover=RecoverService(catalog),
    )
    runtime = Runtime(
        settings=settings,
        adapters=adapters,
        catalog=catalog,
        broker=broker,
        store=store,
        services=services,
        reconciler=ReconcileService(catalog, broker, owner=identity, lease=settings.lease_seconds),
        files=files,
        process=Process(identity, kind, socket.gethostname(), os.getpid()) if kind else None,
    )
    try:
        await runtime.start()
        yield runtime
    finally:
        await runtime.stop()
        await broker.close()
        await store.close()
        for db in files:
            await db.close()
