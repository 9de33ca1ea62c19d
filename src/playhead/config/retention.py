"""The retention of a config."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from playhead import keys
from playhead.config import declared
from playhead.config.diagnostics import listed, shown
from playhead.config.fields import Spot
from playhead.model import Retention

_DAYS: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) days?", re.ASCII)


def read_retention(spot: Spot | None, stages: Sequence[str]) -> Retention | None:
    """Read `retention`; None if the config has none.

    Args:
        stages: the stages of the routes.
    """
    if spot is None:
        return None
    table = declared.table(spot, declared.RETENTION)
    named, records = table.get("stages"), table.get(declared.RECORDS.name)
    if named and records:
        records.fault("E314", "records are deleted only after all objects; remove `records` or `stages`")
    return Retention(
        keep_days=declared.KEEP_DAYS.read(table),
        keep_last=declared.KEEP_LAST.read(table),
        stages=_read_stages(named, [keys.INPUT_STAGE, *stages]) if named else (),
        records_days=_read_days(records) if records else None,
    )


def _read_days(spot: Spot) -> float | None:
    value = spot.node.value
    found = _DAYS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        spot.wrong("a number of days, such as `90 days`", f"{value} days" if _is_number(value) else None)
        return None
    days, limits = float(found[1]), declared.RECORDS
    if not limits.low < days <= limits.high:
        spot.fault(
            "E104", f"{shown(value)} is out of range: above {limits.low} and at most {limits.high} days"
        )
    return days


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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
