"""Sizes of stages, from the rows of outputs."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from playhead.model import StageTotals


class Totals(Protocol):
    async def stage_totals(self, execution: UUID) -> StageTotals | None:
        """Return objects and bytes of `input` and of each stage of the config, in its order.

        None if there is no such execution, or if it is adopted: other programs stored its objects. The
        numbers are those of a listing of the store: stored objects, and references to those of an earlier
        run, but nothing of a stage that is pruned. Objects that other programs stored below the execution are
        not counted.

        The first call after the execution has ended counts all outputs and records the result. Each later
        call costs two look-ups. If the execution runs again, the record is deleted with that change. While
        the execution runs, each call counts all outputs: about a second for a million. Counts of many outputs
        are at most five seconds old, as their `as_of` shows.
        """
        ...
