"""Compare the code that live workers have loaded: with each other, and with the code of this machine."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from playhead.errors import Conflict
from playhead.model import AdapterCode, CodeNote, Config, Route, Worker, WorkerAdapter
from playhead.ports.catalog.code import Code

Warn = Callable[[str], None]
"""Called with each warning, before anything is recorded."""
_SOURCE: Final = "sha256:"
_MOST_NAMED: Final = 5
_CHANGED: Final = "has changed since it was loaded by"
_OTHER_HERE: Final = "this machine has another"
_DIFFERENT: Final = "workers have loaded different code of adapter"


def no_warning(_: str) -> None:
    """Ignore a warning."""


def compares_code(warning: str) -> bool:
    """Whether a warning is about code that differs from that of another worker, its file or this machine."""
    return warning.startswith((_OTHER_HERE, _DIFFERENT)) or f" {_CHANGED} " in warning


class CodeHere(Protocol):
    """The code of this machine."""

    def __call__(self, host: str, source: str) -> tuple[CodeNote, str] | None:
        """Return the code that this machine has now of a source that a process on `host` has loaded.

        The note is the one to set if the codes differ: `changed` for the same file, `other_here` for a file
        or module with the same name. None: this machine has no such source. Blocks while it reads files.
        """
        ...


class CodeCheck:
    """Compares code.

    Args:
        loaded: the adapters of this process.
        works: whether this process runs the messages of what it checks.
    """

    def __init__(
        self, catalog: Code, here: CodeHere, loaded: Sequence[AdapterCode] = (), *, works: bool = False
    ) -> None:
        self._works = works
        self._catalog = catalog
        self._here = here
        self._loaded = loaded

    async def workers(self) -> list[Worker]:
        """Return the live processes, oldest first. The notes of their adapters name all differences."""
        workers = await self._catalog.worker_code()
        sources = {
            (worker.host, one.source)
            for worker in workers
            for one in worker.adapters
            if one.code.startswith(_SOURCE)
        }
        here = await asyncio.to_thread(self._codes_here, sources) if sources else {}
        differing = set(_differing(workers))

        def noted(worker: Worker, one: WorkerAdapter) -> WorkerAdapter:
            notes = list(one.notes)
            if (
                (found := here.get((worker.host, one.source)))
                and found[1] != one.code
                and found[0] not in notes
            ):
                notes.append(found[0])
            if (worker.worker_id, one.type) in differing:
                notes.append("differs")
            return replace(one, notes=notes) if notes else one

        return [
            replace(worker, adapters=[noted(worker, one) for one in worker.adapters]) for worker in workers
        ]

    def _codes_here(self, sources: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[CodeNote, str]]:
        return {source: found for source in sources if (found := self._here(*source))}

    async def check(self, config: Config, entry: str, *, required: bool) -> list[str]:
        """Return warnings about the code that would process messages in route `entry` and those after it.

        Raises:
            Conflict: `code_differs`, if `required`, and workers have outdated or different code, or a route
                has no worker.
        """
        routes = _from(config, entry)
        consumers = await self._consumers(routes)
        types = _types(routes)
        found = list(_outdated(consumers, types)) + list(_different(consumers, types))
        unknown = [] if self._works else list(_unconsumed(consumers, routes))
        if required and (found or unknown):
            raise Conflict(
                "code_differs",
                f"{'; '.join([*found, *unknown])}. Nothing was recorded, because current code is required",
            )
        running: list[AdapterCode] = [one for worker in consumers for one in worker.adapters]
        running += self._loaded if self._works else ()
        return found + await self._unversioned(one for one in running if one.type in types)

    async def consumers(self, routes: Sequence[Route]) -> list[Worker]:
        """Return the live processes that may consume one of the queues, with the adapters of these routes."""
        types = _types(routes)
        return [
            replace(worker, adapters=[one for one in worker.adapters if one.type in types])
            for worker in await self._consumers(routes)
        ]

    async def _consumers(self, routes: Sequence[Route]) -> list[Worker]:
        return [one for one in await self.workers() if _may_consume(one, routes)]

    async def unversioned_here(self, types: Collection[str] | None = None) -> list[str]:
        """Return a warning for each source of this process that has changed, but not the adapters' versions.

        Args:
            types: only these adapters; None: all.
        """
        return await self._unversioned(one for one in self._loaded if types is None or one.type in types)

    async def _unversioned(self, adapters: Iterable[AdapterCode]) -> list[str]:
        """Return the warnings about these adapters.

        An adapter has changed if it has run with other code and not yet with this one. A fingerprint covers
        a whole source, so adapters of one source share a warning. If the version of one of them was raised,
        the author has decided for the whole source.
        """
        current = {
            AdapterCode(one.type, one.version, one.code) for one in adapters if one.code.startswith(_SOURCE)
        }
        if not current:
            return []
        recorded = await self._catalog.recorded_code(sorted({one.type for one in current}))
        versions = {(one.type, one.version) for one in recorded if one.code.startswith(_SOURCE)}
        types = {one.type for one in recorded}
        raised = {
            one.code for one in current if one.type in types and (one.type, one.version) not in versions
        }
        sources: dict[str, list[AdapterCode]] = defaultdict(list)
        for one in sorted(current, key=lambda one: (one.type, one.version)):
            if (one.type, one.version) in versions and one not in recorded and one.code not in raised:
                sources[one.code].append(one)
        return [_unchanged_version(adapters) for adapters in sources.values()]


def _unchanged_version(adapters: Sequence[AdapterCode]) -> str:
    """Return the warning about the adapters of a source."""
    if len(adapters) == 1:
        return (
            f"the source of adapter {adapters[0].type} has changed, but its version is still "
            f"{json.dumps(adapters[0].version)}: raise the version in @adapter if its outputs change"
        )
    return (
        f"the source of adapters {_listed([one.type for one in adapters])} has changed, but their versions "
        "have not: raise the version in @adapter of those whose outputs change"
    )


def other_versions(workers: Sequence[Worker]) -> Iterator[str]:
    """Yield a warning for each process that runs another version of Playhead than most others do."""
    versions = Counter(worker.version for worker in workers)
    if len(versions) > 1:
        [(usual, _)] = versions.most_common(1)
        for worker in workers:
            if worker.version != usual:
                yield f"{_place(worker)} runs Playhead {worker.version}, the other workers {usual}"


def _types(routes: Sequence[Route]) -> set[str]:
    return {step.type for route in routes for step in route.steps}


def _from(config: Config, entry: str) -> list[Route]:
    """Return a route and all routes that its outputs reach."""
    names = [entry]
    for name in names:
        names += [to for to in config.routes[name].to if to not in names]
    return [config.routes[name] for name in names]


def _may_consume(worker: Worker, routes: Sequence[Route]) -> bool:
    """Whether a process consumes one of the queues. A worker that has just started reports no queue yet."""
    if not worker.queues:
        return worker.kind == "worker"
    return any(route.queue in worker.queues for route in routes)


def _unconsumed(consumers: Sequence[Worker], routes: Sequence[Route]) -> Iterator[str]:
    """Yield a reason for each route whose code is unknown, because no process consumes its queue."""
    for route in routes:
        if route.steps and not any(_may_consume(one, [route]) for one in consumers):
            yield f"no worker consumes {route.queue}, so its code is unknown: start one"


def _differing(workers: Sequence[Worker]) -> Iterator[tuple[str, str]]:
    """Yield process and type of adapters whose code differs between processes with a common queue."""
    by_queue: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for worker in workers:
        for queue in worker.queues:
            for one in worker.adapters:
                by_queue[queue, one.type][one.code].add(worker.worker_id)
    for (_, kind), codes in by_queue.items():
        if len(codes) > 1:
            yield from ((worker, kind) for workers_of in codes.values() for worker in workers_of)


def _outdated(consumers: Sequence[Worker], types: set[str]) -> Iterator[str]:
    """Yield a warning for each source whose code in processes is not that of the file or of this machine."""
    names: dict[tuple[CodeNote, str], tuple[dict[str, None], set[str]]] = {}
    for worker in consumers:
        for one in worker.adapters:
            note: CodeNote | None = next((note for note in one.notes if note != "differs"), None)
            if note and one.type in types:
                places, kinds = names.setdefault((note, _name(one.source)), ({}, set()))
                places[_place(worker)] = None
                kinds.add(one.type)
    for (note, name), (places, kinds) in names.items():
        subject, adapters = _listed(list(places)), ", ".join(sorted(kinds))
        if note == "changed":
            yield (
                f"{name} {_CHANGED} {subject} (adapters: {adapters}). The old code "
                "runs until they are restarted; with --reload, workers restart themselves"
            )
        else:
            yield f"{_OTHER_HERE} {name} than {subject} (adapters: {adapters})"


def _different(consumers: Sequence[Worker], types: set[str]) -> Iterator[str]:
    """Yield a warning for each adapter of which the processes have loaded different code."""
    codes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for worker in consumers:
        for one in worker.adapters:
            if one.type in types:
                codes[one.type][one.code].append(_place(worker))
    for kind in sorted(codes):
        if len(codes[kind]) > 1:
            shown = "; ".join(f"{_short(code)} in {_listed(at)}" for code, at in codes[kind].items())
            yield f"{_DIFFERENT} {kind}: {shown}"


def _place(worker: Worker) -> str:
    return f"{worker.kind} {worker.pid} on {worker.host}"


def _listed(places: Sequence[str]) -> str:
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return ", ".join(places[:_MOST_NAMED]) + more


def _name(source: str) -> str:
    return source.rpartition("/")[2]


def _short(code: str) -> str:
    return code[: len(_SOURCE) + 12] if code.startswith(_SOURCE) else code
