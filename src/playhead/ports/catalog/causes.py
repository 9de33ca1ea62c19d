"""Causes of failures, and their acknowledgement."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from playhead.model import Cause, CauseObject, CauseState


class CauseFilter(NamedTuple):
    """Causes that meet all given conditions.

    Attributes:
        state: their state.
        route: they occur in this route: its name, or `config/route`.
        since: an object has failed last at this time or later; seconds since the epoch.
        until: an object has failed first before this time; seconds since the epoch.
    """

    state: CauseState | None = None
    route: str | None = None
    since: float | None = None
    until: float | None = None


EVERY_CAUSE: Final = CauseFilter()


class Until(NamedTuple):
    """When an acknowledgement ends: with a version of a config, at a time (seconds since the epoch), or, with
    neither, on request."""

    config: str | None = None
    version: int | None = None
    at: float | None = None


class CausePlace(NamedTuple):
    """Where a page of causes ends: the time of the newest failure, and the id of the cause."""

    newest: float
    id: int


class FailingPlace(NamedTuple):
    """Where a failing object is in the list of those of its cause.

    Attributes:
        source: id of the execution whose object the newest message received; empty if its records are
            deleted.
        path: stage and path of the object.
        config, route: where it failed.
    """

    source: str
    path: str
    config: str
    route: str


class FailingObject(NamedTuple):
    """An object that a route has not processed since it failed.

    Attributes:
        place: which object it is.
        stage: its stage; None if its records are deleted.
    """

    place: FailingPlace
    stage: str | None


class CauseObjectPlace(NamedTuple):
    """Where a page of the objects of a cause ends: the time of the newest failure, and which object it is."""

    at: float
    path: str
    config: str
    route: str


class Causes(Protocol):
    """Causes of failures."""

    async def causes(
        self, where: CauseFilter = EVERY_CAUSE, *, before: CausePlace | None = None, limit: int = 100
    ) -> tuple[list[Cause], CausePlace | None]:
        """Return causes, the one with the newest failure first, and where the next page begins, if any."""
        ...

    async def cause(self, cause: int) -> Cause | None:
        """Return a cause."""
        ...

    async def objects(
        self, cause: int, *, is_open: bool, after: CauseObjectPlace | None = None, limit: int
    ) -> tuple[list[CauseObject], CauseObjectPlace | None]:
        """Return the open or the processed objects of a cause, the newest failure first, and where the next
        page begins, if any."""
        ...

    async def failing(
        self, cause: int, *, after: FailingPlace | None = None, limit: int
    ) -> list[FailingObject]:
        """Return up to `limit` open objects of a cause after a place, those of the newest source first.

        The objects of a source follow one another. An object that fails again, in a replay of its source or
        in a newer execution, is not behind its place.
        """
        ...

    async def count_failing(self, cause: int, *, after: FailingPlace | None = None) -> int:
        """Count the objects that `failing` returns without a limit."""
        ...

    async def acknowledge(self, cause: int, reason: str, requested_by: str, until: Until) -> bool:
        """Acknowledge a cause; a newer acknowledgement replaces the one before. False if there is no such
        cause."""
        ...

    async def end_acknowledgement(self, cause: int) -> bool:
        """Remove the acknowledgement of a cause. False if there is no such cause."""
        ...
