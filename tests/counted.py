"""The counts of an execution that took nothing over."""

from __future__ import annotations

from dataclasses import asdict

from playhead.model import Counts


def counts(*, completed: int = 0, failed: int = 0, cancelled: int = 0) -> dict[str, int]:
    """Return the counts, as answers of the API and of commands have them, if no message is open."""
    total = completed + failed + cancelled
    return asdict(Counts(0, completed, failed, cancelled, total, processed=completed))
