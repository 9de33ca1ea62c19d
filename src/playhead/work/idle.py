"""When a worker that ends as soon as it is idle (`--until-idle`) has nothing left to do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Protocol
from uuid import UUID

from playhead import events
from playhead.errors import Unavailable
from playhead.liveness import may_live
from playhead.model import Execution, Replay
from playhead.ports.broker import Broker
from playhead.ports.catalog import Browse, Jobs, Upkeep

QUIET_SECONDS = 3.0
"""How long nothing may be found before a worker ends while executions are still running: another process may
list one of them, or still store its inputs."""

_HELD: Final = ("queued", "paused", "stalled")
"""States of a replay in which no process publishes it."""
_MOST_NAMED: Final = 3


class IdleCatalog(Browse, Jobs, Upkeep, Protocol): ...


class IdleCheck:
    """Looks for work that is left.

    Args:
        process: the id of this process.
        driving: the jobs that this process lists and publishes.
        waiting: those of them that only wait, for example for a queue that is full.
    """

    def __init__(
        self,
        catalog: IdleCatalog,
        broker: Broker,
        *,
        process: str,
        driving: Callable[[], Collection[UUID]],
        waiting: Callable[[], Collection[UUID]],
    ) -> None:
        self._catalog = catalog
        self._broker = broker
        self._process = process
        self._driving = driving
        self._waiting = waiting

    async def quiet_needed(
        self, queues: Collection[str], unable: Collection[str], *, is_limited: bool
    ) -> float | None:
        """Return after how many seconds without work nothing more will come; None while there is work.

        Args:
            queues: those that the worker consumes.
            unable: those of them whose messages it cannot process.
            is_limited: it consumes some routes only; then messages of other routes are not its work.
        """
        able = [queue for queue in queues if queue not in unable]
        try:
            running = await self._catalog.open_executions()
            for job in running:
                execution = await self._catalog.execution(job)
                if execution is None:
                    continue
                replay = await self._replay_of(execution)
                if await self._has_pending(execution, replay, queues, unable, is_limited=is_limited):
                    return None
                if await self._may_grow(execution, replay, able):
                    return None
            for queue in able:
                # Dispatches in flight need no work: no row is open. The broker may still hide those of a dead
                # process.
                if (await self._broker.depth(queue)).ready:
                    return None
        except Unavailable:
            return None
        return QUIET_SECONDS if running else 0.0

    async def log_open(self) -> None:
        """Log the executions that are still running although no work was found."""
        try:
            running = await self._catalog.open_executions()
            others = ", ".join(await self._others())
            found = [await self._catalog.execution(job) for job in running]
            replays = [await self._replay_of(one) for one in found if one]
        except Unavailable:
            return
        if running:
            held = [one for one in replays if one and one.state in _HELD]
            reasons = [f"replay {one.replay_batch_id} is {one.state}" for one in held[:_MOST_NAMED]]
            if len(held) < len(running):
                reasons.append(f"other processes may still store or list inputs: {others or 'unknown'}")
            events.emit(
                events.EXECUTIONS_OPEN,
                execution_id=str(running[0]),
                count=len(running),
                detail="; ".join(reasons),
            )

    async def _others(self) -> list[str]:
        """Return the live processes that may store the inputs of a run. Workers store none."""
        found = await self._catalog.workers()
        here = next((one.host for one in found if one.worker_id == self._process), "")
        return [
            one.worker_id for one in found if one.kind != "worker" and may_live(one.host, one.pid, here=here)
        ]

    async def is_stuck(self, execution: UUID, unable: Collection[str]) -> bool:
        """Whether all open messages of an execution wait for another process.

        Args:
            unable: the queues whose messages this process cannot process.
        """
        if not unable:
            return False
        try:
            routes = await self._catalog.route_counts(execution)
            waiting = {one.route for one in routes if one.counts.pending and one.queue in unable}
            if not waiting or any(one.counts.pending for one in routes if one.route not in waiting):
                return False
            states = await self._catalog.open_by_route()
            is_helped = any(route in waiting and state == "running" for _, route, state in states)
            return not is_helped and await self._catalog.is_listed(execution)
        except Unavailable:
            return False

    async def _replay_of(self, execution: Execution) -> Replay | None:
        batch = execution.replay_batch_id
        return None if batch is None else await self._catalog.replay(batch, work=False)

    async def _has_pending(
        self,
        execution: Execution,
        replay: Replay | None,
        queues: Collection[str],
        unable: Collection[str],
        *,
        is_limited: bool,
    ) -> bool:
        """Whether an execution has open messages that this worker can process, or that it can publish."""
        held = 0
        if replay and replay.state in _HELD:
            # Nothing publishes these messages before a client resumes the replay, or before it has its place.
            held = replay.objects_found - replay.objects_published - replay.objects_failed
        if execution.counts.pending <= held:
            return False
        if not (is_limited or unable):
            return True
        routes = await self._catalog.route_counts(execution.execution_id)
        return any(
            one.counts.pending > (held if replay and one.queue == replay.to_queue else 0)
            for one in routes
            if one.queue not in unable and (one.queue in queues or not is_limited)
        )

    async def _may_grow(self, execution: Execution, replay: Replay | None, able: Collection[str]) -> bool:
        """Whether more messages of an execution are expected.

        A run gets more while this process lists it, or if the process that stored or listed its inputs is
        dead: when a lease expires, the reconciler ends the run, or this process lists it. A replay gets more
        while any process lists it into a queue that this worker processes, or while this process makes
        progress with it.
        """
        job = execution.execution_id
        if execution.replay_batch_id is None:
            if job not in self._driving() and await self._others():
                return False
        else:
            if replay is None or replay.state not in ("checking", "publishing"):
                return False
            makes_progress = job in self._driving() and job not in self._waiting()
            if not makes_progress and replay.to_queue not in able:
                return False
        return not await self._catalog.is_listed(job)
