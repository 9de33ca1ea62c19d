"""Read datasets, their publications, and what differs between two of them."""

from __future__ import annotations

from uuid import UUID

from playhead.model import (
    CodeResults,
    Dataset,
    DatasetChange,
    NoteKind,
    Page,
    Placement,
    Publication,
    PublicationNote,
    StaleResult,
    Switch,
)
from playhead.ports.catalog import Publications
from playhead.ports.catalog.publications import Place
from playhead.reading.datasets import check_readable, find_dataset, hold_of, nothing_published
from playhead.reading.newestcode import NewestCode
from playhead.reading.paging import decode_cursor, encode_cursor, list_of


class PublicationReader:
    """Lists and compares publications. For names and errors, see `PublishService`."""

    def __init__(self, catalog: Publications, newest: NewestCode) -> None:
        self._catalog = catalog
        self._newest = newest

    async def datasets(self) -> list[Dataset]:
        """Return all datasets, ordered by config and name."""
        return await self._catalog.datasets()

    async def datasets_of(self, config: str) -> list[Dataset]:
        """Return the datasets of a config, by name."""
        return await self._catalog.datasets(config=config)

    async def dataset(self, name: str) -> Dataset:
        return await find_dataset(self._catalog, name)

    async def publications(
        self, name: str, cursor: str | None = None, limit: int = 100, *, every: bool = False
    ) -> Page[Publication]:
        """Return publications, newest first; with `every`, also abandoned and dropped ones.

        Raises:
            BadRequest: `invalid_cursor`.
        """
        number = await self._number(name)
        of = list_of("publications", number, every)
        before = decode_cursor(cursor, int, of)
        found = await self._catalog.publications(number, before=before, every=every, limit=limit + 1)
        page = await self._newest.counted(number, found[:limit])
        return Page(page, encode_cursor(page[-1].n, of) if len(found) > limit else None)

    async def publication(self, name: str, n: int | None = None) -> Publication:
        """Return one publication; without a number, the current one.

        Raises:
            NotFound: `publication_not_found`.
            Conflict: `nothing_published`.
        """
        dataset = await self.dataset(name)
        if n is None and dataset.current is None:
            raise nothing_published(name)
        wanted = n or dataset.current or 0
        number = await self._catalog.dataset_number(dataset.config, dataset.name)
        found = await self._catalog.publication(number, wanted)
        if found is None:
            check_readable(dataset, None, wanted)
        assert found
        return (await self._newest.counted(number, [found]))[0]

    async def of_execution(self, execution: UUID) -> Publication | None:
        """Return the publication with this execution id; None if it is not one."""
        return await self._catalog.publication_of(execution)

    async def placements(self, config: str, execution: UUID) -> list[Placement]:
        """Return where the results of an execution are in each dataset of its config, by name."""
        return await self._catalog.placements(config, execution)

    async def refused(self) -> list[Publication]:
        """Return the automatic publications that were refused, and are the newest of their datasets."""
        return await self._catalog.refused_automatic()

    async def switches(self, name: str, limit: int = 100) -> list[Switch]:
        """Return what was made current, newest first."""
        return await self._catalog.switches(await self._number(name), limit=limit)

    async def hold(self, dataset: Dataset) -> Switch | None:
        """Return the rollback that holds automatic publication; None if nothing does."""
        return await hold_of(self._catalog, dataset)

    async def notes(
        self,
        name: str,
        n: int | None = None,
        kind: NoteKind | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[PublicationNote]:
        """Return the documents and objects of the parts of a publication that it does not publish.

        Raises what `publication` raises, and `BadRequest` (`invalid_cursor`).
        """
        found = await self.publication(name, n)
        number = await self._number(name)
        of = list_of("notes", number, found.n, kind)
        after = decode_cursor(cursor, int, of) or 0
        items, then = await self._catalog.notes(number, found.n, kind=kind, after=after, limit=limit)
        return Page(items, encode_cursor(then, of) if then else None)

    async def code(
        self, name: str, n: int | None = None, cursor: str | None = None, limit: int = 100
    ) -> Page[CodeResults]:
        """Return what made the results of a publication, by route and code.

        Raises what `publication` raises, and `BadRequest` (`invalid_cursor`), `NotFound`
        (`publication_dropped`).
        """
        dataset = await self.dataset(name)
        found = check_readable(dataset, one := await self.publication(name, n), one.n)
        return await self._newest.by_code(await self._number(name), found, cursor, limit)

    async def stale(
        self,
        name: str,
        n: int | None = None,
        route: str | None = None,
        from_stage: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[StaleResult]:
        """Return the results of a publication that are not of the newest code.

        Raises what `publication` raises, and `BadRequest` (`invalid_cursor`), `NotFound` (`route_not_found`,
        `publication_dropped`), `Conflict` (`code_unknown`).
        """
        dataset = await self.dataset(name)
        found = check_readable(dataset, one := await self.publication(name, n), one.n)
        number = await self._number(name)
        return await self._newest.stale_results(number, found, route, from_stage, cursor, limit)

    async def changes(
        self,
        name: str,
        since: int,
        until: int | None = None,
        stage: str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[DatasetChange]:
        """Return the objects that differ between two publications, by stage and path.

        Args:
            since: a number; 0: before the first publication. It may be later than `until`.
            until: a number; None: the current one.

        Raises:
            BadRequest: `invalid_cursor`.
            NotFound: `publication_not_found`, `publication_dropped`.
            Conflict: `nothing_published`.
        """
        dataset = await self.dataset(name)
        to = await self.publication(name, until)
        check_readable(dataset, to, to.n)
        if since:
            check_readable(dataset, await self.publication(name, since), since)
        number = await self._number(name)
        of = list_of("changes", number, since, to.n, stage)
        after = decode_cursor(cursor, str, of)
        start = Place(*after.split("\n", 1)) if after else None
        found = await self._catalog.changes(number, since, to.n, stage=stage, after=start, limit=limit + 1)
        page = [
            DatasetChange(
                one.stage,
                one.path,
                one.change,
                one.key,
                one.sha256.hex() if one.sha256 else None,
                one.was.hex() if one.was else None,
            )
            for one in found[:limit]
        ]
        then = encode_cursor(f"{page[-1].stage}\n{page[-1].path}", of) if len(found) > limit else None
        return Page(page, then)

    async def _number(self, name: str) -> int:
        found = await self.dataset(name)
        return await self._catalog.dataset_number(found.config, found.name)
