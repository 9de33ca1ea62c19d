"""Old code of workers in the words of the pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from playhead.model import CodeNote, RouteStatus, Warning, Worker, WorkerAdapter
from playhead.reading import codecheck
from playhead.warningtext import listed
from playhead.web.affected import affected_url
from playhead.web.render import counted

_TITLES: Final = {
    "code_changed": "{} old code of {}",
    "code_other_here": "{} another {} than this server",
    "code_differs": "Workers have loaded different code of adapter {1}",
}


@dataclass(frozen=True, slots=True)
class OldCode:
    """Workers whose code is not that of its source, or not that of other workers.

    Attributes:
        id: identifies it.
        title: what is wrong.
        detail: which processes, adapters and routes, and what to do.
        made: by adapter, URL of what the old code has made.
    """

    id: str
    title: str
    detail: str
    made: Mapping[str, str]


def old_code(workers: Sequence[Worker], routes: Sequence[RouteStatus] = ()) -> list[OldCode]:
    """Return the workers with old code, in words; see `reading.codecheck.old_code`.

    Args:
        routes: those to name if such a worker serves them.
    """
    return [_shown(one, workers, routes) for one in codecheck.old_code(workers)]


def without_current(workers: Sequence[Worker]) -> list[Worker]:
    """Return the workers without the note `differs` of adapters whose old code is known.

    The processes with the current code differ from the one with the old code, but nothing is wrong with them.
    """
    known = {one.type for worker in workers for one in worker.adapters if codecheck.outdated(one)}

    def noted(one: WorkerAdapter) -> WorkerAdapter:
        notes: list[CodeNote] = [note for note in one.notes if note != "differs"]
        return replace(one, notes=notes) if one.type in known else one

    return [replace(worker, adapters=[noted(one) for one in worker.adapters]) for worker in workers]


def _shown(w: Warning, workers: Sequence[Worker], routes: Sequence[RouteStatus]) -> OldCode:
    is_one = len(w.places) == 1
    runs = f"{counted(len(w.places), 'worker')} {'runs' if is_one else 'run'}"
    what = (
        "Any of them may receive a message"
        if w.code == "code_differs"
        else f"Restart {'it' if is_one else 'them'} to load the new code"
    )
    return OldCode(
        f"{w.code}.{w.subject}",
        _TITLES[w.code].format(runs, w.subject),
        f"{'; '.join(_where(w, workers, routes))}. {what}.",
        _made(w, workers),
    )


def _where(w: Warning, workers: Sequence[Worker], routes: Sequence[RouteStatus]) -> Iterator[str]:
    """Yield the processes, the adapters, and the routes in which these processes run these adapters."""
    yield listed(w.places)
    yield f"adapters: {', '.join(w.adapters)}"
    queues = {
        (queue, one.type)
        for worker in workers
        for one in worker.adapters
        if w.code == "code_differs" or codecheck.outdated(one)
        for queue in worker.queues
    }
    if served := [
        f"{route.config}/{route.route}"
        for route in routes
        if any((route.queue, kind) in queues for kind in w.adapters if kind in route.adapters)
    ]:
        yield f"routes: {listed(served)}"


def _made(w: Warning, workers: Sequence[Worker]) -> dict[str, str]:
    """Return URLs of what the code that is not current has made; none if the current one is not known."""
    old = {
        one.type: one.code
        for worker in workers
        for one in worker.adapters
        if one.type in w.adapters and {"changed", "other_here"}.intersection(one.notes)
    }
    return {
        kind: affected_url(adapter=f"{kind}@{code}")
        for kind, code in sorted(old.items())
        if code.startswith("sha256:")
    }
