"""The content of a draft while it is resolved: in the catalog, or in memory for a preview."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Final, Protocol

from playhead import faults
from playhead.ports.catalog.drafts import Difference, Draft, Drafts, Note
from playhead.ports.catalog.entries import Entry, Identity
from playhead.ports.catalog.publications import EntryCursor, Place

PAGE: Final = 2_000
"""Entries in one transaction."""


class Content(Protocol):
    """What a resolution reads and writes. Each write also moves the cursor of the draft."""

    async def at(self, places: Sequence[Place]) -> list[Entry]: ...

    async def below(self, ups: Sequence[int]) -> list[Entry]: ...

    async def scan(self, stage: str | None, after: Place) -> list[Entry]:
        """Return the next entries in byte order of stage and path; an empty list at the end."""
        ...

    async def write(
        self, *, close: Sequence[Entry], add: Sequence[Entry], notes: Sequence[Note], cursor: str
    ) -> bool:
        """See `Drafts.write_entries`."""
        ...

    async def duplicates(self) -> list[Place]:
        """Return the first places with two entries, one of which the draft has added."""
        ...

    def differences(self) -> AsyncIterator[Difference]:
        """Yield each place once at which the draft differs from its base publication."""
        ...


class Stored:
    """The open entries of a draft in the catalog."""

    def __init__(self, catalog: Drafts, draft: Draft) -> None:
        self._catalog = catalog
        self._draft = draft

    async def at(self, places: Sequence[Place]) -> list[Entry]:
        return await self._catalog.entries_at(self._draft, places)

    async def below(self, ups: Sequence[int]) -> list[Entry]:
        return await self._catalog.entries_below(self._draft, ups)

    async def scan(self, stage: str | None, after: Place) -> list[Entry]:
        return await self._catalog.scan(self._draft, stage=stage, after=after, limit=PAGE)

    async def write(
        self, *, close: Sequence[Entry], add: Sequence[Entry], notes: Sequence[Note], cursor: str
    ) -> bool:
        written = await self._catalog.write_entries(
            self._draft, close=close, add=add, notes=notes, cursor=cursor
        )
        faults.reach("publication.written")
        return written

    async def duplicates(self) -> list[Place]:
        after: EntryCursor | None = (0, 0)
        while after is not None:
            found, after = await self._catalog.duplicates(self._draft, after=after, limit=PAGE)
            if found:
                return found
        return []

    async def differences(self) -> AsyncIterator[Difference]:
        for side in ("closed", "added"):
            after: EntryCursor = (0, 0)
            while page := await self._catalog.differences(self._draft, side, after=after, limit=PAGE):
                for one in page:
                    # A place with an added and a closed entry is on both sides.
                    if side == "added" or one.after is None:
                        yield one
                after = page[-1].at


class Overlay:
    """The entries of a base publication, with changes in memory.

    Memory grows with the changes: about 1 KB for each entry that a publication would add.
    """

    def __init__(self, catalog: Drafts, draft: Draft) -> None:
        self._catalog = catalog
        self._draft = draft
        self._numbers = count(1)
        self._closed: dict[Identity, Entry] = {}
        self._added: dict[Identity, Entry] = {}
        self._by_place: dict[Place, set[Identity]] = {}
        self._by_up: dict[int | None, set[Identity]] = {}
        self.notes: list[Note] = []

    async def at(self, places: Sequence[Place]) -> list[Entry]:
        found = self._without_closed(await self._catalog.entries_at(self._draft, places))
        return found + [self._added[one] for place in places for one in self._by_place.get(place, ())]

    async def below(self, ups: Sequence[int]) -> list[Entry]:
        found = self._without_closed(await self._catalog.entries_below(self._draft, ups))
        return found + [self._added[one] for up in ups for one in self._by_up.get(up, ())]

    async def scan(self, stage: str | None, after: Place) -> list[Entry]:
        stored: list[Entry] = []
        page = await self._catalog.scan(self._draft, stage=stage, after=after, limit=PAGE)
        end = Place(*page[-1][:2]) if len(page) == PAGE else None
        stored = self._without_closed(page)
        new = [
            entry
            for entry in self._added.values()
            if stage in (None, entry.stage)
            and after < Place(*entry[:2])
            and (end is None or Place(*entry[:2]) <= end)
        ]
        found = sorted([*stored, *new], key=lambda one: (one.stage.encode(), one.path.encode()))
        if not found and end is not None:
            return await self.scan(stage, end)
        return found

    def _without_closed(self, entries: Sequence[Entry]) -> list[Entry]:
        return [one for one in entries if one.identity not in self._closed]

    async def write(
        self, *, close: Sequence[Entry], add: Sequence[Entry], notes: Sequence[Note], cursor: str
    ) -> bool:
        for entry in close:
            if self._added.pop(entry.identity, None):
                self._by_place[Place(*entry[:2])].discard(entry.identity)
                self._by_up[entry.up].discard(entry.identity)
            else:
                self._closed[entry.identity] = entry
        for entry in add:
            if not self._closed.pop(entry.identity, None) and entry.identity not in self._added:
                self._added[entry.identity] = entry
                self._by_place.setdefault(Place(*entry[:2]), set()).add(entry.identity)
                self._by_up.setdefault(entry.up, set()).add(entry.identity)
        self.notes += notes
        return True

    async def duplicates(self) -> list[Place]:
        places = [place for place, entries in self._by_place.items() if entries]
        for start in range(0, len(places), PAGE):
            some = places[start : start + PAGE]
            seen = set[Place]()
            for entry in await self.at(some):
                place = Place(*entry[:2])
                if place in seen:
                    return [place]
                seen.add(place)
        return []

    async def differences(self) -> AsyncIterator[Difference]:
        before = {Place(*one[:2]): one.fingerprint or b"" for one in self._closed.values()}
        after = {Place(*one[:2]): one.fingerprint or b"" for one in self._added.values()}
        for n, place in enumerate({**before, **after}):
            yield Difference((0, n), place, before.get(place), after.get(place))
