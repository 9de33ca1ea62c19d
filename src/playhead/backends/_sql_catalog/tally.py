"""Messages that this process has ended and not yet counted in the catalog."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from playhead.backends.sql.session import Session
from playhead.backends.sql.statements import SQL


class Tally:
    """Counts done messages by lane until the next heartbeat writes them.

    A process that is killed loses what it has counted since its last heartbeat. If the reply to a heartbeat
    is lost, its messages may be counted twice. No decision depends on the counts.

    Attributes:
        writer: number of this process in its rows, random.
    """

    def __init__(self) -> None:
        self.writer = random.getrandbits(62)
        self._done: Counter[int] = Counter()

    def add(self, lanes: Sequence[int]) -> None:
        """Count done messages."""
        self._done.update(lanes)

    def waiting(self) -> Mapping[int, int]:
        """Return what is not written, by lane."""
        return dict(self._done)

    async def write(self, db: Session, done: Mapping[int, int]) -> None:
        """Write counts. The caller calls `written` after the commit."""
        if done:
            await db.run(SQL.count_done, lanes=list(done), messages=list(done.values()), writer=self.writer)

    def written(self, done: Mapping[int, int]) -> None:
        self._done.subtract(done)
        self._done += Counter()  # drops what is zero
