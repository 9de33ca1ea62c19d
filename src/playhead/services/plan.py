"""Plan a replay: fix the exact set of its objects, and show what would process them.

A plan changes nothing but the catalog. Its pages are committed one by one, and then the plan becomes
`ready` in one transaction. So if this process is killed (`kill -9`) at any line, either no replay can be
started from the plan, or the plan is complete. No other process continues it: the reconciler makes it
`failed`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from types import MappingProxyType
from typing import Final, Protocol
from uuid import UUID

from playhead import events, faults
from playhead.environment import Backends, Environment
from playhead.errors import Conflict, NotFound, PlayheadError, Unavailable
from playhead.ids import uuid7
from playhead.model import (
    LeftOut,
    Page,
    Plan,
    PlanDifference,
    PlannedObject,
    PlanProblems,
    ReplayRequest,
    Worker,
)
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog.plans import Plans
from playhead.ports.catalog.work import Source
from playhead.ports.store import Store
from playhead.reading.codecheck import CodeCheck
from playhead.reading.listing import Listing, has_references
from playhead.reading.paging import decode_cursor, encode_cursor, list_of, page_before
from playhead.replay import effects, expected, objects, others, plandetails, request as request_checks
from playhead.replay.manifest import Digest, Item, pages_of, unpack
from playhead.replay.request import Resolved
from playhead.replay.selection import Selector, selector_of
from playhead.replay.sinks import warnings_of
from playhead.replay.survey import Survey, SurveyCatalog, Surveyed

_READ_AT_ONCE: Final = 16
"""Objects that `verify` reads at once, in pieces."""
_FAIL_AGAIN_SECONDS: Final = 1.0


class PlanCatalog(Plans, SurveyCatalog, request_checks.RequestCatalog, expected.ExpectedCatalog, Protocol):
    """The part of the catalog that `PlanService` needs."""


class PlanService:
    """Makes and reads plans. Every method raises `Unavailable` if a backend that it needs is unavailable.

    Args:
        seconds: how long a replay can be started from a plan.
        most_objects: a plan with more objects fails.
        code: knows which code the workers have loaded; None: the plan shows no workers.
        adapters: those of this process, by name.
    """

    def __init__(
        self,
        backends: Backends[PlanCatalog],
        env: Environment,
        *,
        seconds: float,
        most_objects: int,
        code: CodeCheck | None = None,
        adapters: Mapping[str, AdapterSpec] = MappingProxyType({}),
    ) -> None:
        self._catalog, self._broker, self._store = backends
        self._env = env
        self._seconds = seconds
        self._most_objects = most_objects
        self._code = code
        self._adapters = adapters
        self._sinks = {name for name, spec in adapters.items() if spec.is_sink}
        self._listing = Listing(backends.catalog, backends.store)

    # -- make --------------------------------------------------------------------------------------

    async def create(self, request: ReplayRequest, *, verify: bool = False) -> Plan:
        """Make a plan, and return it when it is ready.

        Args:
            verify: read every object and compare it with its record.

        Raises:
            BadRequest, NotFound, Conflict: as a replay of this request, and `too_many_objects`.
        """
        found, plan = await self._open(request)
        ended: list[Plan | PlayheadError] = []
        # A separate task: the plan is completed even if the caller is cancelled.
        await asyncio.shield(
            asyncio.ensure_future(self._env.spawn(self._make(plan, request, found, verify, ended)))
        )
        [outcome] = ended
        if isinstance(outcome, PlayheadError):
            raise outcome
        return outcome

    async def begin(self, request: ReplayRequest, *, verify: bool = False) -> Plan:
        """Begin to make a plan in the background, and return it. Raises what `create` raises."""
        found, plan = await self._open(request)
        self._env.spawn(self._make(plan, request, found, verify, []))
        return plan

    async def _open(self, request: ReplayRequest) -> tuple[Resolved, Plan]:
        request = effects.as_permitted(request)
        found = await request_checks.resolve(self._catalog, self._listing, request, self._adapters)
        await others.declared(self._catalog, self._adapters, request, found)
        await objects.check(self._catalog, self._listing, request, found)
        identity = uuid7()
        try:
            plan = await self._catalog.open_plan(
                identity,
                owner=self._env.process,
                request=plandetails.request_fields(request, found),
                source=request.from_execution_id,
                config=found.loaded.version.name,
                version=found.loaded.version.version,
                route=found.route,
                seconds=self._seconds,
            )
        except Unavailable as exc:
            # If only the answer was lost, no process would make the plan that was recorded.
            self._env.spawn(self._fail(identity, exc.detail))
            raise
        return found, plan

    async def _make(
        self,
        plan: Plan,
        request: ReplayRequest,
        found: Resolved,
        verify: bool,
        ended: list[Plan | PlayheadError],
    ) -> None:
        try:
            ended.append(await self._build(plan, request, found, verify))
        except PlayheadError as exc:
            events.emit(events.PLAN_FAILED, plan_id=str(plan.plan_id), code=exc.code, detail=exc.detail)
            ended.append(exc)
            self._env.spawn(self._fail(plan.plan_id, exc.detail))
        except Exception as exc:
            self._env.spawn(self._fail(plan.plan_id, f"{type(exc).__name__}: {exc} (a bug)"))
            raise

    async def _fail(self, plan: UUID, error: str) -> None:
        """Record that a plan has failed. While this process lives, no other one does."""
        while True:
            try:
                await self._catalog.fail_plan(plan, error)
                return
            except Unavailable:
                await self._env.sleep(_FAIL_AGAIN_SECONDS)

    async def _build(self, plan: Plan, request: ReplayRequest, found: Resolved, verify: bool) -> Plan:
        plan = await self._described(plan, request, found)
        selector = await self._selector(request, found)
        survey = Survey(
            self._catalog,
            self._store,
            found.prefix,
            recorded=found.source.kind != "adopted",
            timed=selector is not None and selector.needs_times,
            has_references=has_references(found.source),
        )
        summary = plandetails.Summary(found.selection.limit if found.selection else None)
        verified = _Verified(self._store) if verify else None
        digest = Digest()
        async for page in pages_of(self._items(survey, selector, summary, verified)):
            if not await self._catalog.add_page(plan.plan_id, page):
                raise self._lost(plan)
            digest.add(page)
            faults.reach("plan.paged")
        if not summary.objects:
            raise NotFound("no_objects", f"all objects at {found.prefix} vanished while the plan was made")
        before = await expected.look_up(self._catalog, found, summary.sample)
        rate = await self._catalog.publishing_rate(plan.to_config, found.route)
        problems = PlanProblems(
            invalid_key=summary.invalid,
            no_sidecar=survey.unaccompanied,
            hash_differs=verified.differing if verified else None,
        )
        finished = await self._catalog.finish_plan(
            replace(
                plan,
                digest=str(digest),
                objects=summary.objects,
                bytes=summary.bytes,
                first_keys=summary.first_keys,
                last_key=summary.last_key,
                content_types=summary.content_types,
                left_out=LeftOut(
                    sidecars=survey.asides,
                    not_stored=survey.hidden,
                    over_limit=summary.over_limit,
                    **(selector.left_out if selector else {}),
                ),
                others_valid=await others.count(self._catalog, request, found, summary.objects),
                problems=problems,
                routes=await expected.with_expected(
                    self._catalog, found, plan.routes, summary.objects, before
                ),
                looked_up=before.looked_up,
                known=before.known,
                seconds=plandetails.seconds_for(request, summary.objects, rate),
                warnings=[
                    *plan.warnings,
                    *plandetails.warnings_about(problems, verified.first if verified else None),
                ],
            )
        )
        if finished is None:
            raise self._lost(plan)
        faults.reach("plan.ready")
        events.emit(
            events.PLAN_READY, plan_id=str(plan.plan_id), count=finished.objects, bytes=finished.bytes
        )
        return finished

    async def _described(self, plan: Plan, request: ReplayRequest, found: Resolved) -> Plan:
        """Return a plan with what would process its objects."""
        routes = plandetails.routes_of(found)
        workers, warnings = (
            await plandetails.workers_of(self._code, found, routes) if self._code else ([], [])
        )
        depth = None
        with contextlib.suppress(Unavailable):
            depth = sum(await self._broker.depth(plan.to_queue))
        return replace(
            plan,
            consumers=sum(plan.to_queue in worker.queues for worker in workers),
            queue_depth=depth,
            routes=routes,
            would_refuse=effects.refused(found.loaded.config, found.route, found.effects),
            replayable_until=found.source.replayable_until,
            config_diff=await plandetails.config_diff(self._catalog, found),
            workers=workers,
            warnings=[*warnings, *await warnings_of(self._catalog, request, found, self._sinks)],
        )

    async def _selector(self, request: ReplayRequest, found: Resolved) -> Selector | None:
        if found.selection is None:
            return None
        return await selector_of(
            self._catalog,
            found.selection,
            source=request.from_execution_id,
            stage=request.from_stage,
            target=found.target,
            explain=True,
        )

    async def _items(
        self,
        survey: Survey,
        selector: Selector | None,
        summary: plandetails.Summary,
        verified: _Verified | None,
    ) -> AsyncIterator[Sequence[Item]]:
        async for listed in survey.pages():
            page = listed
            if selector:
                page = page._replace(objects=await selector.select(page.objects, page.records))
            page = summary.cut(page)
            items = page.items()
            summary.add(page, items)
            if summary.objects > self._most_objects:
                raise Conflict(
                    "too_many_objects",
                    f"the plan has more than {self._most_objects:,} objects: select fewer, or raise "
                    "PLAYHEAD_MAX_REPLAY_OBJECTS",
                )
            if verified:
                await verified.read(page)
            yield items

    def _lost(self, plan: Plan) -> Conflict:
        return Conflict(
            "plan_not_ready",
            f"plan {plan.plan_id} has failed: this process was suspended for so long that it counted as "
            "dead. Make a new plan",
        )

    # -- read --------------------------------------------------------------------------------------

    async def get(self, plan: UUID) -> Plan:
        """Return a plan. Raises `NotFound` (`plan_not_found`)."""
        found = await self._catalog.plan(plan)
        if found is None:
            raise NotFound("plan_not_found", f"there is no plan {plan}, or it has expired and was deleted")
        return found

    async def consumers(self, plan: Plan) -> list[Worker]:
        """Return the live processes that consume the routes that a plan reaches, as of now."""
        loaded = await self._catalog.config(plan.to_config, plan.to_config_version)
        if self._code is None or loaded is None:
            return []
        return await self._code.consumers(
            [loaded.config.routes[route.route] for route in plan.routes if route.reached]
        )

    async def difference(self, plan: UUID) -> PlanDifference | None:
        """Return how the objects of a plan had changed when its replay was refused; None if it was not."""
        return await self._catalog.plan_difference(plan)

    async def list(self, cursor: str | None, limit: int) -> Page[Plan]:
        """Return the plans, newest first."""
        of = list_of("plans")
        before = decode_cursor(cursor, int, of)
        return page_before(await self._catalog.plans(before=before, limit=limit), of)

    async def objects(self, plan: UUID, cursor: str | None, limit: int) -> Page[PlannedObject]:
        """Return the objects of a plan, in the order of their keys.

        Raises:
            NotFound: `plan_not_found`.
            Conflict: `plan_not_ready`; `plan_expired`, also if its replay has listed them.
        """
        of = list_of("plan-objects", plan)
        after = decode_cursor(cursor, str, of) or ""
        found: list[Item] = []
        at = after
        while len(found) <= limit:
            pages = await self._catalog.plan_pages(plan, after=at, limit=1)
            if not pages:
                break
            items = await asyncio.to_thread(unpack, pages[0])
            found += [one for one in items if one[0] > after]
            at = pages[0].last_key
        if not found:
            self._check_has_pages(await self.get(plan), after)
        items = found[:limit]
        more = len(found) > limit
        return Page([PlannedObject(*one) for one in items], encode_cursor(items[-1][0], of) if more else None)

    def _check_has_pages(self, plan: Plan, after: str) -> None:
        """Raise `Conflict` unless a plan has pages, and they just end."""
        if plan.state in ("listing", "failed"):
            why = f": {plan.error}" if plan.error else ""
            raise Conflict("plan_not_ready", f"plan {plan.plan_id} is {plan.state}{why}")
        if plan.state == "used":
            raise Conflict(
                "plan_expired",
                f"the objects of plan {plan.plan_id} are not kept any more, because replay "
                f"{plan.replay_batch_id} has listed them",
            )
        if plan.state == "expired" or not after:
            raise Conflict("plan_expired", f"plan {plan.plan_id} has expired: make a new one")


class _Verified:
    """Reads objects and compares them with their records.

    Attributes:
        differing: objects so far that differ, or do not exist.
        first: the key of the first of them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.differing = 0
        self.first: str | None = None

    async def read(self, page: Surveyed) -> None:
        recorded = [(one.key, page.records[one.key]) for one in page.objects if one.key in page.records]
        for at in range(0, len(recorded), _READ_AT_ONCE):
            some = recorded[at : at + _READ_AT_ONCE]
            differ = await asyncio.gather(*(self._differs(*one) for one in some))
            keys = [key for (key, _), differs in zip(some, differ, strict=True) if differs]
            self.differing += len(keys)
            self.first = self.first or next(iter(keys), None)

    async def _differs(self, key: str, record: Source) -> bool:
        found = sha256()
        try:
            async for piece in self._store.stream(record.location or key):
                found.update(piece)
        except NotFound:
            return True
        return found.digest() != record.sha256
