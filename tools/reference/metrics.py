"""Generate the table of metrics in `operating.md`, from the declarations of `/metrics`."""

from __future__ import annotations

from typing import Final

from playhead.api.declared_metrics import METRICS
from tools.reference import Parts, code, table


def _metrics() -> str:
    rows = [(code(m.name), m.kind, ", ".join(map(code, m.labels)), m.help) for m in METRICS]
    return table(("name", "kind", "labels", "meaning"), rows)


PARTS: Final[Parts] = {"metrics": _metrics}
