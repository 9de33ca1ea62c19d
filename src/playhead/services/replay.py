"""Replay: send the objects of a stored stage into a route.

This module has the part that a caller sees: the checks, the record, and the wait for the answer. The record
is a job.
`replay.drive` describes how a job is processed, and why a `kill -9` at any line of it is harmless.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from playhead import events, faults
from playhead.environment import Backends, Environment
from playhead.errors import NotFound, PlanChanged, ReplayContinues, Unavailable
from playhead.ids import follow, uuid7
from playhead.model import DAY, PlanDifference, Replay, ReplayRequest
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import (
    Browse,
    Code,
    Configs,
    Control,
    Declarations,
    Jobs,
    Plans,
    Publications,
    Results,
    Runs,
    Work,
)
from playhead.ports.catalog.jobs import Key, Opened
from playhead.ports.catalog.plans import check_usable
from playhead.ports.webhook import Webhooks, check_webhook
from playhead.reading.codecheck import CodeCheck, Warn, no_warning
from playhead.reading.idempotency import key_of
from playhead.reading.listing import PAGE, Listing
from playhead.reading.looking import Looks
from playhead.replay import answers, effects, objects, others, planned, request as request_checks
from playhead.replay.driving import MAX_OBJECTS, PER_PROCESS, Drives
from playhead.replay.reuse import index, reusable_items
from playhead.replay.sinks import warnings_of
from playhead.wording import STALLED

_FIRST_CHECK_SECONDS = 0.002
_CHECK_SECONDS = 0.1
_GONE_SECONDS = 1.0
_CHECKS_AFTER_LOST_ANSWER = 5
_CHECK_LOST_ANSWER_SECONDS = 1.0


class ReplayCatalog(
    Configs, Control, Jobs, Plans, Runs, Work, Browse, Publications, Declarations, Results, Code, Protocol
): ...


class ReplayService:
    """Creates replays, drives jobs, and answers waiting callers.

    Args:
        lease: seconds; the lease of each job is renewed every third of it.
        settle: seconds without progress after which a waiting caller is answered.
        page: how many rows are recorded or published in one step, at most.
        per_queue: how many replays may publish into one queue; 0: no limit.
        per_process: how many jobs this process drives at once.
        max_objects: how many objects a replay may have.
        key_seconds: how long an Idempotency-Key is kept at least.
        code: compares the code of the workers; None: it is not compared.
        webhooks: checks the URLs of webhooks; None: no webhook is allowed.
        adapters: those of this process, by name. A replay takes over what their code has produced.

    Attributes:
        drives: the jobs that this process drives.
        stopping: the process shuts down; waiting callers are answered at once.
    """

    def __init__(
        self,
        backends: Backends[ReplayCatalog],
        env: Environment,
        *,
        lease: float,
        settle: float,
        page: int = PAGE,
        per_queue: int = 0,
        per_process: int = PER_PROCESS,
        max_objects: int = MAX_OBJECTS,
        key_seconds: float = DAY,
        code: CodeCheck | None = None,
        webhooks: Webhooks | None = None,
        adapters: Mapping[str, AdapterSpec] = MappingProxyType({}),
    ) -> None:
        self._catalog, self._broker, store = backends
        self._env = env
        self._settle = settle
        self._per_queue = per_queue
        self._key_seconds = key_seconds
        self._code = code
        self._webhooks = webhooks
        self._adapters = adapters
        self._sinks = {name for name, spec in adapters.items() if spec.is_sink}
        self._listing = Listing(backends.catalog, store)
        self.drives = Drives(backends, env, lease=lease, page=page, most=per_process, max_objects=max_objects)
        self.stopping = False

    # -- create ------------------------------------------------------------------------------------

    async def create(self, request: ReplayRequest, warn: Warn = no_warning) -> Opened:
        """Check the request in the contract's order and record the replay. Nothing is published yet.

        A request with the key of an earlier one returns the replay of that one. `warn` is called with
        warnings about the code of the workers, and about sinks.

        Raises:
            BadRequest: `invalid_idempotency_key`, `webhook_not_allowed`, `invalid_path`, `route_ambiguous`,
                `selection_empty`, `invalid_body` (`made_by`, `others_valid`).
            NotFound: `execution_not_found`, `stage_not_found`, `route_not_found`, `config_not_found`,
                `dataset_not_found` (`publish`), `replay_not_found` (`in_replay`), `no_objects`.
            Conflict: `config_inactive`, `stage_pruned`, `effects_refused`, `code_differs`, `code_unknown`,
                `idempotency_key_reused`.
            Unavailable: nothing was recorded; or the detail says that this is not known.
        """
        about: dict[str, str | int] = {
            "playhead.from_execution_id": str(request.from_execution_id),
            "playhead.from_stage": request.from_stage,
            "playhead.to_route": request.to_route,
        }
        tracer = self._env.tracer
        span = tracer.start("replay", tracer.current(), about)
        try:
            created = await self._create(request, span.traceparent, warn)
        except BaseException as exc:
            span.__exit__(type(exc), exc, exc.__traceback__)
            raise
        if tracer.on and created.fresh:
            self.drives.spans[created.replay.execution_id] = (
                span  # `drive` continues it if this process gets the job
            )
        return created

    async def _create(self, request: ReplayRequest, traceparent: str | None, warn: Warn) -> Opened:
        key = self._key(request)
        # Before all other checks: the objects may be gone when a request is repeated.
        if key and (first := await self._catalog.keyed(key)):
            return Opened(await self._get(first), fresh=False)
        if request.webhook is not None:
            check_webhook(self._webhooks, request.webhook)
        to_config = None
        if request.plan_id:
            plan = await self._catalog.plan(request.plan_id)
            check_usable(request.plan_id, plan)
            assert plan
            request, to_config = planned.request_of(plan, request), plan.to_config
            if plan.replay_batch_id and not key:  # a key is stored with the replay
                return Opened(await self._get(plan.replay_batch_id), fresh=False)
        request = effects.as_permitted(request)
        others.check_reason(request)
        found = await request_checks.resolve(
            self._catalog, self._listing, request, self._adapters, to_config=to_config
        )
        source, loaded, route = found.source, found.loaded, found.route
        effects.check(loaded.config, route, found.effects, request)
        datasets = await self._datasets(loaded.version.name, route) if request.publish else []
        if not request.plan_id:  # the objects of a plan are compared with the store later
            await objects.check(self._catalog, self._listing, request, found)
        declare = await others.declared(self._catalog, self._adapters, request, found)
        if self._code:
            rules = {"required": request.require_code, "allow_old": request.allow_old_code}
            for warning in await self._code.check(loaded.config, route, **rules):
                warn(warning)
        for warning in await warnings_of(self._catalog, request, found, self._sinks):
            warn(warning)
        # If the broker is unavailable, record nothing, so that the caller gets the error at once.
        await self._broker.check()
        if source.kind == "adopted":
            await self._catalog.adopt(request.from_execution_id)
        reuse = None
        if request.reuse:
            reuse = reusable_items(loaded.config, self._adapters, warn)
            await index(self._catalog, loaded.version.name, reuse)
        follow(await self._catalog.newest_execution())
        batch = uuid7()
        try:
            opened = await self._catalog.open_replay(
                batch=batch,
                request=replace(request, selection=found.selection, key=None),
                prefix=found.prefix,
                config=loaded.version.name,
                version=loaded.version.version,
                route=route,
                traceparent=traceparent,
                effects=found.effects,
                key=key,
                datasets=datasets,
                reuse=reuse,
                declare=declare,
            )
        except Unavailable as exc:
            opened = Opened(await self._find_recorded(batch, exc), fresh=True)
        faults.reach("replay.created")
        if request.managed:
            # Every process admits replays, twice a second. An error would deny that this one is recorded.
            with suppress(Unavailable):
                await self._catalog.admit(per_queue=self._per_queue)
            faults.reach("replay.admitted")
        return opened

    async def datasets(self, config: str, route: str) -> list[str]:
        """Return the datasets in which a replay into a route can be published."""
        newest = await self._catalog.config(config)
        return newest.config.datasets_with(route) if newest else []

    async def _datasets(self, config: str, route: str) -> list[str]:
        if found := await self.datasets(config, route):
            return found
        raise NotFound(
            "dataset_not_found",
            f"the replay cannot be published: no dataset of config {config} has the route {route}, or one "
            "below it",
        )

    def _key(self, request: ReplayRequest) -> Key | None:
        if request.key is None:
            return None
        body = replace(request, key=None, require_code=False, allow_old_code=True)
        return key_of("replay", request.key, asdict(body), self._key_seconds)

    async def _get(self, batch: UUID) -> Replay:
        found = await self._catalog.replay(batch, work=False)
        if found is None:
            raise NotFound("replay_not_found", f"replay {batch} is no longer in the catalog")
        return found

    async def _find_recorded(self, batch: UUID, exc: Unavailable) -> Replay:
        """Return the replay if it was recorded although the answer was lost.

        A caller that gets an error would send the request again, and everything would be published twice.
        """
        for _ in range(_CHECKS_AFTER_LOST_ANSWER):
            await self._env.sleep(_CHECK_LOST_ANSWER_SECONDS)
            try:
                if found := await self._catalog.replay(batch, work=False):
                    return found
            except Unavailable as again:
                exc = again
            else:
                raise exc  # it was not recorded
        raise Unavailable(
            exc.code,
            f"{exc.detail}; it is not known whether the replay was recorded. When the catalog is available "
            f"again, check whether `playhead replays` lists batch {batch} before you repeat the request",
        )

    # -- wait --------------------------------------------------------------------------------------

    async def execute(
        self,
        request: ReplayRequest,
        warn: Warn = no_warning,
        started: Callable[[Opened], None] = lambda opened: None,
    ) -> Replay:
        """Create a replay, drive it, and answer from its row, whichever process ends it.

        Args:
            warn: as for `create`.
            started: called when the replay is recorded.

        Raises what `create` raises, and `ReplayContinues` if the answer cannot be waited for.
        """
        opened = await self.start(request, warn)
        started(opened)
        return await self.wait(opened.replay)

    async def start(self, request: ReplayRequest, warn: Warn = no_warning) -> Opened:
        """Create a replay and drive it. Returns it at once, with its current state.

        Raises what `create` raises.
        """
        created, fresh = await self.create(request, warn)
        self._drive(request, created)
        if fresh and created.state == "queued":  # it may have its place by now
            # It is recorded. An error would make the client repeat a request that has been followed.
            with suppress(Unavailable):
                created = await self._get(created.replay_batch_id)
        return Opened(created, fresh)

    def _drive(self, request: ReplayRequest, created: Replay) -> None:
        # A client that uses the contract's fields alone expects an answer within its time-out.
        drive = self.drives.offer if request.managed else self.drives.begin
        drive(created.execution_id)

    async def wait(self, created: Replay, gone: Callable[[], Awaitable[bool]] | None = None) -> Replay:
        """Wait until publishing has ended, or nothing has progressed for the settle time.

        `gone` says whether the caller still waits. Publishing may take days, and a caller that repeats its
        request would otherwise leave one more waiting task each time.
        """
        batch, job = created.replay_batch_id, created.execution_id
        clock = self._env.clock
        seen: tuple[int, ...] = ()
        since = asked = clock()
        last: tuple[Replay, bool, bool] | None = None
        read_at = since

        async def look() -> tuple[Replay, bool, bool]:
            """Return the replay, whether progress is overdue, and whether its listing has ended."""
            nonlocal last, read_at
            overdue = clock() - since > self._settle
            # While this process drives the job, it has not ended.
            is_driven = job in self.drives.driving and clock() - read_at < _CHECK_SECONDS
            if last is None or overdue or not is_driven:
                # Read before the numbers: if the listing has ended, the numbers include every object.
                is_listed = overdue and await self._catalog.is_listed(job)
                now = await self._catalog.replay(batch, work=False, trouble=self.drives.trouble(job))
                if now is None:
                    raise NotFound("replay_not_found", f"replay {batch} is no longer in the catalog")
                last, read_at = (now, overdue, is_listed), clock()
            return last

        looks = Looks(
            look, first=_FIRST_CHECK_SECONDS, every=_CHECK_SECONDS, clock=clock, sleep=self._env.sleep
        )
        async for found in looks.all():
            if gone and clock() - asked > _GONE_SECONDS:
                asked = clock()
                if await gone():
                    raise ReplayContinues(batch, "the client has disconnected; the replay continues")
            if isinstance(found, Unavailable):
                if clock() - since > self._settle:
                    raise ReplayContinues(batch, f"{found.detail}; the replay continues") from found
                continue
            now, overdue, is_listed = found
            if answer := await self._answer(now):
                return answer
            numbers = (now.objects_found, now.objects_published, now.objects_failed)
            if numbers != seen:
                seen, since = numbers, clock()
            elif now.waits_for == "rate":
                since = clock()
            elif overdue:  # compared after the read: this process may have been suspended
                return self._unsettled(now, is_listed=is_listed)
        raise AssertionError("the reads have no end")

    async def _answer(self, now: Replay) -> Replay | None:
        """Return the answer for a replay that has ended or is paused; None while it is published.

        Raises `PlanChanged` if it was refused, and `ReplayContinues` if this process cannot wait for its end.
        """
        batch = now.replay_batch_id
        if now.state == "refused":
            assert now.plan_id, "only a replay with a plan is refused"
            difference = await self._catalog.plan_difference(now.plan_id) or PlanDifference()
            raise PlanChanged(
                f"nothing was published: {difference.text}. Make a new plan, and compare it", difference
            )
        if now.status is not None:
            # After a cancellation, messages may have been sent that are not known to be published.
            return replace(now, objects_failed=now.objects_found - now.objects_published)
        if now.state == "paused":
            return answers.paused(now)
        if self.stopping:
            raise ReplayContinues(
                batch, "this server shuts down; the replay continues in another process, or after a restart"
            )
        if now.state == "stalled":
            events.emit(events.JOB_STALLED, execution_id=str(now.execution_id))
            raise ReplayContinues(batch, f"{STALLED}, then run `playhead replays resume {batch}`")
        return None

    def _unsettled(self, now: Replay, *, is_listed: bool) -> Replay:
        """Return the answer for a replay that has made no progress for the settle time.

        Raises `ReplayContinues` while listing goes on, because then the number of objects is not known.
        """
        waiting = {
            "queue": f"it waits until fewer replays publish to queue {now.to_queue}",
            "depth": f"it waits until queue {now.to_queue} has room",
            "canary": "it waits for the result of its canary",
            "guard": "it waits for the result of its last objects",
        }
        if now.waits_for in waiting:
            raise ReplayContinues(now.replay_batch_id, waiting[now.waits_for])
        if not is_listed:
            why = f"listing has made no progress for {self._settle:g} s, and continues"
            trouble = self.drives.trouble(now.execution_id)
            if now.waits_for == "process":
                trouble = "it waits for a process that drives fewer replays than PLAYHEAD_REPLAYS_PER_PROCESS"
            raise ReplayContinues(now.replay_batch_id, f"{why} ({trouble})" if trouble else why)
        return answers.unsettled(now, self.drives.trouble(now.execution_id))
