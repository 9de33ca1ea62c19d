"""Which rows a worker may claim: the rule as a pure function, and the transaction that applies it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from uuid import UUID

from playhead.backends._sql_catalog.executions import share_of_messages
from playhead.backends._sql_catalog.failing import record_failures
from playhead.backends._sql_catalog.lanes import Lane, Origin, moment_or_none
from playhead.backends._sql_catalog.part import Part
from playhead.backends.sql import COMPLETED, PENDING, RETRY, RUNNING
from playhead.backends.sql.session import Session, natives
from playhead.backends.sql.statements import SQL
from playhead.failures import cause_of, group_of
from playhead.keys import path_of
from playhead.model import EFFECTS_SKIPPED, is_skipped, skips_effects
from playhead.ports.catalog.work import Claim, Refusal, Source, is_used_up, runs_alone

Verdict = Literal["claim", "closed", "ended", "cancel", "held", "early", "skipped", "lost", "suspect"]
"""`claim`, a reason of `Refusal`, or `cancel`: `ended`, and the row is to be cancelled."""


class Decision(NamedTuple):
    """What a claim does with a row.

    Attributes:
        spent: attempts that count towards `max_attempts`, this one included.
        uncounted: 1 if the attempt before this one does not count, as its claim was never answered.
        crashes: the latest attempts, in a row, in which the worker died.
    """

    verdict: Verdict
    spent: int = 0
    uncounted: int = 0
    crashes: int = 0


def decide_claim(
    *,
    state: int,
    attempt: int,
    uncounted_attempts: int,
    consecutive_crashes: int,
    early: bool,
    holder: str | None,
    worker: str,
    holder_alive: bool,
    running: bool,
    skipped: bool,
    max_attempts: int,
    alone: bool,
) -> Decision:
    """Decide whether `worker` may claim a row.

    Args:
        early: the row's `not_before` is in the future, and no dispatch of this retry was published.
        holder: the process that holds a `running` row.
        running: the execution is running.
        skipped: the execution is a replay that skips the route of the row.
        alone: the worker processes no other message, so it may claim a suspected poison message.
    """
    if state not in (PENDING, RUNNING, RETRY):
        return Decision("closed")
    # The worker itself holds the row: the answer to its claim was lost, so no process works on the row.
    again = state == RUNNING and holder == worker
    if not running:
        return Decision("cancel" if again else "ended")
    crashes = consecutive_crashes
    if state == RUNNING and not again:
        if holder_alive:
            return Decision("held")
        crashes += 1
    if skipped:
        return Decision("skipped")
    if state == RETRY and early:
        return Decision("early")
    spent = attempt + 1 - uncounted_attempts - again
    if is_used_up(spent=spent, max_attempts=max_attempts, crashes=crashes):
        return Decision("lost", spent)
    if runs_alone(spent=spent, max_attempts=max_attempts, crashes=crashes) and not alone:
        return Decision("suspect")
    return Decision("claim", spent, int(again), crashes)


class ClaimsPart(Part):
    async def claim(
        self, worker: str, ids: Sequence[UUID], *, alone: bool = False, most_running: int | None = None
    ) -> list[Claim | Refusal]:
        async def claim_rows(db: Session) -> list[Claim | Refusal]:
            keys = natives(db, ids)
            shared = await share_of_messages(db, keys)
            # A row whose execution is not locked was committed just now, so it has no published dispatch.
            rows = {
                row[0]: row
                for row in await db.rows(SQL.claimable, ids=keys)
                if shared is None or row[2] in shared
            }
            completed = [row[1] for row in rows.values() if row[5] == COMPLETED]
            children = await self._lanes.unpublished_children(db, completed) if completed else {}
            held = any(row[5] == RUNNING and row[8] != worker for row in rows.values())
            alive = await self._alive(db) if held else set()
            lanes = await self._lanes.learn(db, {row[4] for row in rows.values()})
            origins = await self._origins.learn(db, {row[2] for row in rows.values()})
            room = len(ids)
            if most_running is not None and rows:  # of one queue
                room = await self._room(db, lanes[next(iter(rows.values()))[4]].queue, most_running)
            answers: list[Claim | Refusal] = []
            updates: dict[tuple[int, int], list[int]] = defaultdict(list)  # (0, 0), nearly always
            lost: dict[int, tuple[UUID, int, Lane]] = {}
            skipped: list[int] = []
            unanswered: list[int] = []
            seen: dict[int, Literal["held", "closed"]] = {}
            for cid, key in zip(ids, keys, strict=True):
                row = rows.get(key)
                if row is None:
                    answers.append(Refusal(cid, "unknown"))
                    continue
                _, n, execution, status, lane_id, state, attempt, uncounted, holder, crashes, early = row[:11]
                origin, lane = origins[execution], lanes[lane_id]
                if n in seen:  # the same id twice
                    answers.append(Refusal(cid, seen[n], (), origin.id))
                    continue
                decision = decide_claim(
                    state=state,
                    attempt=attempt,
                    uncounted_attempts=uncounted,
                    consecutive_crashes=crashes,
                    early=early,
                    holder=holder,
                    worker=worker,
                    holder_alive=holder in alive,
                    running=status == "running",
                    skipped=is_skipped(origin.effects, lane.route) if origin.effects else False,
                    max_attempts=lane.max_attempts,
                    alone=alone,
                )
                verdict = decision.verdict
                if verdict == "claim" and state != RUNNING:
                    room -= 1
                if verdict == "claim" and room < 0:
                    answers.append(Refusal(cid, "full", (), origin.id))
                elif verdict == "claim":
                    seen[n] = "held"
                    updates[decision.crashes, decision.uncounted].append(n)
                    answers.append(_claimed(cid, row, decision.spent, origin, lane))
                elif verdict == "closed":
                    unpublished = tuple(children.get(str(cid), ()))
                    answers.append(Refusal(cid, "closed", unpublished, origin.id))
                elif verdict == "cancel":
                    unanswered.append(n)
                    answers.append(Refusal(cid, "ended", (), origin.id))
                elif verdict == "skipped":
                    seen[n] = "closed"
                    skipped.append(n)
                    answers.append(Refusal(cid, "skipped", (), origin.id))
                elif verdict == "lost":
                    seen[n] = "closed"
                    lost[n] = cid, decision.spent - 1, lane
                    answers.append(Refusal(cid, "lost", (), origin.id, lane.config, lane.route))
                else:
                    answers.append(Refusal(cid, verdict, (), origin.id))
            for (crashes, uncounted), claimed in updates.items():
                await db.run(
                    SQL.claim,
                    rows=claimed,
                    uncounted=uncounted,
                    crashes=crashes,
                    worker=worker,
                    beat=self._liveness.beat,
                )
            if updates:
                await db.run(SQL.beat_with_claim, worker=worker, beat=self._liveness.beat)
            if lost:
                await self._close_lost(db, lost)
            if skipped:
                await self._close_skipped(db, skipped)
            if unanswered:
                await self._rows.cancel_rows(db, unanswered)
            return answers

        return await self._db.write(claim_rows)

    async def _alive(self, db: Session) -> set[str]:
        """Return the processes that are not dead, as far as this process can judge."""
        rows = await db.rows(SQL.alive_processes, seconds=self._liveness.seconds)
        return {process for (process,) in rows}

    async def _room(self, db: Session, queue: str, most_running: int) -> int:
        """Return how many more messages of a queue may run. The answer holds until the transaction ends."""
        await db.rows(SQL.lock_queue, queue=queue)
        # A new statement: the lock may have waited for another claim.
        running: int = await db.value(SQL.count_running, queue=queue)
        return most_running - running

    async def _close_skipped(self, db: Session, rows: Sequence[int]) -> None:
        """Close rows in routes that their replay skips. They may have outputs of an attempt that began before
        its worker found the effects."""
        count = len(rows)
        codes, reasons = [EFFECTS_SKIPPED.code] * count, [EFFECTS_SKIPPED.reason] * count
        await db.run(
            SQL.skip, rows=rows, codes=codes, reasons=reasons, ran=[None] * count, reads=[None] * count
        )
        await db.run(SQL.supersede_outputs, messages=rows)

    async def _close_lost(self, db: Session, lost: Mapping[int, tuple[UUID, int, Lane]]) -> None:
        """Close rows whose last attempt was lost with its worker; `lost` has ids, attempts and lanes."""
        reasons = [
            f"its worker died in the last of {attempts} attempts: find out what the message does to its "
            "process (memory? a crash?), then send it again"
            for _, attempts, _ in lost.values()
        ]
        groups = [
            group_of(lane.config, lane.route, "worker_lost", reason)
            for reason, (_, _, lane) in zip(reasons, lost.values(), strict=True)
        ]
        await db.run(SQL.close_lost, rows=list(lost), reasons=reasons, groups=groups)
        await db.run(SQL.supersede_outputs, messages=list(lost))
        causes = [cause_of("worker_lost", reason) for reason in reasons]
        await record_failures(
            db, self._tally, list(zip([cid for cid, *_ in lost.values()], causes, strict=True))
        )


def _claimed(cid: UUID, row: Sequence[Any], spent: int, origin: Origin, lane: Lane) -> Claim:
    key, stage, content_type, attributes, size, sha256, pruned, location = row[11:]
    source = None
    if content_type is not None:
        source = Source(content_type, json.loads(attributes), size, sha256, moment_or_none(pruned), location)
    return Claim(
        correlation_id=cid,
        attempt=row[6] + 1,
        spent=spent,
        execution_id=origin.id,
        replay_batch_id=origin.batch,
        config=lane.config,
        config_version=lane.version,
        config_hash=lane.hash,
        route=lane.route,
        object_key=key,
        stage=stage,
        path=path_of(key, stage),
        source=source,
        traceparent=origin.traceparent,
        skips_effects=skips_effects(origin.effects, lane.route) if origin.effects else False,
    )
