"""What the buttons on the page of an execution do."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from playhead.errors import Conflict
from playhead.web.datasets import Problem
from playhead.web.execution import show
from playhead.web.links import link
from playhead.web.page import Action, Answer, Ask, Redirect, status_of


async def cancel(ask: Ask) -> Redirect:
    """Cancel an execution, and show it."""
    identity = await ask.execution()
    await ask.services.recover.cancel(identity)
    return Redirect(link("execution", identity))


def _pin(name: str, pinned: bool) -> Action:
    async def perform(ask: Ask) -> Answer:
        try:
            await ask.services.prune.pin(await ask.execution(), pinned)
        except Conflict as exc:
            page = await show(ask)
            if isinstance(page, Redirect):
                return page
            return replace(page, view=replace(page.view, problem=Problem.of(exc)), status=status_of(exc))
        return Redirect(link("execution", ask.parameters["execution_id"]))

    return Action(
        f"/executions/{{execution_id}}/{name}",
        perform,
        "execution.html",
        "executions",
        scope="operate" if pinned else "prune",
    )


ACTIONS: Final = (
    Action("/executions/{execution_id}/cancel", cancel, section="executions", scope="operate"),
    _pin("pin", True),
    _pin("unpin", False),
)
