"""The methods of a client about messages: lineage, reasons and dead letters."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from playhead.client.connection import Connection, Name
from playhead.model import (
    AffectedRoute,
    Cause,
    CauseObject,
    CausePlan,
    CauseState,
    ChainCounts,
    ChainLink,
    ChainSummary,
    DeadLetter,
    DeadLetterDetail,
    DeadLetterGroup,
    Lineage,
    Page,
    Priority,
    ResendPlan,
    RoutePause,
    RouteStatus,
    RowState,
    StoredObject,
    Why,
)
from playhead.ports.catalog.browse import DeadLetterFilter
from playhead.services.lineage import Direction
from playhead.services.resolve import is_id


class MessageMethods(Connection):
    """See `AsyncClient`."""

    async def messages(
        self,
        execution: Name = "latest",
        *,
        status: RowState | None = None,
        made_by: str | None = None,
        limit: int | None = None,
    ) -> list[Lineage]:
        """Return the messages of an execution, newest first, each with its input and its outputs.

        Args:
            made_by: only those whose result such code (`chunk=2`, `chunk<2`, `chunk=sha256:ab12`) or such a
                worker (`worker:ID`) has made.
        """
        identity = await self._execution(execution)

        async def page(cursor: str | None, count: int) -> Page[Lineage]:
            return await self._services.lineage.list(
                execution=identity, status=status, made_by=made_by, cursor=cursor, limit=count
            )

        return await self._collect(page, limit)

    async def affected(
        self,
        *,
        adapter: str | None = None,
        worker: str | None = None,
        since: str = "-24h",
        limit: int | None = None,
    ) -> list[AffectedRoute]:
        """Return routes with results of an adapter or a worker, the newest execution first.

        Args:
            adapter: `TYPE@VERSION`, or `TYPE@` and the fingerprint of its code, or the beginning of that.
            worker: id of a process, as in `workers`.
            since: only executions that were created at this time or later; RFC 3339, or `-24h`. Their
                messages are read.

        Raises:
            ValueError: `adapter` or `since` has another form, or not one of `adapter` and `worker` is given.
        """

        async def page(cursor: str | None, count: int) -> Page[AffectedRoute]:
            return await self._services.affected.list(
                adapter=adapter, worker=worker, since=since, cursor=cursor, limit=count
            )

        return await self._collect(page, limit)

    async def why(self, path: str, execution: Name = "latest", *, stage: str | None = None) -> Why:
        """Return what happened to an item: its trace through the routes, and where and why it ended.

        Args:
            path: the path of an input; or `STAGE/PATH` or the key of another object of the execution.
            execution: the execution. In a replay, the path may also be one in the execution that it replays.
            stage: the stage that contains the path; None: it is searched for.
        """
        return await self._services.why.explain(await self._execution(execution), path, stage)

    async def lineage(
        self,
        what: str | UUID | StoredObject,
        direction: Direction = "both",
        *,
        limit: int | None = None,
    ) -> list[ChainLink]:
        """Return the messages that led to an object or a message, and those that resulted from it.

        The messages are in the order of `distance`, also across replays. Earlier messages have a negative
        distance.

        Args:
            what: an object, its key, or the correlation id of a message.
            direction: `up` to the inputs, `down` to the results, or both.
            limit: the largest number of messages, the nearest ones; None: all.
        """
        chain = partial(self._services.lineage.chain, await self._traced(what), direction)
        links = await self._collect(chain, limit)
        return sorted(links, key=lambda link: (link.distance, link.correlation_id))

    async def lineage_summary(self, what: str | UUID | StoredObject) -> ChainSummary:
        """Return the messages of `lineage` as groups by execution and route, for a large fan-out."""
        return await self._services.lineage.summary(await self._traced(what))

    async def lineage_counts(self, what: str | UUID | StoredObject) -> ChainCounts:
        """Count the messages that resulted from an object or a message, by route and state."""
        return await self._services.lineage.counts(await self._traced(what))

    async def _traced(self, what: str | UUID | StoredObject) -> str | UUID:
        """Return the key of an object, or the id of a message."""
        if isinstance(what, StoredObject) or (isinstance(what, str) and not is_id(what)):
            return await self._key(what)
        return await self._services.resolve.message(str(what))

    async def dead_letters(
        self,
        execution: Name | None = None,
        *,
        route: str | None = None,
        group: str | None = None,
        limit: int | None = None,
    ) -> list[DeadLetter]:
        """Return dead letters, newest first, of one execution or of all."""
        of = None if execution is None else await self._execution(execution)
        where = DeadLetterFilter(of, route, group=group)
        return await self._collect(partial(self._services.queues.dead_letters, where), limit)

    async def dead_letter_groups(
        self, execution: Name | None = None, *, route: str | None = None, limit: int | None = None
    ) -> list[DeadLetterGroup]:
        """Return groups of dead letters that failed alike, of one execution or of all."""
        of = None if execution is None else await self._execution(execution)

        async def page(cursor: str | None, count: int) -> Page[DeadLetterGroup]:
            return await self._services.queues.dead_letter_groups(
                execution=of, route=route, cursor=cursor, limit=count
            )

        return await self._collect(page, limit)

    async def pause_route(self, route: str, reason: str, *, seconds: float | None = None) -> RouteStatus:
        """Pause a route: its messages stay in the queue, and workers start no attempt of it.

        Args:
            route: `config/route`.
            reason: why.
            seconds: for how long; None: until it is resumed.
        """
        config, _, name = route.partition("/")
        return await self._services.queues.pause(config, name, RoutePause(reason, seconds))

    async def resume_route(self, route: str) -> RouteStatus:
        """Resume a paused route: `config/route`."""
        config, _, name = route.partition("/")
        return await self._services.queues.resume(config, name)

    async def causes(
        self,
        *,
        state: CauseState | None = "open",
        route: str | None = None,
        since: str | None = None,
        until: str | None = None,
        limit: int | None = None,
    ) -> list[Cause]:
        """Return causes of failures over all routes and executions, the newest failure first.

        Args:
            state: only those in this state; None: all. A cause of which all objects were processed since is
                closed by itself.
            route: only those in this route: its name, or `config/route`.
            since: only those of which an object failed last at this time or later; RFC 3339, or `-24h`.
            until: only those of which an object failed first before this time.
        """
        page = partial(self._causes_page, state, route, since, until)
        return await self._collect(page, limit)

    async def _causes_page(
        self,
        state: CauseState | None,
        route: str | None,
        since: str | None,
        until: str | None,
        cursor: str | None,
        count: int,
    ) -> Page[Cause]:
        return await self._services.causes.list(
            state=state, route=route, since=since, until=until, cursor=cursor, limit=count
        )

    async def cause(self, cause: str) -> Cause:
        """Return a cause of failures, by its id."""
        return await self._services.causes.get(cause)

    async def cause_objects(self, cause: str, *, limit: int | None = None) -> list[CauseObject]:
        """Return the open objects of a cause, or of a closed one the processed objects, the newest failure
        first. An object that has failed in several routes is returned for each of them.
        """
        return await self._collect(partial(self._services.causes.objects, cause), limit)

    async def plan_cause(self, cause: str, *, cursor: str | None = None) -> CausePlan:
        """Plan replays of the open objects of a cause: each object once, from its newest source.

        `replay_plan` publishes each of the plans. They have the objects of at most 100 sources.

        Args:
            cursor: `next_cursor` of the previous plans: plan the objects of the next sources.
        """
        return await self._services.causes.plan(cause, cursor)

    async def acknowledge(
        self, cause: str, reason: str, *, requested_by: str = "", until: str | None = None
    ) -> Cause:
        """Acknowledge a cause of failures, so that it needs no attention for now; return it.

        Args:
            until: `CONFIG@VERSION`: until this version is applied; or a date or a time in RFC 3339; None:
                until `unacknowledge`.
        """
        return await self._services.causes.acknowledge(cause, reason, requested_by, until)

    async def unacknowledge(self, cause: str) -> Cause:
        """Remove the acknowledgement of a cause; return the cause."""
        return await self._services.causes.unacknowledge(cause)

    async def plan_resend(
        self,
        execution: Name | None = None,
        *,
        route: str | None = None,
        group: str | None = None,
        failed_before: str | None = None,
    ) -> ResendPlan:
        """Return what a resend would repeat. The arguments are those of `resend`."""
        of = None if execution is None else await self._execution(execution)
        where = DeadLetterFilter(of, route, group=group)
        return await self._services.recover.plan(where, failed_before=failed_before)

    async def resend(
        self,
        execution: Name | None = None,
        *,
        route: str | None = None,
        group: str | None = None,
        failed_before: str | None = None,
        priority: Priority | None = None,
    ) -> int:
        """Resend the dead letters of an execution, a route or a group; return their number.

        Args:
            failed_before: RFC 3339; dead letters that failed later are not resent.
            priority: level of the messages in their queues; None: `bulk`.
        """
        of = None if execution is None else await self._execution(execution)
        where = DeadLetterFilter(of, route, group=group)
        resend = self._services.recover.resend
        return len(await resend(None, where, failed_before=failed_before, priority=priority))

    async def dead_letter(self, message: str | UUID) -> DeadLetterDetail:
        """Return one dead letter with its traceback."""
        found = await self._services.resolve.dead_letter(str(message))
        return await self._services.queues.dead_letter(found)
