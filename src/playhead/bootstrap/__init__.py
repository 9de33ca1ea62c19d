"""The composition root: the only place that names concrete backends and adapters.

`open_runtime` creates backends and services from the settings. It also starts the background loops of a
process: the heartbeat, the reconciler, and the driving of jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from playhead import config as config_loader
from playhead import events, faults, ids, plugins
from playhead.adapters import html_to_markdown, passthrough, split_markdown, sqlite_search
from playhead.bootstrap import backends
from playhead.bootstrap.backends import ABroker, ACatalog, AStore, open_backends, open_for_doctor
from playhead.bootstrap.tracing import open_tracer
from playhead.clock import ElapsedClock
from playhead.counters import Counters, Numbers, decode, encode
from playhead.engine.environment import Backends, Environment, WorkerSettings
from playhead.errors import CannotStart, Unavailable
from playhead.model import Examination, SearchHit
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog.upkeep import Process
from playhead.ports.tracer import OFF, Tracer
from playhead.services import Services
from playhead.services.configs import ConfigService
from playhead.services.executions import ExecutionService
from playhead.services.lineage import LineageService
from playhead.services.metrics import MetricsService
from playhead.services.objects import ObjectService
from playhead.services.queues import QueueService
from playhead.services.reconcile import ReconcileService
from playhead.services.recover import RecoverService
from playhead.services.replay import ReplayService
from playhead.services.search import SearchService
from playhead.services.submit import SubmitService
from playhead.services.system import SystemService
from playhead.services.take import TakeService
from playhead.services.watch import WatchService
from playhead.services.worker import WorkerService
from playhead.watchdog import BEAT_SECONDS, FROZEN_SECONDS, Watchdog

if TYPE_CHECKING:
    from playhead.settings import Settings

BUILT_IN = (html_to_markdown, passthrough, split_markdown, sqlite_search)
_RECONCILE_SECONDS = 1.0
_JOBS_SECONDS = 0.5
_MOST_JOBS_AT_ONCE = 4
_MOST_JOBS_HELD = 64
"""Includes jobs that wait, for example for a full queue. Each job has a page in memory and renews a lease."""
_SELDOM = (50_000, 20, 50)
_MOST_CANCELS = 3
_CANCEL_SECONDS = 1.0
_GOODBYE_SECONDS = 3.0


# -- adapters --------------------------------------------------------------------------------------


def load_adapters(settings: Settings) -> Mapping[str, AdapterSpec]:
    """Load all adapters of this process, by name. Raises `CannotStart`, as `plugins.load` does."""
    return plugins.load(BUILT_IN, settings.adapters)


def search_index(
    settings: Settings, index: str, words: str, execution: UUID | None = None, limit: int = 10
) -> list[SearchHit]:
    """Search an index that a `sqlite_search` step filled; `index` is the step's `path`."""
    where = sqlite_search.index_file(str(data_folder(settings)), index)
    return [SearchHit(**asdict(hit)) for hit in sqlite_search.search(where, words, execution, limit)]


def searching(settings: Settings) -> SearchService:
    """Return a service that searches the data folder. It opens no backend."""
    return SearchService(partial(search_index, settings))


# -- backends --------------------------------------------------------------------------------------


def data_folder(settings: Settings) -> Path:
    """Return the folder for files of adapters."""
    return settings.home / "data"


def _make_home(settings: Settings) -> None:
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        data_folder(settings).mkdir(exist_ok=True)
    except OSError as exc:
        raise CannotStart(
            "home_unwritable",
            f"cannot create {settings.home}: {exc.strerror}. Set PLAYHEAD_HOME to a writable folder",
        ) from exc


async def migrate(settings: Settings, check: bool) -> list[str]:
    """Migrate the databases, or only list the pending migrations (`check`); see `backends.migrate`."""
    _make_home(settings)
    return await backends.migrate(settings, check)


async def examine(settings: Settings) -> Examination:
    """Examine each backend that the settings name, even if some cannot be opened."""
    _make_home(settings)
    async with contextlib.AsyncExitStack() as stack:
        return await (await open_for_doctor(settings, stack)).examine()


# -- a running process -----------------------------------------------------------------------------


