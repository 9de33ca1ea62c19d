"""Prepare drafts up to their decision, and delete what dropped publications leave.

Nothing of a draft is visible before one transaction decides it. Why the order is right if the process is
killed (`kill -9`):

- before `begin` has committed: there is no draft;
- after `begin`: another process acquires the draft once its lease has expired, and continues at its cursor;
- after a page: the cursor has moved in the same transaction; a page that is repeated has no effect;
- after `finish`: the next holder waits until the sinks have the content, which they get from the catalog;
- after `staged`, before `decide`: the next holder decides;
- after `decide`: readers see the publication. A sink switches to it when a process that can write the sink
  reads the decision in the catalog.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal, Protocol
from uuid import UUID

from playhead import events, faults
from playhead.environment import Environment
from playhead.errors import Conflict, Unavailable
from playhead.model import Publication, PublishRequest, UnitCounts
from playhead.ports.catalog import Declarations, Drafts, Publications, Sinks
from playhead.ports.catalog.drafts import Draft, DraftLost
from playhead.ports.catalog.jobs import Key
from playhead.ports.catalog.publications import EntryCursor
from playhead.ports.catalog.results import MadeById
from playhead.publish.content import PAGE, Stored
from playhead.publish.resolution import Resolution

_RETRY_SECONDS: Final = 1.0
_WAIT_SECONDS: Final = 0.2
_LAG_SECONDS: Final = 60.0
_SWITCH_SECONDS: Final = 5.0
"""How long a command waits for its sinks. It may be the only process that can write them."""
_SIDES: Final[tuple[Literal["newer", "older"], ...]] = ("newer", "older")

_COUNTED: Final = 20_000
"""Entries that one statement counts."""
_SIGNS: Final[Mapping[Literal["added", "closed"], int]] = {"added": 1, "closed": -1}


class DraftCatalog(Publications, Declarations, Drafts, Sinks, Protocol):
    async def keyed(self, key: Key) -> UUID | None: ...


class Drafting:
    """Holds the drafts that this process prepares.

    Args:
        lease: seconds; a draft whose process has died is continued after this time.
        follow: brings the sinks that this process can write up to date; None: only other processes do that.
    """

    def __init__(
        self,
        catalog: DraftCatalog,
        env: Environment,
        *,
        lease: float,
        follow: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self._catalog = catalog
        self._env = env
        self._lease = lease
        self._driving = set[tuple[int, int]]()
        self._follow = follow

    async def begin(
        self, config: str, name: str, request: PublishRequest, key: Key | None = None
    ) -> Draft | Publication:
        """Record a draft, which this process holds; or return the publication of an earlier request.

        Raises what `Drafts.begin_publication` raises.
        """
        draft = await self._catalog.begin_publication(
            config, name, request, owner=self._env.process, lease=self._lease, key=key
        )
        faults.reach("publication.begun")
        return draft

    def drive_later(self, draft: Draft) -> None:
        """Prepare a draft in the background. Its refusal is recorded."""
        self._env.spawn(self._drive_later(draft))

    async def drive_due(self) -> None:
        """Continue drafts that no live process holds."""
        for dataset, n in await self._catalog.open_drafts():
            if (dataset, n) not in self._driving:
                draft = await self._catalog.acquire_draft(
                    dataset, n, owner=self._env.process, lease=self._lease
                )
                if draft:
                    self.drive_later(draft)

    async def _drive_later(self, draft: Draft) -> None:
        try:
            await self.drive(draft)
        except Conflict as exc:  # it is recorded
            events.emit(
                events.PUBLICATION_REFUSED, dataset=draft.name, publication=draft.n, detail=exc.detail
            )

    async def drive(self, draft: Draft) -> None:
        """Prepare a draft to its decision, unless another process takes it over. Waits for the catalog.

        Raises `Conflict` if it is refused.
        """
        identity = draft.dataset, draft.n
        self._driving.add(identity)
        held: Draft | None = draft
        try:
            while held is not None:
                try:
                    await self._prepare(held)
                    return
                except DraftLost:
                    return
                except Conflict as exc:
                    await self._catalog.abandon_draft(*identity, code=exc.code, detail=exc.detail)
                    faults.reach("publication.refused")
                    raise
                except Unavailable as exc:
                    events.emit(events.BACKEND_UNAVAILABLE, code=exc.code, detail=exc.detail)
                    held = await self._again(identity)
        finally:
            self._driving.discard(identity)

    async def _again(self, identity: tuple[int, int]) -> Draft | None:
        """Acquire a draft again when the catalog answers; None if another process has it, or it has ended."""
        while True:
            await self._env.sleep(_RETRY_SECONDS)
            try:
                return await self._catalog.acquire_draft(
                    *identity, owner=self._env.process, lease=self._lease
                )
            except Unavailable:
                continue

    async def _prepare(self, draft: Draft) -> None:
        renewed = self._env.clock()

        async def keep() -> None:
            nonlocal renewed
            if self._env.clock() - renewed > self._lease / 3:
                if not await self._catalog.renew_draft(draft, lease=self._lease):
                    raise DraftLost
                renewed = self._env.clock()

        if not draft.cursor:
            while await self._catalog.undo_abandoned(draft, limit=PAGE):
                faults.reach("publication.undone")
                await keep()
            for side in _SIDES:
                at: EntryCursor | None = (0, 0)
                while at and (at := await self._catalog.rewind(draft, side, after=at, limit=PAGE)):
                    faults.reach("publication.rewound")
                    await keep()
        found = await Resolution(self._catalog, draft, Stored(self._catalog, draft), keep).run()
        made, size = await self._made(draft, keep)
        faults.reach("publication.resolved")
        await self._catalog.finish_draft(
            draft,
            counts=found.counts,
            units=units_of(found.units),
            digest=found.digest,
            made=made,
            size=size,
        )
        faults.reach("publication.finished")
        await self.follow(_WAIT_SECONDS)
        while not await self._catalog.staged(draft):
            await self._env.sleep(_WAIT_SECONDS)
            await keep()
            await self.follow(_WAIT_SECONDS)
        faults.reach("publication.staged")
        decided = await self._catalog.decide_draft(draft)
        faults.reach("publication.decided")
        if decided.state == "published":
            events.emit(events.PUBLICATION_DECIDED, dataset=draft.name, publication=draft.n)
            await self.follow()

    async def _made(self, draft: Draft, keep: Callable[[], Awaitable[None]]) -> tuple[Counter[MadeById], int]:
        """Return by how much a draft changes the results of each code, and the bytes of the objects."""
        made, size = Counter[MadeById](), 0
        for side, sign in _SIGNS.items():
            after: EntryCursor | None = (0, 0)
            while after is not None:
                page, after = await self._catalog.count_made(draft, side, after=after, limit=_COUNTED)
                for one in page:
                    size += sign * one.bytes
                    if one.made_by is not None:
                        made[one.made_by] += sign * one.results
                await keep()
        return made, size

    async def follow(self, seconds: float = _SWITCH_SECONDS) -> None:
        """Bring the sinks that this process can write up to date, and wait for that up to some seconds."""
        if self._follow:
            await self._follow(seconds)

    async def report_lags(self) -> None:
        """Report sinks that have been behind their datasets for a minute, each once."""
        for one in await self._catalog.report_lags(_LAG_SECONDS):
            faults.reach("sink.lag_reported")
            events.emit(events.SINK_LAGGING, dataset=one.name, route=one.route, seconds=round(one.seconds))

    async def drop_due(self) -> None:
        """Drop publications that are no longer kept, and delete their entries.

        Once in an hour, sinks also delete rows of executions that were pruned.
        """
        await self._catalog.let_sinks_forget()
        for dropping in await self._catalog.mark_dropped():
            faults.reach("drop.marked")
            after: EntryCursor | None = (0, 0)
            while after is not None:
                after = await self._catalog.drop_page(dropping, after=after, limit=PAGE)
                faults.reach("drop.page")
            await self._catalog.end_drop(dropping)
            events.emit(events.PUBLICATION_DROPPED, count=len(dropping.numbers))


def units_of(units: UnitCounts) -> dict[str, int]:
    return {name: getattr(units, name) for name in UnitCounts.__slots__}
