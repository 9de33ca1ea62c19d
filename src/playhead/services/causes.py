"""Causes of failures over all routes and executions, and their acknowledgement."""

from __future__ import annotations

import re
from typing import Final, Protocol

from playhead import ids
from playhead.errors import BadRequest, NotFound
from playhead.failures import group_number
from playhead.model import Cause, CauseState, Page
from playhead.ports.catalog.causes import CauseFilter, CausePlace, Causes, Until
from playhead.ports.catalog.configs import Loaded
from playhead.reading.paging import decode_cursor, encode_cursor, list_of
from playhead.times import fixed_time, fixed_times

_VERSION: Final = re.compile(r"(?P<config>[^@]+)@(?P<version>[1-9]\d{0,8})", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class CauseCatalog(Causes, Protocol):
    """The part of the catalog that `CauseService` needs."""

    async def config(self, name: str, version: int | None = None) -> Loaded | None: ...


class CauseService:
    """Lists and acknowledges causes of failures."""

    def __init__(self, catalog: CauseCatalog) -> None:
        self._catalog = catalog

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
        place = _place_of(decode_cursor(cursor, str, of))
        times = fixed_times(ids.now(), since=since, until=until)
        seconds = {name: None if text is None else ids.seconds(text) for name, text in times.items()}
        found, then = await self._catalog.causes(
            CauseFilter(state=state, route=route, **seconds), before=place, limit=limit
        )
        return Page(found, encode_cursor(then and f"{then.newest!r}/{then.id}", of))

    async def get(self, cause: str) -> Cause:
        """Return a cause. Raises `NotFound` (`cause_not_found`)."""
        found = await self._catalog.cause(group_number(cause))
        if found is None:
            raise _unknown(cause)
        return found

    async def acknowledge(
        self, cause: str, reason: str, requested_by: str = "", until: str | None = None
    ) -> Cause:
        """Acknowledge a cause, and return it. A newer acknowledgement replaces the one before.

        Args:
            reason: why nothing is done now.
            requested_by: who acknowledges it.
            until: when the acknowledgement ends: `CONFIG@VERSION`, when this version is applied; a date
                (`2026-12-24`, in UTC), or a time as in RFC 3339; None: when it is ended by request.

        Raises:
            BadRequest: `invalid_until`: it has another form, or has passed.
            NotFound: `cause_not_found`, `config_not_found`.
        """
        if not await self._catalog.acknowledge(
            group_number(cause), reason, requested_by, await self._until(until)
        ):
            raise _unknown(cause)
        return await self.get(cause)

    async def unacknowledge(self, cause: str) -> Cause:
        """Remove the acknowledgement of a cause, and return it. Raises `NotFound` (`cause_not_found`)."""
        if not await self._catalog.end_acknowledgement(group_number(cause)):
            raise _unknown(cause)
        return await self.get(cause)

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


def _place_of(text: str | None) -> CausePlace | None:
    if text is None:
        return None
    newest, _, cause = text.partition("/")
    return CausePlace(float(newest), int(cause))


def _unknown(cause: str) -> NotFound:
    return NotFound("cause_not_found", f"there is no cause {cause[:40]}. Run: playhead causes --state all")
