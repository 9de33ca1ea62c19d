"""Random schedules of publications against one sink, compared with a model of what readers must see."""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from playhead.ids import uuid7
from playhead.model import Step
from playhead.ports.adapter import AdapterSpec, Context, Item
from playhead.ports.sinks import SinkBehind, SinkContext, StagePage, joined
from playhead.secrets import Mask, Resolve
from playhead.steps.step import instance_of

_STEPS: Final = 60
_MOST: Final = 1_000


@dataclass(slots=True)
class _Line:
    """What a catalog knows: the content of each decided publication, by number.

    Attributes:
        rows: results that were written, with their executions.
        open: results that the newest decided publication left open.
        switches: decided and rolled back numbers, by switch.
        late: pages of abandoned drafts, which may arrive at any time.
    """

    contents: dict[int, frozenset[str]] = field(default_factory=dict)
    rows: dict[str, UUID] = field(default_factory=dict)
    open: frozenset[str] = frozenset()
    switches: list[int] = field(default_factory=list)
    newest: int = 0
    decided: int = 0
    dropped: set[int] = field(default_factory=set)
    gone: set[UUID] = field(default_factory=set)
    late: list[StagePage] = field(default_factory=list)


class Schedule:
    """One random history of writes, drafts, switches, rollbacks and drops.

    Args:
        item: what the step receives, with another key for each row.
        seed: of the random numbers; one seed is one history.
    """

    def __init__(
        self,
        spec: AdapterSpec,
        config: Mapping[str, Any],
        item: Item,
        seed: int,
        *,
        data_dir: str,
        internal_hosts: Sequence[str],
        resolve: Resolve,
    ) -> None:
        self._spec = spec
        self._step = Step(spec.name, dict(config))
        self._item = item
        self._random = random.Random(seed)
        self._resolve = resolve
        self._ctx = SinkContext(f"check-{uuid7().hex}", "docs", "index", data_dir, internal_hosts)
        self._line = _Line()
        self._story: list[str] = []

    async def run(self) -> None:
        """Raises `AssertionError` with the history if readers see anything else than a publication."""
        self._sink = instance_of(self._spec, self._step, "index", resolve=self._resolve, mask=Mask())
        try:
            await self._check_behind()
            for _ in range(_STEPS):
                act = self._random.choice((self._write, self._write, self._draft, self._draft, self._again))
                await self._random.choice((act, act, self._roll_back, self._late, self._drop))()
                await self._check()
            if self._line.switches:
                await self._switch(len(self._line.switches))
                await self._check(is_newest=True)
        finally:
            if close := getattr(self._sink, "close", None):
                await _result_of(close())

    # -- what happens ------------------------------------------------------------------------------

    async def _write(self) -> None:
        line = self._line
        execution = self._random.choice([*line.rows.values(), uuid7()])
        ctx = self._context(execution)
        await self._call(ctx)
        if execution not in line.gone:
            line.rows[ctx.result] = execution
        if self._random.random() < 0.3:
            await self._call(ctx)

    async def _draft(self) -> None:
        """Prepare a draft on a publication; decide it, or abandon it anywhere."""
        line, choose = self._line, self._random
        base = line.contents.get(line.switches[-1], frozenset()) if line.switches else frozenset()
        free = [one for one, execution in line.rows.items() if execution not in line.gone or one in base]
        content = frozenset(choose.sample(free, choose.randint(0, len(free))))
        content = frozenset(one for one in content | base if choose.random() < 0.8)
        line.newest += 1
        pages = self._pages(line.newest, content)
        choose.shuffle(pages)
        if choose.random() < 0.3:  # the process dies, or the draft is refused
            sent = choose.randint(0, len(pages))
            for page in pages[:sent]:
                await self._stage(page)
            line.late += pages
            line.dropped.add(line.newest)
            self._story.append(f"draft {line.newest} is abandoned after {sent} pages")
            return
        for page in [*pages, *choose.sample(pages, choose.randint(0, len(pages)))]:
            assert await self._stage(page) == [], self._told("results that were written are missing")
        self._story.append(f"publication {line.newest} has {sorted(one[-12:] for one in content)}")
        line.contents[line.newest] = line.open = content
        line.decided = line.newest
        line.switches.append(line.newest)
        await self._maybe_switch()

    def _pages(self, n: int, content: frozenset[str]) -> list[StagePage]:
        added, removed = sorted(content - self._line.open), sorted(self._line.open - content)
        of = self._random.randint(1, 3)
        return [StagePage(n, k, of, self._line.decided, added[k::of], removed[k::of]) for k in range(of)]

    async def _roll_back(self) -> None:
        kept = [n for n in self._line.contents if n not in self._line.dropped]
        if kept:
            self._line.switches.append(self._random.choice(kept))
            await self._maybe_switch()

    async def _maybe_switch(self) -> None:
        if self._random.random() < 0.7:
            await self._switch(len(self._line.switches))

    async def _again(self) -> None:
        """A switch arrives late, or once more."""
        if self._line.switches:
            await self._switch(self._random.randint(1, len(self._line.switches)))

    async def _late(self) -> None:
        """A page of a draft that was abandoned long ago arrives."""
        old = [page for page in self._line.late if page.n < self._line.newest]
        if old and self._line.decided > max(page.n for page in old):
            await self._stage(self._random.choice(old))

    async def _drop(self) -> None:
        """Forget some publications, and executions whose results none has; perhaps twice."""
        line, choose = self._line, self._random
        current = {line.switches[-1]} if line.switches else set()
        shown = await self._shown()
        current |= {shown.n} if shown else set()
        line.dropped |= {n for n in line.contents if n not in current and choose.random() < 0.5}
        kept = set().union(*(line.contents[n] for n in line.contents if n not in line.dropped), line.open)
        needed = {line.rows[one] for one in kept}
        line.gone |= {one for one in line.rows.values() if one not in needed and choose.random() < 0.5}
        ranges = joined(sorted(line.dropped))
        self._story.append(f"{sorted(line.dropped)} are dropped")
        for _ in range(choose.randint(1, 2)):
            await _result_of(self._sink.forget(ranges, line.decided, sorted(line.gone), self._ctx))

    # -- the sink ----------------------------------------------------------------------------------

    def _context(self, execution: UUID) -> Context:
        return Context(
            execution_id=execution,
            correlation_id=uuid7(),
            config=self._ctx.config,
            config_version=1,
            route=self._ctx.route,
            attempt=self._random.randint(1, 3),
            replay=None,
            data_dir=self._ctx.data_dir,
            log=logging.getLogger("playhead.adapter.check"),
            internal_hosts=self._ctx.internal_hosts,
            dataset=self._ctx.dataset,
        )

    async def _call(self, ctx: Context) -> None:
        key = f"{ctx.execution_id}/check/{self._item.path}"
        item = replace(self._item, key=key)
        given: tuple[Any, Any] = ([item], [ctx]) if self._spec.batch else (item, ctx)
        call = self._sink(given[0], ctx=given[1]) if self._spec.takes_ctx else self._sink(given[0])
        results = await _result_of(call)
        for one in results or ():
            if isinstance(one, BaseException):
                raise one

    async def _stage(self, page: StagePage) -> list[str]:
        return list(await _result_of(self._sink.stage(page, self._ctx)))

    async def _switch(self, seq: int) -> None:
        n = self._line.switches[seq - 1]
        self._story.append(f"switch {seq} names {n}")
        await _result_of(self._sink.switch(n, seq, self._ctx))

    async def _shown(self) -> Any:
        return await _result_of(self._sink.shown(self._ctx))

    async def _results(self, n: int) -> frozenset[str]:
        found: list[str] = []
        while True:
            after = found[-1] if found else ""
            more = list(
                await _result_of(self._sink.results(n, after, self._random.choice((2, _MOST)), self._ctx))
            )
            if not more:
                return frozenset(found)
            found += more

    # -- what must be true -------------------------------------------------------------------------

    async def _check(self, *, is_newest: bool = False) -> None:
        line = self._line
        shown = await self._shown()
        n = shown.n if shown else 0
        if n:
            assert n in line.contents, self._told(f"it shows {n}, which was not decided")
            assert await self._results(n) == line.contents[n], self._told(
                f"it shows another content than {n}"
            )
            assert line.switches[shown.seq - 1] == n, self._told(f"it shows {n} by switch {shown.seq}")
        if is_newest:
            assert n == line.switches[-1], self._told(f"it shows {n} after all switches have arrived")
        for kept in line.contents.keys() - line.dropped:
            assert await self._results(kept) == line.contents[kept], self._told(f"{kept} is not whole")

    async def _check_behind(self) -> None:
        other = replace(self._ctx, route="restored")
        try:
            await _result_of(self._sink.stage(StagePage(9, 0, 1, 8, (), ()), other))
        except SinkBehind:
            return
        raise AssertionError("stage() accepts a publication although the sink lacks an earlier one")

    def _told(self, what: str) -> str:
        return "\n".join([what, *self._story])


async def _result_of(returned: Any) -> Any:
    return await returned if inspect.isawaitable(returned) else returned
