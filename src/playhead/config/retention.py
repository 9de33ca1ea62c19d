"""The retention of a config."""

from __future__ import annotations

from collections.abc import Sequence

from playhead import keys
from playhead.config import declared
from playhead.config.diagnostics import listed, shown
from playhead.config.fields import Spot, Table
from playhead.model import Retention


def read_retention(spot: Spot | None, stages: Sequence[str]) -> Retention | None:
    """Read `retention`; None if the config has none.

    Args:
        stages: the stages of the routes.
    """
    if spot is None:
        return None
    table = Table(spot, declared.names(declared.RETENTION), declared.required(declared.RETENTION))
    days, last = declared.KEEP_DAYS, declared.KEEP_LAST
    named = table.get("stages")
    return Retention(
        keep_days=table.number(days.name, days.otherwise, days.low, days.high, above=days.above),
        keep_last=table.integer(last.name, last.otherwise, last.low, last.high),
        stages=_read_stages(named, [keys.INPUT_STAGE, *stages]) if named else (),
    )


def _read_stages(spot: Spot, known: Sequence[str]) -> tuple[str, ...]:
    items = spot.items("stages")
    if items == []:
        spot.fault("E104", "an empty list would delete nothing; remove `stages` to delete all")
    found: dict[str, None] = {}
    for item in items or ():
        stage = item.text()
        if stage is not None and stage not in known:
            near = spot.found.nearest(stage, known)
            item.fault("E313", f"no route has the stage {shown(stage)}; stages: {listed(known)}", near)
        elif stage is not None:
            found[stage] = None
    return tuple(found)
