"""The composition root: the only place that names concrete backends and adapters.

`open_runtime` creates backends and services from the settings, and starts the loops of a process (`process`).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from playhead import config as config_loader
from playhead import faults, ids, plugins
from playhead.adapters import (
    csv_split,
    embed_text,
    html_to_markdown,
    http_request,
    jsonl_split,
    parquet_sink,
    passthrough,
    postgres_vectors,
    split_markdown,
    sqlite_search,
    sqlite_vectors,
)
from playhead.bootstrap import backends
from playhead.bootstrap.backends import open_backends, open_for_doctor, open_webhooks
from playhead.bootstrap.code import CodeHere, ProcessCode, loaded_code
from playhead.bootstrap.isolation import starter
from playhead.bootstrap.process import Runtime, collect_seldom, data_folder
from playhead.bootstrap.secrets import Secrets
from playhead.bootstrap.tracing import open_tracer
from playhead.clock import ElapsedClock
from playhead.counters import Counters
from playhead.environment import Backends, Environment
from playhead.errors import CannotStart
from playhead.model import Diagnostic, Examination, SearchHit
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog.upkeep import Process
from playhead.ports.config import ParseConfig
from playhead.ports.tracer import OFF
from playhead.reading.codecheck import CodeCheck
from playhead.services import Services
from playhead.services.configs import ConfigService
from playhead.services.control import ControlService
from playhead.services.diff import DiffService
from playhead.services.executions import ExecutionService
from playhead.services.find import FindService
from playhead.services.lineage import LineageService
from playhead.services.metrics import MetricsService
from playhead.services.objects import ObjectService
from playhead.services.pipelines import PipelineService
from playhead.services.plan import PlanService
from playhead.services.prune import PruneService
from playhead.services.queues import QueueService
from playhead.services.reconcile import ReconcileService
from playhead.services.recover import RecoverService
from playhead.services.replay import ReplayService
from playhead.services.report import ReportService
from playhead.services.resolve import ResolveService
from playhead.services.search import SearchService
from playhead.services.submit import SubmitService
from playhead.services.system import SystemService
from playhead.services.take import TakeService
from playhead.services.watch import WatchService
from playhead.services.webhook import WebhookService
from playhead.services.why import WhyService
from playhead.services.workers import WorkersService
from playhead.watchdog import Watchdog

if TYPE_CHECKING:
    from playhead.settings import Settings

BUILT_IN = (
    csv_split,
    embed_text,
    html_to_markdown,
    http_request,
    jsonl_split,
    parquet_sink,
    passthrough,
    postgres_vectors,
    split_markdown,
    sqlite_search,
    sqlite_vectors,
)


# -- adapters --------------------------------------------------------------------------------------


def load_adapters(settings: Settings) -> Mapping[str, AdapterSpec]:
    """Load all adapters of this process, by name. Raises `CannotStart`, as `plugins.load` does."""
    return plugins.load(BUILT_IN, settings.adapters)


def _parser(settings: Settings, adapters: Mapping[str, AdapterSpec], secrets: Secrets) -> ParseConfig:
    return partial(
        config_loader.parse,
        adapters=adapters,
        allowed=settings.adapters_allowed,
        resolve=secrets.resolve,
    )


def check_config(settings: Settings, source: bytes) -> Sequence[Diagnostic]:
    """Return the faults of a config that no catalog is needed for."""
    secrets = Secrets(settings.secrets_env, settings.secrets_dir)
    return _parser(settings, load_adapters(settings), secrets)(source).diagnostics


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


def lacks_home(settings: Settings) -> bool:
    """Whether the home does not exist, although a database is in it."""
    return None in (settings.broker, settings.catalog) and not settings.home.is_dir()


def require_home(settings: Settings) -> None:
    """Check that the home exists, if a database is in it. Raises `CannotStart` (`home_missing`)."""
    if lacks_home(settings):
        raise CannotStart(
            "home_missing",
            f"there is no home {settings.home.absolute()}: nothing has run here yet. Run `playhead init` "
            "for an example, then `playhead run CONFIG INPUT`; or name an existing home with --home",
        )


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
    (require_home if check else _make_home)(settings)
    return await backends.migrate(settings, check)


async def examine(settings: Settings) -> Examination:
    """Examine each backend that the settings name, even if some cannot be opened.

    Raises `CannotStart` (`home_missing`) if all of them are in a home that does not exist.
    """
    all_in_home = settings.store is settings.broker is settings.catalog is None
    (require_home if all_in_home else _make_home)(settings)
    async with contextlib.AsyncExitStack() as stack:
        return await (await open_for_doctor(settings, stack)).examine()


# -- a running process -----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def open_runtime(
    settings: Settings,
    *,
    kind: str | None = None,
    checks_configs: bool = False,
    creates_home: bool = True,
    watchdog: Watchdog | None = None,
) -> AsyncIterator[Runtime]:
    """Open the backends that the settings name, yield a running process, and close the backends.

    Args:
        kind: `serve`, `worker`, `run`, `replay` or `plan` for a process that processes messages, drives jobs
            or makes a plan. It sends heartbeats, may become the reconciler, and takes over abandoned jobs
            (`run` only its own job, `plan` no job). None for a short command, such as one that reads, or one
            that starts a detached run.
        checks_configs: whether to import the operator's adapters, which check the configs of steps. A
            process that runs steps or serves the API always imports them.
        creates_home: whether a missing home is created; otherwise it is an error (`home_missing`).
        watchdog: of a process that runs steps.

    Raises:
        CannotStart: the settings or the home directory are invalid.
        Unavailable: the catalog is unreachable.
    """
    # Importing an adapter runs its code, so a command that only reads imports none.
    imports = checks_configs or kind in ("serve", "worker", "run")
    adapters = load_adapters(settings) if imports else plugins.load_built_in(BUILT_IN)
    (_make_home if creates_home else require_home)(settings)
    faults.arm(settings.fault)
    if kind:
        ids.shift_clock(settings.clock_shift_seconds)
        collect_seldom()
    identity = f"{kind or 'cli'}-{ids.uuid7()}"
    async with contextlib.AsyncExitStack() as stack:
        # Opened first, so that it is closed last and exports the spans of the shutdown.
        tracer = await stack.enter_async_context(open_tracer(identity)) if kind else OFF
        opened = await open_backends(settings, stack)
        catalog, broker, store = opened.catalog, opened.broker, opened.store
        runtime: Runtime
        counters = Counters()
        secrets = Secrets(settings.secrets_env, settings.secrets_dir)
        stack.enter_context(secrets.masked_logs())
        if imports:
            stack.enter_context(secrets.masked_errors())
        environment = Environment(
            identity,
            spawn=lambda work: runtime.spawn(work),
            counters=counters,
            tracer=tracer,
            resolve=secrets.resolve,
            isolate=starter(settings),
        )

        # A short command leaves jobs to the other processes.
        def drive(job: UUID) -> None:
            if kind:
                runtime.drive(job)

        def offer(job: UUID) -> None:
            if kind:
                runtime.services.replay.drives.offer(job)

        for secret in settings.webhook_secret:
            secrets.mask.add(secret)
            secrets.mask.add(secret.removeprefix("whsec_"))
        webhooks = open_webhooks(settings, stack)
        executions = ExecutionService(catalog, store)
        names = ResolveService(catalog)
        loaded = loaded_code(adapters)
        code = CodeCheck(catalog, CodeHere(settings.adapters), loaded.adapters, works=kind == "run")
        services = Services(
            configs=ConfigService(
                catalog,
                _parser(settings, adapters, secrets),
                code,
            ),
            pipelines=PipelineService(catalog, store, adapters),
            submit=SubmitService(
                catalog,
                store,
                environment,
                lease=settings.lease_seconds,
                max_object_bytes=settings.max_object_bytes,
                sealed=drive,
                code=code,
                adapters=adapters,
            ),
            replay=ReplayService(
                Backends(catalog, broker, store),
                environment,
                lease=settings.lease_seconds,
                settle=settings.settle_seconds,
                per_queue=settings.replays_per_queue,
                per_process=settings.replays_per_process,
                max_objects=settings.max_replay_objects,
                key_seconds=settings.idempotency_seconds,
                code=code,
                webhooks=webhooks,
            ),
            plan=PlanService(
                Backends(catalog, broker, store),
                environment,
                seconds=settings.plan_seconds,
                most_objects=settings.max_replay_objects,
                code=code,
            ),
            control=ControlService(
                catalog,
                drive=offer,
                per_queue=settings.replays_per_queue,
            ),
            reports=ReportService(catalog, store, environment, lease=settings.lease_seconds),
            webhooks=WebhookService(catalog, webhooks, environment, lease=settings.lease_seconds),
            resolve=names,
            find=FindService(catalog, store, names),
            executions=executions,
            lineage=LineageService(catalog, store),
            why=WhyService(catalog, store),
            diff=DiffService(catalog, store, environment),
            objects=ObjectService(catalog, store),
            queues=QueueService(catalog, broker, store),
            system=SystemService(catalog, broker, store, adapters),
            workers=WorkersService(code),
            recover=RecoverService(catalog, store),
            prune=PruneService(catalog, store, environment),
            take=TakeService(catalog, broker, visibility=settings.visibility_seconds, clock=ElapsedClock()),
            search=searching(settings),
            doctor=opened.doctor(),
            watch=WatchService(executions),
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
            code=ProcessCode(loaded) if kind and imports else None,
            environment=environment,
            tracer=tracer,
            watchdog=watchdog,
        )
        try:
            await runtime.start()
            yield runtime
        finally:
            await runtime.stop()
