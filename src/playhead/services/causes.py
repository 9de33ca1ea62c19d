"""Causes of failures over all routes and executions, and their acknowledgement."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from playhead import acting, ids
from playhead.errors import BadRequest, Conflict, NotFound
from playhead.failures import cause_of, group_number
from playhead.model import (
    MOST_PATHS,
    Cause,
    CauseObject,
    CausePlan,
    CauseState,
    DeadLetterDetail,
    NotPlanned,
    Page,
    Plan,
    ReplayRequest,
    Selection,
)
from playhead.ports.catalog.causes import (
    CauseFilter,
    CauseObjectPlace,
    CausePlace,
    Causes,
    FailingObject,
    FailingPlace,
    Until,
)
from playhead.ports.catalog.configs import Loaded
from playhead.reading.paging import decode_parts, encode_parts, list_of
from playhead.times import fixed_time, fixed_times

_VERSION: Final = re.compile(r"(?P<config>[^@]+)@(?P<version>[1-9]\d{0,8})", re.ASCII)
_NO_RECORDS: Final = ("records_deleted", "their messages were deleted, so their source is not known")
MOST_SOURCES: Final = 100
"""Sources that one request plans."""
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class CauseCatalog(Causes, Protocol):
    """The part of the catalog that `CauseService` needs."""

    async def config(self, name: str, version: int | None = None) -> Loaded | None: ...


class CauseService:
    """Lists and acknowledges causes of failures, and plans replays of their objects.

    Args:
        plan: makes a plan of a replay, and returns it when it is ready; raises why it cannot be made.
    """

    def __init__(self, catalog: CauseCatalog, plan: Callable[[ReplayRequest], Awaitable[Plan]]) -> None:
        self._catalog = catalog
        self._make_plan = plan

    async def list(
        self,
        *,
        state: CauseState | None = None,
        route: str | None = None,
        since: str | None = None,
        until: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Cause]:
        """Return causes, the one with the newest failure first.

        Args:
            state: only those in this state; None: all.
            route: only those that occur in this route: its name, or `config/route`.
            since: only those of which an object failed last at this time or later: RFC 3339 with an offset,
                or the time before now, as in `-24h`.
            until: only those of which an object failed first before this time.

        Raises:
            BadRequest: `invalid_cursor`.
            ValueError: a time has another form.
        """
        of = list_of("causes", state, route, since, until)
        place = decode_parts(cursor, (float, int), of)
        times = fixed_times(ids.now(), since=since, until=until)
        seconds = {name: None if text is None else ids.seconds(text) for name, text in times.items()}
        found, then = await self._catalog.causes(
            CauseFilter(state=state, route=route, **seconds),
            before=CausePlace(*place) if place else None,
            limit=limit,
        )
        return Page(found, encode_parts(then, of))

    async def get(self, cause: str) -> Cause:
        """Return a cause. Raises `NotFound` (`cause_not_found`)."""
        found = await self._catalog.cause(group_number(cause))
        if found is None:
            raise _unknown(cause)
        return found

    async def objects(self, cause: str, cursor: str | None = None, limit: int = 100) -> Page[CauseObject]:
        """Return the open objects of a cause, or of a closed one the processed objects, the newest failure
        first. An object that has failed in several routes is listed for each of them.

        Raises:
            BadRequest: `invalid_cursor`.
            NotFound: `cause_not_found`.
        """
        of = list_of("cause_objects", cause)
        place = decode_parts(cursor, (float, str, str, str), of)
        is_open = (await self.get(cause)).state != "closed"
        after = CauseObjectPlace(*place) if place else None
        found, then = await self._catalog.objects(
            group_number(cause), is_open=is_open, after=after, limit=limit
        )
        return Page(found, encode_parts(then, of))

    async def of_letter(self, letter: DeadLetterDetail, path: str) -> Cause | None:
        """Return the cause of a dead letter; None if the catalog has none.

        Args:
            path: that of its input object.
        """
        failed = letter.error_code, letter.error, letter.traceback
        # The cause of a failure outside of an adapter does not depend on the path.
        for about in (path, ""):
            if found := await self._catalog.cause(cause_of(*failed, about)):
                return found
        return None

    async def acknowledge(
        self, cause: str, reason: str, requested_by: str = "", until: str | None = None
    ) -> Cause:
        """Acknowledge a cause, and return it. A newer acknowledgement replaces the one before.

        Args:
            reason: why nothing is done now.
            requested_by: the person who acknowledges it, if the caller has no name of its own.
            until: when the acknowledgement ends: `CONFIG@VERSION`, when this version is applied; a date
                (`2026-12-24`, in UTC), or a time as in RFC 3339; None: when it is ended by request.

        Raises:
            BadRequest: `invalid_until`: it has another form, or has passed.
            NotFound: `cause_not_found`, `config_not_found`.
        """
        if not await self._catalog.acknowledge(
            group_number(cause),
            reason,
            acting.current().name_or(requested_by),
            await self._until(until),
        ):
            raise _unknown(cause)
        return await self.get(cause)

    async def unacknowledge(self, cause: str) -> Cause:
        """Remove the acknowledgement of a cause, and return it. Raises `NotFound` (`cause_not_found`)."""
        if not await self._catalog.end_acknowledgement(group_number(cause)):
            raise _unknown(cause)
        return await self.get(cause)

    async def plan(self, cause: str, cursor: str | None = None) -> CausePlan:
        """Plan replays of the open objects of a cause: each object once, from its newest source.

        There is a plan for each source, stage and route. Objects that cannot be planned are left out, with
        the reason. A plan takes some 20 ms, so one request plans the objects of at most 100 sources, the
        newest ones, and `next_cursor` the next ones.

        Args:
            cursor: the cursor from the previous request.

        Raises:
            BadRequest: `invalid_cursor`.
            NotFound: `cause_not_found`.
        """
        of = list_of("cause_plan", cause)
        place = decode_parts(cursor, (str, str, str, str), of)
        after = FailingPlace(*place) if place else None
        identity = group_number(cause)
        if await self._catalog.cause(identity) is None:
            raise _unknown(cause)
        found, last = _first_sources(await self._catalog.failing(identity, after=after, limit=MOST_PATHS + 1))
        plans: list[Plan] = []
        left_out: list[NotPlanned] = []
        for source, objects in found.items():
            target = f"{source.config}/{source.route}"
            if source.execution is None:
                left_out.append(NotPlanned(*_NO_RECORDS, len(objects), None, target))
                continue
            selection = Selection(paths=objects)
            request = ReplayRequest(source.execution, source.stage, None, target, selection=selection)
            try:
                plans.append(await self._make_plan(request))
            except (BadRequest, Conflict, NotFound) as exc:
                left_out.append(NotPlanned(exc.code, exc.detail, len(objects), source.execution, target))
        return CausePlan(
            cause,
            sum(one.objects for one in plans),
            plans,
            left_out,
            objects_left=await self._catalog.count_failing(identity, after=last) if last else 0,
            next_cursor=encode_parts(last, of),
        )

    async def _until(self, text: str | None) -> Until:
        if text is None:
            return Until()
        if found := _VERSION.fullmatch(text):
            name, version = found["config"], int(found["version"])
            if (loaded := await self._catalog.config(name)) is None:
                raise NotFound("config_not_found", f"there is no config {name}. Run: playhead config list")
            newest = loaded.version.version
            if newest >= version:
                raise BadRequest(
                    "invalid_until",
                    f"until: version {newest} of {name} is applied already; write {name}@{newest + 1}",
                )
            return Until(name, version)
        try:
            at = ids.seconds(fixed_time(f"{text}T00:00:00Z" if _DATE.fullmatch(text) else text, ids.now()))
        except ValueError:
            raise BadRequest(
                "invalid_until",
                f"until: {text[:80]!r} is neither a version nor a time: write CONFIG@VERSION, as in "
                "papers@2, a date, as in 2026-12-24, or RFC 3339, as in 2026-12-24T18:00:00Z",
            ) from None
        if at <= ids.now():
            raise BadRequest("invalid_until", f"until: {text} has passed; write a later time")
        return Until(at=at)


def _unknown(cause: str) -> NotFound:
    return NotFound("cause_not_found", f"there is no cause {cause[:40]}. Run: playhead causes --state all")


class _Source(NamedTuple):
    """What one replay can send: objects of one stage of an execution into one route."""

    execution: UUID | None
    stage: str
    config: str
    route: str


def _first_sources(
    found: Sequence[FailingObject],
) -> tuple[dict[_Source, list[str]], FailingPlace | None]:
    """Return the paths of the objects of the first sources, and the place of the last of these objects.

    The place is None if no object follows it.
    """
    paths: dict[_Source, list[str]] = {}
    last: FailingPlace | None = None
    for n, (place, stage) in enumerate(found):
        source = _Source(UUID(place.source) if stage else None, stage or "", place.config, place.route)
        if n == MOST_PATHS or (source not in paths and len(paths) == MOST_SOURCES):
            return paths, last
        paths.setdefault(source, []).append(place.path.removeprefix(f"{stage}/"))
        last = place
    return paths, None
