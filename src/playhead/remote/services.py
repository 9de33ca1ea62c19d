"""The methods of `playhead.services` as requests, with the same arguments, return values and errors.

Every method raises `Unavailable` (`server_unavailable`) if the server is unreachable. A method that changes
something also raises `answer_lost` if the answer is lost. The message explains how to check the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from playhead.remote.client import Client
from playhead.remote.configs import RemoteConfigs, RemotePipelines
from playhead.remote.datasets import RemotePublish
from playhead.remote.diff import RemoteDiff
from playhead.remote.executions import (
    RemoteExecutions,
    RemoteLineage,
    RemotePrune,
    RemoteRecover,
    RemoteWhy,
)
from playhead.remote.objects import RemoteObjects, RemoteSearch
from playhead.remote.plans import RemotePlan
from playhead.remote.queues import RemoteQueues, RemoteTake
from playhead.remote.replays import RemoteControl, RemoteReplay
from playhead.remote.reports import RemoteReports, RemoteWebhooks
from playhead.remote.resolve import RemoteFind, RemoteIds
from playhead.remote.runs import RemoteSubmit
from playhead.remote.system import RemoteDoctor, RemoteSystem, RemoteWorkers
from playhead.remote.watch import RemoteWatch
from playhead.services.resolve import ResolveService


@dataclass(frozen=True, slots=True)
class RemoteServices:
    """The remote services of one server; see `playhead.services.Services`."""

    configs: RemoteConfigs
    pipelines: RemotePipelines
    submit: RemoteSubmit
    replay: RemoteReplay
    plan: RemotePlan
    control: RemoteControl
    reports: RemoteReports
    webhooks: RemoteWebhooks
    resolve: ResolveService
    find: RemoteFind
    executions: RemoteExecutions
    lineage: RemoteLineage
    why: RemoteWhy
    diff: RemoteDiff
    objects: RemoteObjects
    queues: RemoteQueues
    recover: RemoteRecover
    prune: RemotePrune
    publish: RemotePublish
    take: RemoteTake
    search: RemoteSearch
    system: RemoteSystem
    workers: RemoteWorkers
    doctor: RemoteDoctor
    watch: RemoteWatch

    @classmethod
    def of(cls, client: Client) -> Self:
        """Create all services with one client."""
        return cls(
            configs=RemoteConfigs(client),
            pipelines=RemotePipelines(client),
            submit=RemoteSubmit(client),
            replay=RemoteReplay(client),
            plan=RemotePlan(client),
            control=RemoteControl(client),
            reports=RemoteReports(client),
            webhooks=RemoteWebhooks(client),
            resolve=ResolveService(RemoteIds(client)),
            find=RemoteFind(client),
            executions=RemoteExecutions(client),
            lineage=RemoteLineage(client),
            why=RemoteWhy(client),
            diff=RemoteDiff(client),
            objects=RemoteObjects(client),
            queues=RemoteQueues(client),
            recover=RemoteRecover(client),
            prune=RemotePrune(client),
            publish=RemotePublish(client),
            take=RemoteTake(client),
            search=RemoteSearch(client),
            system=RemoteSystem(client),
            workers=RemoteWorkers(client),
            doctor=RemoteDoctor(client),
            watch=RemoteWatch(client),
        )
