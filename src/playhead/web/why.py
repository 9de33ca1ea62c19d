"""`/why`: one input of an execution, and its outcome in each route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.errors import BadRequest, NotFound
from playhead.model import Execution, Why, WhyRoute
from playhead.services import Services
from playhead.web.page import ApiCall, Ask, Crumb, Missing, Page, Shown, or_missing, url
from playhead.web.pipelines import pipeline_map, places


@dataclass(frozen=True, slots=True)
class WhyPart:
    """The outcomes of an item in one execution.

    Attributes:
        execution: the execution.
        routes: its messages by route and outcome, in pipeline order.
    """

    execution: Execution
    routes: Sequence[WhyRoute]


@dataclass(frozen=True, slots=True)
class WhyView:
    """What happened to one item of an execution.

    Attributes:
        execution: the execution.
        path: the path that was asked for; None: the page only asks for one.
        why: the answer; None without a path, and if no object matches it.
        parts: its way, by execution: first those that it replays, then the execution itself.
        problem: why there is no answer; None if there is one.
    """

    execution: Execution
    path: str | None
    why: Why | None
    parts: Sequence[WhyPart]
    problem: str | None


async def show(ask: Ask) -> Shown[WhyView]:
    services = ask.services
    execution_id = await ask.execution()
    execution = await services.executions.get(execution_id)
    path, stage = ask.text("path"), ask.text("stage")
    why, problem, status = None, None, 200
    if path is not None:
        try:
            why = await services.why.explain(execution_id, path, stage)
        except (BadRequest, NotFound) as exc:
            problem, status = exc.detail, 404 if isinstance(exc, NotFound) else 400
    parts: list[WhyPart] = []
    for route in why.routes if why else ():
        if not parts or parts[-1].execution.execution_id != route.execution_id:
            is_own = route.execution_id == execution_id
            parts.append(
                WhyPart(execution if is_own else await services.executions.get(route.execution_id), [])
            )
        parts[-1] = WhyPart(parts[-1].execution, [*parts[-1].routes, route])
    parts = [WhyPart(part.execution, await _in_order(services, part)) for part in parts]
    name = path or "an item"
    return Shown(
        f"Why: {name}",
        WhyView(execution, path, why, parts, problem),
        [ApiCall(url(f"/api/v1/executions/{execution_id}/why", path=path, stage=stage))] if path else [],
        crumbs=[
            Crumb("Executions", "/executions"),
            Crumb(
                f"{execution.kind} {str(execution_id)[-8:]} of {execution.config or 'adopted'}",
                url(f"/executions/{execution_id}"),
            ),
            Crumb("Why"),
        ],
        status=status,
    )


async def _in_order(services: Services, part: WhyPart) -> Sequence[WhyRoute]:
    """Return the routes of a part in pipeline order."""
    pipeline = await or_missing(services.pipelines.of_found, part.execution)
    order = {} if isinstance(pipeline, Missing) else places(pipeline_map(pipeline))
    return sorted(part.routes, key=lambda one: order.get(one.route, len(order)))


PAGES: Final = (Page("/why", "why.html", show, "executions", scope="read"),)
