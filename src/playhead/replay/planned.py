"""What a replay takes from its plan: the request, the objects, and how they differ from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

from playhead.errors import BadRequest, Conflict
from playhead.model import Plan, PlanDifference, ReplayRequest, Selection
from playhead.ports.catalog.jobs import LeasedJob, LeasedPlan
from playhead.ports.catalog.plans import PlanPage
from playhead.ports.store import Store
from playhead.replay import effects
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


async def difference(catalog: CheckCatalog, store: Store, leased: LeasedJob) -> PlanDifference:
    """Compare the plan of a job with a new listing. One page of each is in memory.

    Raises what `objects_of` raises.
    """
    assert leased.plan, "only a job with a plan is checked"
    survey = Survey(
        catalog,
        store,
        leased.prefix,
        recorded=bool(leased.stages),  # an execution of another program has no declared stages
        has_references=leased.has_references,
    )
    return await compare(objects_of(catalog, leased.plan, after=""), survey.items())


# -- the request -----------------------------------------------------------------------------------


def request_of(plan: Plan, request: ReplayRequest) -> ReplayRequest:
    """Return a request for a replay from a plan, with the fields of the plan's request.

    Pace, canary, reason, webhook and report belong to the replay.

    Raises:
        BadRequest: `plan_mismatch`: a field that decides about the set of objects, or about what processes
            them, has another value than in the plan.
    """
    fields = dict(plan.request)
    execution = UUID(fields["from_execution_id"])
    chosen = {one.name: fields[one.name] for one in dataclass_fields(Selection) if one.name in fields}
    if "in_replay" in chosen:
        chosen["in_replay"] = UUID(chosen["in_replay"])
    planned = replace(
        request,
        from_execution_id=execution,
        from_stage=fields["from_stage"],
        from_path=fields.get("from_path"),
        to_route=fields["to_route"],
        selection=Selection(**chosen) if chosen else None,
        config_version=fields["config_version"],
        effects=fields.get("effects"),
    )
    for name, given in _given(request).items():
        in_plan = chosen.get(name) if name in _SELECTED else getattr(planned, name)
        if name == "effects" and isinstance(given, dict):
            in_plan = {route: (in_plan or {}).get(route, "run") for route in given}
        if given != in_plan:
            raise BadRequest(
                "plan_mismatch",
                f"{name} is {given!r}, but {in_plan!r} in plan {plan.plan_id}: leave it out, or make a new "
                "plan",
            )
    return planned


_SELECTED: Final = frozenset(one.name for one in dataclass_fields(Selection))


def _given(request: ReplayRequest) -> dict[str, object]:
    """Return the fields of a request that a plan has too, if they were given."""
    given: dict[str, object] = {
        "from_execution_id": request.from_execution_id if request.from_execution_id.int else None,
        "from_stage": request.from_stage or None,
        "from_path": request.from_path or None,
        "to_route": request.to_route or None,
        "config_version": request.config_version,
        "effects": effects.by_route(request.effects) or None,
    }
    if request.selection:
        given |= {name: getattr(request.selection, name) for name in _SELECTED}
    return {name: value for name, value in given.items() if value is not None}