@dataclass
class Runtime:
    """A process with its backends open.

    Attributes:
        upkeep: maintenance tasks that the process with the reconciler lease runs after each cycle.
        process: its identity in the catalog; None for a short command.
        environment: what it provides to its services and its worker.
        tracer: starts its spans.
    """

    settings: Settings
    adapters: Mapping[str, AdapterSpec]
    catalog: ACatalog
    broker: ABroker
    store: AStore
    services: Services
    reconciler: ReconcileService
    upkeep: Sequence[Callable[[], Awaitable[None]]]
    process: Process | None
    environment: Environment
    tracer: Tracer
    watchdog: Watchdog | None = None
    worker: WorkerService | None = None
    _told: Numbers = field(default_factory=dict)
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
        assert self.process, "a runtime without a process cannot consume queues"
        settings = WorkerSettings(
            visibility=self.settings.visibility_seconds,
            data_dir=str(data_folder(self.settings).resolve()),
            max_object_bytes=self.settings.max_object_bytes,
        )
        self.worker = WorkerService(
            Backends(self.catalog, self.broker, self.store),
            self.adapters,
            settings,
            self.environment,
            driving=lambda: self.services.replay.driving,
            waiting=lambda: self.services.replay.waiting,
        )
        return await self.worker.run(routes=routes, until_idle=until_idle, until=until, stop=stop)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that outlives its caller. The runtime keeps a reference until the task ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()):
            events.emit(events.JOB_LOST, logging.ERROR, detail=f"{type(fault).__name__}: {fault}")
            events.LOG.debug("traceback of the job", exc_info=fault)

    def drive(self, job: UUID) -> None:
        """Drive a job in this process, unless it already does."""
        running = self._jobs.get(job)
        if running is None or running.done():
            self._jobs[job] = self.spawn(self.services.replay.drive(job))

    async def start(self) -> None:
        """Send the first heartbeat of the process, and start its loops."""
        if self.process is None:
            return
        await self._beat()
        loops = [
            (self._beat, self.settings.heartbeat_seconds),
            (self._reconcile, _RECONCILE_SECONDS),
            (self._renew, self.settings.lease_seconds / 3),
            (self._take_over, _JOBS_SECONDS),
        ]
        if self.watchdog:
            await self._beat_for_watchdog()  # it watches from here on, so before any step can start
            loops.append((self._beat_for_watchdog, BEAT_SECONDS))
        self._loops += [asyncio.create_task(self._forever(*loop)) for loop in loops]

    async def stop(self) -> None:
        """Stop the loops, release the jobs, and deregister the process from the catalog.

        Deregistering lets other processes take over at once, without waiting for a missing heartbeat. The
        shutdown takes a few seconds at most, even if a backend does not answer. The exception is a SQLite
        file that another process keeps locked: a write waits for the lock.
        """
        self.services.replay.stopping = True
        # Repeat the cancellation: a library may lose one that arrives at the same time as its answer.
        for _ in range(_MOST_CANCELS):
            running = [task for task in (*self._loops, *self._tasks) if not task.done()]
            if not running:
                break
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=_CANCEL_SECONDS)
        if self.process:
            # Best effort: if the catalog is unavailable, the missing heartbeat has the same effect later.
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self.catalog.depart(self.process.id, self.environment.counters.numbers())
        if self.watchdog:
            self.watchdog.close()

    async def _forever(self, once: Callable[[], Coroutine[Any, Any, None]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await once()
            except Unavailable as exc:
                events.emit(events.BACKEND_UNAVAILABLE, logging.WARNING, code=exc.code, detail=exc.detail)
            except (Exception, asyncio.CancelledError) as exc:
                task = asyncio.current_task()
                if isinstance(exc, asyncio.CancelledError) and task and task.cancelling():
                    raise
                # Log the error and repeat the loop: a live process without heartbeat or reconciler would
                # leave messages unprocessed forever. A library may also raise a CancelledError although
                # this task was not cancelled.
                detail = f"{once.__name__.strip('_')}: {type(exc).__name__}: {exc}"
                events.emit(events.LOOP_FAILED, logging.ERROR, exc_info=True, detail=detail)

    async def _beat(self) -> None:
        assert self.process
        queues = self.worker.queues if self.worker else ()
        numbers = self.environment.counters.numbers()
        if await self.catalog.heartbeat(self.process, queues, numbers):
            self._told = numbers
        else:
            self.environment.counters.kept(self._told)
            self._told = {}

    async def _beat_for_watchdog(self) -> None:
        assert self.process
        assert self.watchdog
        queues = self.worker.queues if self.worker else []
        numbers = encode(self.environment.counters.numbers())
        self.watchdog.beat(json.dumps([self.process, queues, numbers]).encode())

    async def _reconcile(self) -> None:
        if await self.reconciler.cycle():
            for once in self.upkeep:
                await once()

    async def _renew(self) -> None:
        await self.services.replay.renew()

    async def _take_over(self) -> None:
        """Drive jobs that no live process drives.

        A process of kind `run` takes over only its own job. It may have failed to acquire that job because
        the catalog was unavailable, and there may be no other process to drive it.
        """
        assert self.process
        for job in await self.catalog.abandoned_jobs():
            held = {driven for driven, task in self._jobs.items() if not task.done()}
            # Waiting jobs have a separate limit: a queue may be full for days, and must not block other jobs.
            if len(held) >= _MOST_JOBS_HELD:
                return
            if len(held - self.services.replay.waiting) >= _MOST_JOBS_AT_ONCE:
                return
            if self.process.kind != "run" or job in self._jobs:
                self.drive(job)
        if self.process.kind != "run":
            self._jobs = {job: task for job, task in self._jobs.items() if not task.done()}


def watchdog_of(settings: Settings, frozen_seconds: float = FROZEN_SECONDS) -> Watchdog:
    """Start a watchdog for this process; see `Watchdog`. It sends heartbeats while the process is busy."""
    return Watchdog(
        frozen_seconds,
        late_seconds=2 * max(settings.heartbeat_seconds, BEAT_SECONDS),
        keep_alive=partial(_beat_for_busy, settings),
    )


def _beat_for_busy(settings: Settings, state: bytes) -> None:
    """Record a heartbeat for a process whose own heartbeat is late. This runs in its watchdog.

    A process that already counts as dead gets none: it must notice the takeover itself.
    """
    fields, queues, numbers = json.loads(state)
    process = Process(*fields)

    async def beat() -> None:
        async with contextlib.AsyncExitStack() as stack:
            catalog, _ = await backends.open_catalog(settings, stack)
            if any(worker.worker_id == process.id for worker in await catalog.workers()):
                await catalog.heartbeat(process, queues, decode(numbers))

    asyncio.run(beat())


def _collect_seldom() -> None:
    """Run the cyclic garbage collector less often, and exclude the imported modules from it.

    Pages and batches are thousands of tuples without reference cycles. Traversing them took an eighth of the
    time of a replay, and a full collection over all modules delays every response of a server.
    """
    if gc.get_threshold() != _SELDOM:
        gc.freeze()
        gc.set_threshold(*_SELDOM)


@contextlib.asynccontextmanager
async def open_runtime(
    settings: Settings,
    *,
    kind: str | None = None,
    checks_configs: bool = False,
    watchdog: Watchdog | None = None,
) -> AsyncIterator[Runtime]:
    """Open the backends that the settings name, yield a running process, and close the backends.

    Args:
        kind: `serve`, `worker`, `run` or `replay` for a process that processes messages or drives jobs. It
            sends heartbeats, may become the reconciler, and takes over abandoned jobs (`run` only its own
            job). None for a short command, such as one that reads, or one that starts a detached run.
        checks_configs: whether to import the operator's adapters, which check the configs of steps. A
            process that runs steps or serves the API always imports them.
        watchdog: of a process that runs steps.

    Raises:
        CannotStart: the settings or the home directory are invalid.
        Unavailable: the catalog is unreachable.
    """
    # Importing an adapter runs its code, so a command that only reads imports none.
    imports = checks_configs or kind in ("serve", "worker", "run")
    adapters = load_adapters(settings) if imports else plugins.load_built_in(BUILT_IN)
    _make_home(settings)
    if kind:
        faults.arm(settings.fault)
        ids.shift_clock(settings.clock_shift_seconds)
        _collect_seldom()
    identity = f"{kind or 'cli'}-{ids.uuid7()}"
    async with contextlib.AsyncExitStack() as stack:
        # Opened first, so that it is closed last and exports the spans of the shutdown.
        tracer = await stack.enter_async_context(open_tracer(identity)) if kind else OFF
        opened = await open_backends(settings, stack)
        catalog, broker, store = opened.catalog, opened.broker, opened.store
        runtime: Runtime
        counters = Counters()
        environment = Environment(
            identity, spawn=lambda work: runtime.spawn(work), counters=counters, tracer=tracer
        )

        def sealed(job: UUID) -> None:
            # A detached run leaves its job to the other processes.
            if kind:
                runtime.drive(job)

        executions = ExecutionService(catalog, store)
        services = Services(
            configs=ConfigService(
                catalog,
                partial(config_loader.parse, adapters=adapters, allowed=settings.adapters_allowed),
            ),
            submit=SubmitService(
                catalog,
                store,
                environment,
                lease=settings.lease_seconds,
                max_object_bytes=settings.max_object_bytes,
                sealed=sealed,
            ),
            replay=ReplayService(
                Backends(catalog, broker, store),
                environment,
                lease=settings.lease_seconds,
                settle=settings.settle_seconds,
            ),
            executions=executions,
            lineage=LineageService(catalog, store),
            objects=ObjectService(catalog, store),
            queues=QueueService(catalog, broker, store),
            system=SystemService(catalog, broker, store, adapters),
            recover=RecoverService(catalog, store),
            take=TakeService(catalog, broker, visibility=settings.visibility_seconds, clock=ElapsedClock()),
            search=searching(settings),
            doctor=opened.doctor(),
            watch=WatchService(executions, catalog),
            metrics=MetricsService(catalog, broker, store),
        )
        runtime = Runtime(
            settings=settings,
            adapters=adapters,
            catalog=catalog,
            broker=broker,
            store=store,
            services=services,
            reconciler=ReconcileService(catalog, broker, environment, lease=settings.lease_seconds),
            upkeep=opened.upkeep,
            process=Process(identity, kind, socket.gethostname(), os.getpid()) if kind else None,
            environment=environment,
            tracer=tracer,
            watchdog=watchdog,
        )
        try:
            await runtime.start()
            yield runtime
        finally:
            await runtime.stop()
