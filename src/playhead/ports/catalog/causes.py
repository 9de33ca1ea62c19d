"""Causes of failures, and their acknowledgement."""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from playhead.model import Cause, CauseState


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


class FailingObject(NamedTuple):
    """An object that a route has not processed since it failed.

    Attributes:
        key: of the object that the newest message received; None if its records are deleted.
        stage: in this key; the rest of the key is its path.
        config, route: where it failed.
    """

    key: str | None
    stage: str | None
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

    async def failing(self, cause: int, *, limit: int) -> list[FailingObject]:
        """Return up to `limit` open objects of a cause, those that failed last first."""
        ...

    async def acknowledge(self, cause: int, reason: str, requested_by: str, until: Until) -> bool:
        """Acknowledge a cause; a newer acknowledgement replaces the one before. False if there is no such
        cause."""
        ...

    async def end_acknowledgement(self, cause: int) -> bool:
        """Remove the acknowledgement of a cause. False if there is no such cause."""
        ...
