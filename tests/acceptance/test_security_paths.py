"""Nothing outside of the store's root and the data folder is read or written, whatever is planted meanwhile.

Another process swaps a folder, or a file, with a link that leads out, some 100,000 times a second, while the
store and the index work in it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from playhead import Context, Item, Reject
from playhead.adapters.sqlite_search import SqliteSearch, SqliteSearchConfig, index_file, search
from playhead.backends.store_fs import TEMP
from playhead.errors import BadRequest, NotFound, PlayheadError
from playhead.ids import uuid7
from playhead.ports.store import Blob
from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, open_deployment
from tests.store_files import OnlyFiles

SECONDS = 1.0
"""For so long at least; longer where a slow machine has not met enough of it by then."""
SECRET = b"secret" * 1000
SWAPPING = Path(__file__).with_name("swapping.py")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="swapping two names in one step is Linux's"),
]


@contextmanager
def swapped(folder: Path, name: str, target: Path) -> Iterator[None]:
    """While the block runs, another process swaps `name` with a link to `target`."""
    with subprocess.Popen(
        [sys.executable, str(SWAPPING), str(folder), name, "planted", str(target)], stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == b"swapping\n"
            yield
            assert process.poll() is None, "the swapping ended before the test"
        finally:
            process.kill()


_SOME = ("read", "not read", "refused")


def _goes_on(began: float, is_enough: bool) -> bool:
    """Whether to try on, since then."""
    passed = time.monotonic() - began
    return passed < SECONDS or (not is_enough and passed < DEADLINE_SECONDS)


def held(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("folder", "swap", "link"),
    [
        ("e", "s", "outside"),  # the folder of a stage
        ("", "e", "outside/up"),  # that of an execution
        ("", TEMP, "outside"),  # that of temporary files
        ("e/s", "both", "outside/both"),  # an object
        ("e/s", "both.meta.json", "outside/both"),  # a sidecar
    ],
    ids=["stage", "execution", "temporary", "object", "sidecar"],
)
async def test_a_store_in_which_links_are_swapped_in_leads_nowhere(
    tmp_path: Path, folder: str, swap: str, link: str
):
    root, outside = tmp_path / "objects", tmp_path / "outside"
    store = OnlyFiles(root, max_object_bytes=1 << 20)
    key, sidecar = "e/s/both", "e/s/both.meta.json"
    await store.write([[Blob(sidecar, b"{}"), Blob(key, b"mine")]])
    for place in (outside, outside / "up/s"):
        place.mkdir(parents=True)
        for name in ("both", "both.meta.json", "alone"):
            (place / name).write_bytes(SECRET)
    before = held(outside)
    seen: Counter[str] = Counter()

    def is_enough() -> bool:
        met = {TEMP: ("store_unavailable",), "s": _SOME, "e": _SOME}.get(swap, ())
        return seen["written"] > 50 and all(seen[what] > 10 for what in met)

    began = time.monotonic()
    with swapped(root / folder, swap, tmp_path / link):
        while _goes_on(began, is_enough()):
            try:
                for data in await store.read([key, sidecar]):
                    assert data in (None, b"mine", b"{}")
                    seen["read" if data else "not read"] += 1
                try:
                    streamed = b"".join([piece async for piece in store.stream(key)])
                except NotFound:
                    streamed = b""
                assert streamed in (b"", b"mine")
                found = [entry async for page in store.list("e", sizes=True) for entry in page]
                assert all(entry.size != len(SECRET) for entry in found)
                assert not [entry.key for entry in found if entry.key.endswith("alone")]
                assert (await store.stat("e/s/alone")) is None
                seen["listed" if found else "not listed"] += 1
                for outcome in await store.write(
                    [[Blob(sidecar, b"{}"), Blob(key, b"mine")], [Blob("e/s/new/deep", b"mine")]]
                ):
                    seen["refused" if outcome else "written"] += 1
            except PlayheadError as exc:
                if swap != TEMP:  # without which a store is not there, for a moment
                    raise
                seen[exc.code] += 1
    await store.close()
    assert held(outside) == before
    assert is_enough(), seen


OLD = uuid7()


def _context(data: Path, execution: UUID) -> Context:
    return Context(execution, uuid7(), "docs", 1, "index", 1, None, str(data), logging.getLogger("test"))


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_an_index_for_which_a_link_is_swapped_in_is_no_other_file(tmp_path: Path, suffix: str):
    data, outside = tmp_path / "data", tmp_path / "outside"
    for place, text in ((outside, "secret"), (data, "mine")):
        place.mkdir()
        index = SqliteSearch(SqliteSearchConfig(path="search.db"))
        index(Item("a.md", text.encode()), _context(place, OLD))
        index.close()
    if suffix:
        (outside / f"search.db{suffix}").write_bytes(SECRET)
    before = held(outside)
    seen: Counter[str] = Counter()

    def is_enough() -> bool:
        return sum(seen.values()) > 20 and bool(suffix or min(seen["refused"], seen["not searched"]) > 3)

    began = time.monotonic()
    with swapped(data, f"search.db{suffix}", outside / f"search.db{suffix}"):
        while _goes_on(began, is_enough()):
            index = SqliteSearch(SqliteSearchConfig(path="search.db"))
            try:
                index(Item("b.md", b"mine"), _context(data, OLD))
                seen["written"] += 1
            except Reject:
                seen["refused"] += 1
            except (sqlite3.Error, OSError) as exc:
                seen[type(exc).__name__] += 1
            finally:
                with contextlib.suppress(sqlite3.Error):
                    index.close()
            for _ in range(50):  # cheap, and so often in the middle of a swap
                try:
                    hits = search(index_file(data, "search.db"), "secret mine", OLD)
                    assert all(hit.snippet == "[mine]" for hit in hits)
                    seen["searched"] += 1
                except BadRequest:
                    seen["not searched"] += 1
                except PlayheadError as exc:
                    seen[exc.code] += 1
    assert held(outside) == before
    assert is_enough(), seen


def _ask(deployment: Deployment, path: str, **query: str) -> httpx.Response:
    return httpx.get(
        f"{deployment.url}/api/v1{path}", params=query, timeout=DEADLINE_SECONDS, trust_env=False
    )


def test_what_somebody_planted_is_neither_listed_nor_given_nor_waited_for():
    """Pipes, sockets, devices and links in the folder of an execution that other programs filled."""
    execution = "0198f6f0-0000-7000-8000-000000000001"
    with open_deployment() as deployment:
        deployment.serve()
        stage = deployment.objects / execution / "pages"
        stage.mkdir(parents=True)
        (deployment.folder / "secret").write_bytes(SECRET)
        (stage / "real").write_bytes(b"mine")
        os.mkfifo(stage / "pipe")
        (stage / "file").symlink_to(deployment.folder / "secret")
        (stage / "folder").symlink_to(deployment.folder)
        (stage / "zero").symlink_to("/dev/zero")
        (stage / "real.meta.json").symlink_to(deployment.folder / "secret")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(stage / "socket"))
        with contextlib.suppress(PermissionError):
            os.mknod(stage / "device", 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero
        found = [item["path"] for item in deployment.items("/storage/objects", execution_id=execution)]
        assert found == ["real"]
        for name in ("pipe", "file", "folder/secret", "zero", "socket", "device", "folder"):
            for what in ("content", "metadata"):
                answer = _ask(deployment, f"/storage/objects/{what}", key=f"{execution}/pages/{name}")
                assert (answer.status_code, answer.json()["error_code"]) == (404, "object_not_found")
        answer = _ask(deployment, "/storage/objects/metadata", key=f"{execution}/pages/real")
        assert (answer.status_code, answer.json()["error_code"]) == (404, "object_not_found")
