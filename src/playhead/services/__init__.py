"""The use cases. Services use the rooms and the ports, but no other service. API and CLI call `Services`."""

from __future__ import annotations

from dataclasses import dataclass

from playhead.services.access import AccessService
from playhead.services.activity import ActivityService
from playhead.services.affected import AffectedService
from playhead.services.audit import AuditService
from playhead.services.causes import CauseService
from playhead.services.configs import ConfigService
from playhead.services.control import ControlService
from playhead.services.diff import DiffService
from playhead.services.doctor import DoctorService
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


@dataclass(frozen=True, slots=True)
class Services:
    """The services of a process."""

    configs: ConfigService
    pipelines: PipelineService
    submit: SubmitService
    replay: ReplayService
    plan: PlanService
    control: ControlService
    reports: ReportService
    webhooks: WebhookService
    resolve: ResolveService
    find: FindService
    executions: ExecutionService
    lineage: LineageService
    why: WhyService
    diff: DiffService
    result: ResultService
    objects: ObjectService
    queues: QueueService
    affected: AffectedService
    causes: CauseService
    activity: ActivityService
    recover: RecoverService
    prune: PruneService
    publish: PublishService
    take: TakeService
    search: SearchService
    system: SystemService
    workers: WorkersService
    doctor: DoctorService
    watch: WatchService
    metrics: MetricsService
    access: AccessService
    audit: AuditService
    identity: IdentityService
    login: LoginService
