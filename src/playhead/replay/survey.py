"""List the objects that a replay would publish, with sizes and tags.

The size and the tag of one of Playhead's own objects are those of its record, so the names of a stage are
enough as long as it has no object of another program. On files this saves one system call for each object.
As soon as an object without a record is found, the listing is repeated from this page on, with sizes and
the store's tags. An execution of another program has no records, so the catalog is not asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from playhead import keys
from playhead.ports.catalog.browse import Reference
from playhead.ports.catalog.work import Source
from playhead.ports.store import Entry, Store
from playhead.reading.listing import PAGE, Rows, with_references
from playhead.replay.manifest import Item, row_tag, store_tag


class SurveyCatalog(Rows, Protocol):
    """What a survey needs of the catalog."""

    async def sources(self, keys: Sequence[str]) -> dict[str, Source]: ...


class Surveyed(NamedTuple):
    """One page of objects, with the records of those that have one; there may be further records."""

    objects: Sequence[Entry | Reference]
    records: Mapping[str, Source]

    def items(self) -> list[Item]:
        """Return the entries of the objects in a manifest. An object without a record must have a tag."""
        return [
            (one.key, record.size, row_tag(record.sha256))
            if (record := self.records.get(one.key))
            else (one.key, one.size, store_tag(one.tag))  # type: ignore[union-attr]  # references have records
            for one in self.objects
        ]


class Survey:
    """One listing below a prefix.

    Args:
        prefix: `{execution}/{stage}` or `{execution}/{stage}/{path}`.
        recorded: the execution may have records. Otherwise all objects are those of another program.
        timed: the times of the objects are needed.
        has_references: the execution may have references.
        page: objects that a page has at most, with their sidecars.

    Attributes:
        asides: sidecars and folder markers so far.
        hidden: objects so far that no replay publishes: not committed, or pruned.
        unaccompanied: objects of Playhead so far that have no sidecar.
    """

    def __init__(
        self,
        catalog: SurveyCatalog,
        store: Store,
        prefix: str,
        *,
        recorded: bool,
        timed: bool = False,
        has_references: bool,
        page: int = 2 * PAGE,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._prefix = prefix
        self._recorded = recorded
        self._sized = timed or not recorded
        # Another program may have stored an object under the name of the stage. It is in no stage.
        self._stage_key = prefix if prefix.count("/") == 1 else None
        self._has_references = has_references
        self._page = page
        self._expected = set[str]()
        self.asides = 0
        self.hidden = 0
        self.unaccompanied = 0

    async def pages(self, after: str = "") -> AsyncIterator[Surveyed]:
        """Yield all objects after a key in the order of their keys. Raises `Unavailable`."""
        start: str | None = after
        while start is not None:
            cursor, start = start, None
            async for entries in self._listed(cursor):
                found = await self._examine(entries)
                if found is None:
                    self._sized = True
                    start = cursor
                    break
                cursor = entries[-1].key
                yield found
        self.unaccompanied += len(self._expected)
        self._expected.clear()

    async def items(self, after: str = "") -> AsyncIterator[Sequence[Item]]:
        """Yield the entries of all objects after a key."""
        async for page in self.pages(after):
            yield page.items()

    def _listed(self, after: str) -> AsyncIterator[Sequence[Entry | Reference]]:
        stored = self._store.list(self._prefix, after=after, sizes=self._sized, page=self._page)
        if self._has_references:
            return with_references(self._catalog, stored, self._prefix, after, self._page)
        return stored

    async def _examine(self, entries: Sequence[Entry | Reference]) -> Surveyed | None:
        """Return the objects of a page; None if it must be listed with sizes."""
        shown: list[Entry | Reference] = []
        asides: list[str] = []
        for one in entries:
            key = one.key
            if keys.is_aside(key):
                asides.append(key)
            elif key != self._stage_key:
                shown.append(one)
        records: Mapping[str, Source] = {}
        if self._recorded and shown:
            names = [one.key for one in shown]
            records = await self._catalog.sources(names)
            others = [name for name in names if name not in records] if len(records) < len(names) else []
            hidden = await self._catalog.unstored(others) if others else set[str]()
            if len(hidden) < len(others) and not self._sized:
                return None
            if hidden:
                shown = [one for one in shown if one.key not in hidden]
                self.hidden += len(hidden)
        self.asides += len(asides)
        if self._recorded:
            self._match(records, asides, entries[-1].key)
        return Surveyed(shown, records)

    def _match(self, records: Mapping[str, Source], asides: Sequence[str], last: str) -> None:
        """Count the objects of Playhead up to the key `last` that have no sidecar."""
        # A sidecar comes after its object, but not always in the same page. References have no sidecar here,
        # and that of an object which is listed alone is not listed.
        self._expected.update(key for key, record in records.items() if record.location is None)
        self._expected.discard(self._prefix)
        self._expected.difference_update([keys.object_of(key) for key in asides])
        if missing := [key for key in self._expected if keys.sidecar_key(key) <= last]:
            self.unaccompanied += len(missing)
            self._expected.difference_update(missing)
