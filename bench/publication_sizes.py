"""Long names, strange paths, many sinks, many publications, and a server that does nothing."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import UUID

from playhead.model import PublishRequest
from tests import servers
from tests.acceptance.publishing import INPUTS, Publishing, open_publishing
from tests.inprocess import Playhead, opened

_LONG: Final = "n" * 63
_PATHS: Final = (
    *(
        "a b.md",
        "ä/ö é.md",
        "q?x=1#f.md",
        "100%.md",
        "%2F.md",
        "'quote.md",
        "a&b;c.md",
        "-dash.md",
        "*",
        "null",
    ),
    *("emoji😀.md", "a/" * 50 + "f.md", "~tilde.md", ":colon.md", "[b]{c}.md", "a\u200bzero.md", ".hidden"),
    *("\u202ertl.md", "A.md", "a.md", "a/.../b.md", "a+b.md", "<script>.md"),
)
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def sizes(*, publications: int, sinks: int, idle_seconds: float) -> list[str]:
    """Print a line for each, and return what is wrong."""
    wrong = asyncio.run(_names_and_paths())
    wrong += asyncio.run(_sinks(sinks))
    wrong += asyncio.run(_publications(publications))
    return wrong + _idle(idle_seconds)


@asynccontextmanager
async def _dataset(sinks: Iterable[str], *, name: str = "docs") -> AsyncIterator[Playhead]:
    """Open a Playhead with a dataset and its sinks, by their routes."""
    routes = list(sinks)
    config = f"""
version: "1.0"
name: {name}
entry: first
datasets: {{{name}: {{max_removed: 1}}}}
routes:
  first:
    adapters: [{{type: passthrough}}]
    outbound: {{stage: A, to: [{", ".join(routes)}]}}
"""
    for route in routes:
        config += f"  {route}:\n    adapters: [{{type: sqlite_search, config: {{path: {route}.db}}}}]\n"
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder) / "home") as ph:
            await ph.apply(config)
            yield ph


async def _run(ph: Playhead, files: Mapping[str, bytes], config: str = "docs") -> UUID:
    answer = await ph.http.post(
        f"/api/v1/configs/{config}/run", files=[("files", one) for one in files.items()]
    )
    assert answer.status_code == 202, answer.text
    execution = answer.json()["execution_id"]
    await ph.work(execution)
    return UUID(execution)


async def _publish(ph: Playhead, run: UUID, name: str = "docs") -> None:
    await ph.rt.services.publish.publish(name, PublishRequest([run], allow=["older"]))


async def _settled(ph: Playhead, name: str = "docs") -> None:
    while True:
        found = await ph.get(f"datasets/{name}")
        if all(one["seq"] == found["seq"] for one in found["sinks"]):
            return
        await asyncio.sleep(0.02)


async def _names_and_paths() -> list[str]:
    wrong = []
    async with _dataset([_LONG], name=_LONG) as ph:
        await _publish(ph, await _run(ph, {path: path.encode() for path in _PATHS}, _LONG), _LONG)
        await _settled(ph, _LONG)
        listed = [one["path"] for one in await ph.items(f"datasets/{_LONG}/objects", stage="A", limit=3)]
        if sorted(listed) != sorted(_PATHS):
            wrong.append(f"paths that differ: {set(listed) ^ set(_PATHS)}")
        for path in _PATHS:
            answer = await ph.http.get(f"/api/v1/datasets/{_LONG}/content/A/{quote(path)}")
            if answer.content != path.encode():
                wrong.append(f"content of {path!r}: {answer.text}")
        changes = await ph.items(f"datasets/{_LONG}/changes", since=0, stage="A", limit=2)
        if {one["path"] for one in changes} != set(_PATHS):
            wrong.append("the changes lack paths")
    print(f"names of 63 characters, {len(_PATHS)} strange paths: {len(wrong)} wrong", flush=True)
    return wrong


async def _sinks(count: int) -> list[str]:
    async with _dataset(f"index{n}" for n in range(count)) as ph:
        seconds = []
        for text in (b"one", b"two"):
            run = await _run(ph, {f"p{n}.md": text for n in range(10)})
            began = time.perf_counter()
            await _publish(ph, run)
            await _settled(ph)
            seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        await ph.post("datasets/docs/rollback", {"to": 1})
        await _settled(ph)
        back = time.perf_counter() - began
        shown = {one["shown"] for one in (await ph.get("datasets/docs"))["sinks"]}
    print(f"{count} sinks: published in {seconds[-1]:.2f} s, rolled back in {back:.2f} s", flush=True)
    return [] if shown == {1} else [f"{count} sinks show {shown}"]


async def _publications(count: int) -> list[str]:
    async with _dataset(["index"]) as ph:
        runs = [await _run(ph, {f"p{n}.md": text for n in range(3)}) for text in (b"one", b"two")]
        spent: list[float] = []
        for n in range(count):
            began = time.process_time()
            await _publish(ph, runs[n % 2])
            spent.append(time.process_time() - began)
            if n % 100 == 99:
                await ph.rt.services.publish.drafts.drop_due()
        await _settled(ph)
        began = time.process_time()
        await ph.post("datasets/docs/rollback", {})
        back = time.process_time() - began
        listed = len(await ph.items("datasets/docs/publications", limit=1000, all="true"))
        size = sum(one.stat().st_size for one in ph.rt.settings.home.rglob("*.db")) / 1e6
    few = max(count // 20, 1)
    first, last = (sum(some) / few * 1000 for some in (spent[:few], spent[-few:]))
    print(
        f"{listed:,} publications: {first:.1f} ms of CPU for each of the first, {last:.1f} of the last; "
        f"rollback {back * 1000:.0f} ms; {size:.1f} MB",
        flush=True,
    )
    return [] if listed == count else [f"{listed} of {count} publications are listed"]


def _idle(seconds: float) -> list[str]:
    """Let a server and a worker with a dataset and its sinks do nothing."""
    with open_publishing(servers.server("postgres"), HEARTBEAT_SECONDS="5", LEASE_SECONDS="30") as (
        made,
        vectors,
    ):
        at = Publishing(made, vectors, inputs=dict(list(INPUTS.items())[:20]))
        at.publish(at.run)
        at.settled()
        running = [one for one in made.processes if one.code is None]
        before = [_used(one.popen.pid) for one in running]
        lines = [len(one.said.splitlines()) for one in running]
        time.sleep(seconds)
        used = [_used(one.popen.pid) for one in running]
        said = sum(len(one.said.splitlines()) for one in running) - sum(lines)
        wrong = at.leftovers()
    share = [(now - then) / seconds * 100 for (now, _), (then, _) in zip(used, before, strict=True)]
    grown = [(now - then) / 1e6 for (_, now), (_, then) in zip(used, before, strict=True)]
    print(
        f"{seconds:g} idle seconds: at most {max(share):.1f} % of a processor, {sum(share):.1f} % in all; "
        f"{max(grown):+.1f} MB; {said} log lines",
        flush=True,
    )
    return wrong


def _used(pid: int) -> tuple[float, int]:
    """Return the seconds of processor time and the bytes of memory of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
