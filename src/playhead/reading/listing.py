"""List the stored objects of an execution, as a replay of it would.

Sidecars, folder markers and objects that no attempt has committed are left out. External objects, which
other programs stored, are included. References to objects of earlier executions are in the catalog only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol
from uuid import UUID

from playhead import keys
from playhead.errors import NotFound
from playhead.ids import moment
from playhead.model import Counts, Execution, StageSummary, StoredObject
from playhead.ports.catalog.browse import Reference
from playhead.ports.catalog.configs import Loaded
from playhead.ports.store import Entry, Store
from playhead.similar import did_you_mean

PAGE: Final = 1000


class Rows(Protocol):
    """What listing needs of the catalog."""

    async def config(self, name: str, version: int | None = None) -> Loaded | None: ...

    async def unstored(self, keys: Sequence[str]) -> set[str]: ...

    async def references(self, prefix: str, *, after: str = "", limit: int) -> list[Reference]: ...


async def with_references(
    catalog: Rows, stored: AsyncIterator[Sequence[Entry]], prefix: str, after: str, page: int
) -> AsyncIterator[Sequence[Entry | Reference]]:
    """Yield the pages of a listing of the store, joined with the references below its prefix in byte order.

    Each key comes once: a reference takes the place of an object that another program stored under its key.

    Args:
        stored: the listing, in order.
        after: where the listing begins.
        page: how many references are read at once, and how many objects a page has at most.
    """
    references = await catalog.references(prefix, after=after, limit=page)
    found: list[Entry | Reference] = []
    async for entries in stored:
        for entry in entries:
            one: Entry | Reference | None = None
            while references and references[0].key <= entry.key:
                if len(found) == page:
                    yield found
                    found = []
                one = references.pop(0)
                found.append(one)
                if not references:
                    references = await catalog.references(prefix, after=one.key, limit=page)
            if one and one.key == entry.key:
                continue
            if len(found) == page:
                yield found
                found = []
            found.append(entry)
    if found:
        yield found
    while references:
        yield list(references)
        references = await catalog.references(prefix, after=references[-1].key, limit=page)


def has_references(execution: Execution) -> bool:
    """Whether an execution may have references: it takes over results, or is a publication."""
    return execution.changed_since is not None or execution.kind == "publication"


class Listing:
    """Combines listings of the store with rows of the catalog. Raises `Unavailable` for either."""

    def __init__(self, catalog: Rows, store: Store) -> None:
        self._catalog = catalog
        self._store = store

    async def adoptable(self, execution: UUID) -> Execution | None:
        """Describe external objects under an id, stored as `{id}/{stage}/{path}`, as an execution.

        None if there are no such objects, and for the nil id.
        """
        if not execution.int:
            return None
        async for page in self._store.list(str(execution), sizes=True, page=PAGE):
            for entry in page:
                if _in_a_stage(entry.key):
                    when = moment(entry.modified)
                    return Execution(
                        execution_id=execution,
                        kind="adopted",
                        status="completed",
                        config=None,
                        config_version=None,
                        config_hash=None,
                        parent_execution_id=None,
                        replay_batch_id=None,
                        tags=[],
                        created_at=when,
                        ended_at=when,
                        error=None,
                        counts=Counts(),
                    )
        return None

    async def declared(self, execution: Execution) -> list[str]:
        """Return the declared stages of an execution: `input`, then those of its config in their order."""
        if execution.config is None:
            return []
        loaded = await self._catalog.config(execution.config, execution.config_version)
        return [keys.INPUT_STAGE, *(loaded.config.stages if loaded else ())]

    async def stages(self, execution: Execution) -> list[StageSummary]:
        """Count objects and bytes by stage: declared stages first, then those of external objects.

        Reads the whole listing of the execution. The stage `_replay` is not among them.
        """
        declared = await self.declared(execution)
        found = {stage: StageSummary(stage, 0, 0, None, None) for stage in declared}
        async for page in self.visible(execution, str(execution.execution_id)):
            for entry in page:
                stage, _ = _split(entry.key, declared, None)
                if stage == keys.REPLAY_STAGE:
                    continue
                past = found.get(stage) or StageSummary(stage, 0, 0, None, None)
                found[stage] = StageSummary(
                    stage, past.objects + 1, past.bytes + entry.size, past.first_key or entry.key, entry.key
                )
        return list(found.values())

    async def check_stage(self, execution: Execution, stage: str) -> None:
        """Check that a stage is declared, is `input`, or has any key below it.

        Raises:
            NotFound: `stage_not_found`, with the existing stages.
        """
        declared = await self.declared(execution)
        if stage == keys.INPUT_STAGE or stage in declared:
            return
        prefix = f"{execution.execution_id}/{stage}"
        if has_references(execution) and await self._catalog.references(prefix, limit=1):
            return
        async for page in self._store.list(prefix, page=PAGE):
            if any(entry.key != prefix for entry in page):
                return
        there_are = declared or [summary.stage for summary in await self.stages(execution)]
        raise NotFound(
            "stage_not_found",
            f"execution {execution.execution_id} has no stage {stage!r}; it has "
            + f"{', '.join(there_are)}.{did_you_mean(stage, there_are)}",
        )

    async def any_object(self, execution: Execution, prefix: str) -> bool:
        """Whether a replay of `prefix`, which belongs to an execution, would find anything."""
        if has_references(execution) and await self._catalog.references(prefix, limit=1):
            return True
        async for page in self._store.list(prefix, page=PAGE):
            found = [entry.key for entry in page if _in_a_stage(entry.key)]
            if found and len(await self._catalog.unstored(found)) < len(found):
                return True
        return False

    async def objects(
        self, execution: Execution, stage: str | None, path: str | None, *, after: str, limit: int
    ) -> tuple[list[StoredObject], bool]:
        """Return up to `limit` objects after a key, in byte order, and whether there are more.

        Args:
            execution: whose objects.
            stage: None for all stages except `_replay`.
            path: a folder or an object in the stage; None for all of it.
            after: the key to continue after; "" at the start.
            limit: objects to return.
        """
        declared = await self.declared(execution)
        prefix = "/".join(part for part in (str(execution.execution_id), stage, path) if part)
        items: list[StoredObject] = []
        async for page in self.visible(execution, prefix, after=after, page=min(2 * limit + 2, PAGE)):
            for entry in page:
                if len(items) == limit:
                    return items, True
                its_stage, its_path = _split(entry.key, declared, stage)
                if stage is None and its_stage == keys.REPLAY_STAGE:
                    continue
                key, when, location = entry.key, entry[2], None
                if isinstance(entry, Reference):
                    when, location = entry.created_at, entry.location
                if location and execution.kind == "publication" and _below(location) == _below(key):
                    key, location = location, None
                items.append(StoredObject(key, its_stage, its_path, entry.size, moment(when), location))
        return items, False

    async def find(self, key: str) -> tuple[str, Entry] | None:
        """Return the key under which the bytes of an object are stored, and what the store has of it.

        None if there is no such object, or if no attempt has committed it.
        """
        entry = await self._store.stat(key)
        if entry is not None:
            return None if await self._catalog.unstored([key]) else (key, entry)
        for reference in await self._catalog.references(key, limit=1):
            if reference.key == key and (entry := await self._store.stat(reference.location)):
                return reference.location, entry
        return None

    async def visible(
        self, execution: Execution, prefix: str, *, after: str = "", sizes: bool = True, page: int = PAGE
    ) -> AsyncIterator[list[Entry | Reference]]:
        """Yield the objects below `prefix` that a replay of it would find, in pages, in byte order."""
        stored = self._in_order(prefix, after, page, sizes=sizes)
        pages: AsyncIterator[Sequence[Entry | Reference]] = stored
        if has_references(execution):
            pages = with_references(self._catalog, stored, prefix, after, page)
        async for entries in pages:
            shown = [e for e in entries if _in_a_stage(e.key)]
            hidden = await self._catalog.unstored([e.key for e in shown]) if shown else set()
            yield [e for e in shown if e.key not in hidden]

    async def _in_order(
        self, prefix: str, after: str, page: int, *, sizes: bool
    ) -> AsyncIterator[Sequence[Entry]]:
        pages = self._store.list(prefix, after=after, sizes=sizes, page=page)
        if self._store.ordered:
            async for entries in pages:
                yield entries
            return
        # A store without an order must be listed to its end before the first key is known.
        found = sorted([entry async for entries in pages for entry in entries])
        for start in range(0, len(found), page):
            yield found[start : start + page]


def _below(key: str) -> str:
    """Return the part of a listed key that follows the execution."""
    return key.partition("/")[2]


def _in_a_stage(key: str) -> bool:
    """Whether a listed key belongs to an object of a stage. External objects may lie next to the stages."""
    return "/" in _below(key) and not keys.is_aside(key)


def _split(key: str, declared: Sequence[str], asked: str | None) -> tuple[str, str]:
    """Return stage and path of a listed key. Without a declared stage, it is the requested stage, or else
    the first segment.

    No declared stage is inside another, so at most one fits.
    """
    rest = _below(key)
    return keys.stage_of(rest, declared, asked or rest.partition("/")[0])
