"""Executions whose results can be published, and the steps of a publication, for the contract of catalogs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from playhead.model import Config, DatasetConfig, Publication, PublishRequest, Step
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.drafts import Draft
from playhead.ports.catalog.sinks import DueSink
from playhead.publish.content import Stored
from playhead.publish.drafting import units_of
from playhead.publish.resolution import Resolution, Resolved
from tests.lab import LEASE, Lab

SEGMENTS: Final = "segments/small"
_ROUTES: Final = (
    Lab.route("convert", stage="pages", to=("split",)),
    Lab.route("split", stage=SEGMENTS, to=("index",)),
    Lab.route("index", steps=(Step("sqlite_search"),)),
)


def declared(**given: Any) -> Config:
    """A config with the dataset `docs`. Its route `split` makes a segment of each word; `index` is a sink."""
    fields: dict[str, Any] = {"routes": ("convert", "split", "index"), "sinks": ("index",)}
    return replace(Lab.config("docs", *_ROUTES), datasets={"docs": DatasetConfig("docs", **(fields | given))})


class Publisher:
    """A process that publishes; several of them share a catalog.

    Attributes:
        lacks: results whose rows the sink does not have.
    """

    def __init__(self, lab: Lab, config: Config | None = None, *, owner: str = "w1") -> None:
        self.lab = lab
        self.catalog: Catalog = lab.catalog
        self.config = config or declared()
        self.owner = owner
        self.lacks = set[str]()

    async def dataset(self) -> int:
        await self.lab.save(self.config)
        return await self.catalog.dataset_number("docs", "docs")

    # -- parts -------------------------------------------------------------------------------------

    async def run(self, *, fails: Collection[str] = (), **documents: str) -> UUID:
        """Process documents by path. The route `split` fails for some."""
        execution = await self.lab.opened(self.config)
        await self.catalog.bind_inputs(execution, [self.lab.input(*one) for one in documents.items()])
        assert await self.catalog.seal(execution)
        held = await self.lab.hold(execution)
        keys = [f"{execution}/input/{path}" for path in documents]
        sent = await self.lab.list_all(held, *keys)
        await self.lab.publish_all(held, sent)
        for identity, (path, text) in zip(self.lab.ids(sent), documents.items(), strict=True):
            [child] = await self.lab.work(identity, self.lab.output(path, text))
            await self._split(self.lab.ids([child])[0], path, text, path in fails)
        await self.catalog.end_executions([execution])
        return execution

    async def replay(self, source: UUID, *, fails: Collection[str] = (), **documents: str) -> UUID:
        """Replay pages of an execution into the route `split`, which makes segments of other texts."""
        keys = [f"{source}/pages/{path}" for path in documents]
        sent = await self.lab.started_replay(source, *keys, stage="pages", route="split", config=self.config)
        for identity, (path, text) in zip(sent.ids, documents.items(), strict=True):
            await self._split(identity, path, text, path in fails)
        await self.catalog.end_executions([sent.execution])
        return sent.execution

    async def _split(self, identity: UUID, path: str, text: str, fails: bool) -> None:
        if fails:
            return await self.lab.kill(identity)
        made = [self.lab.output(f"{path}/{n}", word) for n, word in enumerate(text.split(), 1)]
        for child in self.lab.ids(await self.lab.work(identity, *made)):
            await self.lab.work(child)
        return None

    # -- steps of a publication --------------------------------------------------------------------

    async def begin(self, *executions: UUID, lease: float = LEASE, **given: Any) -> Draft:
        draft = await self.catalog.begin_publication(
            "docs", "docs", PublishRequest(list(executions), **given), owner=self.owner, lease=lease
        )
        assert isinstance(draft, Draft)
        return draft

    async def prepare(self, draft: Draft) -> Resolved:
        """Write the content of a draft."""
        while await self.catalog.undo_abandoned(draft, limit=2):
            pass
        for side in ("newer", "older"):
            after: tuple[int, int] | None = (0, 0)
            while after:
                after = await self.catalog.rewind(draft, side, after=after, limit=2)

        async def keep() -> None:
            assert await self.catalog.renew_draft(draft, lease=LEASE)

        return await Resolution(self.catalog, draft, Stored(self.catalog, draft), keep).run()

    async def finish(self, draft: Draft, found: Resolved | None = None) -> None:
        """Record that the content of a draft is complete."""
        found = found or await self.prepare(draft)
        made: dict[Any, int] = {}
        size = 0
        for side, sign in (("added", 1), ("closed", -1)):
            after: tuple[int, int] | None = (0, 0)
            while after is not None:
                page, after = await self.catalog.count_made(draft, side, after=after, limit=2)  # type: ignore[arg-type]
                for one in page:
                    size += sign * one.bytes
                    if one.made_by:
                        made[one.made_by] = made.get(one.made_by, 0) + sign * one.results
        await self.catalog.finish_draft(
            draft, counts=found.counts, units=units_of(found.units), digest=found.digest, made=made, size=size
        )

    async def due(self) -> DueSink | None:
        """Return the sink, if it has something to do."""
        found = await self.catalog.due_sinks()
        return found[0] if found else None

    async def stage(self) -> DueSink:
        """Give the sink its next page."""
        due = await self.due()
        assert due
        assert due.page
        changes = await self.catalog.sink_changes(due, due.page)
        missing = [one for one in changes.added if one in self.lacks]
        await self.catalog.sink_staged(due, due.page, changes, missing)
        return due

    async def publish(self, *executions: UUID, **given: Any) -> Publication:
        """Publish, and let the sink follow."""
        draft = await self.begin(*executions, **given)
        await self.finish(draft)
        await self.stage()
        assert await self.catalog.staged(draft)
        made = await self.catalog.decide_draft(draft)
        await self.follow()
        return made

    async def follow(self) -> None:
        """Let the sink show what is current."""
        due = await self.due()
        if due and due.shows:
            await self.catalog.sink_switched(due, due.shows)

    # -- what readers see --------------------------------------------------------------------------

    async def segments(self, n: int) -> dict[str, UUID]:
        """Return the paths of segments in a publication, each with its execution."""
        found = await self.catalog.published(await self.dataset(), n, stage=SEGMENTS, limit=100)
        return {one.path: UUID(one.key.partition("/")[0]) for one in found}


def paths(found: Sequence[Any]) -> list[str]:
    return [f"{one.stage}/{one.path}" for one in found]
