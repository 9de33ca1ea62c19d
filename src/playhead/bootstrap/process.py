"""A running process: its loops, the jobs that it drives, and its watchdog."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from playhead import early_exit, events
from playhead.acting import acting, process as the_process
from playhead.bootstrap import backends
from playhead.bootstrap.backends import ABroker, ACatalog, AStore, data_folder
from playhead.bootstrap.code import LOOK_SECONDS, ProcessCode
from playhead.counters import Numbers, decode, encode
from playhead.environment import Backends, Environment, WorkerSettings
from playhead.errors import Unavailable
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog.upkeep import Process
from playhead.services import Services
from playhead.services.reconcile import ReconcileService
from playhead.services.worker import WorkerService
from playhead.watchdog import BEAT_SECONDS, FROZEN_SECONDS, Watchdog

if TYPE_CHECKING:
    from playhead.settings import Settings

_RECONCILE_SECONDS = 1.0
_JOBS_SECONDS = 0.5
_OUTCOME_SECONDS = 1.0
_INDEX_SECONDS = 1.0
_SAMPLE_SECONDS = 1.0
_LEASES_PER_RETENTION = 4
"""Retention is applied once in four times `lease_seconds`: with the default, once a minute."""
_SELDOM = (50_000, 20, 50)
_MOST_CANCELS = 3
_FINISH_SECONDS = 30.0
"""How long a process that ends waits for its publications. Another process continues them."""


class Tasks:
    """Tasks that outlive their callers. Each is referenced until it ends.

    Attributes:
        who: who acts in them.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.who = the_process("playhead")

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        return iter(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task, which acts for the process. If it fails, the error is logged."""
        with acting(self.who):
            task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()):
            events.emit(events.JOB_LOST, logging.ERROR, detail=f"{type(fault).__name__}: {fault}")
            events.LOG.debug("traceback of the job", exc_info=fault)


@dataclass
class Runtime:
    """A process with its backends open.

    Attributes:
        upkeep: maintenance tasks that the process with the reconciler lease runs after each cycle.
        process: its identity in the catalog; None for a short command.
        code: what it has loaded; None if it has not imported the operator's adapters.
        environment: what it provides to its services and its worker.
        tasks: what its services have started.
        cancel_seconds: at the shutdown, until the cancellation of a task is repeated.
        goodbye_seconds: at the shutdown, for the deregistration of the process.
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
    code: ProcessCode | None
    environment: Environment
    tasks: Tasks
    watchdog: Watchdog | None = None
    worker: WorkerService | None = None
    cancel_seconds: float = 1.0
    goodbye_seconds: float = 3.0
    _told: Numbers = field(default_factory=dict)
    _has_retention: bool = False
    _loops: list[asyncio.Task[None]] = field(default_factory=list)

    async def work(
        self,
        *,
        routes: Sequence[str] = (),
        until_idle: bool = False,
        until: UUID | None = None,
        stop: asyncio.Event | None = None,
        report_exit: Callable[[str], None] = early_exit.log,
    ) -> int:
        """Consume queues in this process; see `WorkerService.run`. Returns the exit code.

        Args:
            report_exit: reports a step that calls `os._exit`; see `early_exit.reported`.
        """
        assert self.process, "a runtime without a process cannot consume queues"
        settings = WorkerSettings(
            visibility=self.settings.visibility_seconds,
            data_dir=str(data_folder(self.settings).resolve()),
            max_object_bytes=self.settings.max_object_bytes,
            internal_hosts=self.settings.internal_hosts,
        )
        self.worker = WorkerService(
            Backends(self.catalog, self.broker, self.store),
            self.adapters,
            settings,
            self.environment,
            driving=lambda: self.services.replay.drives.driving,
            waiting=lambda: self.services.replay.drives.waiting,
        )
        with early_exit.reported(report_exit), acting(self.tasks.who):
            return await self.worker.run(routes=routes, until_idle=until_idle, until=until, stop=stop)

    async def start(self) -> None:
        """Send the first heartbeat of the process, and start its loops."""
        if self.process is None:
            return
        await self._beat()
        loops = [
            (self._beat, self.settings.heartbeat_seconds),
            (self._reconcile, _RECONCILE_SECONDS),
            (self.reconciler.find_lost, _RECONCILE_SECONDS),
            (self._renew, self.settings.lease_seconds / 3),
            (self._take_over, _JOBS_SECONDS),
            (self._publish, _JOBS_SECONDS),
            (self._follow, _JOBS_SECONDS),
            (self._retain, _LEASES_PER_RETENTION * self.settings.lease_seconds),
            (self._index, _INDEX_SECONDS),
            (self._sample, _SAMPLE_SECONDS),
            (self.services.reports.write_due, _OUTCOME_SECONDS),
            (self.services.reports.renew, self.settings.lease_seconds / 3),
            (self.services.webhooks.send_due, _OUTCOME_SECONDS),
        ]
        if self.settings.retention == "server" and self.process.kind == "serve":
            loops.append((self._seek_retention, self.settings.lease_seconds / 3))
        if self.code:
            loops.append((self.code.look, LOOK_SECONDS))
        if self.watchdog:
            await self._beat_for_watchdog()  # it watches from here on, so before any step can start
            loops.append((self._beat_for_watchdog, BEAT_SECONDS))
        self.tasks.who = the_process(self.process.id)
        with acting(self.tasks.who):
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
            running = [task for task in (*self._loops, *self.tasks) if not task.done()]
            if not running:
                break
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=self.cancel_seconds)
        if self.process:
            # Best effort: if the catalog is unavailable, the missing heartbeat has the same effect later.
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(self.goodbye_seconds):
                    await self.services.audit.flush(last=True)
                    await self.catalog.depart(self.process.id, self.environment.counters.numbers())
        if self.watchdog:
            self.watchdog.close()

    async def finish_outcome(self) -> None:
        """Write the reports, publish, and send the events that are due: this process may be the last one."""
        with contextlib.suppress(Unavailable):
            await self.services.reports.write_due()
            with contextlib.suppress(TimeoutError):  # another process has the adapter of an index
                async with asyncio.timeout(_FINISH_SECONDS):
                    await self.services.publish.finish_automatic()
            await self.services.webhooks.send_due()

    async def _forever(self, once: Callable[[], Coroutine[Any, Any, None]], seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await once()
            except Unavailable as exc:
                events.emit(events.BACKEND_UNAVAILABLE, code=exc.code, detail=exc.detail)
            except (Exception, asyncio.CancelledError) as exc:
                task = asyncio.current_task()
                if isinstance(exc, asyncio.CancelledError) and task and task.cancelling():
                    raise
                # Log the error and repeat the loop: a live process without heartbeat or reconciler would
                # leave messages unprocessed forever. A library may also raise a CancelledError although
                # this task was not cancelled.
                detail = f"{once.__name__.strip('_')}: {type(exc).__name__}: {exc}"
                events.emit(events.LOOP_FAILED, exc_info=True, detail=detail)

    async def _beat(self) -> None:
        assert self.process
        queues = self.worker.queues if self.worker else ()
        numbers = self.environment.counters.numbers()
        loaded = self.code.loaded if self.code else None
        if await self.catalog.heartbeat(self.process, queues, numbers, loaded):
            self._told = numbers
        else:
            self.environment.counters.kept(self._told)
            self._told = {}
        if self.process.kind == "serve":
            await self.services.identity.beat()
            await self.services.audit.flush()

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

    async def _retain(self) -> None:
        """Prune and drop what no config keeps any more. A separate loop, so that it delays no retry."""
        if self._may_retain():
            await self.services.prune.retain(
                interrupted_seconds=_LEASES_PER_RETENTION * self.settings.lease_seconds,
                goes_on=self._may_retain,
            )
            await self.services.publish.drafts.drop_due()

    def _may_retain(self) -> bool:
        return self._has_retention if self.settings.retention == "server" else self.reconciler.has_lease

    async def _seek_retention(self) -> None:
        """Hold the lease of the retention, which a server has even while a worker is the reconciler."""
        assert self.process
        seconds = self.settings.lease_seconds
        self._has_retention = await self.catalog.lease("retention", self.process.id, seconds=seconds)

    async def _index(self) -> None:
        """Index what Find finds. While executions run, one page a second; then until all is indexed."""
        if self.reconciler.has_lease:
            while await self.services.find.index() and not await self.catalog.open_executions():
                continue

    async def _sample(self) -> None:
        """Record how many messages wait, once a minute. A separate loop, so that it delays no retry."""
        if self.reconciler.has_lease:
            await self.services.activity.sample()

    async def _publish(self) -> None:
        """Prepare drafts that no live process holds, and publish what is published automatically."""
        assert self.process
        if self.process.kind in ("run", "client", "plan"):
            return
        await self.services.publish.drafts.drive_due()
        if self.reconciler.has_lease:
            await self.services.publish.publish_automatic()
            await self.services.publish.publish_repaired()
            await self.services.publish.drafts.report_lags()

    async def _follow(self) -> None:
        """Bring sinks up to date. A process that has not imported the operator's adapters cannot do that."""
        if self.code:
            await self.services.publish.drafts.follow(0)

    async def _renew(self) -> None:
        await self.services.replay.drives.renew()

    async def _take_over(self) -> None:
        """Drive jobs that no live process drives.

        A process of kind `run` or `client` takes over only its own jobs. It may have failed to acquire one
        because the catalog was unavailable, and there may be no other process to drive it. A process of kind
        `plan` takes over none: a plan publishes nothing.
        """
        assert self.process
        if self.process.kind == "plan":
            return
        if self.process.kind != "run":
            await self.catalog.admit(per_queue=self.settings.replays_per_queue)
        self.services.replay.drives.take(await self.catalog.abandoned_jobs())


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


def collect_seldom() -> None:
    """Run the cyclic garbage collector less often, and exclude the imported modules from it.

    Pages and batches are thousands of tuples without reference cycles. Traversing them took an eighth of the
    time of a replay, and a full collection over all modules delays every response of a server.
    """
    if gc.get_threshold() != _SELDOM:
        gc.freeze()
        gc.set_threshold(*_SELDOM)
