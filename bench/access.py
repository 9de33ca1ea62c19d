"""What the check of a key costs: alone, and in a request, compared with an open server and with no check."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.types import ASGIApp

from bench.figures import Figure, median, middle_ratio
from bench.homes import SOURCE, opened
from bench.machine import report, scratch
from playhead.api.app import create_app
from playhead.api.callers import Hosts
from playhead.api.identify import Identify
from playhead.bootstrap.process import Runtime
from playhead.credentials import new_key, whole
from playhead.errors import Unauthorized
from playhead.model.access import KeyRequest
from playhead.server import Server, listener
from playhead.services.identity import IdentityService

_MICROSECONDS: Final = 1e6
_TARGET_CHECK: Final = 20.0
_TARGET_KEY: Final = 1.03
_TARGET_OPEN: Final = 1.01
_TARGET_DIFFERENCE: Final = 5.0
_LIMIT: Final = 1 << 20
_PATH: Final = "/api/v1/executions"
_TURN: Final = 10
"""Requests of one kind in a row."""
_CLIENT: Final = """
import http.client, json, sys
connections = {}
for line in sys.stdin:
    kind, port, header, path, times = json.loads(line)
    connection = connections.setdefault(kind, http.client.HTTPConnection("127.0.0.1", port))
    wrong = ""
    for _ in range(times):
        connection.request("GET", path, headers={"Authorization": header} if header else {})
        response = connection.getresponse()
        response.read()
        wrong = wrong if response.status == 200 else response.status
    print(wrong, flush=True)
"""

Work = Callable[[], Awaitable[object]]


def measure(memory: Path | None, *, requests: int, rounds: int, samples: int) -> list[Figure]:
    """Measure the processor time of a check, and that of a server per request over a socket.

    Args:
        requests: in each round, of each kind.
        samples: refused keys of each kind.
    """
    with scratch(memory) as folder:
        return asyncio.run(_measure(folder, requests, rounds, samples))


async def _measure(folder: Path, requests: int, rounds: int, samples: int) -> list[Figure]:
    async with opened(folder / "home", "serve") as rt:
        await rt.services.configs.apply(SOURCE)
        created = await rt.services.access.create(KeyRequest("bench", ["read"]))
        await rt.services.access.open()  # so that the same server also answers requests without a key
        await rt.services.identity.beat()
        return [
            await _check(rt.services.identity, created.key, requests, rounds),
            *await _requests(rt, created.key, requests, rounds),
            await _difference(rt.services.identity, created.key, samples),
        ]


async def _spent(work: Work, times: int) -> float:
    """Return microseconds of processor time of one call."""
    began = time.process_time()
    for _ in range(times):
        await work()
    return (time.process_time() - began) / times * _MICROSECONDS


async def _check(identity: IdentityService, key: str, requests: int, rounds: int) -> Figure:
    async def check() -> None:
        await identity.of_key(key, changes=False, address="192.0.2.1")

    took = [await _spent(check, requests * 10) for _ in range(rounds)]
    report(f"  check of a remembered key: {median(took):.1f} µs")
    return Figure(
        "check of a key that the server remembers",
        median(took),
        "µs",
        rounds=took,
        target=f"at most {_TARGET_CHECK:g} µs",
        passes=median(took) <= _TARGET_CHECK,
    )


async def _requests(rt: Runtime, key: str, requests: int, rounds: int) -> list[Figure]:
    """Measure what the server spends on a request that arrives over a socket."""
    checked, unchecked = _app(rt), _app(rt)
    unchecked.user_middleware = [one for one in unchecked.user_middleware if one.cls is not Identify]
    async with _listening(checked) as with_check, _listening(unchecked) as without, _asking() as ask:
        # Each kind has its own connection.
        bearer = f"Bearer {key}"
        kinds: Mapping[str, tuple[int, str]] = {
            "open, no check": (without, ""),
            "open": (with_check, ""),
            "key, no check": (without, bearer),
            "key": (with_check, bearer),
        }
        order = list(kinds)
        took: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(rounds):
            # They take turns after a few requests, because the speed of the machine changes all the time.
            single: dict[str, list[float]] = {kind: [] for kind in kinds}
            for turn in range(max(1, requests // _TURN)):
                for kind in order[turn % 4 :] + order[: turn % 4]:
                    single[kind].append(await _spent(partial(ask, kind, *kinds[kind]), 1) / _TURN)
            for kind, values in single.items():
                took[kind].append(median(values))
    return [
        _request_figure("with a key", took["key"], took["key, no check"], _TARGET_KEY),
        _request_figure("to an open server", took["open"], took["open, no check"], _TARGET_OPEN),
    ]


def _request_figure(name: str, ours: list[float], theirs: list[float], most: float) -> Figure:
    ratio = middle_ratio(ours, theirs)
    report(f"  GET /executions {name}: {median(ours):.0f} µs, ratio {ratio:.3f}")
    return Figure(
        f"GET /executions {name}",
        median(ours),
        "µs",
        rounds=ours,
        baseline=f"the same without the check: {median(theirs):.0f} µs",
        ratio=ratio,
        target=f"at most {most:g}",
        passes=ratio <= most,
    )


async def _difference(identity: IdentityService, key: str, samples: int) -> Figure:
    """Compare how long the refusal of an unknown key and of a wrong secret takes."""
    unknown, wrong = new_key().text, _with_id(key[4:12])
    took: dict[str, list[float]] = {unknown: [], wrong: []}
    for n in range(samples):
        # The second of two queries is faster, so each kind comes first half of the time.
        for text in (unknown, wrong) if n % 2 else (wrong, unknown):
            began = time.perf_counter()
            with suppress(Unauthorized):
                await identity.of_key(text, changes=True)
            took[text].append((time.perf_counter() - began) * _MICROSECONDS)
    one, other = median(took[unknown]), median(took[wrong])
    report(f"  refusal of an unknown key {one:.1f} µs, of a wrong secret {other:.1f} µs")
    return Figure(
        "refusal of a wrong secret, against an unknown key",
        other,
        "µs",
        baseline=f"unknown key: {one:.1f} µs",
        ratio=other / one,
        target=f"difference of the medians below {_TARGET_DIFFERENCE:g} µs",
        passes=abs(other - one) < _TARGET_DIFFERENCE,
    )


def _with_id(identity: str) -> str:
    """Return a key of valid form with this public id and another secret."""
    return whole(f"phk_{identity}_{new_key().text[13:45]}")


def _app(rt: Runtime) -> Any:
    return create_app(
        rt.services, version="0", hosts=Hosts(True), max_body_bytes=_LIMIT, max_upload_bytes=_LIMIT
    )


@asynccontextmanager
async def _listening(app: ASGIApp) -> AsyncIterator[int]:
    """Serve an app in this event loop as `playhead serve` does; yield its port."""
    with listener("127.0.0.1", 0) as sock:
        server = Server(app, max_connections=100)
        sock.listen(8)
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def _asking() -> AsyncIterator[Callable[[str, int, str], Awaitable[None]]]:
    """Start a client in another process, so that only the server's time counts."""
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CLIENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdin
    assert client.stdout
    to, out = client.stdin, client.stdout

    async def ask(kind: str, port: int, header: str) -> None:
        to.write(json.dumps([kind, port, header, _PATH, _TURN]).encode() + b"\n")
        if (answer := await out.readline()) != b"\n":
            raise RuntimeError(f"GET {_PATH} was answered with {answer.decode() or 'nothing'}")

    try:
        yield ask
    finally:
        to.close()
        await client.wait()
