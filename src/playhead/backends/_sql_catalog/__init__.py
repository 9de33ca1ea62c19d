"""The catalog, written once for SQLite and PostgreSQL.

An operation is one `async` method of a part (`configs.py`, `runs.py`, `jobs.py`, …) and one or more
statements in the part's file `backends/sql/*.sql` (see `sql/statements.py` for its syntax). To add an
operation, write

1. the method in the port (`ports/catalog/`) with its promise, and a test in `tests/contract/`;
2. the statement, named and described, as PostgreSQL's SQL; SQLite's text is derived from it;
3. the method here: a body that awaits `db.rows(SQL.name, …)`, `db.run(…)` or `db.insert(…)` of its `Session`,
   run by `self._db.write(body)` (one transaction, durable on return) or `self._db.read(body)` (one moment).
   An operation with one statement needs no body: it awaits `self._db.rows(SQL.name, …)` or `self._db.run(…)`.

No part inherits from another part or imports one, so each can be read alone. What several parts use is in
modules without a part: functions that need only a session, and objects that need more (`Lanes`, `Executions`,
`Replays`, …), which `Part` builds. Each object gets what it needs by its constructor.

What differs between the databases is in two places. `Statement` renders placeholders, arrays, row locks,
casts and index hints; a statement that cannot be derived has a text for each database. A `Session` in
`_sqlite` or `_postgres` runs statements: over asyncpg it suspends, over SQLite it does not, so SQLite's
writer thread runs a whole body in one go and group commit stays as it is. `playhead_now()` is the clock of
the catalog in both.

Write for PostgreSQL. A transaction that works on messages of an execution (claim, bind, finish) holds a share
lock on the execution's row. A transaction that decides over all of them (cancel, resend, completion) holds
the exclusive lock. What a decision depends on is read in a later statement: only a new statement sees what
was committed while the lock was awaited. The order of locks is executions, jobs, then messages by `n`, so no
two transactions wait for each other. SQLite ignores the locks, because its transactions that write come one
after the other.
"""

from __future__ import annotations

from playhead.backends._sql_catalog.access import AccessPart
from playhead.backends._sql_catalog.activity import ActivityPart
from playhead.backends._sql_catalog.audits import AuditsPart
from playhead.backends._sql_catalog.bindings import BindPart
from playhead.backends._sql_catalog.browse import BrowsePart
from playhead.backends._sql_catalog.causes import CausesPart
from playhead.backends._sql_catalog.claims import ClaimsPart
from playhead.backends._sql_catalog.code import CodePart
from playhead.backends._sql_catalog.configs import ConfigsPart
from playhead.backends._sql_catalog.control import ControlPart
from playhead.backends._sql_catalog.datasets import DatasetsPart
from playhead.backends._sql_catalog.declarations import DeclarationsPart
from playhead.backends._sql_catalog.drafts import DraftsPart
from playhead.backends._sql_catalog.find import FindPart
from playhead.backends._sql_catalog.indexing import IndexingPart
from playhead.backends._sql_catalog.jobs import JobsPart
from playhead.backends._sql_catalog.limits import LimitsPart
from playhead.backends._sql_catalog.outcomes import OutcomesPart
from playhead.backends._sql_catalog.outputs import OutputsPart
from playhead.backends._sql_catalog.plans import PlansPart
from playhead.backends._sql_catalog.prune import PrunePart
from playhead.backends._sql_catalog.reports import ReportsPart
from playhead.backends._sql_catalog.resend import ResendPart
from playhead.backends._sql_catalog.resolution import ResolutionPart
from playhead.backends._sql_catalog.results import ResultsPart
from playhead.backends._sql_catalog.runs import RunsPart
from playhead.backends._sql_catalog.sinks import SinksPart
from playhead.backends._sql_catalog.terms import TermsPart
from playhead.backends._sql_catalog.totals import TotalsPart
from playhead.backends._sql_catalog.trace import TracePart
from playhead.backends._sql_catalog.upkeep import UpkeepPart
from playhead.backends._sql_catalog.work import WorkPart
from playhead.backends.sql.statements import SQL
from playhead.ids import moment
from playhead.model import DAY
from playhead.ports.diagnosis import Finding


class SqlCatalog(
    AccessPart,
    ActivityPart,
    AuditsPart,
    BindPart,
    BrowsePart,
    CausesPart,
    ClaimsPart,
    CodePart,
    ConfigsPart,
    ControlPart,
    DatasetsPart,
    DeclarationsPart,
    DraftsPart,
    FindPart,
    IndexingPart,
    JobsPart,
    LimitsPart,
    OutcomesPart,
    OutputsPart,
    PlansPart,
    PrunePart,
    ReportsPart,
    ResendPart,
    ResolutionPart,
    ResultsPart,
    RunsPart,
    SinksPart,
    TermsPart,
    TotalsPart,
    TracePart,
    UpkeepPart,
    WorkPart,
):
    """All parts of the port. See `part.Part` for the arguments."""

    async def check(self) -> str:
        await self.open_executions()
        return await self._db.describe()

    async def diagnose(self) -> list[Finding]:
        found = await self._db.diagnose()
        if all(finding.status != "failed" for finding in found):
            found.append(Finding("size", "ok", await self.size()))
        return found

    async def size(self) -> str:
        ((size, first, now),) = await self._db.rows(SQL.catalog_size)
        detail = f"{size / 1e6:,.1f} MB"
        if first is not None and now - first >= DAY:
            a_day = size / 1e6 / ((now - first) / DAY)
            detail += f"; {a_day:,.1f} MB a day since {moment(first)[:10]}, on average"
        return detail

    async def close(self) -> None:
        """Nothing to release: the owner of the database closes it."""


__all__ = ["SqlCatalog"]
