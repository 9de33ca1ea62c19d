"""Examine an installation: each backend by itself, then what only shows between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, Protocol

from playhead.envelope import Message
from playhead.errors import PlayheadError
from playhead.ids import parse_uuid
from playhead.model import Examination, Examined, Finding
from playhead.ports.catalog import Browse, Upkeep
from playhead.ports.diagnosis import Diagnosed

_SECONDS: Final = 60.0
_LOOKED_AT: Final = 20
"""Messages of a queue: enough to see whose they are."""
_MOST_QUEUES: Final = 50

Status = Literal["ok", "warning", "failed"]


class Site(Browse, Upkeep, Protocol):
    """What is asked of the catalog."""


class Queues(Protocol):
    async def peek(self, queue: str, limit: int) -> list[Message]: ...


class Patient(NamedTuple):
    """One of the three as it was opened: `backend` is None when it could not be, and `problem` says why."""

    part: Literal["store", "broker", "catalog"]
    backend: Diagnosed | None
    problem: str = ""


class DoctorService:
    """Looks at everything once. What is found is told, never raised.

    Args:
        patients: the three backends.
        site: the catalog, where it could be opened.
        queues: the broker, where it could be opened.
    """

    def __init__(self, patients: Sequence[Patient], site: Site | None, queues: Queues | None) -> None:
        self._patients = patients
        self._site = site
        self._queues = queues

    async def examine(self) -> Examination:
        """Takes a minute at most for each of two steps; leaves nothing behind."""
        parts = list(await asyncio.gather(*(_examine(patient) for patient in self._patients)))
        if self._site and self._queues and all(part.status != "failed" for part in parts):
            parts.append(await self._examine_site(self._site, self._queues))
        return Examination(_worst(part.status for part in parts), parts)

    async def _examine_site(self, site: Site, queues: Queues) -> Examined:
        try:
            async with asyncio.timeout(_SECONDS):
                found = [await _hands(site), await _strangers(site, queues)]
        except (PlayheadError, TimeoutError) as exc:
            found = [Finding("site", "failed", f"it can't be looked at: {exc or 'no answer'}", "look again")]
        return Examined("site", None, _worst(f.status for f in found), found)


async def _examine(patient: Patient) -> Examined:
    if patient.backend is None:
        found = [Finding("reach", "failed", patient.problem, "mend this, then look again")]
        return Examined(patient.part, None, "failed", found)
    try:
        async with asyncio.timeout(_SECONDS):
            found = await patient.backend.diagnose()
    except TimeoutError:
        fix = "find out what keeps it so busy, or cuts the way to it"
        found = [Finding("reach", "failed", f"no answer within {_SECONDS:g} s", fix)]
    except PlayheadError as exc:  # a backend that came late and then can't be used
        found = [Finding("reach", "failed", exc.detail, "mend this, then look again")]
    return Examined(patient.part, patient.backend.name, _worst(f.status for f in found), found)


async def _hands(site: Site) -> Finding:
    """Whether anybody is there to do the work that waits."""
    alive = await site.workers()
    queues = {queue for process in alive for queue in process.queues}
    wanted = {s.queue for s in await site.subscriptions()}
    waiting = sorted(set(await site.waiting_queues()) & (wanted - queues))
    working = sum(bool(process.queues) for process in alive)
    detail = f"{len(alive)} processes are alive, {working} of them take messages"
    if waiting:
        fix = "start one with the adapters that the route needs: playhead worker"
        return Finding("workers", "warning", f"{detail}; nobody takes from {', '.join(waiting[:5])}", fix)
    if not alive and await site.open_executions():
        fix = "start one: playhead worker, or playhead serve --workers 2"
        return Finding("workers", "warning", f"{detail}, and an execution is running", fix)
    return Finding("workers", "ok", detail)


async def _strangers(site: Site, queues: Queues) -> Finding:
    """Whether the queues hold messages whose execution this catalog does not know."""
    looked, strange = 0, []
    for subscription in (await site.subscriptions())[:_MOST_QUEUES]:
        seen = await queues.peek(subscription.queue, _LOOKED_AT)
        looked += len(seen)
        named = {parse_uuid(message.headers.get("execution_id", "")) for message in seen}
        known = [identity is not None and await site.execution(identity) for identity in named]
        if not all(known):
            strange.append(subscription.queue)
    if strange:
        return Finding(
            "messages of others",
            "warning",
            f"{', '.join(strange[:5])} hold messages of executions that this catalog does not know: another "
            "installation uses the same broker, or another catalog was used before. Each takes messages of "
            "the other away, which are called again only later",
            "give each installation a PLAYHEAD_QUEUE_PREFIX of its own",
        )
    return Finding("messages of others", "ok", f"none among the first of each queue ({looked} looked at)")


def _worst(statuses: Iterable[Status]) -> Status:
    order: tuple[Status, ...] = ("ok", "warning", "failed")
    return max(statuses, key=order.index, default="ok")
