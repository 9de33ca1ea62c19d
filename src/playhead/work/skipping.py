"""Messages of replays whose routes turn out to have external effects.

The catalog closes messages of routes that a replay is known to skip. Whether any other route has external
effects is known to the worker that has loaded its adapters: their declarations may have changed since the
config was applied.

First the route is recorded, then the message is closed without an attempt. If the process is killed in
between, the row is claimed again, and the claim closes it.
"""

from __future__ import annotations

from uuid import UUID

from playhead import events
from playhead.model import EFFECTS_SKIPPED, Skip
from playhead.ports.catalog import Work
from playhead.ports.catalog.work import Claim
from playhead.work.dispatch import RouteRuntime


class Skipping:
    """Decides for one consumer which claimed messages are skipped."""

    def __init__(self, catalog: Work) -> None:
        self._catalog = catalog
        self._recorded: tuple[UUID, str] | None = None

    async def reason(self, claim: Claim, runtime: RouteRuntime) -> Skip | None:
        """Return why a message must not be processed, of a replay that skips effects; None if it must be
        processed.

        Raises `Unavailable`: the route could not be recorded, so the message must be released.
        """
        if not runtime.effects:
            return None
        names = ", ".join(runtime.effects)
        found = claim.execution_id, claim.route
        if found != self._recorded:  # claims that follow are refused, so there are few others
            await self._catalog.skip_route(*found)
            self._recorded = found
            events.emit(
                events.ROUTE_SKIPPED,
                execution_id=str(claim.execution_id),
                config=claim.config,
                route=claim.route,
                adapters=names,
            )
        why = f"when it was created, it was not known that {names} has external effects"
        return EFFECTS_SKIPPED._replace(reason=f"{EFFECTS_SKIPPED.reason}: {why}")
