"""What each part of the catalog works with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from playhead.backends._sql_catalog.aliases import Aliases
from playhead.backends._sql_catalog.continued import UnchangedUnits
from playhead.backends._sql_catalog.counts import Known
from playhead.backends._sql_catalog.executions import Executions
from playhead.backends._sql_catalog.lanes import Lanes, Origins
from playhead.backends._sql_catalog.plan_rows import Plans
from playhead.backends._sql_catalog.replays import Replays
from playhead.backends._sql_catalog.reusing import Reusing
from playhead.backends._sql_catalog.rows import Rows, Sizes
from playhead.backends._sql_catalog.takeover import TakeOver
from playhead.backends._sql_catalog.tally import Tally
from playhead.backends.sql.session import Transactions
from playhead.liveness import Liveness
from playhead.model import StageTotals
from playhead.ports.catalog.results import MadeById


class Part:
    """The database, and the objects that parts share. A part calls no other part.

    Args:
        transactions: over an open database, which is not closed with the catalog.
        liveness: which processes are dead.
    """

    def __init__(self, transactions: Transactions, liveness: Liveness) -> None:
        self._db = transactions
        self._liveness = liveness
        self.sizes = Sizes()
        self._lanes = Lanes(transactions)
        self._origins = Origins(self._lanes)
        self._executions = Executions()
        self._aliases = Aliases()
        self._tally = Tally()
        self._settled_counts: dict[int, dict[int, tuple[int, int, int]]] = {}
        """Counts that do not change any more: by the length of intervals, then by their number."""
        self._rows = Rows(transactions, self._executions, self.sizes)
        self._replays = Replays(self._lanes, self._executions, self.sizes)
        self._plans = Plans(self._lanes)
        self._reusing = Reusing(transactions, self._lanes)
        self._unchanged_units = UnchangedUnits()
        self._take_over = TakeOver(self._lanes, self._reusing, self._aliases)
        self._declared = Known[tuple[object, ...], Mapping[MadeById, int]](60.0)  # a count reads all results
        self._failing = Known[tuple[object, ...], Any](10.0)  # a count reads up to 10,000 objects
        self._totals = Known[UUID, StageTotals](5.0)  # a count of a million outputs takes a tenth of it
