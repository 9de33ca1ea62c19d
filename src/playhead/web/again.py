"""Forms of new replays that begin from one: of the same objects, of what failed, and of the rest."""

from __future__ import annotations

from dataclasses import asdict, replace

from playhead.model import OTHER_ROUTES, Replay
from playhead.replay.effects import is_carried
from playhead.web.replayform import ReplayForm
from playhead.wording import rest_limit


def again(replay: Replay) -> ReplayForm:
    """Return the form with the same objects, route, and limits."""
    asked = asdict(replay.selection) if replay.selection else {}
    for name in ("from_execution_id", "from_stage", "from_path", "to_route", "reason"):
        asked[name] = getattr(replay, name)
    effects = {
        route: policy
        for route, policy in replay.effects.items()
        if route != OTHER_ROUTES and not is_carried(route)
    }
    return ReplayForm.of_request(asked | {"effects": effects}).limited(replay)


def fits_form(replay: Replay) -> bool:
    """Whether `again` selects the same objects: the form has no paths and no attributes."""
    return replay.selected_paths is None and not (replay.selection and replay.selection.attributes)


def rest_of(replay: Replay) -> ReplayForm:
    """Return the form of a replay of what a cancelled one has not published."""
    form = replace(again(replay), only="unfinished", in_replay=str(replay.replay_batch_id), reason="")
    limit = rest_limit(replay)
    return form if limit is None else replace(form, limit=str(limit))


def failed_again(replay: Replay) -> ReplayForm:
    """Return the form of a replay of what has failed in this one."""
    batch = str(replay.replay_batch_id)
    return replace(again(replay), only="failed", in_replay=batch, limit="", reason="")
