"""`/audit`: who changed what, with the reason, and which requests were refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from playhead.errors import BadRequest
from playhead.model.access import AUDIT_OUTCOMES, AuditEntry, AuditOutcome
from playhead.web.page import ROWS, Answer, ApiCall, Ask, Page, Shown, url


@dataclass(frozen=True, slots=True)
class AuditView:
    """A page of the audit.

    Attributes:
        actor, action, outcome, config, since: the filters; empty without one.
        outcomes: what `outcome` may be.
        entries: the newest first.
        problem: why nothing was read; None if it was.
        command: the command that prints the same.
        next_url: URL of the next page; None at the end.
        first_url: URL of the first page; None on the first page.
    """

    actor: str
    action: str
    outcome: AuditOutcome | None
    config: str
    since: str
    outcomes: Sequence[AuditOutcome]
    entries: Sequence[AuditEntry]
    problem: str | None
    command: str
    next_url: str | None
    first_url: str | None


async def show(ask: Ask) -> Answer:
    given = {name: ask.text(name) for name in ("actor", "action", "config", "since")}
    chosen = ask.choice("outcome", AUDIT_OUTCOMES)
    outcome = next((one for one in AUDIT_OUTCOMES if one == chosen), None)
    cursor = ask.text("cursor")
    entries: Sequence[AuditEntry] = ()
    problem = following = None
    try:
        found = await ask.services.audit.list(
            actor=given["actor"],
            action=given["action"],
            config=given["config"],
            since=given["since"],
            outcome=outcome,
            cursor=cursor,
            limit=ROWS,
        )
        entries, following = found.items, found.next_cursor
    except (BadRequest, ValueError) as exc:
        problem = str(exc)

    def here(cursor: str | None) -> str:
        return url("/audit", **given, outcome=outcome, cursor=cursor)

    view = AuditView(
        given["actor"] or "",
        given["action"] or "",
        outcome,
        given["config"] or "",
        given["since"] or "",
        AUDIT_OUTCOMES,
        entries,
        problem,
        _command(**given, outcome=outcome),
        here(following) if following else None,
        here(None) if cursor else None,
    )
    calls = [ApiCall(url("/api/v1/audit", **given, outcome=outcome, limit=ROWS, cursor=cursor))]
    return Shown("Audit", view, calls)


def _command(**given: str | None) -> str:
    """Return the command with these filters."""
    options = "".join(f" --{name}={value}" for name, value in given.items() if value)
    return f"playhead audit{options}"


PAGES: Final = (Page("/audit", "audit.html", show, scope="admin"),)
