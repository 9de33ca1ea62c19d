"""Generate `events.md`: every log line, from the table of events."""

from __future__ import annotations

from typing import Final

from playhead.events import EVENTS
from tools.reference import Parts, code, table


def _events() -> str:
    rows = [(code(e.name), ", ".join(e.levels), ", ".join(map(code, e.fields)), e.meaning) for e in EVENTS]
    return table(("event", "level", "fields", "meaning"), rows)


PARTS: Final[Parts] = {"events": _events}
