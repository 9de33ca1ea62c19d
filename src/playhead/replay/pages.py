"""The pages of a job's listing.

A replay lists a stored stage from the store, and from the catalog the references to objects of earlier
executions, both in byte order. Its selection decides page by page. A replay that was started from a plan
lists the objects of the plan; they were selected and compared with the store before. A run lists its sealed
inputs from the catalog, so an input that is no longer in the store becomes a dead letter (`object_gone`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from playhead.keys import is_aside
from playhead.ports.catalog.browse import Reference
from playhead.ports.catalog.jobs import LeasedJob, LeasedPlan
from playhead.ports.store import Entry, List
from playhead.reading.listing import Rows, with_references
from playhead.replay.planned import PlannedCatalog, objects_of
from playhead.replay.selection import SelectionCatalog, Selector, selector_of


class PagesCatalog(Rows, SelectionCatalog, PlannedCatalog, Protocol):
    """What listing a job needs of the catalog."""

    async def inputs(self, execution: UUID, *, after: str, limit: int) -> list[str]: ...


class Page(NamedTuple):
    """Listed keys, and the last key that was looked at.

    `keys` has sidecars and folder markers too, unless a selection has left them out. It may be empty: the
    cursor of the job also moves past a page without a selected object.
    """

    keys: Sequence[str]
    end: str


def pages_of(
    catalog: PagesCatalog, store: List, leased: LeasedJob, *, after: str, size: int
) -> AsyncIterator[Page]:
    """Yield what a job lists after the key `after`, about `size` objects at once.

    Raises `Unavailable`, `NotFound` (`replay_not_found`) if the selection needs a replay that does not exist,
    and `Conflict` (`plan_expired`) if the objects of the plan were deleted.
    """
    if leased.plan:
        return _planned(catalog, leased.plan, after)
    if leased.headers.replay_batch_id:
        # Half of what most stages contain are sidecars.
        return _stored(catalog, store, leased, after, 2 * size)
    return _inputs(catalog, leased, after, size)


async def _stored(
    catalog: PagesCatalog, store: List, leased: LeasedJob, after: str, size: int
) -> AsyncIterator[Page]:
    selector = await _selector(catalog, leased)
    times = selector is not None and selector.needs_times
    stored = store.list(leased.prefix, after=after, sizes=times, page=size)
    pages: AsyncIterator[Sequence[Entry | Reference]] = stored
    if leased.has_references:
        pages = with_references(catalog, stored, leased.prefix, after, size)
    async for page in pages:
        found = page
        if selector:
            found = await selector.select([entry for entry in page if not is_aside(entry.key)])
        yield Page([entry.key for entry in found], page[-1].key)


async def _selector(catalog: PagesCatalog, leased: LeasedJob) -> Selector | None:
    if leased.selection is None:
        return None
    return await selector_of(
        catalog,
        leased.selection,
        source=UUID(leased.prefix.partition("/")[0]),
        stage=leased.default_stage,
        target=f"{leased.headers.config}/{leased.headers.route}",
    )


async def _planned(catalog: PagesCatalog, plan: LeasedPlan, after: str) -> AsyncIterator[Page]:
    async for items in objects_of(catalog, plan, after=after):
        yield Page([key for key, _, _ in items], items[-1][0])


async def _inputs(catalog: PagesCatalog, leased: LeasedJob, after: str, size: int) -> AsyncIterator[Page]:
    while keys := await catalog.inputs(leased.job, after=after, limit=size):
        after = keys[-1]
        yield Page(keys, after)
