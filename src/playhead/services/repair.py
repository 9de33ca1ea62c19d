"""Write lost rows of a sink again by a replay of exactly the results that it lacks, and publish the replay.

The catalog has each step, so any process continues after `kill -9`:

- after a repair is asked for: the sink is due, and the next process compares it;
- after the rebuild has begun: the sink gets its pages, and is compared afterwards;
- after a replay has begun, before it is recorded: a replay has an idempotency key, so the repeated call
  returns the existing one;
- after the replays are recorded: they are published when they have settled. The transaction that begins a
  draft records its parts, so a replay is published once;
- after the publication, before the end is recorded: the newest publication with the replay as a part is found
  again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

from playhead import faults
from playhead.errors import Conflict, NotFound
from playhead.model import (
    MOST_PATHS,
    OPEN_PUBLICATION_STATES,
    Publication,
    PublishRequest,
    ReplayRequest,
    Selection,
)
from playhead.ports.catalog import Publications, Sinks
from playhead.ports.catalog.jobs import Opened
from playhead.ports.catalog.sinks import DueSink, OpenRepair

_LATER: Final = ("execution_running", "publication_in_progress")


class RepairCatalog(Publications, Sinks, Protocol): ...


class RepairService:
    """Repairs sinks that have lost rows.

    Args:
        replay: begins a replay.
    """

    def __init__(self, catalog: RepairCatalog, replay: Callable[[ReplayRequest], Awaitable[Opened]]) -> None:
        self._catalog = catalog
        self._replay = replay

    async def write_again(self, due: DueSink, n: int, objects: Mapping[str, Sequence[str]]) -> list[UUID]:
        """Replay objects of publication `n` into the route of a sink; see `WriteAgain`.

        Raises what `ReplayService.create` raises.
        """
        publication = await self._catalog.publication(due.dataset, n)
        assert publication, "what readers see is never dropped"
        replays: list[UUID] = []
        for stage, unordered in sorted(objects.items()):
            paths = sorted(unordered)  # a repeated request with a key has to be equal
            for at in range(0, len(paths), MOST_PATHS):
                request = ReplayRequest(
                    publication.execution_id,
                    stage,
                    None,
                    f"{due.config}/{due.route}",
                    selection=Selection(paths=paths[at : at + MOST_PATHS]),
                    reason=f"{due.route} of dataset {due.name} had lost these rows",
                    key=f"repair-{due.dataset}-{due.route}-{due.repairs}-{len(replays)}",
                )
                replays.append((await self._replay(request)).replay.execution_id)
        return replays

    async def publish_due(self, begin: Callable[[str, PublishRequest], Awaitable[Publication]]) -> None:
        """Publish the replays that have settled. `begin` records a draft, which is prepared later."""
        for due in await self._catalog.open_repairs():
            if due.n is not None:
                await self._end(due, due.n)
                continue
            # Documents that have changed since then have new rows.
            request = PublishRequest(
                list(due.repair.replays),
                skip_superseded=True,
                keeps_hold=True,
                reason=f"repair of {due.route}",
            )
            try:
                await begin(f"{due.config}/{due.name}", request)
            except (Conflict, NotFound) as exc:
                if exc.code not in _LATER:
                    await self._catalog.end_repair(due, None, exc.detail)

    async def _end(self, due: OpenRepair, n: int) -> None:
        made = await self._catalog.publication(due.dataset, n)
        if made is None or made.state in OPEN_PUBLICATION_STATES:
            return
        if made.state == "abandoned":
            why = made.refusal.detail if made.refusal else f"publication {n} was cancelled"
            await self._catalog.end_repair(due, None, why)
        else:
            await self._catalog.end_repair(due, n, None)
        faults.reach("repair.ended")
