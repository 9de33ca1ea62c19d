"""A dataset whose route `split` gets a fix, and replays of what readers see, for the contract of catalogs.

What the catalog records of the first runs has no code.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from playhead.ids import uuid7
from playhead.model import AdapterCode, Lineage, ReplayRequest
from playhead.ports.catalog import Catalog
from playhead.ports.catalog.declarations import Declare
from playhead.ports.catalog.runs import Reusable, ReusableRoutes
from playhead.ports.catalog.work import Done
from tests.contract.publishing import Publisher
from tests.lab import Lab, Started

FIX = [AdapterCode("split", "2", "sha256:fix")]
NEXT = [AdapterCode("split", "3", "sha256:next")]
TEXTS = {"a": "x y", "b": "x", "c": "z", "e": ""}
"""The page `e` has no words, so it has a result without segments."""


class Fixing:
    """A dataset, and replays of what readers see into the route `split`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.catalog: Catalog = lab.catalog
        self.docs = Publisher(lab)

    async def source(self, n: int) -> UUID:
        found = await self.catalog.publication(await self.docs.dataset(), n)
        assert found
        return found.execution_id

    async def opened(
        self,
        n: int,
        code: Sequence[AdapterCode] = FIX,
        *,
        declares: bool = True,
        reason: str | None = "tables",
    ) -> UUID:
        """Open a replay of pages of a publication. No process holds its job."""
        source = await self.source(n)
        declare = Declare(await self.docs.dataset(), n, "split", code) if declares else None
        opened = await self.catalog.open_replay(
            batch=uuid7(),
            request=ReplayRequest(
                source, "pages", None, "split", reason=reason, others_valid=declares or None
            ),
            prefix=f"{source}/pages",
            config="docs",
            version=await self.lab.save(self.docs.config),
            route="split",
            declare=declare,
        )
        await self.catalog.admit(per_queue=0)
        return opened.replay.execution_id

    async def listed(self, replay: UUID, n: int, *paths: str, last: bool = True) -> Started:
        held = await self.lab.hold(replay)
        source = await self.source(n)
        sent = await self.lab.list_all(held, *(f"{source}/pages/{path}" for path in paths), last=last)
        assert await self.catalog.mark(held, len(sent))
        if last:
            assert await self.catalog.close_job(held)
        return Started(replay, sent)

    async def split(self, identity: UUID, path: str, text: str, code: Sequence[AdapterCode] = FIX) -> None:
        """Process a page with a code."""
        claim = await self.lab.claim(identity)
        made = [self.lab.output(f"{path}/{n}", word) for n, word in enumerate(text.split(), 1)]
        keys = [bound.key for bound in await self.lab.bind(claim, *made)]
        done = Done(identity, claim.attempt, keys, ran=await self.catalog.record_code(code))
        (answer,) = await self.catalog.finish("w1", [done])
        assert answer
        for child in self.lab.ids(answer.children):
            await self.lab.work(child)

    async def fixed(
        self, n: int, code: Sequence[AdapterCode] = FIX, *, declares: bool = True, **texts: str
    ) -> UUID:
        """A replay of pages of a publication that has ended. A page without a text is a dead letter."""
        replay = await self.listed(await self.opened(n, code, declares=declares), n, *texts)
        for identity, (path, text) in zip(replay.ids, texts.items(), strict=True):
            if text:
                await self.split(identity, path, text, code)
            else:
                await self.lab.kill(identity)
        await self.catalog.end_executions([replay.execution])
        return replay.execution

    async def since(
        self,
        run: UUID,
        *replays: UUID,
        declared: Sequence[UUID] = (),
        code: Sequence[AdapterCode] = FIX,
        accepted: Sequence[Sequence[AdapterCode]] = (),
    ) -> UUID:
        """Run the same documents since another run; return its id."""
        routes: ReusableRoutes = {"convert": None, "split": [code, *accepted], "index": None}
        reuse = Reusable(run, routes, dict.fromkeys(replays, routes), {"split": declared} if declared else {})
        opened = await self.catalog.open_run(
            uuid7(),
            "docs",
            await self.lab.save(self.docs.config),
            tags=(),
            owner="w1",
            lease=Lab.LEASE,
            reuse=reuse,
        )
        new = opened.execution_id
        await self.catalog.bind_inputs(new, [self.lab.input(*one) for one in TEXTS.items()], takes_over=True)
        assert await self.catalog.seal(new)
        held = await self.lab.hold(new)
        assert await self.lab.list_all(held, *(f"{new}/input/{path}" for path in TEXTS)) == []
        assert await self.catalog.close_job(held)
        return new

    async def rows(self, run: UUID) -> dict[str, Lineage]:
        """The messages of the route `split`, by their pages."""
        rows, _ = await self.catalog.lineage_list(execution=run, route="split")
        return {one.input_key.rpartition("/")[2]: one for one in rows}

    async def taken(self, run: UUID) -> dict[str, str | None]:
        """What the pages of a run got: `fix`, `declared`, `old`, or None if they are processed."""
        return {
            path: None
            if one.status != "taken_over"
            else "declared"
            if one.declared_valid
            else "fix"
            if one.adapters
            else "old"
            for path, one in (await self.rows(run)).items()
        }
