"""An index that follows a dataset: writing, staging, switch, and search."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from bench.deployments import Deployment
from bench.figures import Figure, median
from bench.homes import paths
from bench.machine import report
from bench.publish_runs import Size, publish, replayed, run_of, timed, working
from playhead.bootstrap import open_runtime
from playhead.bootstrap.process import Runtime
from playhead.model import ReplayRequest

_SEARCHED: Final = """
version: "1.0"
name: bench
entry: first
datasets: {docs: {}}
routes:
  first:
    adapters: [{type: passthrough}]
    outbound: {stage: copies, to: [index]}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
"""
_UNBOUND: Final = (
    _SEARCHED.replace("name: bench", "name: unbound")
    .replace("datasets: {docs: {}}\n", "")
    .replace("search.db", "unbound.db")
)
_WORDS: Final = 100
_PUBLICATIONS: Final = 5
_TARGET_SEARCH: Final = 1.3
_TARGET_WRITING: Final = 0.95


async def sink(deployment: Deployment, catalog: str, size: Size) -> list[Figure]:
    searched: dict[int, list[float]] = {}
    staged: list[float] = []
    switched: list[float] = []
    async with open_runtime(deployment.settings, kind="run") as rt:
        await rt.services.configs.apply(_SEARCHED)
        marks = _marked(rt)
        async with working(deployment, rt, 2):
            executions = [await run_of(rt, _texts(size.indexed))]
        for n in range(1, _PUBLICATIONS + 1):
            if n == 2:
                again = ReplayRequest(executions[0], "copies", None, "index")
                async with working(deployment, rt, 2):
                    executions += [await replayed(rt, again) for _ in range(_PUBLICATIONS - 1)]
            await publish(rt, executions[n - 1])
            switched.append(time.perf_counter() - marks.decided)
            staged.append(marks.staged - marks.finished)
            report(f"    publication {n} with a sink: {staged[-1]:.2f} s")
            if n in (1, _PUBLICATIONS):
                searched[n] = [await timed(_search(rt, at)) for at in range(size.searches)]
    one, many = (median(searched[n]) * 1000 for n in (1, _PUBLICATIONS))
    results = f"{size.indexed:,} results ({catalog})"
    return [
        Figure(
            f"sink: staging of {results}",
            median(staged) * 10_000 / size.indexed,
            "s",
            [seconds * 10_000 / size.indexed for seconds in staged],
            "seconds per 10,000 results",
        ),
        Figure(f"sink: switch to {results}", median(switched) * 1000, "ms", baseline="without the staging"),
        Figure(
            f"search, {_PUBLICATIONS} publications of {results}",
            many,
            "ms",
            baseline=f"one publication: {one:.2f} ms",
            ratio=many / one,
            target=f"at most {_TARGET_SEARCH:g} of one",
            passes=many <= _TARGET_SEARCH * one,
        ),
    ]


async def writing(deployment: Deployment, catalog: str, size: Size) -> Figure:
    """Run the same inputs into an index that follows a dataset and into one that does not, in turn."""
    rates: dict[str, list[float]] = {"unbound": [], "bench": []}
    async with open_runtime(deployment.settings) as rt:
        for text in (_UNBOUND, _SEARCHED):
            await rt.services.configs.apply(text)
        async with working(deployment, rt, 4):
            for _ in range(size.rounds):
                for name, rate in rates.items():
                    seconds = await timed(run_of(rt, _texts(size.indexed), name))
                    rate.append(size.indexed / seconds)
    unbound, bound = (median(rate) for rate in rates.values())
    return Figure(
        f"sink: results written in a run ({catalog})",
        bound,
        "/s",
        rates["bench"],
        f"an index without a dataset: {unbound:,.0f}/s",
        bound / unbound,
        f"at least {_TARGET_WRITING:g} of it",
        bound >= _TARGET_WRITING * unbound,
    )


@dataclass
class _Marks:
    """When a publication had its content, when the sinks had it, and when it was decided."""

    finished: float = 0.0
    staged: float = 0.0
    decided: float = 0.0


def _marked(rt: Runtime) -> _Marks:
    """Record the times of each publication of this process. Its own loop may write to the sinks, too."""
    catalog: Any = rt.catalog
    marks = _Marks()

    def mark(method: str, name: str) -> None:
        original = getattr(catalog, method)

        async def marked(*given: Any, **named: Any) -> Any:
            answer = await original(*given, **named)
            setattr(marks, name, time.perf_counter())
            return answer

        setattr(catalog, method, marked)

    for method, name in (("finish_draft", "finished"), ("staged", "staged"), ("decide_draft", "decided")):
        mark(method, name)
    return marks


async def _texts(count: int) -> AsyncIterator[tuple[str, bytes]]:
    for n, path in enumerate(paths(count)):
        yield path, f"A text about word{n % _WORDS}, with the number {n}.".encode()


async def _search(rt: Runtime, at: int) -> None:
    hits = await rt.services.search.search("search.db", f"word{at % _WORDS}")
    if len(hits) != 10:
        raise RuntimeError(f"a search found {len(hits)} texts")
