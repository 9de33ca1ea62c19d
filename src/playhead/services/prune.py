"""Prune: delete the objects of executions that have ended, and later their records.

By request, and by the retention of configs.

The order of steps, and why each is right if the process is killed (`kill -9`) after any of them:

1. *Begin* commits that an execution, or a stage of it, is pruned. From then on no replay of it can begin, and
   none that has begun reads it. No object is deleted before this commit, so no replay gets a part of a stage.
2. *Mark* commits that the objects of one page are gone: no listing shows them any more.
3. *Delete* removes their bytes. Until the next page is taken, the cursor is before this page. So after a kill
   the same page is taken and deleted again; deleting an object twice has no effect.
4. *Look again*: a write that was suspended for long may have stored an object after it was deleted.
5. *End* commits that nothing is left. Without it, the next prune, or the process with the lease of the
   reconciler, begins again at the cursor.

Two processes may work on one pruning. They delete the same objects, and nothing writes them again: an
execution of which anything was pruned gets no new output.

Bytes that a later run refers to are deleted with the last reference, not with their own execution. Step 2
decides that, in the transaction that marks: of two prunings that mark outputs with the same bytes, the one
that commits last sees both marks, and deletes the bytes.

Records are deleted when all objects are: begin, delete page by page, end. From *begin* on, the execution says
so. Each page is one transaction, so after a kill the next process deletes the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from typing import Final, Protocol
from uuid import UUID

from playhead import acting, events, faults, keys
from playhead.environment import Environment
from playhead.errors import BadRequest, Conflict, NotFound, Unavailable
from playhead.model import DAY, Execution, KeptExecution, Pruned, PruneFilter, Retention, StageTotal
from playhead.ports.catalog.browse import Browse, ExecutionFilter
from playhead.ports.catalog.configs import Configs
from playhead.ports.catalog.prune import Candidate, Prune, Pruning
from playhead.ports.store import Store
from playhead.reading.listing import Listing
from playhead.reading.lookup import find_execution

PAGE: Final = 1_000
"""Objects that one step deletes, each with its sidecar."""
_RECORDS: Final = 500
"""Records that one step deletes: with the longest tracebacks, SQLite's write lock is held for 0.1 s."""
_EXECUTIONS: Final = 100
"""Executions that one transaction begins to prune."""
_MOST_NAMED: Final = 10_000
"""Ids of executions in a response."""
_MOST_KEPT: Final = 100
_MOST_KNOWN: Final = 20
"""Names in the error for an unknown name."""


class PruneCatalog(Prune, Browse, Configs, Protocol):
    """The part of the catalog that `PruneService` needs."""


