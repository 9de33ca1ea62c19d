"""Compare the code that live workers have loaded: with each other, and with the code of this machine."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from playhead.errors import Conflict
from playhead.model import AdapterCode, CodeNote, Config, Route, Warning, Worker, WorkerAdapter
from playhead.model.warnings import CodeWarning
from playhead.ports.catalog.code import Code
from playhead.warningtext import warning_text

Warn = Callable[[Warning], None]
"""Called with each warning, before anything is recorded."""
Loaded = tuple[str, str, str]
"""An adapter that a process has loaded: the host of the process, the source, and the type."""
_SOURCE: Final = "sha256:"


def no_warning(_: Warning) -> None:
    """Ignore a warning."""


class CodeHere(Protocol):
    """The code of this machine."""

    def __call__(self, host: str, source: str, kind: str) -> tuple[CodeNote, str] | None:
        """Return the code that this machine has now of an adapter that a process on `host` has loaded.

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
            (worker.host, one.source, one.type)
            for worker in workers
            for one in worker.adapters
            if one.code.startswith(_SOURCE)
        }
        here = await asyncio.to_thread(self._codes_here, sources) if sources else {}
        differing = set(_differing(workers))

        def noted(worker: Worker, one: WorkerAdapter) -> WorkerAdapter:
            notes = list(one.notes)
            if (
                (found := here.get((worker.host, one.source, one.type)))
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

    def _codes_here(self, sources: Iterable[Loaded]) -> dict[Loaded, tuple[CodeNote, str]]:
        return {source: found for source in sources if (found := self._here(*source))}

    async def check(
        self, config: Config, entry: str, *, required: bool, allow_old: bool = True
    ) -> list[Warning]:
        """Return warnings about the code that would process messages in route `entry` and those after it.

        Raises:
            Conflict: `code_differs`, if workers have outdated or different code, unless it is allowed; if
                `required`, also if a route has no worker.
        """
        routes = _from(config, entry)
        consumers = await self._consumers(routes)
        types = _types(routes)
        found = old_code(consumers, types)
        unknown = [] if self._works else _unconsumed(consumers, routes)
        if required and (found or unknown):
            texts = [warning_text(one) for one in found]
            texts += [f"no worker consumes {queue}, so its code is unknown: start one" for queue in unknown]
            raise Conflict(
                "code_differs",
                f"{'; '.join(texts)}. Nothing was recorded, because current code is required",
            )
        if found and not allow_old:
            raise Conflict(
                "code_differs",
                f"{'; '.join(map(warning_text, found))}. Nothing was recorded. Restart the workers, or allow "
                "old code: `--allow-old-code`, in Python `allow_old_code=True`",
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

    async def unversioned_here(self, types: Collection[str] | None = None) -> list[Warning]:
        """Return a warning if adapters of this process have changed, but not their versions.

        Args:
            types: only these adapters; None: all.
        """
        return await self._unversioned(one for one in self._loaded if types is None or one.type in types)

    async def _unversioned(self, adapters: Iterable[AdapterCode]) -> list[Warning]:
        """Return a warning about those of these adapters that have changed, but not their versions.

        An adapter has changed if it has run with other code and not yet with this one.
        """
        current = {
            AdapterCode(one.type, one.version, one.code) for one in adapters if one.code.startswith(_SOURCE)
        }
        if not current:
            return []
        recorded = await self._catalog.recorded_code(sorted({one.type for one in current}))
        versions = {(one.type, one.version) for one in recorded if one.code.startswith(_SOURCE)}
        found = {
            one.type: one.version
            for one in current
            if (one.type, one.version) in versions and one not in recorded
        }
        if not found:
            return []
        detail = next(iter(found.values())) if len(found) == 1 else ""
        return [Warning("version_unchanged", adapters=sorted(found), detail=detail)]


def other_versions(workers: Sequence[Worker]) -> Iterator[Warning]:
    """Yield a warning for each process that runs another version of Playhead than most others do."""
    versions = Counter(worker.version for worker in workers)
    if len(versions) > 1:
        [(usual, _)] = versions.most_common(1)
        for worker in workers:
            if worker.version != usual:
                yield Warning(
                    "other_playhead", _place(worker), codes={worker.version: [_place(worker)]}, detail=usual
                )


def old_code(workers: Sequence[Worker], types: Collection[str] | None = None) -> list[Warning]:
    """Return the warnings about workers whose code is not that of the source, or not that of other workers.

    A worker has old code if the source that it has loaded has changed, or if this machine has another one. If
    only the code of workers differs, it is not known which of them is current.

    Args:
        types: only these adapters; None: all.
    """
    outdated = list(_outdated(workers, types))
    named = {kind for one in outdated for kind in one.adapters}
    return outdated + [one for one in _different(workers, types) if one.subject not in named]


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


def _unconsumed(consumers: Sequence[Worker], routes: Sequence[Route]) -> list[str]:
    """Return the queues of routes with steps that no process consumes."""
    return [
        route.queue
        for route in routes
        if route.steps and not any(_may_consume(one, [route]) for one in consumers)
    ]


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


def outdated(adapter: WorkerAdapter) -> CodeNote | None:
    """Return the note that an adapter of a process has other code than its source now; None without one.

    That processes have different code does not say which of them has the old one.
    """
    return next((note for note in adapter.notes if note != "differs"), None)


def _outdated(workers: Sequence[Worker], types: Collection[str] | None) -> Iterator[Warning]:
    """Yield a warning for each source whose code in processes is not that of the file or of this machine."""
    found: dict[tuple[CodeNote, str], tuple[dict[str, None], set[str]]] = {}
    for worker in workers:
        for one in worker.adapters:
            note = outdated(one)
            if note and (types is None or one.type in types):
                places, kinds = found.setdefault((note, _name(one.source)), ({}, set()))
                places[_place(worker)] = None
                kinds.add(one.type)
    for (note, name), (places, kinds) in found.items():
        code: CodeWarning = "code_changed" if note == "changed" else "code_other_here"
        yield Warning(code, name, sorted(kinds), list(places))


def _different(workers: Sequence[Worker], types: Collection[str] | None) -> Iterator[Warning]:
    """Yield a warning for each adapter of which the processes have loaded different code."""
    codes: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for worker in workers:
        for one in worker.adapters:
            if types is None or one.type in types:
                codes[one.type][one.code].append(_place(worker))
    for kind in sorted(codes):
        if len(codes[kind]) > 1:
            places = [place for at in codes[kind].values() for place in at]
            yield Warning("code_differs", kind, [kind], places, codes=dict(codes[kind]))


def _place(worker: Worker) -> str:
    return f"{worker.kind} {worker.pid} on {worker.host}"


def _name(source: str) -> str:
    return source.rpartition("/")[2]
