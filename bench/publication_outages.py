"""A sink that is unavailable: before a decision nothing moves, and afterwards it arrives by itself."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Final

from tests.acceptance.processes import client
from tests.acceptance.publishing import INPUTS, Publishing, Reads, open_publishing
from tests.servers import Server, fresh

_INPUTS: Final = dict(list(INPUTS.items())[:20])
_LINE: Final = "{:<15} {:>8} {:>9} {:>5} {:>8} {:>11} {:>9} {:>6} {:>9} {:>6}"
_HEAD: Final = _LINE.format(
    *(
        "outage",
        "seconds",
        "switches",
        "dead",
        "cancel s",
        "rollback s",
        "reported",
        "reads",
        "arrived s",
        "wrong",
    )
)


@contextmanager
def _stopped(server: Server, at: Publishing) -> Iterator[None]:
    server.stop()
    yield
    server.start()


@contextmanager
def _frozen(server: Server, at: Publishing) -> Iterator[None]:
    server.pause()
    yield
    server.resume()


@contextmanager
def _locked(server: Server, at: Publishing) -> Iterator[None]:
    with closing(sqlite3.connect(at.deployment.data / "search.db", isolation_level=None, timeout=60)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def _moved(server: Server, at: Publishing) -> Iterator[None]:
    """The folder is not there: no file can be opened, and none is created in its place."""
    data = at.deployment.data
    away = data.rename(data.with_name("away"))
    data.write_text("not a folder")
    yield
    data.unlink()
    away.rename(data)


@dataclass(frozen=True)
class _Outage:
    """What is unavailable. `sink`: route of a sink that is; `is_readable`: readers can read it meanwhile."""

    begin: Callable[[Server, Publishing], AbstractContextManager[None]]
    sink: str
    is_readable: bool


_OUTAGES: Final[Mapping[str, _Outage]] = {
    "server stopped": _Outage(_stopped, "table", is_readable=False),
    "server frozen": _Outage(_frozen, "table", is_readable=False),
    "file locked": _Outage(_locked, "index", is_readable=True),
    "folder removed": _Outage(_moved, "index", is_readable=False),
}


def outages(*, seconds: float) -> list[str]:
    """Print one line for each outage, and return what is wrong."""
    print(_HEAD, flush=True)
    wrong = []
    for name, outage in _OUTAGES.items():
        with (
            fresh("postgres") as server,
            open_publishing(server.url, HEARTBEAT_SECONDS="1", LEASE_SECONDS="5") as (made, vectors),
        ):
            at = Publishing(made, vectors, inputs=_INPUTS)
            line, found = _attempt(at, server, outage, seconds)
            wrong += [f"{name}: {one}" for one in found]
        print(_LINE.format(name, *line), flush=True)
    print("switches, dead: moved pointers and dead letters before the decision; reads: of what was shown")
    print("reported: by the dataset, doctor, the metric and the page; arrived: after the end of the outage")
    return wrong


def _attempt(at: Publishing, server: Server, outage: _Outage, seconds: float) -> tuple[list[str], list[str]]:
    first, second, third = at.replay(), at.replay(), at.replay()
    for execution in (at.run, first, second):
        at.publish(execution)
    at.settled()
    before = at.dataset()
    wrong = []
    with outage.begin(server, at):
        draft = at.begin(third)
        time.sleep(seconds)
        found = at.dataset()
        switches, dead = found["seq"] - before["seq"], len(list(at.deployment.items("/dead-letters")))
        if (found["draft"] or {}).get("n") != draft["n"] or switches or dead:
            wrong.append(f"before the decision: {found}, {dead} dead letters")
        began = time.monotonic()
        at.deployment.post(f"/datasets/docs/publications/{draft['n']}/cancel")
        cancel, began = time.monotonic() - began, time.monotonic()
        at.roll_back(2)
        back = time.monotonic() - began
        time.sleep(max(seconds / 2, 6))
        reported = _reported(at, outage.sink)
        # `doctor` reports a lag after a minute.
        if missing := {"dataset", "metric", "page", *(["doctor"] if seconds > 140 else [])} - reported:
            wrong.append(f"the outage is not reported by {', '.join(sorted(missing))}")
        reads = _reads(at, outage, second, wrong)
    began = time.monotonic()
    at.settled()
    arrived = time.monotonic() - began
    if at.seen("catalog") != {first} or at.seen(outage.sink) != {first}:
        wrong.append("it does not show the publication")
    at.publish(third)
    at.settled()
    wrong += at.leftovers()
    numbers = (f"{cancel:.1f}", f"{back:.1f}", f"{len(reported)} of 4", reads, f"{arrived:.1f}", len(wrong))
    return [f"{seconds:g}", str(switches), str(dead), *map(str, numbers)], wrong


def _reads(at: Publishing, outage: _Outage, shown: str, wrong: list[str]) -> int:
    """Read the sink while it cannot be changed: it has the earlier publication, as a whole."""
    if not outage.is_readable:
        return 0
    reads = Reads(len(_INPUTS))
    with at.reader(outage.sink) as read:
        for _ in range(100):
            seen = read()
            reads.note(outage.sink, seen)
            if set(seen) != {shown}:
                wrong.append(f"readers saw {set(seen)} during the outage, not {shown}")
    wrong += reads.mixtures
    return reads.count


def _reported(at: Publishing, route: str) -> set[str]:
    """Return what reports that a sink is behind."""
    found = set()
    [sink] = [one for one in at.dataset()["sinks"] if one["route"] == route]
    if sink["lag_seconds"] > 0 and sink["shown"] == 3:
        found.add("dataset")
    doctor = at.deployment.start("doctor", "--json", stdout=-1)
    out, _ = doctor.popen.communicate(timeout=120)
    if f"{route} of docs" in str(out):
        found.add("doctor")
    with client(at.deployment.url) as http:
        name = f'playhead_sink_lag_seconds{{config="docs",dataset="docs",route="{route}"}}'
        lags = [line for line in http.get("/metrics").text.splitlines() if line.startswith(name)]
        if lags and float(lags[0].rpartition(" ")[2]) > 0:
            found.add("metric")
        if f"sinks behind: {route}" in http.get("/datasets/docs").text:
            found.add("page")
    return found
