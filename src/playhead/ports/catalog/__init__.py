"""The catalog: the database of configs, executions, replays, messages and outputs.

Exactness rests on it. Every method is one transaction: when it returns, all of its changes are durable;
when it raises, none of them happened. `Unavailable` (`catalog_unavailable`) is the exception: the database
cannot be reached, or the outcome is not known. The caller may then repeat the call, because every method is
conditional. Times are by the catalog's own clock. Methods may be called from several tasks at once.

The port has one part for each kind of caller: a service requires only the part that it needs.
"""

from __future__ import annotations

from typing import Protocol

from playhead.ports.catalog.access import Access
from playhead.ports.catalog.activity import Activity
from playhead.ports.catalog.browse import Browse
from playhead.ports.catalog.causes import Causes
from playhead.ports.catalog.code import Code
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.control import Control
from playhead.ports.catalog.declarations import Declarations
from playhead.ports.catalog.drafts import Drafts
from playhead.ports.catalog.find import Find
from playhead.ports.catalog.jobs import Jobs
from playhead.ports.catalog.limits import Limits
from playhead.ports.catalog.outcomes import Outcomes
from playhead.ports.catalog.outputs import Outputs
from playhead.ports.catalog.plans import Plans
from playhead.ports.catalog.prune import Prune
from playhead.ports.catalog.publications import Publications
from playhead.ports.catalog.reports import Reports
from playhead.ports.catalog.results import Results
from playhead.ports.catalog.runs import Runs
from playhead.ports.catalog.sinks import Sinks
from playhead.ports.catalog.terms import Terms
from playhead.ports.catalog.totals import Totals
from playhead.ports.catalog.trace import Trace
from playhead.ports.catalog.upkeep import Upkeep
from playhead.ports.catalog.work import Work


class Catalog(
    Configs,
    Control,
    Runs,
    Jobs,
    Plans,
    Work,
    Limits,
    Upkeep,
    Access,
    Activity,
    Browse,
    Causes,
    Totals,
    Trace,
    Outcomes,
    Outputs,
    Code,
    Prune,
    Publications,
    Declarations,
    Drafts,
    Results,
    Sinks,
    Reports,
    Find,
    Terms,
    Protocol,
):
    """All parts, as a backend implements them."""

    name: str
    """What health calls this backend."""

    async def check(self) -> str:
        """Return a few words that describe this catalog. Raises `Unavailable` if it cannot be reached."""
        ...

    async def size(self) -> str:
        """Return the size and the growth of the catalog, in words."""
        ...

    async def close(self) -> None:
        """Release all resources. May be called twice."""
        ...


__all__ = [
    "Access",
    "Activity",
    "Browse",
    "Catalog",
    "Causes",
    "Code",
    "Configs",
    "Control",
    "Declarations",
    "Drafts",
    "Find",
    "Jobs",
    "Limits",
    "Outcomes",
    "Outputs",
    "Plans",
    "Prune",
    "Publications",
    "Reports",
    "Results",
    "Runs",
    "Sinks",
    "Terms",
    "Totals",
    "Trace",
    "Upkeep",
    "Work",
]
