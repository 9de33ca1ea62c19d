"""How executions begin (runs, replays, adopted executions) and how they are cancelled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from playhead import acting
from playhead.backends._sql_catalog import requests
from playhead.backends._sql_catalog.changes import Change
from playhead.backends._sql_catalog.codes import insert_chain
from playhead.backends._sql_catalog.executions import exclude, prunings_of, share
from playhead.backends._sql_catalog.idempotency import find_key, keep_key
from playhead.backends._sql_catalog.lanes import below
from playhead.backends._sql_catalog.part import Part
from playhead.backends._sql_catalog.rows import LONG_SECONDS
from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL
from playhead.errors import BadRequest, Conflict, NotFound
from playhead.ids import uuid7
from playhead.keys import INPUT_STAGE, object_key
from playhead.model import Execution, OnReplay, Priority, ReplayRequest
from playhead.model.access import AuditOutcome
from playhead.ports.catalog.declarations import Declare
from playhead.ports.catalog.jobs import CancelAction, Key, Opened
from playhead.ports.catalog.prune import check_unpruned
from playhead.ports.catalog.runs import Input, Reusable, Unread


class RunsPart(Part):
    async def open_run(
        self,
        execution: UUID,
        config: str,
        version: int,
        *,
        tags: Sequence[str],
        owner: str,
        lease: float,
        traceparent: str | None = None,
        reuse: Reusable | None = None,
    ) -> Execution:
        change = Change("run.start")

        async def open_it(db: Session) -> Execution:
            number, document = await self._version(db, config, version)
            entry = json.loads(document)["entry"]
            n = await db.value(
                SQL.insert_execution,
                id=execution,
                kind="run",
                version=number,
                parent=None,
                batch=None,
                traceparent=traceparent,
                requested_by=change.requested_by,
            )
            await change.record(db, execution=n, outcome="intended")
            await db.insert(SQL.insert_tags, [(tag, n) for tag in dict.fromkeys(tags)])
            await db.run(
                SQL.insert_job,
                execution=n,
                source=execution,
                stage=INPUT_STAGE,
                path=None,
                prefix=f"{execution}/{INPUT_STAGE}",
                to_route=entry,
                lane=await self._lanes.feed(db, number, entry),
                bulk=False,
                state="uploading",
                owner=owner,
                lease=lease,
            )
            if reuse:
                await self._take_over.set_plan(db, n, number, reuse)
            return await self._existing(db, execution)

        return await change.write(self._db, open_it, seconds=LONG_SECONDS if reuse else 30.0)

    async def index_results(self, config: str, progress: Callable[[int], None] = lambda _: None) -> None:
        await self._reusing.index(config, progress)

    async def _version(self, db: Session, config: str, version: int) -> tuple[int, str]:
        """Return the number of a config version, and its content as JSON."""
        row = await db.row(SQL.config_version, name=config, version=version)
        assert row, f"config {config} has a version {version}"
        return row[0], row[1]

    async def _existing(self, db: Session, execution: UUID) -> Execution:
        found = await self._executions.find(db, execution)
        assert found
        return found

    async def bind_inputs(
        self, execution: UUID, inputs: Sequence[Input], *, takes_over: bool = False
    ) -> set[str]:
        given: dict[str, Input] = {}
        owner = str(execution)
        # In the order of their keys, so that two transactions that bind the same keys never deadlock.
        keyed = [(object_key(owner, INPUT_STAGE, i.path), i) for i in inputs]
        for key, i in sorted(keyed, key=lambda one: one[0]):
            first = given.setdefault(key, i)
            if (first.size, first.sha256) != (i.size, i.sha256):
                raise _twice(i)

        async def bind(db: Session) -> set[str]:
            n = await self._waiting_for_inputs(db, execution)
            referred = set[str]()
            if takes_over:
                referred = await self._take_over.refer_inputs(db, n, execution, given)
            left = {key: i for key, i in given.items() if key not in referred}
            rows = [(key, i.size, i.sha256, i.sha256, i.content_type, i.stamp) for key, i in left.items()]
            if len(await db.insert(SQL.bind_inputs, rows)) < len(left):
                for key, size, sha256, location in await db.rows(SQL.bound_inputs, keys=list(left)):
                    if (size, sha256) != (left[key].size, left[key].sha256):
                        raise _twice(left[key])
                    if location is not None:
                        referred.add(key)
            return referred

        return await self._db.write(bind)

    async def refer_inputs(self, execution: UUID, files: Sequence[Unread]) -> set[str]:
        owner = str(execution)
        by_key = {object_key(owner, INPUT_STAGE, one.path): one for one in files}

        async def refer(db: Session) -> set[str]:
            n = await self._waiting_for_inputs(db, execution)
            return await self._take_over.refer_inputs(db, n, execution, by_key)

        return await self._db.write(refer)

    async def _waiting_for_inputs(self, db: Session, execution: UUID) -> int:
        """Return the number of a run whose inputs are being bound."""
        # A prune takes the exclusive lock: it either finds these rows, or its record is found here.
        n: int = await db.value(SQL.execution_number, id=execution)
        await share(db, [n])
        if any(one.overlaps(INPUT_STAGE) for one in (await prunings_of(db, [n]))[n]):
            raise Conflict("execution_ended", f"inputs of execution {execution} were pruned")
        return n

    async def seal(self, execution: UUID) -> bool:
        change = Change("run.start")

        async def seal_it(db: Session) -> bool:
            if not await db.run(SQL.seal_job, execution=execution):
                # Sealed by an earlier call whose answer was lost, or it waits for no inputs.
                return bool(await db.value(SQL.is_sealed, execution=execution))
            await db.run(SQL.store_inputs, **below(f"{execution}/{INPUT_STAGE}"))
            await change.record(db, execution=await db.value(SQL.execution_number, id=execution))
            return True

        return await change.write(self._db, seal_it, seconds=LONG_SECONDS)

    async def open_replay(
        self,
        *,
        batch: UUID,
        request: ReplayRequest,
        prefix: str,
        config: str,
        version: int,
        route: str,
        traceparent: str | None = None,
        effects: Mapping[str, OnReplay] = MappingProxyType({}),
        key: Key | None = None,
        datasets: Sequence[str] = (),
        reuse: Reusable | None = None,
        declare: Declare | None = None,
    ) -> Opened:
        source, stage = request.from_execution_id, request.from_stage
        change = Change("replay.start")

        async def open_it(db: Session) -> Opened:
            if key and (first := await keep_key(db, key, batch)) != batch:
                return Opened(await self._replays.get(db, first), fresh=False)
            plan: int | None = None
            if request.plan_id:
                plan, user = await self._plans.use(db, request.plan_id, batch)
                if user != batch:
                    if key:
                        await db.run(SQL.move_key, scope=key.scope, key=key.key, batch=user)
                    return Opened(await self._replays.get(db, user), fresh=False)
            number, _ = await self._version(db, config, version)
            lane = await self._lanes.feed(db, number, route)
            # A prune of the source takes the exclusive lock: it either comes before, and this replay is
            # refused, or it waits, and then finds this replay.
            above = await db.value(SQL.execution_number, id=source)
            await change.check(db, above)
            if above is not None:
                await share(db, [above])
                check_unpruned(source, stage, (await prunings_of(db, [above]))[above])
                row = await db.row(SQL.publication_state, execution=above)
                if row and row[0] == "dropped":
                    raise NotFound("publication_dropped", f"publication {row[1]} of {row[2]} was dropped")
            n = await db.value(
                SQL.insert_execution,
                id=uuid7(),
                kind="replay",
                version=number,
                parent=source,
                batch=batch,
                traceparent=traceparent,
                requested_by=change.requested_by,
            )
            about = {"from": source, "stage": stage, "route": route, "plan": request.plan_id}
            await change.record(db, execution=n, reason=request.reason, detail=about)
            await db.run(
                SQL.insert_job,
                execution=n,
                source=source,
                stage=stage,
                path=request.from_path,
                prefix=prefix,
                to_route=request.to_route,
                lane=lane,
                bulk=await self._level(db, lane, request.priority),
                state="queued" if request.managed else "publishing",
                owner=None,
                lease=0.0,
            )
            await self._set_request(db, n, request, effects)
            if datasets:
                names = list(datasets)
                await db.run(SQL.insert_replay_publications, execution=n, config=config, names=names)
            if reuse:
                await self._take_over.set_plan(db, n, number, reuse)
            if declare:
                await self._declare(db, n, request, declare)
            if plan is not None:
                await db.run(SQL.use_plan_in_job, plan=plan, execution=n)
            return Opened(await self._replays.get(db, batch), fresh=True)

        return await change.write(self._db, open_it)

    async def _declare(self, db: Session, n: int, request: ReplayRequest, declare: Declare) -> None:
        await db.run(
            SQL.insert_declaration,
            execution=n,
            dataset=declare.dataset,
            publication=declare.publication,
            route=declare.route,
            stage=request.from_stage,
            code=await insert_chain(db, declare.code),
            reason=request.reason,
        )

    async def _level(self, db: Session, lane: int, priority: Priority | None) -> bool | None:
        """Return whether the messages of a replay are bulk; None: the listing decides."""
        if (await self._lanes.learn(db, {lane}))[lane].external:
            return False  # other programs consume its queue, which has one level
        return None if priority is None else priority == "bulk"

    async def _set_request(
        self, db: Session, n: int, request: ReplayRequest, effects: Mapping[str, OnReplay]
    ) -> None:
        stored = json.dumps(effects) if effects else None
        plan = await self._plans.find(db, request.plan_id) if request.plan_id else None
        asked, paths = requests.encode(request, plan.request.get("selected_paths") if plan else None)
        await db.run(SQL.set_request, request=asked, paths=paths, effects=stored, execution=n)
        if not request.managed:
            return
        rate, depth = requests.pace_columns(request.pace)
        hold = request.canary.objects if request.canary else request.pause_if and request.pause_if.of_last
        await db.run(
            SQL.set_managed,
            rate=rate,
            depth=depth,
            hold=hold,
            by=("canary" if request.canary else "guard") if hold else None,
            paid=0 if request.pace or hold else None,
            report=int(request.report is not False),
            webhook=0 if request.webhook else None,
            execution=n,
        )

    async def keyed(self, key: Key) -> UUID | None:
        return await self._db.read(lambda db: find_key(db, key))

    async def adopt(self, execution: UUID) -> Execution:
        # Before the row is written: what asks for it is checked in a later transaction.
        acting.current().check_limit(None)

        async def adopt_it(db: Session) -> Execution:
            n = await db.value(SQL.insert_adopted, id=execution)
            if n is not None:
                await self._executions.settle(db, n)
            return await self._existing(db, execution)

        return await self._db.write(adopt_it)

    async def cancel(self, execution: UUID, *, action: CancelAction = "execution.cancel") -> Execution | None:
        change = Change(action)

        async def cancel_it(db: Session) -> int | None:
            n: int | None = await db.value(SQL.execution_number, id=execution)
            if n is None:
                return None
            await change.check(db, n)
            status = (await exclude(db, [n]))[n]
            if status in ("completed", "failed"):
                raise Conflict(
                    "execution_ended", f"execution {execution} is {status}; there is nothing to cancel"
                )
            if status == "running":
                # From this commit on, claims are refused and new children are cancelled. A page that is being
                # recorded is committed before, and a later one finds another epoch. So no row is added that
                # waits. If this process dies before all are cancelled, the reconciler cancels the others.
                outcome: AuditOutcome = "failed" if action == "run.start" else "done"
                await change.record(db, execution=n, outcome=outcome)
                await db.run(SQL.cancel_job, execution=n)
                await db.run(SQL.close_execution, execution=n, status="cancelled")
                await self._replays.record_end(db, n)
            return n

        n = await change.write(self._db, cancel_it)
        if n is None:
            return None
        await self._rows.cancel_waiting(execution)
        await self._rows.settle(n)
        return await self._db.read(lambda db: self._executions.find(db, execution))


def _twice(one: Input) -> BadRequest:
    return BadRequest("invalid_path", f"two inputs of this run have the path {one.path!r}")
