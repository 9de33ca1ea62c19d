"""Examine a deployment: first each backend, then whether the backends fit together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple, Protocol

from playhead.envelope import Message
from playhead.errors import PlayheadError
from playhead.ids import moment, now, parse_uuid
from playhead.model import DAY, Dataset, Examination, Examined, Finding
from playhead.ports.catalog import Browse, Results, Upkeep
from playhead.ports.catalog.access import Access
from playhead.ports.catalog.results import Protected
from playhead.ports.diagnosis import Diagnosed, ProcessRole
from playhead.reading.datasets import Datasets, Switches, hold_of
from playhead.reading.keys import ending_soon, in_use
from playhead.wording import address_of

_SECONDS: Final = 60.0
_PEEKED: Final = 20
"""Messages to read from each queue: enough to find messages of another deployment."""
_MOST_QUEUES: Final = 50
_BEHIND: Final = 60.0
"""Seconds for which an index may be behind its dataset."""
_MOST_DATASETS: Final = 5
_MOST_KEYS: Final = 10
_MOST_PROTECTED: Final = 3
"""How many times the bytes of the newest publication all publications of a dataset may protect."""

Status = Literal["ok", "warning", "failed"]
_Warning = tuple[str, str]
"""What is wrong, and what to do."""


class DoctorCatalog(Access, Browse, Upkeep, Datasets, Switches, Results, Protocol):
    """The part of the catalog that `DoctorService` needs."""


class Queues(Protocol):
    async def peek(self, queue: str, limit: int) -> list[Message]: ...


class Patient(NamedTuple):
    """A backend to examine. If it could not be opened, `backend` is None and `problem` is the reason."""

    part: Literal["store", "broker", "catalog"]
    backend: Diagnosed | None
    problem: str = ""


class DoctorService:
    """Examines each backend once. Problems are returned as findings, not raised.

    Args:
        patients: the three backends.
        catalog: the catalog; None if it could not be opened.
        queues: the broker; None if it could not be opened.
        role: whose rights the process has; None: unknown.
    """

    def __init__(
        self,
        patients: Sequence[Patient],
        catalog: DoctorCatalog | None,
        queues: Queues | None,
        role: ProcessRole | None = None,
    ) -> None:
        self._patients = patients
        self._catalog = catalog
        self._queues = queues
        self._role = role

    async def examine(self) -> Examination:
        """Examine the backends, then the deployment, for at most 60 seconds each. Leaves no test data.

        The audit has a row if the catalog works, because the examination writes to the backends.
        """
        parts = list(await asyncio.gather(*(_examine(patient) for patient in self._patients)))
        if self._catalog and self._queues and all(part.status != "failed" for part in parts):
            parts.append(await self._examine_deployment(self._catalog, self._queues))
        if self._catalog and all(part.status != "failed" for part in parts if part.part == "catalog"):
            with suppress(PlayheadError):
                await self._catalog.record_audit("doctor")
        return Examination(_worst(part.status for part in parts), parts)

    async def _examine_deployment(self, catalog: DoctorCatalog, queues: Queues) -> Examined:
        try:
            async with asyncio.timeout(_SECONDS):
                found = [
                    await _workers(catalog),
                    await _unknown_messages(catalog, queues),
                    *await _datasets(catalog),
                    *([] if self._role == "worker" else await _keys(catalog)),
                ]
        except (PlayheadError, TimeoutError) as exc:
            problem = f"cannot examine the deployment: {exc or 'no answer in time'}"
            found = [Finding("deployment", "failed", problem, "run the examination again")]
        return Examined("deployment", None, _worst(f.status for f in found), found)


async def _examine(patient: Patient) -> Examined:
    if patient.backend is None:
        found = [Finding("reach", "failed", patient.problem, "fix this, then run the examination again")]
        return Examined(patient.part, None, "failed", found)
    try:
        async with asyncio.timeout(_SECONDS):
            found = await patient.backend.diagnose()
    except TimeoutError:
        fix = "check the load of the backend, and the network to it"
        found = [Finding("reach", "failed", f"no answer within {_SECONDS:g} s", fix)]
    except PlayheadError as exc:  # for example, a backend that was unreachable at first and is misconfigured
        found = [Finding("reach", "failed", exc.detail, "fix this, then run the examination again")]
    return Examined(patient.part, patient.backend.name, _worst(f.status for f in found), found)


async def _workers(catalog: DoctorCatalog) -> Finding:
    """Check that live workers consume the queues that hold waiting messages."""
    alive = await catalog.workers()
    queues = {queue for process in alive for queue in process.queues}
    wanted = {s.queue for s in await catalog.subscriptions()}
    waiting = sorted(set(await catalog.waiting_queues()) & (wanted - queues))
    working = sum(bool(process.queues) for process in alive)
    detail = f"{len(alive)} processes are alive, {working} of them consume queues"
    if waiting:
        fix = "start a worker that has the adapters of the route: playhead worker"
        return Finding("workers", "warning", f"{detail}; no worker consumes {', '.join(waiting[:5])}", fix)
    if not alive and await catalog.open_executions():
        fix = "start a worker: playhead worker, or playhead serve --workers 2"
        return Finding("workers", "warning", f"{detail}, but an execution is running", fix)
    return Finding("workers", "ok", detail)


async def _datasets(catalog: DoctorCatalog) -> list[Finding]:
    """Check that no index is behind its dataset, no result waits because of a rollback, and no old bytes are
    kept without need."""
    found = await catalog.datasets()
    held = [warning async for warning in _held(catalog, found)]
    warnings = [*_behind(found), *held, *_protected(await catalog.protected_bytes(), found)]
    if warnings:
        return [Finding("datasets", "warning", detail, fix) for detail, fix in warnings]
    waiting = sum(len(one.unpublished) for one in found)
    detail = f"{len(found)} up to date; executions that wait for publication: {waiting}"
    return [Finding("datasets", "ok", detail)] if found else []


def _behind(datasets: Sequence[Dataset]) -> Iterator[_Warning]:
    behind = [
        (one, sink) for one in datasets for sink in one.sinks if sink.problem or sink.lag_seconds > _BEHIND
    ]
    for one, sink in behind[:_MOST_DATASETS]:
        why = sink.problem or f"it has been behind for {sink.lag_seconds:.0f} s"
        name = address_of(one.config, one.name, datasets)
        fix = f"start a worker that has the adapter {sink.adapter}, or run: playhead index check {name}"
        yield f"{sink.route} of {name}: {why}", fix


async def _held(catalog: DoctorCatalog, datasets: Sequence[Dataset]) -> AsyncIterator[_Warning]:
    a_day_ago = moment(now() - DAY)
    held = [
        one
        for one in datasets
        if one.held
        and one.publish == "automatic"
        and (one.unpublished or (one.switched_at or "") < a_day_ago)
    ]
    for one in held[:_MOST_DATASETS]:
        name = address_of(one.config, one.name, datasets)
        back = await hold_of(catalog, one)
        since = f" to publication {back.n} at {back.switched_at}" if back else ""
        why = f" ({back.reason})" if back and back.reason else ""
        detail = (
            f"{name}: automatic publication is held because of the rollback{since}{why}; "
            f"executions that wait for publication: {len(one.unpublished)}"
        )
        fix = (
            f"to see what was rolled back, run: playhead publications {name}. To end the hold, publish a "
            f"good run, or run: playhead release {name}"
        )
        yield detail, fix


def _protected(found: Sequence[Protected], datasets: Sequence[Dataset]) -> Iterator[_Warning]:
    for one in [one for one in found if one.of_all > _MOST_PROTECTED * one.of_newest][:_MOST_DATASETS]:
        name = address_of(one.config, one.dataset, datasets)
        detail = (
            f"publications of {name} protect {one.of_all:,} bytes from prunes; the newest one, "
            f"{one.n}, has {one.of_newest:,}"
        )
        fix = f"unpin publications, or lower `keep`. To list them, run: playhead publications {name}"
        yield detail, fix


async def _keys(catalog: DoctorCatalog) -> list[Finding]:
    """Check that each key ends some day, and that none ends unexpectedly."""
    try:
        keys = await catalog.keys()
    except PlayheadError:  # perhaps the rights of a worker, which may not read keys
        return []
    found = []
    if soon := ending_soon(keys):
        ends = ", ".join(
            f"{name} (in {left / DAY:.0f} days)" for name, left in list(soon.items())[:_MOST_KEYS]
        )
        fix = "replace each one before its end: playhead keys rotate NAME"
        found.append(Finding("keys", "warning", f"keys that end within 14 days: {ends}", fix))
    used = in_use(keys)
    if endless := [one.name for one in used if one.expires_at is None]:
        names = ", ".join(endless[:_MOST_KEYS])
        fix = "give each one an end, and replace it in time: playhead keys rotate NAME --expires 90d"
        found.append(Finding("keys", "warning", f"keys that never expire: {names}", fix))
    if used and not found:
        found.append(Finding("keys", "ok", f"{len(used)} are valid, and none ends within 14 days"))
    return found


async def _unknown_messages(catalog: DoctorCatalog, queues: Queues) -> Finding:
    """Check the queues for messages of executions that are not in this catalog."""
    examined, affected = 0, []
    for subscription in (await catalog.subscriptions())[:_MOST_QUEUES]:
        messages = await queues.peek(subscription.queue, _PEEKED)
        examined += len(messages)
        ids = {parse_uuid(message.headers.get("execution_id", "")) for message in messages}
        known = [identity is not None and await catalog.execution(identity) for identity in ids]
        if not all(known):
            affected.append(subscription.queue)
    if affected:
        return Finding(
            "unknown messages",
            "warning",
            f"{', '.join(affected[:5])} hold messages of executions that are not in this catalog. Another "
            "deployment uses the same broker, or this deployment used another catalog before. Deployments "
            "that share queues consume each other's messages, which delays those messages",
            "give each deployment its own PLAYHEAD_QUEUE_PREFIX",
        )
    return Finding("unknown messages", "ok", f"none at the head of each queue ({examined} messages examined)")


def _worst(statuses: Iterable[Status]) -> Status:
    order: tuple[Status, ...] = ("ok", "warning", "failed")
    return max(statuses, key=order.index, default="ok")
