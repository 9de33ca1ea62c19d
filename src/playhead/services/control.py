"""Control of replays: pause, resume, cancel, retry, and change of pace.

Each call is one transaction of the catalog, which holds the guarantees (`ports/catalog/control.py`). After a
resume or a retry, this process offers itself to drive the replay; every other process may do so, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from playhead import events, faults
from playhead.errors import Conflict, NotFound
from playhead.model import Canary, Pace, Replay
from playhead.ports.catalog import Control, Jobs
from playhead.work import ending


class ControlCatalog(Control, Jobs, ending.EndingCatalog, Protocol): ...


class ControlService:
    """Controls replays by their batch ids.

    Every method raises `NotFound` (`replay_not_found`) and `Conflict` (`replay_ended`), and may be repeated.

    Args:
        drive: offers to drive a job in this process.
        per_queue: how many replays may publish into one queue; 0: no limit.
    """

    def __init__(self, catalog: ControlCatalog, *, drive: Callable[[UUID], None], per_queue: int = 0) -> None:
        self._catalog = catalog
        self._drive = drive
        self._per_queue = per_queue

    async def pause(self, batch: UUID) -> Replay:
        """Suspend publishing. The answer says what was published, and what may still arrive."""
        return await self._done("paused", _found(batch, await self._catalog.pause(batch)))

    async def resume(self, batch: UUID, *, canary: int | None = None) -> Replay:
        """Continue a paused or stalled replay. It may have to wait for its place in the queue.

        Args:
            canary: publish only this number of objects, and decide again. Only if the canary or the guard
                (`pause_if`) has paused it. Their limit of failed objects stays.

        Raises:
            InvalidValue: `canary` is out of range.
            Conflict: `not_paused_by_canary`: something else has paused it.
        """
        if canary is not None:
            Canary(canary)
        return await self._continue("resumed", batch, await self._catalog.resume(batch, canary))

    async def retry(self, batch: UUID) -> Replay:
        """Publish the refused objects of a replay again, under the same batch."""
        return await self._continue("retried", batch, await self._catalog.retry_replay(batch))

    async def cancel(self, batch: UUID, *, withdraw: bool = False) -> Replay:
        """End publishing. With `withdraw`, also cancel every message that no worker has started."""
        if withdraw:
            found = _found(batch, await self._catalog.replay(batch, work=False))
            try:
                await self._catalog.cancel(found.execution_id, action="replay.withdraw")
            except Conflict as exc:
                raise Conflict(
                    "replay_ended", f"replay {batch} has ended: all of its messages were processed"
                ) from exc
            cancelled = _found(batch, await self._catalog.replay(batch, work=False))
        else:
            cancelled = _found(batch, await self._catalog.cancel_replay(batch))
            # Perhaps nothing was published, or all of it is processed.
            await ending.end_executions(self._catalog, [cancelled.execution_id])
        return await self._done("cancelled", cancelled)

    async def set_pace(self, batch: UUID, pace: Pace | None) -> Replay:
        """Change the pace of a replay, also while it runs; None removes it."""
        changed = _found(batch, await self._catalog.set_pace(batch, pace))
        self._drive(changed.execution_id)
        return await self._done("paced", changed)

    async def _continue(self, what: str, batch: UUID, changed: Replay | None) -> Replay:
        found = _found(batch, changed)
        if found.state == "queued":
            await self._catalog.admit(per_queue=self._per_queue)
            found = _found(batch, await self._catalog.replay(batch, work=False))
        if found.status is None:
            self._drive(found.execution_id)
        return await self._done(what, found)

    async def _done(self, what: str, replay: Replay) -> Replay:
        faults.reach("control.committed")
        # Counting all messages of the execution would take too long under its lock.
        if counted := await self._catalog.replay(replay.replay_batch_id):
            replay = replace(
                replay,
                work=counted.work,
                objects_skipped=counted.objects_skipped,
                withdrawn=counted.withdrawn,
            )
        events.emit(
            events.REPLAY_CONTROLLED,
            action=what,
            replay_batch_id=str(replay.replay_batch_id),
            execution_id=str(replay.execution_id),
            state=replay.state,
            objects_published=replay.objects_published,
            objects_uncertain=replay.objects_uncertain,
        )
        return replay


def _found(batch: UUID, replay: Replay | None) -> Replay:
    if replay is None:
        raise NotFound("replay_not_found", f"there is no replay {batch}. Run: playhead replays")
    return replay
