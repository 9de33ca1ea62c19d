"""What a replay takes from its plan: the request, the objects, and how they differ from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

from playhead.errors import BadRequest, Conflict
from playhead.model import SELECTED, Plan, PlanDifference, ReplayRequest
from playhead.ports.catalog.jobs import LeasedJob, LeasedPlan
from playhead.ports.catalog.plans import PlanPage
from playhead.ports.store import Store
from playhead.replay.manifest import Item, compare, unpack
from playhead.replay.survey import Survey, SurveyCatalog


class PlannedCatalog(Protocol):
    """What reading a plan needs of the catalog."""

    async def plan_pages(self, plan: UUID, *, after: str = "", limit: int) -> list[PlanPage]: ...


class CheckCatalog(PlannedCatalog, SurveyCatalog, Protocol):
    """What comparing a plan with the store needs of the catalog."""


async def objects_of(
    catalog: PlannedCatalog, plan: LeasedPlan, *, after: str
) -> AsyncIterator[Sequence[Item]]:
    """Yield the objects of a plan after a key, one page at a time.

    Raises `Unavailable`, and `Conflict` (`plan_expired`) if its pages were deleted.
    """
    cursor = after
    while cursor < plan.last_key:
        pages = await catalog.plan_pages(plan.plan, after=cursor, limit=1)
        if not pages:
            raise Conflict("plan_expired", f"the objects of plan {plan.plan} are not kept any more")
        items = await asyncio.to_thread(unpack, pages[0])
        yield items if items[0][0] > after else [one for one in items if one[0] > after]
        cursor = pages[0].last_key


async def difference(
    catalog: CheckCatalog, store: Store, leased: LeasedJob, passed: Callable[[str], Awaitable[None]]
) -> PlanDifference:
    """Compare the plan of a job with a new listing, from the last compared key on, page by page.

    See `compare` for `passed`. Raises what `objects_of` raises.
    """
    assert leased.plan, "only a job with a plan is checked"
    survey = Survey(
        catalog,
        store,
        leased.prefix,
        recorded=bool(leased.stages),  # an execution of another program has no declared stages
        has_references=leased.has_references,
    )
    planned = objects_of(catalog, leased.plan, after=leased.checked)
    return await compare(planned, survey.items(after=leased.checked), passed)


# -- the request -----------------------------------------------------------------------------------


PLANNED: Final = SELECTED | {
    *("from_execution_id", "from_stage", "from_path", "to_route", "config_version", "effects"),
    "others_valid",
}
"""Fields of a request that decide about the objects, those that it leaves out, or what processes them. All
others belong to the replay."""


def request_of(plan: Plan, request: ReplayRequest) -> ReplayRequest:
    """Return a request for a replay from a plan, with the fields of the plan's request.

    Raises:
        BadRequest: `plan_mismatch`: a field of `PLANNED` has another value than in the plan.
    """
    given = request.body()
    for name in sorted(PLANNED & given.keys()):
        asked, in_plan = given[name], plan.request.get(name)
        if name == "effects":
            asked = request.effects_by_route
            in_plan = {route: (in_plan or {}).get(route, "run") for route in asked}
        if asked not in (in_plan, ""):
            raise BadRequest(
                "plan_mismatch",
                f"{name} is {_short(asked)}, but {_short(in_plan)} in plan {plan.plan_id}: leave it out, "
                "or make a new plan",
            )
    planned = ReplayRequest.of_body(plan.request)
    return replace(request, **{name: getattr(planned, name) for name in _OF_REQUEST})


_OF_REQUEST: Final = (PLANNED - SELECTED) | {"selection"}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


_MOST_SHOWN: Final = 200
