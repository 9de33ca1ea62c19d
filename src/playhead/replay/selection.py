"""Which objects of a stage a replay or a plan selects.

The times of a selection are fixed when the request is resolved, so that all pages of a listing, and all
processes that continue it, select the same objects.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol, TypeVar
from uuid import UUID

from playhead.errors import NotFound
from playhead.globs import compile_glob
from playhead.keys import bare, content_type_of
from playhead.model import Replay, Selection
from playhead.ports.catalog.browse import Reference
from playhead.ports.catalog.work import Source
from playhead.ports.store import Entry
from playhead.reading.lookup import check_recorded, check_records
from playhead.steps.conditions import same_json

_KEYS_AT_ONCE: Final = 50
"""Paths that are matched before other tasks get their turn: many long globs can take 10 ms for each path."""

E = TypeVar("E", Entry, Reference, Entry | Reference)


class SelectionCatalog(Protocol):
    """What a selection needs of the catalog."""

    async def replay(self, batch: UUID) -> Replay | None: ...

    async def sources(self, keys: Sequence[str]) -> dict[str, Source]: ...

    async def failed_below(
        self, keys: Sequence[str], execution: UUID, route: str, *, unfinished: bool
    ) -> set[str]: ...

    async def records_deleted(self, executions: Sequence[UUID]) -> dict[UUID, str]: ...


# -- the objects of a listing ----------------------------------------------------------------------


async def examined(catalog: SelectionCatalog, selection: Selection, source: UUID) -> list[UUID]:
    """Return the executions that `only` is about: the source, or the replay of it that the selection names.

    If that replay was a selection by `only` itself, those that it was about follow. It has no message for the
    objects that were finished before, although they need no other one.

    Raises `NotFound`: `replay_not_found` if the source has no such replay, `records_deleted` if what happened
    in it is not known any more.
    """
    found: list[UUID] = []
    following: Selection | None = selection
    while following is not None and following.in_replay is not None:
        replay = await catalog.replay(following.in_replay)
        if replay is None or replay.from_execution_id != source:
            raise NotFound(
                "replay_not_found",
                f"execution {source} has no replay {following.in_replay}. Run: playhead replays {source}",
            )
        check_records(replay)
        found.append(replay.execution_id)
        following = replay.selection
    if not found or (following and following.only):
        found.append(source)
    return found


async def selector_of(
    catalog: SelectionCatalog,
    selection: Selection,
    *,
    source: UUID,
    stage: str,
    target: str,
    explain: bool = False,
) -> Selector:
    """Return what selects objects of a stage of `source` for the route `target`, which is `CONFIG/ROUTE`.

    Raises what `examined` raises. See `Selector` for `explain`.
    """
    executions = await examined(catalog, selection, source)
    prefix = f"{source}/{stage}"
    return Selector(catalog, selection, prefix=prefix, executions=executions, target=target, explain=explain)


class Selector:
    """Selects objects page by page.

    Args:
        prefix: `{execution}/{stage}` of the request.
        executions: what `examined` returns.
        target: `CONFIG/ROUTE` of the request.
        explain: also count `aborted_not_selected`, which costs a second query for each page.

    Attributes:
        executions, only: as given.
        needs_times: the times of the listed objects are needed.
        left_out: number of objects by reason. `filtered`: a condition other than `only` is not met.
            `aborted_not_selected`: an object that is unfinished, but has no dead letter. `not_failed`: any
            other object that `only` leaves out.
    """

    def __init__(
        self,
        catalog: SelectionCatalog,
        selection: Selection,
        *,
        prefix: str,
        executions: Sequence[UUID],
        target: str,
        explain: bool = False,
    ) -> None:
        self._catalog = catalog
        self._skip = len(prefix) + 1
        self.executions = executions
        self._target = target
        self._explain = explain
        self._paths = None if selection.paths is None else frozenset(selection.paths)
        self._include = [compile_glob(glob) for glob in selection.include or ()]
        self._exclude = [compile_glob(glob) for glob in selection.exclude or ()]
        self._after = _time(selection.modified_after)
        self._before = _time(selection.modified_before)
        self._types = frozenset(kind.lower() for kind in selection.content_type or ())
        self._attributes = selection.attributes or {}
        self.only = selection.only
        self.needs_times = self._after is not None or self._before is not None
        self.left_out = Counter[str]()

    async def select(self, listed: Sequence[E], sources: Mapping[str, Source] | None = None) -> list[E]:
        """Return the selected ones of some objects of one listing, in their order.

        `sources` are their rows, if the caller has read them. Raises `NotFound` (`records_deleted`).
        """
        found = list(listed)
        if self._paths or self._include or self._exclude or self.needs_times:
            found = await self._by_listing(found)
        if found and (self._types or self._attributes):
            rows = await self._catalog.sources([one.key for one in found]) if sources is None else sources
            found = [one for one in found if self._meets(one.key, rows.get(one.key))]
        self.left_out["filtered"] += len(listed) - len(found)
        return await self._by_outcome(found) if found and self.only else found

    async def _by_listing(self, listed: Sequence[E]) -> list[E]:
        found: list[E] = []
        for at in range(0, len(listed), _KEYS_AT_ONCE):
            found += [one for one in listed[at : at + _KEYS_AT_ONCE] if self._listed(one)]
            await asyncio.sleep(0)
        return found

    def _listed(self, one: Entry | Reference) -> bool:
        path = one.key[self._skip :]
        if self._paths is not None and path not in self._paths:
            return False
        if self._include and not any(matches(path) for matches in self._include):
            return False
        if any(matches(path) for matches in self._exclude):
            return False
        if not self.needs_times:
            return True
        # As a listing shows it, so that a time copied from there selects the object.
        modified = datetime.fromtimestamp(one.modified if isinstance(one, Entry) else one.created_at, UTC)
        return (self._after is None or modified >= self._after) and (
            self._before is None or modified < self._before
        )

    def _meets(self, key: str, source: Source | None) -> bool:
        if self._types:
            kind = bare(source.content_type) if source else content_type_of(key)
            if kind not in self._types and f"{kind.partition('/')[0]}/*" not in self._types:
                return False
        has: Mapping[str, object] = source.attributes if source else {}
        return all(name in has and same_json(has[name], value) for name, value in self._attributes.items())

    async def _by_outcome(self, listed: Sequence[E]) -> list[E]:
        unfinished = self.only == "unfinished"
        given = [one.key for one in listed]
        keys = await (self._unfinished(given) if unfinished else self._failed(given))
        found = [one for one in listed if one.key in keys]
        others = [one.key for one in listed if one.key not in keys]
        aborted = 0
        if self._explain and others and not unfinished:
            aborted = len(await self._unfinished(others))
        await check_recorded(self._catalog, self.executions)  # without them, all objects would be unfinished
        self.left_out["aborted_not_selected"] += aborted
        self.left_out["not_failed"] += len(others) - aborted
        return found

    async def _failed(self, keys: Sequence[str]) -> set[str]:
        return await self._catalog.failed_below(keys, self.executions[0], self._target, unfinished=False)

    async def _unfinished(self, keys: Sequence[str]) -> set[str]:
        """Return the objects that none of the executions has finished."""
        found = set(keys)
        for execution in self.executions:
            some = [key for key in keys if key in found]
            found = await self._catalog.failed_below(some, execution, self._target, unfinished=True)
        return found


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
