"""Replays of external objects in a schedule, the servers that drive them, and lost answers of their jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from playhead.errors import NotFound, store_unavailable
from playhead.ids import uuid7
from playhead.model import Config, ErrorHandling, Replay, Route
from playhead.ports.catalog.control import Allowance
from playhead.ports.catalog.jobs import LeasedJob, Window
from playhead.ports.store import Blob, Entry
from playhead.work.attempt import AttemptOutcome, ClaimedMessage
from tests.lab import Given, asked
from tests.model import faulty
from tests.model.faulty import at_once, step, until_answered
from tests.model.world import World, part

STAGE = "pages"
_ERRORS = ErrorHandling(6, 1, 1, 1)


class Store(faulty.Store):
    """Its listing sometimes fails, for some time or for good."""

    async def list(
        self, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
    ) -> AsyncIterator[Sequence[Entry]]:
        async for found in super().list(prefix, after=after, sizes=sizes, page=page):
            if self.world.strikes("no_store", 0.2):
                raise store_unavailable("no connection")
            if self.world.strikes("no_listing", 0.2):
                raise NotFound("no_objects", "the store refuses")
            yield found


class Catalog(faulty.Catalog):
    """Sometimes an answer to the holder of a job is lost."""

    async def admit(self, *, per_queue: int) -> list[UUID]:
        return self.maybe_unanswered(await super().admit(per_queue=per_queue))

    async def acquire(self, job: UUID, *, owner: str, lease: float) -> LeasedJob | None:
        return self.maybe_unanswered(await super().acquire(job, owner=owner, lease=lease))

    async def record(self, *page: Any, **options: Any) -> Window | None:
        return self.maybe_unanswered(await super().record(*page, **options))

    async def mark(self, *batch: Any, **options: Any) -> bool:
        return self.maybe_unanswered(await super().mark(*batch, **options))

    async def settle(self, *batch: Any) -> bool:
        return self.maybe_unanswered(await super().settle(*batch))

    async def allow(self, held: LeasedJob, *, want: int, depth: int | None = None) -> Allowance | None:
        return self.maybe_unanswered(await super().allow(held, want=want, depth=depth))

    async def close_job(self, held: LeasedJob) -> bool:
        return self.maybe_unanswered(await super().close_job(held))


class Replaying(World):
    """Replays into the route `first`, which feeds `second`, and servers that drive them.

    Attributes:
        per_queue: how many replays may publish into one queue.
    """

    config = Config(
        "model",
        "first",
        {
            "first": Route("first", "q.first", stage="parts", to=("second",), errors=_ERRORS),
            "second": Route("second", "q.second", errors=_ERRORS),
        },
    )
    crew: Sequence[str] = ("server", "server", "worker", "worker", "worker", "keeper")
    restarted: Sequence[str] = ("server", "worker", "keeper")
    per_queue = 0

    def __init__(self, seed: int, *, catalog: type[faulty.Catalog] = Catalog, **options: Any) -> None:
        super().__init__(seed, catalog=catalog, store=Store, **options)

    def put(self, paths: Sequence[str]) -> UUID:
        """Store external objects, and return their execution."""
        source = uuid7()
        at_once(self.still.write([[Blob(f"{source}/{STAGE}/{path}", path.encode())] for path in paths]))
        at_once(self.catalog.adopt(source))
        return source

    def open(
        self, source: UUID, managed: Given | None, *, route: str = "first", batch: UUID | None = None
    ) -> Replay:
        """Open a replay of all objects of an execution."""
        opened = at_once(
            self.catalog.open_replay(
                batch=batch or uuid7(),
                request=asked(source, STAGE, route, **(managed or {})),
                prefix=f"{source}/{STAGE}",
                config=self.config.name,
                version=1,
                route=route,
            )
        )
        replay: Replay = opened.replay
        return replay

    async def server(self, name: str) -> None:
        drives = self.replays(name).drives
        while True:
            for job in await until_answered(self.free_jobs):
                await drives.drive(job)
            await step()

    async def free_jobs(self) -> list[UUID]:
        await self.catalog.admit(per_queue=self.per_queue)
        return await self.catalog.abandoned_jobs()

    def output(self, one: ClaimedMessage, data: bytes, n: int) -> AttemptOutcome:
        if one.claim.route == "first":
            return AttemptOutcome(one, "parts", [part(one.claim.path, data)])
        return AttemptOutcome(one)
