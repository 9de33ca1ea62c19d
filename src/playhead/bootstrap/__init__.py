"""The composition root: the only place that names concrete backends and adapters.

`open_runtime` opens the backends (`backends`), creates the services (`services`), and starts the loops of a
process (`process`).
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from playhead import config as config_loader, faults, ids, plugins
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
from playhead.bootstrap import schema
from playhead.bootstrap.backends import Backends, data_folder, open_backends, open_for_doctor, open_webhooks
from playhead.bootstrap.code import CodeHere, ProcessCode, loaded_code
from playhead.bootstrap.isolation import starter
from playhead.bootstrap.logins import open_logins
from playhead.bootstrap.process import Runtime, Tasks, collect_seldom
from playhead.bootstrap.secrets import Secrets
from playhead.bootstrap.services import build
from playhead.bootstrap.tracing import open_tracer
from playhead.counters import Counters
from playhead.environment import Environment
from playhead.errors import CannotStart
from playhead.model import Diagnostic, Examination, SearchHit
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog.upkeep import Process
from playhead.ports.config import Parsed
from playhead.ports.diagnosis import ProcessRole
from playhead.ports.tracer import OFF
from playhead.ports.webhook import check_webhook
from playhead.reading.codecheck import CodeCheck
from playhead.services.reconcile import ReconcileService
from playhead.services.search import FindPublication, SearchService
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


def _parser(settings: Settings, adapters: Mapping[str, AdapterSpec], secrets: Secrets) -> partial[Parsed]:
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
    settings: Settings,
    index: str,
    words: str,
    execution: UUID | None = None,
    limit: int = 10,
    publication: int | None = None,
) -> list[SearchHit]:
    """Search an index that a `sqlite_search` step filled; `index` is the step's `path`."""
    hits = sqlite_search.search(_index(settings, index), words, execution, limit, publication)
    return [SearchHit(**asdict(hit)) for hit in hits]


def shown_in_index(settings: Settings, index: str) -> list[tuple[str, int]]:
    """Return the datasets that a search of an index reads, each with the number of its publication."""
    return sqlite_search.shown(_index(settings, index))


def _index(settings: Settings, index: str) -> Path:
    return sqlite_search.index_file(str(data_folder(settings)), index)


def searching(settings: Settings, publication_of: FindPublication | None = None) -> SearchService:
    """Return a service that searches the data folder. It opens no backend."""
    return SearchService(partial(search_index, settings), publication_of)


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
    """Migrate the databases, or only list the pending migrations (`check`); see `schema.migrate`."""
    (require_home if check else _make_home)(settings)
    return await schema.migrate(settings, check)


async def grants(settings: Settings, roles: Mapping[ProcessRole, str], *, execute: bool = False) -> list[str]:
    """Return the statements that give roles of PostgreSQL their rights; see `schema.grants`."""
    return await schema.grants(settings, roles, execute=execute)


async def examine(settings: Settings, role: ProcessRole | None = None) -> Examination:
    """Examine each backend that the settings name, even if some cannot be opened.

    Args:
        role: whose rights are checked; None: those of the role that the user of the database has.

    Raises `CannotStart` (`home_missing`) if all of them are in a home that does not exist.
    """
    all_in_home = settings.store is settings.broker is settings.catalog is None
    (require_home if all_in_home else _make_home)(settings)
    async with contextlib.AsyncExitStack() as stack:
        return await (await open_for_doctor(settings, stack, role)).examine()


