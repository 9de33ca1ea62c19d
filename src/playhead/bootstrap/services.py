"""Creates the services of a process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from playhead import __version__
from playhead.bootstrap.backends import Backends, data_folder
from playhead.clock import ElapsedClock
from playhead.environment import Backends as Given, Environment
from playhead.model.access import READ_ALWAYS, READ_CONTENT
from playhead.ports.adapter import AdapterSpec
from playhead.ports.config import ParseConfig
from playhead.ports.login import LoginProvider
from playhead.ports.webhook import Webhooks
from playhead.publish.drafting import Drafting
from playhead.reading.codecheck import CodeCheck
from playhead.reading.newestcode import NewestCode
from playhead.services import Services
from playhead.services.access import AccessService
from playhead.services.activity import ActivityService
from playhead.services.affected import AffectedService
from playhead.services.audit import AuditService
from playhead.services.causes import CauseService
from playhead.services.configs import ConfigService
from playhead.services.control import ControlService
from playhead.services.diff import DiffService
from playhead.services.executions import ExecutionService
from playhead.services.find import FindService
from playhead.services.identity import IdentityService
from playhead.services.lineage import LineageService
from playhead.services.login import LoginService
from playhead.services.metrics import MetricsService
from playhead.services.objects import ObjectService
from playhead.services.pipelines import PipelineService
from playhead.services.plan import PlanService
from playhead.services.prune import PruneService
from playhead.services.publish import PublishService
from playhead.services.queues import QueueService
from playhead.services.recover import RecoverService
from playhead.services.repair import RepairService
from playhead.services.replay import ReplayService
from playhead.services.report import ReportService
from playhead.services.resolve import ResolveService
from playhead.services.result import ResultService
from playhead.services.search import SearchService
from playhead.services.submit import SubmitService
from playhead.services.system import SystemService
from playhead.services.take import TakeService
from playhead.services.watch import WatchService
from playhead.services.webhook import WebhookService
from playhead.services.why import WhyService
from playhead.services.workers import WorkersService
from playhead.work.sinks import SinkFollower

if TYPE_CHECKING:
    from playhead.settings import Settings


def build(
    settings: Settings,
    backends: Backends,
    environment: Environment,
    *,
    kind: str | None,
    adapters: Mapping[str, AdapterSpec],
    code: CodeCheck,
    parse: ParseConfig,
    search: SearchService,
    webhooks: Webhooks | None,
    logins: LoginProvider | None,
) -> Services:
    """Return the services of a process.

    Args:
        kind: as for `open_runtime`.
        code: compares the code of `adapters` with that of other processes.
        webhooks: None: no webhook is allowed.
        logins: None: people do not log in at a provider.
    """
    catalog, broker, store = given = Given(backends.catalog, backends.broker, backends.store)
    lease = settings.lease_seconds
    # The files of a sink are where its steps run. Another machine would begin an empty file.
    is_near = kind in ("worker", "run") or settings.catalog is None
    executions = ExecutionService(catalog, store)
    newest = NewestCode(catalog, adapters)
    names = ResolveService(catalog)
    replay = ReplayService(
        given,
        environment,
        lease=lease,
        settle=settings.settle_seconds,
        per_queue=settings.replays_per_queue,
        per_process=settings.replays_per_process,
        max_objects=settings.max_replay_objects,
        key_seconds=settings.idempotency_seconds,
        code=code,
        webhooks=webhooks,
        adapters=adapters,
    )
    repair = RepairService(catalog, replay.start)
    follower = SinkFollower(
        catalog,
        adapters,
        environment,
        data_dir=str(data_folder(settings).resolve()),
        internal_hosts=settings.internal_hosts,
        write_again=repair.write_again,
    )
    publish = PublishService(
        catalog,
        environment,
        Drafting(catalog, environment, lease=lease, follow=follower.follow if is_near else None),
        newest,
        repair.publish_due,
        key_seconds=settings.idempotency_seconds,
    )

    # A command can read the backends without Playhead, so only what servers send is worth a record.
    reads = READ_ALWAYS | (READ_CONTENT if settings.audit_reads == "content" else frozenset())
    audit = AuditService(catalog, reads=reads if kind == "serve" else ())

    def leave(job: UUID) -> None:
        """Leave a job to other processes, as a short command does."""

    if kind in ("run", "client"):
        replay.drives.own = set()
    begin, offer = (replay.drives.begin, replay.drives.offer) if kind else (leave, leave)
    plan = PlanService(
        given,
        environment,
        seconds=settings.plan_seconds,
        most_objects=settings.max_replay_objects,
        code=code,
        adapters=adapters,
    )
    return Services(
        configs=ConfigService(catalog, parse, code),
        pipelines=PipelineService(catalog, store, adapters),
        submit=SubmitService(
            catalog,
            store,
            environment,
            lease=lease,
            max_object_bytes=settings.max_object_bytes,
            sealed=begin,
            code=code,
            adapters=adapters,
        ),
        replay=replay,
        plan=plan,
        control=ControlService(catalog, drive=offer, per_queue=settings.replays_per_queue),
        reports=ReportService(catalog, store, environment, lease=lease),
        webhooks=WebhookService(catalog, webhooks, environment, lease=lease),
        resolve=names,
        find=FindService(catalog, store, names),
        executions=executions,
        lineage=LineageService(catalog, store),
        why=WhyService(catalog, store),
        diff=DiffService(catalog, store, environment),
        result=ResultService(catalog, store, environment),
        objects=ObjectService(catalog, store, partial(audit.read, "object.read")),
        queues=QueueService(catalog, broker, store, partial(audit.read, "dead_letter.read")),
        affected=AffectedService(catalog, environment),
        causes=CauseService(catalog, plan.create),
        activity=ActivityService(catalog, environment.spawn),
        system=SystemService(catalog, broker, store, adapters),
        workers=WorkersService(code),
        recover=RecoverService(catalog, store),
        prune=PruneService(catalog, store, environment),
        publish=publish,
        take=TakeService(catalog, broker, visibility=settings.visibility_seconds, clock=ElapsedClock()),
        search=search,
        doctor=backends.doctor(),
        watch=WatchService(executions, publish.dataset),
        metrics=MetricsService(catalog, broker, store, newest),
        access=AccessService(catalog, release=__version__, listed=partial(audit.read, "key.list")),
        audit=audit,
        identity=IdentityService(
            catalog,
            beat_seconds=settings.heartbeat_seconds,
            read_only=settings.read_only,
            closed=settings.has_logins,
        ),
        login=LoginService(catalog, logins, settings.oidc_map),
    )
