"""Plans of replays.

A plan is one row and its pages. One process makes it; if that process dies, the plan becomes `failed`. Its
set of objects never changes. A replay that is started from it first compares the set with the store, in the
state `checking`. Then it lists its objects from the pages, whichever process drives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from playhead.errors import Conflict, NotFound
from playhead.model import Plan, PlanDifference
from playhead.ports.catalog.jobs import LeasedJob


class PlanPage(NamedTuple):
    """Objects of a plan, in the order of their keys (`replay.manifest`).

    Attributes:
        no: its number, from 0.
        first_key, last_key: of its objects.
        objects: number of its objects.
        sha256: of its text; 32 bytes.
        data: the compressed text.
    """

    no: int
    first_key: str
    last_key: str
    objects: int
    sha256: bytes
    data: bytes


def check_usable(plan: UUID, found: Plan | None) -> None:
    """Check that a replay was started from a plan, or can be.

    Raises:
        NotFound: `plan_not_found`.
        Conflict: `plan_not_ready`, `plan_expired`.
    """
    if found is None:
        raise NotFound(
            "plan_not_found", f"there is no plan {plan}; expired plans are deleted. Make a new plan"
        )
    if found.state == "expired":
        raise Conflict("plan_expired", f"plan {plan} expired at {found.expires_at}. Make a new plan")
    if found.state == "failed":
        raise Conflict("plan_not_ready", f"plan {plan} has failed: {found.error}. Make a new plan")
    if found.state == "listing":
        raise Conflict("plan_not_ready", f"plan {plan} is being made: wait until its state is ready")


class Plans(Protocol):
    async def open_plan(
        self,
        plan: UUID,
        *,
        owner: str,
        request: Mapping[str, Any],
        source: UUID,
        config: str,
        version: int,
        route: str,
        seconds: float,
    ) -> Plan:
        """Create a plan in the state `listing`, which `owner` makes. Repeating the call changes nothing.

        `request` is what the plan shows. `config`, `version` and `route` are what its target was resolved to.
        No replay can be started from the plan after `seconds`.
        """
        ...

    async def add_page(self, plan: UUID, page: PlanPage) -> bool:
        """Store a page. Repeating the call changes nothing. False if the plan is no longer being made."""
        ...

    async def finish_plan(self, plan: Plan) -> Plan | None:
        """Make a plan `ready`, with the digest and all that was found out. Repeating the call changes
        nothing.

        Returns the plan; None if it is no longer being made.
        """
        ...

    async def fail_plan(self, plan: UUID, error: str) -> bool:
        """Make a plan that is being made `failed`. False if it is not being made."""
        ...

    async def fail_lost_plans(self) -> int:
        """Fail plans whose process died while it made them; return their number.

        Plans that have expired become `expired`, and are deleted when the same time has passed again. Pages
        are deleted that no replay can need any more. Plans that were used stay as long as their replays.
        """
        ...

    async def plan(self, plan: UUID) -> Plan | None:
        """Return a plan, or None. While it is being made, `objects` counts those of its pages."""
        ...

    async def plans(self, *, before: int | None = None, limit: int = 100) -> tuple[list[Plan], int | None]:
        """Return plans, newest first, and the start of the next page (None at the end)."""
        ...

    async def plan_pages(self, plan: UUID, *, after: str = "", limit: int) -> list[PlanPage]:
        """Return the pages with keys after the key `after`, in order. The first may begin before it."""
        ...

    async def publishing_rate(self, config: str, route: str) -> float | None:
        """Return the messages per second of the largest of the newest replays into a route.

        None if no replay into it has ended. Replays with a pace do not count.
        """
        ...

    async def keep_check(self, held: LeasedJob, checked: str) -> bool:
        """Record for a job that is `checking` that the store has the objects of the plan, up to a key.

        A takeover continues the check there, and does not count as one without progress. False if the epoch
        was raised.
        """
        ...

    async def pass_check(self, held: LeasedJob) -> bool:
        """Let the job of a checked plan publish (`checking` to `publishing`). False if the epoch was raised.

        Repeating the call changes nothing.
        """
        ...

    async def refuse_plan(self, held: LeasedJob, difference: PlanDifference) -> bool:
        """End a job that is `checking` as `refused`: nothing was recorded. False if the epoch was raised.

        The listing is abandoned (`plan_changed`), so the execution fails. The difference stays with the plan.
        """
        ...

    async def plan_difference(self, plan: UUID) -> PlanDifference | None:
        """Return why the replay of a plan was refused; None if it was not."""
        ...