# -- a running process -----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def open_runtime(
    settings: Settings,
    *,
    kind: str | None = None,
    checks_configs: bool = False,
    creates_home: bool = True,
    watchdog: Watchdog | None = None,
    backends: Backends | None = None,
    adapters: Mapping[str, AdapterSpec] | None = None,
) -> AsyncIterator[Runtime]:
    """Open the backends that the settings name, yield a running process, and close the backends.

    Args:
        kind: `serve`, `worker`, `run`, `replay`, `plan` or `client` for a process that processes messages,
            drives jobs or makes plans. It sends heartbeats, may become the reconciler, and takes over
            abandoned jobs (`run` and `client` only their own, `plan` none). None for a short command, such as
            one that reads, or one that starts a detached run.
        checks_configs: whether to import the operator's adapters, which check the configs of steps. A
            process that runs steps or serves the API always imports them.
        creates_home: whether a missing home is created; otherwise it is an error (`home_missing`).
        watchdog: of a process that runs steps.
        backends: to use instead of those that the settings name; the caller closes them.
        adapters: to use instead of those that the settings name.

    Raises:
        CannotStart: the settings or the home directory are invalid.
        Unavailable: the catalog is unreachable.
    """
    # Importing an adapter runs its code, so a command that only reads imports none.
    imports = checks_configs or kind in ("serve", "worker", "run")
    if adapters is None:
        adapters = load_adapters(settings) if imports else plugins.load_built_in(BUILT_IN)
    (_make_home if creates_home else require_home)(settings)
    faults.arm(settings.fault)
    if kind:
        ids.shift_clock(settings.clock_shift_seconds)
        if kind != "client":  # the garbage collector is that of another program
            collect_seldom()
    identity = f"{kind or 'cli'}-{ids.uuid7()}"
    async with contextlib.AsyncExitStack() as stack:
        # Opened first, so that it is closed last and exports the spans of the shutdown.
        tracer = await stack.enter_async_context(open_tracer(identity)) if kind else OFF
        role: ProcessRole | None = "server" if kind == "serve" else None
        opened = backends or await open_backends(settings, stack, role)
        secrets = _open_secrets(settings, stack, masks_errors=imports)
        tasks = Tasks()
        environment = Environment(
            identity,
            spawn=tasks.spawn,
            counters=Counters(),
            tracer=tracer,
            resolve=secrets.resolve,
            isolate=starter(settings),
        )
        loaded = loaded_code(adapters)
        webhooks = open_webhooks(settings, stack)
        services = build(
            settings,
            opened,
            environment,
            kind=kind,
            adapters=adapters,
            code=CodeCheck(opened.catalog, CodeHere(settings.adapters), loaded.adapters, works=kind == "run"),
            parse=partial(
                _parser(settings, adapters, secrets), check_webhook=partial(check_webhook, webhooks)
            ),
            search=searching(settings, opened.catalog.publication_of),
            webhooks=webhooks,
            logins=open_logins(settings, stack, secrets.mask.add) if kind == "serve" else None,
        )
        runtime = Runtime(
            settings=settings,
            adapters=adapters,
            catalog=opened.catalog,
            broker=opened.broker,
            store=opened.store,
            services=services,
            reconciler=ReconcileService(
                opened.catalog, opened.broker, environment, lease=settings.lease_seconds
            ),
            upkeep=opened.upkeep,
            process=Process(identity, kind, socket.gethostname(), os.getpid()) if kind else None,
            code=ProcessCode(loaded) if kind and imports else None,
            environment=environment,
            tasks=tasks,
            watchdog=watchdog,
        )
        try:
            await runtime.start()
            yield runtime
        finally:
            await runtime.stop()


def _open_secrets(settings: Settings, stack: contextlib.AsyncExitStack, *, masks_errors: bool) -> Secrets:
    """Return the secrets of this process, masked in its logs until `stack` is closed."""
    secrets = Secrets(settings.secrets_env, settings.secrets_dir)
    for secret in settings.webhook_secret:
        secrets.mask.add(secret)
        secrets.mask.add(secret.removeprefix("whsec_"))
    if settings.proxy_secret is not None:
        secrets.mask.add(settings.proxy_secret)
    stack.enter_context(secrets.masked_logs())
    if masks_errors:
        stack.enter_context(secrets.masked_errors())
    return secrets
