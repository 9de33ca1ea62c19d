"""Results of a publication that are not of the newest code, and what replays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from playhead.model import Publication
from playhead.web.replayform import ReplayForm
from playhead.wording import made_by_stale


@dataclass(frozen=True, slots=True)
class StaleRow:
    """A route with results that are not of the newest code, or of which that is not known.

    Attributes:
        route: the route.
        from_stage: stage of the objects that it received.
        results: number of its results.
        stale: number of those that are not of the newest code; None: not known.
        replay_url: form of the replay of exactly these; None if there is nothing to replay.
    """

    route: str
    from_stage: str
    results: int
    stale: int | None
    replay_url: str | None


def stale_rows(publication: Publication) -> Sequence[StaleRow]:
    """Return the routes of a publication that do not have only results of the newest code."""
    rows = []
    for one in publication.results:
        if one.stale == 0:
            continue
        can_replay = bool(one.stale) and one.is_declared
        form = ReplayForm(
            from_execution_id=str(publication.execution_id),
            from_stage=one.from_stage,
            to_route=one.route,
            made_by=made_by_stale(one) or "",
        )
        rows.append(
            StaleRow(
                *(one.route, one.from_stage, one.results, one.stale),
                replay_url=form.href() if can_replay else None,
            )
        )
    return rows
