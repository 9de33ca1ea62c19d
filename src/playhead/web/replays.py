"""`/replays`: the list of replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from playhead.model import Replay
from playhead.web.outcomes import Outcome, outcomes
from playhead.web.page import ROWS, Answer, ApiCall, Ask, Page, Shown, url


@dataclass(frozen=True, slots=True)
class ReplaysView:
    """A page of the list of replays.

    Attributes:
        replays: newest first.
        outcomes: their states, by batch.
        source: only replays of this execution; None: of all.
        is_open: only replays whose publishing has not ended.
        cursor: where the page begins; None: at the newest.
        next_url: the next page; None at the end.
        first_url: the first page; None if it is shown.
    """

    replays: Sequence[Replay]
    outcomes: Mapping[UUID, Outcome]
    source: UUID | None
    is_open: bool
    cursor: str | None
    next_url: str | None
    first_url: str | None


async def show(ask: Ask) -> Answer:
    source = await ask.execution("from_execution_id") if ask.text("from_execution_id") else None
    cursor = ask.text("cursor")
    is_open = ask.choice("open", ("true", "false")) == "true"
    found = await ask.services.executions.replays(source, cursor, ROWS, is_open=is_open)
    these = {"from_execution_id": source, "open": "true" if is_open else None}
    # Rows that are newer than the first one of the page are counted, and shown on request.
    ids = [str(one.replay_batch_id) for one in found.items]
    mark = ask.text("mark")
    newer = 0 if cursor or mark is None else ids.index(mark) if mark in ids else len(ids)
    rows = found.items[newer:] if mark in ids else found.items
    states = await outcomes(ask.services, rows)
    cells = {"newer": f"{newer:,}{'' if mark in ids else '+'}" if newer else ""}
    for one in rows:
        cells |= {
            f"{one.replay_batch_id}.published": f"{one.objects_published:,}",
            f"{one.replay_batch_id}.found": f"{one.objects_found:,}",
            f"{one.replay_batch_id}.failed": _failed(states[one.replay_batch_id]),
        }
    view = ReplaysView(
        rows,
        states,
        source,
        is_open,
        cursor,
        url("/replays", **these, cursor=found.next_cursor) if found.next_cursor else None,
        url("/replays", **these) if cursor else None,
    )
    return Shown(
        "Replays",
        view,
        [ApiCall(url("/api/v1/replays", **these, limit=ROWS, cursor=cursor))],
        cells=cells,
        shape=" ".join(f"{one.look} {one.text}" for one in states.values()),
        ended=all(one.status for one in rows) and bool(cursor),
        mark=str(rows[0].replay_batch_id) if rows and not cursor else "",
    )


def _failed(outcome: Outcome) -> str:
    """Return how many objects or messages failed, and how many a cancelled replay did not publish."""
    if not outcome.not_published:
        return f"{outcome.failed:,}"
    failed = f"{outcome.failed:,} and " if outcome.failed else ""
    return f"{failed}{outcome.not_published:,} not published"


PAGES: Final = (Page("/replays", "replays.html", show, "replays", live=True, scope="read"),)
