"""How slow this machine is now, for tests of limits in seconds."""

from __future__ import annotations

import time
from typing import Final

_LOOPS: Final = 200_000
_SECONDS: Final = 0.0065
"""What the loops take on a machine of 2026 with no other work."""


def slowness() -> float:
    """Return by how much a limit in seconds must be multiplied here, at least 1.5."""
    took = []
    for _ in range(5):
        began, total = time.process_time(), 0
        for number in range(_LOOPS):
            total += number & 7
        took.append(time.process_time() - began)
    return 1.5 * max(1.0, sorted(took)[2] / _SECONDS)
