"""`/`: what needs attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.model import Execution
from playhead.ports.catalog.browse import ExecutionFilter
from playhead.web.page import ApiCall, Ask, Page, Shown


@dataclass(frozen=True, slots=True)
class HomeView:
    """What needs attention.

    Attributes:
        executions: the newest executions.
    """

    executions: Sequence[Execution]


async def show(ask: Ask) -> Shown[HomeView]:
    newest = await ask.services.executions.list(ExecutionFilter(), None, 10)
    cells = {f"done.{one.execution_id}": f"{one.counts.completed:,}" for one in newest.items}
    return Shown("Now", HomeView(newest.items), [ApiCall("/api/v1/executions?limit=10")], cells=cells)


PAGES: Final = (Page("/", "home.html", show, "now", live=True),)