class PruneService:
    """Pins and prunes executions.

    Every method raises `Unavailable` if a backend that it needs is unavailable.

    Args:
        page: objects that one step deletes.
    """

    def __init__(self, catalog: PruneCatalog, store: Store, env: Environment, *, page: int = PAGE) -> None:
        self._catalog = catalog
        self._store = store
        self._env = env
        self._page = page
        self._listing = Listing(catalog, store)

    async def pin(self, execution: UUID, pinned: bool = True) -> Execution:
        """Protect the objects of an execution from every prune, or end the protection. Idempotent.

        Raises:
            NotFound: `execution_not_found`.
            Conflict: `execution_pruned`; its objects are pruned already.
        """
        found = await self._catalog.pin(execution, pinned)
        if found is None:
            await find_execution(self._catalog, self._listing, execution)
            raise Conflict(
                "execution_ended",
                f"execution {execution} cannot be pinned: another program stored its objects, and Playhead "
                "does not delete them",
            )
        return found

    # -- prune -------------------------------------------------------------------------------------

    async def plan(self, where: PruneFilter) -> Pruned:
        """Return what a prune would delete now. Changes nothing.

        Raises what `begin` raises.
        """
        await self._check_names(where)
        found, _ = await self._select(where, begin=False)
        return found

    async def begin(self, where: PruneFilter) -> Pruned:
        """Begin to prune, and delete in the background.

        When this returns, the objects or the records cannot be read any more. If this process ends before all
        are deleted, another one continues.

        Raises:
            BadRequest: `selection_empty`.
            NotFound: `execution_not_found`, also for a tag; `config_not_found`, `stage_not_found`.
        """
        await self._check_names(where)
        found, begun = await self._select(where, begin=True)
        if begun:
            self._env.spawn(self._delete_later(begun))
        return found

    async def prune(self, where: PruneFilter, *, progress: Callable[[int], None] | None = None) -> Pruned:
        """Prune, and return when everything is deleted. Ends earlier prunes that were interrupted, too.

        Args:
            progress: is called with the number of objects, or of records, deleted since the last call.

        Raises what `begin` raises.
        """
        await self._check_names(where)
        found, _ = await self._select(where, begin=True)
        await self.finish(progress=progress)
        return replace(found, is_deleted=True)

    async def finish(self, *, progress: Callable[[int], None] | None = None) -> int:
        """End prunes that were interrupted. Return their number."""
        interrupted = await self._catalog.open_prunings()
        await self._delete_all(interrupted, progress)
        return len(interrupted)

    async def _check_names(self, where: PruneFilter) -> None:
        """Raise `NotFound` for a name that no config and no execution has: it is probably misspelt."""
        if where.config is not None and await self._catalog.config(where.config) is None:
            known = [one.name for one in await self._catalog.configs(limit=_MOST_KNOWN)]
            raise _unknown("config_not_found", f"no config is named {where.config!r}", known)
        if where.tag is not None:
            found, _ = await self._catalog.executions(ExecutionFilter(tag=where.tag), limit=1)
            if not found:
                known = await self._catalog.newest_tags(limit=_MOST_KNOWN)
                raise _unknown("execution_not_found", f"no execution has the tag {where.tag!r}", known)
        if where.stages:
            stages = [keys.INPUT_STAGE, *await self._catalog.stage_names(where.config)]
            if unknown := [one for one in where.stages if one not in stages]:
                what = f"config {where.config} does not have" if where.config else "no config has"
                raise _unknown("stage_not_found", f"{what} the stage {unknown[0]!r}", stages[:_MOST_KNOWN])

    async def _select(self, where: PruneFilter, *, begin: bool) -> tuple[Pruned, list[Pruning]]:
        """Count what is selected, page by page; with `begin`, also begin to prune it.

        Raises `Forbidden` (`outside_limit`).
        """
        _check(where)
        only_in_store = await self._only_in_store(where)
        await self._check_limit(where, only_in_store)
        kept = [KeptExecution(one, "adopted") for one in only_in_store]
        ids: list[UUID] = []
        begun: list[Pruning] = []
        stages: dict[str, StageTotal] = {}
        records = protected = 0
        after: int | None = 0
        while after is not None:
            page, after = await self._catalog.prune_candidates(where, after=after, limit=_EXECUTIONS)
            kept += [KeptExecution(one.execution, one.kept) for one in page if one.kept]
            free = [one for one in page if not one.kept]
            counts = {one.execution: await self._count(one) for one in free}
            chosen = list(counts)
            if begin and free:
                some = await self._catalog.begin_prune(free)
                faults.reach("prune.begun")
                begun += some
                chosen = list(dict.fromkeys(one.execution for one in some))
                kept += await self._protected_since(where, counts.keys() - set(chosen))
            ids += chosen
            for total in (total for one in chosen for total in counts[one][0]):
                so_far = stages.get(total.stage, StageTotal(total.stage, 0, 0))
                stages[total.stage] = StageTotal(
                    total.stage, so_far.objects + total.objects, so_far.bytes + total.bytes
                )
            records += sum(counts[one][1] for one in chosen)
            protected += sum(counts[one][2] for one in chosen)
        found = Pruned(
            dry_run=not begin,
            executions=len(ids),
            objects=sum(one.objects for one in stages.values()),
            bytes=sum(one.bytes for one in stages.values()),
            execution_ids=ids[:_MOST_NAMED],
            kept=kept[:_MOST_KEPT],
            kept_executions=len(kept),
            is_deleted=begin and not begun,
            records=records,
            bytes_protected=protected,
            stages=sorted(stages.values(), key=lambda one: one.stage),
        )
        return found, begun

    async def _check_limit(self, where: PruneFilter, only_in_store: Sequence[UUID]) -> None:
        """Check that a selection names a config inside the limit, or only executions inside it.

        Args:
            only_in_store: named executions that belong to no config.
        """
        who = acting.current()
        if who.caller.configs is None:
            return
        configs = {where.config}
        if where.config is None and where.execution_ids:
            configs = {one.config for one in await self._catalog.executions_named(where.execution_ids)}
            configs |= {None} if only_in_store else set()
        for config in configs:
            who.check_limit(config)

    async def _count(self, candidate: Candidate) -> tuple[Sequence[StageTotal], int, int]:
        """Return the objects and the records that are deleted with a candidate, and the bytes that
        publications protect."""
        if candidate.records:
            return (), await self._catalog.count_records(candidate), 0
        objects = await self._catalog.count_prunable(candidate)
        return objects, 0, await self._catalog.count_protected(candidate)

    async def _protected_since(self, where: PruneFilter, left: Set[UUID]) -> list[KeptExecution]:
        """Return those that could be pruned when they were selected, and cannot be any more."""
        if not left:
            return []
        found, _ = await self._catalog.prune_candidates(replace(where, execution_ids=list(left)))
        return [KeptExecution(one.execution, one.kept) for one in found if one.kept]

    async def _only_in_store(self, where: PruneFilter) -> list[UUID]:
        """Return the named executions that the catalog does not have. Raises `NotFound`."""
        if where.execution_ids is None:
            return []
        known = {one.execution_id for one in await self._catalog.executions_named(where.execution_ids)}
        others = [one for one in where.execution_ids if one not in known]
        for one in others:
            await find_execution(self._catalog, self._listing, one)
        return others

    # -- retention ---------------------------------------------------------------------------------

    async def retain(self, *, interrupted_seconds: float, goes_on: Callable[[], bool]) -> None:
        """Prune what no config keeps any more, and continue prunes whose process has died.

        Records are deleted at the earliest a call after their objects.

        Args:
            interrupted_seconds: the age of a pruning whose process is taken for dead. If it is not, both
                processes delete the same objects.
            goes_on: is asked before each step; False ends this call.
        """
        begun: list[Pruning] = []
        for config, retention in (await self._catalog.retentions()).items():
            for where in _of(config, retention):
                if goes_on():
                    begun += (await self._select(where, begin=True))[1]
        interrupted = await self._catalog.open_prunings(older_than=interrupted_seconds)
        await self._delete_all(list(dict.fromkeys([*interrupted, *begun])), goes_on=goes_on)

    # -- delete ------------------------------------------------------------------------------------

    async def _delete_later(self, prunings: Sequence[Pruning]) -> None:
        try:
            await self._delete_all(prunings)
        except Unavailable as exc:  # the reconciler's process continues
            events.emit(events.BACKEND_UNAVAILABLE, code=exc.code, detail=exc.detail)

    async def _delete_all(
        self,
        prunings: Sequence[Pruning],
        progress: Callable[[int], None] | None = None,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """Delete the objects of prunings. If one of them cannot be deleted, the others are nevertheless."""
        failed: Unavailable | None = None
        for pruning in prunings:
            try:
                if not await self._delete(pruning, progress, goes_on):
                    return
            except Unavailable as exc:
                await self._store.check()  # raises if not only this object is unavailable
                failed = exc
        if failed:
            raise failed

    async def _delete(
        self, pruning: Pruning, progress: Callable[[int], None] | None, goes_on: Callable[[], bool]
    ) -> bool:
        """Delete the objects or the records of a pruning. False if it has to stop before the end."""
        if pruning.records:
            return await self._delete_records(pruning, progress, goes_on)
        deleted: str | None = None
        objects = size = 0
        while page := await self._catalog.prune_page(pruning, deleted=deleted, limit=self._page):
            faults.reach("prune.marked")
            await self._store.delete(_with_sidecars(page.keys))
            faults.reach("prune.deleted")
            deleted = page.last
            objects, size = objects + page.objects, size + page.bytes
            if progress:
                progress(page.objects)
            if not goes_on():
                return False
        await self._look_again(pruning)
        faults.reach("prune.emptied")
        await self._catalog.end_prune(pruning)
        events.emit(
            events.PRUNED,
            execution_id=str(pruning.execution),
            stage=pruning.stage,
            count=objects,
            bytes=size,
        )
        return True

    async def _delete_records(
        self, pruning: Pruning, progress: Callable[[int], None] | None, goes_on: Callable[[], bool]
    ) -> bool:
        last = ""
        records = 0
        while page := await self._catalog.delete_records(pruning, after=last, limit=_RECORDS):
            faults.reach("prune.records")
            last = page.last
            records += page.records
            if progress:
                progress(page.records)
            if not goes_on():
                return False
        await self._catalog.end_prune(pruning)
        events.emit(events.RECORDS_DELETED, execution_id=str(pruning.execution), count=records)
        return True

    async def _look_again(self, pruning: Pruning) -> None:
        """Delete objects of Playhead that were stored after they had been deleted.

        Objects of other programs, which have no row, stay.
        """
        async for entries in self._store.list(pruning.prefix, page=self._page):
            found = sorted({keys.object_of(entry.key) for entry in entries}, key=str.encode)
            late = await self._catalog.late_among(found)
            await self._store.delete(_with_sidecars(sorted(late)))


def _with_sidecars(found: Sequence[str]) -> list[str]:
    """Return keys of objects, each followed by that of its sidecar."""
    return [key for one in found for key in (one, keys.sidecar_key(one))]


def _unknown(code: str, what: str, known: Sequence[str]) -> NotFound:
    """Return the error for a name that is not one of the known ones, which may be the first of many."""
    return NotFound(code, f"{what}; known names: {', '.join(known)}" if known else what)


def _of(config: str, retention: Retention) -> Iterator[PruneFilter]:
    """Yield what a retention deletes."""
    where = PruneFilter(config=config, is_retention=True)
    yield replace(
        where,
        older_than_seconds=retention.keep_days * DAY,
        keep_last=retention.keep_last,
        stages=list(retention.stages) or None,
    )
    if retention.records_days is not None:
        yield replace(where, older_than_seconds=retention.records_days * DAY, records=True)


def _check(where: PruneFilter) -> None:
    """Raise `BadRequest` if a filter would select all executions: it is more likely a mistake."""
    given = (where.execution_ids, where.config, where.tag, where.older_than_seconds)
    if where.execution_ids == [] or (given == (None, None, None, None) and not where.keep_last):
        raise BadRequest(
            "selection_empty",
            "no executions selected: name executions, an age, a config, a tag, or how many to keep",
        )
