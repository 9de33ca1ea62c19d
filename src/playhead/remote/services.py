"""The methods of `playhead.services` as requests, with the same arguments, return values and errors.

Every method raises `Unavailable` (`server_unavailable`) if the server is unreachable. A method that changes
something also raises `answer_lost` if the answer is lost. The message explains how to check the result.
"""

from __future__ import annotations

from playhead.remote.access import RemoteAccess, RemoteIdentity
from playhead.remote.affected import RemoteAffected
from playhead.remote.audit import RemoteAudit
from playhead.remote.causes import RemoteCauses
from playhead.remote.client import Client
from playhead.remote.configs import RemoteConfigs, RemotePipelines
from playhead.remote.datasets import RemotePublish
from playhead.remote.diff import RemoteDiff, RemoteResult
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


class RemoteServices:
    """The remote services of one server, with the names of `playhead.services.Services`."""

    def __init__(self, client: Client) -> None:
        self.configs = RemoteConfigs(client)
        self.pipelines = RemotePipelines(client)
        self.submit = RemoteSubmit(client)
        self.replay = RemoteReplay(client)
        self.plan = RemotePlan(client)
        self.control = RemoteControl(client)
        self.reports = RemoteReports(client)
        self.webhooks = RemoteWebhooks(client)
        self.resolve = ResolveService(RemoteIds(client))
        self.find = RemoteFind(client)
        self.executions = RemoteExecutions(client)
        self.lineage = RemoteLineage(client)
        self.why = RemoteWhy(client)
        self.diff = RemoteDiff(client)
        self.result = RemoteResult(client)
        self.objects = RemoteObjects(client)
        self.queues = RemoteQueues(client)
        self.affected = RemoteAffected(client)
        self.causes = RemoteCauses(client)
        self.recover = RemoteRecover(client)
        self.prune = RemotePrune(client)
        self.publish = RemotePublish(client)
        self.take = RemoteTake(client)
        self.search = RemoteSearch(client)
        self.system = RemoteSystem(client)
        self.workers = RemoteWorkers(client)
        self.doctor = RemoteDoctor(client)
        self.watch = RemoteWatch(client)
        self.access = RemoteAccess(client)
        self.audit = RemoteAudit(client)
        self.identity = RemoteIdentity(client)
