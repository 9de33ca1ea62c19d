"""Which results are of the newest code: their route is declared as it is now, and its adapters are the same.

A run with `--changed-since` takes over results by this rule. Publications count the results that do not meet
it; they are called *stale*, unless a person has declared them valid.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Container, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol
from uuid import UUID

from playhead.errors import BadRequest, Conflict, NotFound
from playhead.model import (
    AdapterCode,
    CodeCondition,
    CodeResults,
    Page,
    Publication,
    Route,
    RouteResults,
    StaleResult,
)
from playhead.ports.adapter import AdapterSpec
from playhead.ports.catalog import Configs, Declarations, Results
from playhead.ports.catalog.publications import SINK, Place
from playhead.ports.catalog.results import MadeBy, MadeById, Result
from playhead.reading.paging import decode_cursor, encode_cursor, list_of, page_of

_PAGE = 1_000


class ResultsCatalog(Configs, Declarations, Results, Protocol): ...


def code_here(route: Route, adapters: Mapping[str, AdapterSpec]) -> list[AdapterCode] | None:
    """Return the code that would run in a route; None if one of its adapters is not loaded."""
    specs = [spec for step in route.steps if (spec := adapters.get(step.type))]
    if len(specs) < len(route.steps):
        return None
    return [AdapterCode(one.name, one.version, one.code) for one in specs]


class NewestCode:
    """Compares what made results with the newest config, and with the adapters of this process."""

    def __init__(self, catalog: ResultsCatalog, adapters: Mapping[str, AdapterSpec]) -> None:
        self._catalog = catalog
        self._adapters = adapters

    async def by_route(
        self, config: str, name: str, dataset: int, made: Mapping[int, Sequence[MadeBy]]
    ) -> dict[int, list[RouteResults]]:
        """Return the numbers of results in publications of a dataset."""
        newest = await self._routes(config, None)
        stale = await self._stale(config, newest, [one for some in made.values() for one in some])
        declared = await self._declared(config, name, newest)
        return {
            n: _by_route(some, stale, await self._valid(dataset, n, some, stale, declared), newest)
            for n, some in made.items()
        }

    async def counted(self, dataset: int, found: Sequence[Publication]) -> list[Publication]:
        """Return publications of a dataset with the numbers of their results."""
        complete = [one for one in found if one.bytes_protected is not None and one.state != "dropped"]
        if not complete:
            return list(found)
        made = await self._catalog.made_by(dataset, [one.n for one in complete])
        by_number = await self.by_route(complete[0].config, complete[0].dataset, dataset, made)
        return [
            replace(one, results=by_number[one.n], stale=total_stale(by_number[one.n]))
            if one.n in by_number
            else one
            for one in found
        ]

    async def by_code(
        self, dataset: int, found: Publication, cursor: str | None, limit: int
    ) -> Page[CodeResults]:
        """Return what made the results of a publication, by route and code.

        Raises:
            BadRequest: `invalid_cursor`.
        """
        made = await self._made(dataset, found.n)
        newest = await self._routes(found.config, None)
        stale = await self._stale(found.config, newest, made)
        declared = await self._declared(found.config, found.dataset, newest)
        valid = await self._valid(dataset, found.n, made, stale, declared)
        of = list_of("publication code", dataset, found.n)
        page = page_of(made, lambda one: str(one.id), cursor, limit, of)
        items = [_of_code(one, is_stale=stale[one.id], declared=valid.get(one.id, 0)) for one in page.items]
        return Page(items, page.next_cursor)

    async def stale_results(
        self,
        dataset: int,
        found: Publication,
        route: str | None,
        from_stage: str | None,
        cursor: str | None,
        limit: int,
    ) -> Page[StaleResult]:
        """Return stale results of a publication, by stage and path of their first objects.

        Raises:
            BadRequest: `invalid_cursor`.
            NotFound: `route_not_found`: the publication has no result of the route.
            Conflict: `code_unknown`: an adapter of a route is not loaded here.
        """
        of = list_of("stale", dataset, found.n, route, from_stage)
        after = decode_cursor(cursor, str, of)
        start = Place(*after.split("\n", 1)) if after else Place("", "")
        every = await self._made(dataset, found.n)
        if route is not None and route not in {one.route for one in every}:
            routes = ", ".join(dict.fromkeys(one.route for one in every)) or "none"
            what = f"publication {found.n} of {found.dataset} has no result of the route {route!r}"
            raise NotFound("route_not_found", f"{what}; its routes: {routes}")
        chosen = [one for one in every if route in (None, one.route) and from_stage in (None, one.from_stage)]
        wanted = await self._stale_of(found.config, chosen)
        items: list[tuple[Place, Result]] = []
        left_out = await self._declared_by_stage(found, wanted.values())
        async with aclosing(self._results(dataset, found.n, wanted, start, left_out)) as results:
            async for one in results:
                items.append(one)
                if len(items) > limit:
                    break
        then = encode_cursor("\n".join(items[limit - 1][0]), of) if len(items) > limit else None
        page = [one for _, one in items[:limit]]
        failed = await self._catalog.failed_replays([one.received_key for one in page])
        return Page([_of_result(one, wanted[one.made_by], failed) for one in page], then)

    async def received(
        self, dataset: int, found: Publication, route: str, from_stage: str, condition: CodeCondition
    ) -> AsyncGenerator[str, None]:
        """Yield the paths of the objects of a stage for which a route has a result of such code.

        Raises:
            BadRequest: `selection_empty`: the publication has no such result.
            Conflict: `code_unknown`: an adapter of the route is not loaded here.
        """
        made = [
            one
            for one in await self._made(dataset, found.n)
            if (one.route, one.from_stage) == (route, from_stage)
        ]
        left_out: Mapping[str, Sequence[Sequence[UUID]]] = {}
        if condition.is_newest:
            wanted = await self._stale_of(found.config, made)
            left_out = await self._declared_by_stage(found, wanted.values())
        else:
            wanted = {one.id: one for one in made if condition.is_met(one.code or ())}
        if not wanted:
            known = ", ".join(dict.fromkeys(_versions(one) for one in made)) or "nothing"
            raise BadRequest(
                "selection_empty",
                f"publication {found.n} of {found.dataset} has no result of route {route} for stage "
                f"{from_stage} with {condition}. What made its results: {known}",
            )
        async for _, one in self._results(dataset, found.n, wanted, Place("", ""), left_out):
            yield one.received

    async def _results(
        self,
        dataset: int,
        n: int,
        wanted: Mapping[MadeById, MadeBy],
        start: Place,
        left_out: Mapping[str, Sequence[Sequence[UUID]]],
    ) -> AsyncGenerator[tuple[Place, Result], None]:
        """Yield results of a publication that these have made, with the places of their first objects.

        Args:
            left_out: by stage, replays whose declarations make results valid, which are left out.
        """
        for stage in sorted({one.stage for one in wanted.values()}, key=str.encode):
            if stage.encode() < start.stage.encode():
                continue
            path = start.path if stage == start.stage else ""
            while page := await self._catalog.results_in(dataset, n, stage=stage, after=path, limit=_PAGE):
                valid = set[str]()
                for replays in left_out.get(stage, ()):
                    last = page[-1].path
                    valid |= await self._catalog.declared_in(
                        dataset, n, replays, stage=stage, after=path, last=last
                    )
                for one in page:
                    if one.made_by in wanted and one.path not in valid:
                        yield Place(stage, one.path), one
                if len(page) < _PAGE:
                    break
                path = page[-1].path

    async def _declared(
        self, config: str, dataset: str, newest: Mapping[str, Route]
    ) -> dict[str, list[UUID]]:
        """Return the replays whose declarations about results of a dataset are in force, by route."""
        found: dict[str, list[UUID]] = {}
        versions: dict[int, Mapping[str, Route]] = {}
        for one in await self._catalog.declarations(config, dataset):
            version = one.config_version
            if version not in versions:
                versions[version] = await self._routes(config, version)
            if self._is_stale(newest.get(one.route), versions[version][one.route], one.adapters) is False:
                found.setdefault(one.route, []).append(one.execution_id)
        return found

    async def _valid(
        self,
        dataset: int,
        n: int,
        made: Sequence[MadeBy],
        stale: Mapping[MadeById, bool | None],
        declared: Mapping[str, Sequence[UUID]],
    ) -> dict[MadeById, int]:
        """Return how many of the results that would be stale are declared valid, by what has made them."""
        places = {
            (one.route, stage)
            for one in made
            if one.route in declared and stale[one.id]
            for stage in (one.stage, f"{SINK}{one.route}")  # those without objects are there
        }
        found = Counter[MadeById]()
        for route, stage in places:
            found.update(await self._catalog.count_declared(dataset, n, declared[route], stage=stage))
        return {by: count for by, count in found.items() if stale.get(by)}

    async def _declared_by_stage(
        self, found: Publication, made: Iterable[MadeBy]
    ) -> dict[str, list[Sequence[UUID]]]:
        """Return the replays whose declarations are in force, by the stage of the results."""
        declared = await self._declared(found.config, found.dataset, await self._routes(found.config, None))
        by_stage: dict[str, list[Sequence[UUID]]] = {}
        for route, stage in {(one.route, one.stage) for one in made if one.route in declared}:
            by_stage.setdefault(stage, []).append(declared[route])
        return by_stage

    async def _stale_of(self, config: str, made: Sequence[MadeBy]) -> Mapping[MadeById, MadeBy]:
        """Return those that have made stale results. Raises `Conflict` (`code_unknown`)."""
        stale = await self._stale(config, await self._routes(config, None), made)
        if unknown := [one.route for one in made if stale[one.id] is None]:
            raise Conflict(
                "code_unknown",
                f"the adapters of route {unknown[0]} are not loaded here, so the code of its results cannot "
                "be compared. Load them (PLAYHEAD_ADAPTERS), or ask a server that has them (--server)",
            )
        return {one.id: one for one in made if stale[one.id]}

    async def _made(self, dataset: int, n: int) -> Sequence[MadeBy]:
        return (await self._catalog.made_by(dataset, [n])).get(n, [])

    async def _stale(
        self, config: str, newest: Mapping[str, Route], made: Iterable[MadeBy]
    ) -> dict[MadeById, bool | None]:
        """Return whether results are stale; None: an adapter of their route is not loaded here."""
        versions: dict[int, Mapping[str, Route]] = {}
        found: dict[MadeById, bool | None] = {}
        for one in made:
            if one.id in found:
                continue
            if one.version not in versions:
                versions[one.version] = await self._routes(config, one.version)
            found[one.id] = self._is_stale(newest.get(one.route), versions[one.version][one.route], one.code)
        return found

    async def _routes(self, config: str, version: int | None) -> Mapping[str, Route]:
        found = await self._catalog.config(config, version)
        assert found, "versions are never deleted"
        return found.config.routes

    def _is_stale(
        self, route: Route | None, made_as: Route, code: Sequence[AdapterCode] | None
    ) -> bool | None:
        if route is None or not route.has_outputs_of(made_as):
            return True
        if route.external:
            return False
        here = code_here(route, self._adapters)
        return None if here is None else list(code or ()) != here


def total_stale(results: Iterable[RouteResults]) -> int | None:
    """Return the number of stale results; None if it is not known of a route."""
    numbers = [one.stale for one in results]
    return None if None in numbers else sum(number or 0 for number in numbers)


def _of_result(one: Result, by: MadeBy, failed: Mapping[tuple[str, str], str]) -> StaleResult:
    error = failed.get((one.received_key, by.route))
    return StaleResult(by.route, by.from_stage, one.received, one.key, error)


def _versions(made: MadeBy) -> str:
    return " ".join(f"{one.type} {one.version}" for one in made.code or ()) or "another program"


def _of_code(one: MadeBy, *, is_stale: bool | None, declared: int) -> CodeResults:
    adapters = None if one.code is None else list(one.code)
    is_newest = None if is_stale is None else not is_stale
    return CodeResults(one.route, one.from_stage, one.version, adapters, one.results, is_newest, declared)


def _by_route(
    made: Sequence[MadeBy],
    stale: Mapping[MadeById, bool | None],
    valid: Mapping[MadeById, int],
    newest: Container[str],
) -> list[RouteResults]:
    routes: dict[tuple[str, str], list[MadeBy]] = defaultdict(list)
    for one in made:
        routes[one.route, one.from_stage].append(one)
    found = []
    for (route, stage), some in sorted(routes.items()):
        is_known = None not in [stale[one.id] for one in some]
        declared = sum(valid.get(one.id, 0) for one in some)
        number = sum(one.results for one in some if stale[one.id]) - declared if is_known else None
        results = sum(one.results for one in some)
        found.append(RouteResults(route, stage, results, number, route in newest, declared))
    return found
