"""The methods of a client that plan, start, watch and control replays."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from functools import partial
from uuid import UUID

from playhead.client.connection import Connection, Name, ReplayName, warn
from playhead.ids import uuid7
from playhead.model import (
    Canary,
    Guard,
    OnReplay,
    Pace,
    Plan,
    PlannedObject,
    Priority,
    Replay,
    ReplayRequest,
    Report,
    ReportFilter,
    ReportOutcome,
    ReportWork,
    Selection,
    WebhookDelivery,
)
from playhead.warningtext import worded


class ReplayMethods(Connection):
    """See `AsyncClient`."""

    async def replay(
        self,
        execution: Name,
        stage: str,
        route: str,
        path: str | None = None,
        *,
        selection: Selection | None = None,
        version: int | None = None,
        effects: OnReplay | Mapping[str, OnReplay] | None = None,
        pace: Pace | None = None,
        canary: Canary | None = None,
        pause_if: Guard | None = None,
        priority: Priority | None = None,
        reason: str | None = None,
        webhook: str | None = None,
        publish: bool | None = None,
        reuse: bool | None = None,
        others_valid: bool | None = None,
        report: bool | None = None,
        key: str | None = None,
        detach: bool = False,
        allow_old_code: bool = False,
    ) -> Replay:
        """Send the objects of a stored stage into a route, and return when all messages are published.

        Workers process the messages, and `wait` waits for them. The result has the `execution_id` of the new
        execution.

        Args:
            execution: the source, which does not change.
            stage: the stage to replay.
            route: the target: `ROUTE` or `CONFIG/ROUTE`.
            path: a folder or an object in the stage; None: the whole stage.
            selection: only objects that meet these conditions, such as `playhead.Selection(only="failed")`.
            version: the version of the config of the route; None: the newest.
            effects: what the replay does in routes with external effects: `run`, `skip` or `refuse`, for all
                of them or by route, where `*` stands for all others. The config may be stricter.
            pace: `playhead.RatePace(rate)` in messages per second, or `playhead.DepthPace(queue_depth)`;
                None: as fast as possible.
            canary: `playhead.Canary(objects, max_failed, seed)`: the other objects follow when these ones are
                processed, and at most `max_failed` of them have failed; None: publish all at once.
            pause_if: `playhead.Guard(failed, of_last)`: pause whenever more than `failed` of the last
                `of_last` objects have failed; None: only the canary is checked.
            priority: `normal` or `bulk`: the level of its messages in their queues; None: normal up to 1,000
                objects.
            reason: why it is replayed.
            webhook: URL that receives the events of the replay; the operator allows its host.
            publish: publish it in the dataset of the route when all messages have ended, if none has failed.
                `publications` of `replay_state` has the outcome.
            reuse: take over earlier results for items that are the same, in the routes that follow too.
            others_valid: declare that the results for all other objects of the stage are valid, although
                their code is older: runs with `changed_since` take them over. The source is `current:NAME`,
                which readers see. Needs `reason`.
            report: write a completion report; None: only if any other argument beyond `path` is given.
            key: your own key: a repeated call with the same key and arguments starts no second replay.
            detach: return when the replay is recorded. A server or a worker publishes it.
            allow_old_code: start also if workers have outdated or different code, with a Python warning.

        Raises:
            Conflict: `code_differs`: workers have old code.
            ValueError: an argument is invalid.
        """
        request = ReplayRequest(
            *(await self._execution(execution), stage, path, route),
            selection=selection,
            config_version=version,
            effects=effects,
            pace=pace,
            canary=canary,
            pause_if=pause_if,
            priority=priority,
            reason=reason,
            webhook=webhook,
            publish=publish,
            reuse=reuse,
            others_valid=others_valid,
            report=report,
            key=str(uuid7()) if key is None else key,
            allow_old_code=allow_old_code,
        )
        return await self._start(request, detach=detach)

    async def plan(
        self,
        execution: Name,
        stage: str,
        route: str,
        path: str | None = None,
        *,
        selection: Selection | None = None,
        version: int | None = None,
        effects: OnReplay | Mapping[str, OnReplay] | None = None,
        others_valid: bool | None = None,
        verify: bool = False,
    ) -> Plan:
        """Count and record what a replay would publish, without publishing it. `replay_plan` starts the plan.

        Args:
            execution: as in `replay`, like the next seven.
            verify: also compare the stored bytes with what was recorded of them.
        """
        request = ReplayRequest(
            *(await self._execution(execution), stage, path, route),
            selection=selection,
            config_version=version,
            effects=effects,
            others_valid=others_valid,
        )
        return worded(await (await self._process()).plan.create(request, verify=verify))

    async def replay_plan(
        self,
        plan: UUID | Plan,
        *,
        pace: Pace | None = None,
        canary: Canary | None = None,
        pause_if: Guard | None = None,
        priority: Priority | None = None,
        reason: str | None = None,
        webhook: str | None = None,
        publish: bool | None = None,
        report: bool | None = None,
        detach: bool = False,
    ) -> Replay:
        """Replay exactly the objects of a plan. A plan is used once: a second call returns the first replay.

        Args:
            plan: the result of `plan`, or its id.
            pace: as in `replay`, like the next seven.

        Raises:
            PlanChanged: objects of the plan are missing or have changed; `differences` names them.
        """
        identity = plan.plan_id if isinstance(plan, Plan) else plan
        request = dataclasses.replace(
            ReplayRequest.of_plan(identity),
            pace=pace,
            canary=canary,
            pause_if=pause_if,
            priority=priority,
            reason=reason,
            webhook=webhook,
            publish=publish,
            report=report,
        )
        return await self._start(request, detach=detach)

    async def plans(self, *, limit: int | None = None) -> list[Plan]:
        """Return plans, newest first."""
        return [worded(one) for one in await self._collect(self._services.plan.list, limit)]

    async def planned(self, plan: UUID | Plan, *, limit: int | None = None) -> list[PlannedObject]:
        """Return the objects of a plan, by key."""
        identity = plan.plan_id if isinstance(plan, Plan) else plan
        return await self._collect(partial(self._services.plan.objects, identity), limit)

    async def _start(self, request: ReplayRequest, *, detach: bool) -> Replay:
        if detach:
            return (await self._services.replay.create(request, warn)).replay
        done = await (await self._process()).replay.execute(request, warn)
        if isinstance(done, Replay):
            return done
        return await self._services.executions.replay(done.replay_batch_id)

    async def replays(
        self, source: Name | None = None, *, is_open: bool = False, limit: int | None = None
    ) -> list[Replay]:
        """Return replays, newest first.

        Args:
            source: only those of this execution.
            is_open: only those whose publishing has not ended.
            limit: at most this number.
        """
        of = None if source is None else await self._execution(source)
        return await self._collect(partial(self._services.executions.replays, of, is_open=is_open), limit)

    async def replay_state(self, replay: ReplayName = "latest:replay") -> Replay:
        """Return the state and the numbers of a replay.

        Args:
            replay: as in `watch`.
        """
        return await self._services.executions.replay(await self._batch(replay))

    async def watch(self, replay: ReplayName = "latest:replay") -> AsyncIterator[Replay]:
        """Yield a replay now and after each change, until its messages are processed. Continues in a pause.

        The last value is the final state; `execution` returns the outcome of the messages.

        Args:
            replay: a batch id, the id of its execution, the last digits of one, `latest:replay`, or a
                result of `replay`.
        """
        services, batch = self._services, await self._batch(replay)
        seen: Replay | None = None
        async for found in (await services.watch.replay(batch)).states():
            state = dataclasses.replace(found, rate=None, eta_seconds=None)
            if state != seen:
                yield found
            seen = state
        if seen is None:
            return
        # Publishing has ended. Read after the end of the execution, the numbers of the replay are final.
        async for _ in (await services.watch.execution(seen.execution_id)).states():
            found = await services.executions.replay(batch)
            state = dataclasses.replace(found, rate=None, eta_seconds=None)
            if state != seen:
                yield found
            seen = state

    async def pause(self, replay: ReplayName) -> Replay:
        """Suspend the publishing of a replay. Only messages that the result counts can start until `resume`.

        Args:
            replay: as in `watch`.
        """
        return await self._services.control.pause(await self._batch(replay))

    async def resume(self, replay: ReplayName, *, canary: int | None = None) -> Replay:
        """Continue a paused or stalled replay. A server or a worker publishes it.

        Args:
            replay: as in `watch`.
            canary: if its canary or its guard has paused it: publish only this number of objects, and decide
                again, with the same limit.
        """
        return await self._services.control.resume(await self._batch(replay), canary=canary)

    async def cancel(self, replay: ReplayName, *, withdraw: bool = False) -> Replay:
        """End the publishing of a replay. Published messages are processed.

        Args:
            replay: as in `watch`.
            withdraw: also cancel published messages that no worker has started.
        """
        return await self._services.control.cancel(await self._batch(replay), withdraw=withdraw)

    async def retry(self, replay: ReplayName) -> Replay:
        """Publish the refused messages of a replay again. A server or a worker publishes them.

        Args:
            replay: as in `watch`.
        """
        return await self._services.control.retry(await self._batch(replay))

    async def pace(self, replay: ReplayName, pace: Pace | None) -> Replay:
        """Change the pace of a replay, also while it runs.

        Args:
            replay: as in `watch`.
            pace: `playhead.RatePace(rate)`, `playhead.DepthPace(queue_depth)`, or None to remove it.
        """
        return await self._services.control.set_pace(await self._batch(replay), pace)

    async def report(self, replay: ReplayName = "latest:replay", *, revision: int | None = None) -> Report:
        """Return the completion report of a replay.

        Args:
            replay: as in `watch`.
            revision: which end of its execution; None: the newest.
        """
        return await self._services.reports.get(await self._batch(replay), revision)

    async def report_lines(
        self,
        replay: ReplayName = "latest:replay",
        *,
        revision: int | None = None,
        outcome: ReportOutcome | None = None,
        work: ReportWork | None = None,
        error_code: str | None = None,
        failed: bool | None = None,
    ) -> bytes:
        """Return the lines of the report as JSON Lines, one for each object that fits all conditions.

        Args:
            replay: as in `watch`.
            revision: as in `report`.
            outcome: of publishing.
            work: how the messages ended.
            error_code: of the dead letters.
            failed: only objects that failed, themselves or below, or only the others.
        """
        where = ReportFilter(outcome, work, error_code, failed)
        chunks = await self._services.reports.lines(await self._batch(replay), revision, where)
        return b"".join([chunk async for chunk in chunks])

    async def deliveries(
        self, replay: ReplayName = "latest:replay", *, limit: int | None = None
    ) -> list[WebhookDelivery]:
        """Return the events for the webhook of a replay, newest first.

        Args:
            replay: as in `watch`.
            limit: at most this number.
        """
        return await self._collect(partial(self._services.webhooks.list, await self._batch(replay)), limit)

    async def send_again(self, replay: ReplayName, delivery: UUID) -> WebhookDelivery:
        """Send an event for the webhook of a replay again, under the same id.

        Args:
            replay: as in `watch`.
            delivery: the id of one of `deliveries`.
        """
        return await self._services.webhooks.send_again(await self._batch(replay), delivery)
