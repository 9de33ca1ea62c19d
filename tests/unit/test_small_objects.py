"""Small objects of the file store: rows next to files, changes of size, crashes, free space, the format."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from playhead.backends.store_fs import TEMP, FileStore
from playhead.backends.store_fs.small import FILES, NAME, SmallObjects
from playhead.errors import CannotStart, Unavailable
from playhead.ports.store import Blob, Entry
from tests.store_files import OnlyFiles
from tests.stored import is_stored, put, stored

LIMIT = 1 << 20
LARGE = b"large" * 20_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[FileStore]:
    store = FileStore(root, max_object_bytes=LIMIT)
    yield store
    await store.close()


async def write(store: FileStore, **blobs: bytes) -> None:
    assert await store.write([[Blob(f"e/s/{name}", data)] for name, data in blobs.items()]) == [None] * len(
        blobs
    )


async def entries(store: FileStore, prefix: str = "", *, page: int = 1000) -> list[Entry]:
    return [entry async for some in store.list(prefix, sizes=True, page=page) for entry in some]


async def keys(store: FileStore, prefix: str = "", *, page: int = 1000) -> list[str]:
    return [entry.key for entry in await entries(store, prefix, page=page)]


async def streamed(store: FileStore, key: str) -> bytes:
    return b"".join([piece async for piece in store.stream(key)])


def files(root: Path) -> set[str]:
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {str(path) for path in found} - FILES


# -- rows and files --------------------------------------------------------------------------------


async def test_small_objects_and_sidecars_are_no_files_and_large_objects_are(store, root):
    most = FileStore.most_small_bytes
    names = {"most": most, "over": most + 1, "x.meta.json": 2, "empty": 0}
    await write(store, **{name: bytes(size) for name, size in names.items()})
    assert files(root) == {"e/s/over"}
    assert {entry.key: entry.size for entry in await entries(store)} == {
        f"e/s/{name}": size for name, size in names.items()
    }


async def test_rows_and_files_are_listed_in_one_order(store, root):
    for n in range(40):
        if n % 3:
            await write(store, **{f"{n:02}": b"row"})
        else:
            put(root, f"e/s/{n:02}", b"file")
        put(root, f"e/s/{n:02}-/x", b"deep")
    expected = sorted([f"e/s/{n:02}" for n in range(40)] + [f"e/s/{n:02}-/x" for n in range(40)])
    for page in (1, 3, 80, 1000):
        assert await keys(store, "e/s", page=page) == expected
    after = [key async for some in store.list("e/s", after="e/s/20", page=7) for key, *_ in some]
    assert after == [key for key in expected if key > "e/s/20"]


async def test_objects_of_a_store_that_had_only_files_are_read_listed_replaced_and_deleted(store, root):
    old = OnlyFiles(root, max_object_bytes=LIMIT)
    await write(old, a=b"old a", b=b"old b", c=b"old c")
    await old.close()

    await write(store, b=b"new b", d=b"new d")
    assert await store.read([f"e/s/{name}" for name in "abcd"]) == [b"old a", b"new b", b"old c", b"new d"]
    assert await keys(store) == [f"e/s/{name}" for name in "abcd"]
    assert files(root) == {"e/s/a", "e/s/c"}
    await store.delete(["e/s/a", "e/s/b"])
    assert await keys(store) == ["e/s/c", "e/s/d"]


async def test_a_file_of_another_program_replaces_a_row_until_it_is_removed(store, root):
    await write(store, x=b"row")
    [before] = await entries(store)
    put(root, "e/s/x", b"theirs!")
    [entry] = await entries(store)
    assert (entry.key, entry.size, entry.tag == before.tag) == ("e/s/x", 7, False)
    assert await store.read(["e/s/x"]) == [b"theirs!"]
    assert await streamed(store, "e/s/x") == b"theirs!"
    stat = await store.stat("e/s/x")
    assert stat is not None
    assert stat.size == 7

    (root / "e/s/x").unlink()
    assert await entries(store) == [before]
    put(root, "e/s/x", b"again")
    await store.delete(["e/s/x"])
    assert await keys(store) == []
    assert files(root) == set()


@pytest.mark.parametrize("sizes", [(b"s", LARGE, b"t"), (LARGE, b"s", LARGE)])
async def test_an_object_whose_size_changes_is_one_object_with_its_last_bytes(store, root, sizes):
    tags = set[str]()
    for data in sizes:
        await write(store, x=data)
        assert await store.read(["e/s/x"]) == [data]
        assert await streamed(store, "e/s/x") == data
        [entry] = await entries(store)
        assert entry.size == len(data)
        tags.add(entry.tag)
        assert files(root) == ({"e/s/x"} if data == LARGE else set())
    assert len(tags) == 3
    await store.delete(["e/s/x"])
    assert stored(root) == {}


async def test_an_object_that_becomes_a_file_between_two_looks_of_a_reader_is_read(store, root, monkeypatch):
    other = FileStore(root, max_object_bytes=LIMIT)

    def change_first(look: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Runs in a thread of the reader, which has found no file."""

        def changed(keys: Any) -> Any:
            asyncio.run(write(other, x=LARGE))
            return look(keys)

        return changed

    for verb, call in (
        ("read", lambda: store.read(["e/s/x"])),
        ("read", lambda: streamed(store, "e/s/x")),
        ("stat", lambda: store.stat("e/s/x")),
    ):
        await write(store, x=b"row")
        monkeypatch.setattr(
            store._small, verb, change_first(getattr(SmallObjects, verb).__get__(store._small))
        )
        found = await call()
        assert found in ([LARGE], LARGE) or (isinstance(found, Entry) and found.size == len(LARGE))
        monkeypatch.undo()
    await other.close()


@pytest.mark.parametrize("name", sorted(FILES))
async def test_the_names_of_the_database_are_no_keys(store, name):
    for key in (name, f"{name}/x"):
        [outcome] = await store.write([[Blob(key, b"x")]])
        assert outcome is not None
        assert outcome.code == "invalid_key"
        assert await store.read([key]) == [None]
    assert await keys(store) == []


async def test_a_tag_is_not_used_again_after_a_delete(store):
    tags = set[str]()
    for _ in range(5):
        await write(store, x=b"12345")
        tags.update(entry.tag for entry in await entries(store))
        await store.delete(["e/s/x"])
    assert len(tags) == 5


# -- crashes ---------------------------------------------------------------------------------------

WRITE = """
import asyncio, os, signal, sys
from pathlib import Path
from playhead.backends.store_fs import FileStore
from playhead.backends.store_fs.folders import Folders
from playhead.backends.store_fs.small import SmallObjects
from playhead.ports.store import Blob

async def main(root, point, size):
    def kill(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    store = FileStore(root, max_object_bytes=1 << 20)
    if point == "before the row is deleted":
        SmallObjects.delete = kill
    elif point == "before the file is removed":
        Folders.delete_all = kill
    elif point == "before the row is written":
        SmallObjects.write = kill
    elif point == "before the file is placed":
        Folders.move = kill
    sidecar = Blob("e/s/x.meta.json", b"{}")
    await store.write([[sidecar, Blob("e/s/x", b"n" * size)]])

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
"""


@pytest.mark.parametrize(
    ("old", "new", "point", "seen"),
    [
        (b"o", 100_000, "before the row is written", "old"),  # that of the sidecar
        (b"o", 100_000, "before the file is placed", "old"),
        (b"o", 100_000, "before the row is deleted", "new"),
        (LARGE, 10, "before the row is written", "old"),
        (LARGE, 10, "before the file is removed", "old"),
    ],
)
async def test_a_writer_that_is_killed_leaves_the_old_or_the_new_bytes(root, old, new, point, seen):
    store = FileStore(root, max_object_bytes=LIMIT)
    await write(store, x=old)
    command = [sys.executable, "-c", WRITE, str(root), point, str(new)]
    done = await asyncio.to_thread(subprocess.run, command, check=False)
    assert done.returncode == -signal.SIGKILL
    expected = old if seen == "old" else b"n" * new
    assert await store.read(["e/s/x"]) == [expected]
    assert [entry.size for entry in await entries(store) if entry.key == "e/s/x"] == [len(expected)]

    await write(store, x=b"n" * new)  # as a worker repeats it
    assert await store.read(["e/s/x"]) == [b"n" * new]
    assert files(root) == ({"e/s/x"} if new > 10 else set()) | {
        f"{TEMP}/{name}" for name in os.listdir(root / TEMP)
    }
    await store.close()


WRITE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from playhead.backends.store_fs import FileStore
from playhead.ports.store import Blob

async def main(root, name):
    store = FileStore(root, max_object_bytes=1 << 20)
    n = 0
    while True:
        keys = [f"e/{name}/{n:06}-{m}" for m in range(20)]
        groups = [[Blob(f"{key}.meta.json", b"{}"), Blob(key, b"x" * 3_000)] for key in keys]
        await store.write(groups, written=lambda key: print(key, flush=True))
        n += 1

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def test_after_processes_that_write_at_once_are_killed_all_reported_objects_exist(root):
    for lines in (1, 150, 2_000):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITE_FOR_EVER, str(root), f"{lines}-{n}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(2)
        ]
        named: set[str] = set()
        for writer in writers:
            assert writer.stdout
            named.update(writer.stdout.readline().strip() for _ in range(lines))
        for writer in writers:
            assert writer.stdout
            writer.send_signal(signal.SIGKILL)
            named.update(line.strip() for line in writer.stdout if line.endswith("\n"))
            writer.wait()
            writer.stdout.close()
        found = stored(root)
        assert named <= set(found)
        for key, data in found.items():
            assert len(data) == (2 if key.endswith(".meta.json") else 3_000)
            assert key.endswith(".meta.json") or f"{key}.meta.json" in found


# -- the file --------------------------------------------------------------------------------------


async def fill(store: FileStore, count: int) -> list[str]:
    names = [f"e/s/{n:05}" for n in range(count)]
    for at in range(0, count, 500):
        await store.write([[Blob(key, bytes(8_000))] for key in names[at : at + 500]])
    return names


async def test_the_space_of_deleted_objects_is_given_back_when_it_is_most_of_the_file(store, root):
    names = await fill(store, 4_000)
    full = sum(os.stat(root / one).st_size for one in os.listdir(root) if one == NAME)
    assert full > 4_000 * 8_000 * 0.5
    await store.delete(names[:1_000])
    assert os.stat(root / NAME).st_size >= full, "new objects use this space"
    await store.delete(names[1_000:3_900])
    assert os.stat(root / NAME).st_size < full / 10
    assert await keys(store) == names[3_900:]
    assert await store.read([names[-1]]) == [bytes(8_000)]


async def test_the_log_does_not_grow_with_the_number_of_objects(store, root):
    await fill(store, 6_000)
    assert os.stat(root / f"{NAME}-wal").st_size < 24 << 20
    await store.close()
    assert FILES & set(os.listdir(root)) == {NAME}


async def test_a_database_that_another_program_removes_is_an_error_and_not_an_empty_store(store, root):
    await write(store, x=b"row")
    for name in FILES:
        (root / name).unlink(missing_ok=True)
    for call in (store.read(["e/s/x"]), store.stat("e/s/x"), keys(store), write(store, y=b""), store.check()):
        with pytest.raises(Unavailable, match=r"\.objects\.db.*was it removed"):
            await call


async def test_a_database_that_is_put_back_is_used_again(store, root):
    await write(store, x=b"row")
    root.rename(root.with_name("aside"))
    with pytest.raises(Unavailable):
        await store.read(["e/s/x"])
    shutil.copytree(root.with_name("aside"), root)
    assert await store.read(["e/s/x"]) == [b"row"]
    await write(store, y=b"new")
    assert is_stored(root, "e/s/y")
    assert not is_stored(root.with_name("aside"), "e/s/y")


async def test_a_database_of_a_newer_version_is_refused(store, root):
    with closing(sqlite3.connect(root / NAME)) as con:
        con.execute("PRAGMA user_version=2")
    with pytest.raises(CannotStart, match="a newer Playhead created"):
        FileStore(root, max_object_bytes=LIMIT)


async def test_a_link_in_place_of_the_database_is_not_followed(store, root):
    await write(store, x=b"row")
    (root / NAME).rename(root.parent / "elsewhere.db")
    (root / NAME).symlink_to(root.parent / "elsewhere.db")
    with pytest.raises(Unavailable, match="replaced"):
        await store.read(["e/s/x"])


def test_the_program_of_the_documentation_copies_the_objects_of_a_stage(root, tmp_path):
    async def lay_out() -> None:
        store = FileStore(root, max_object_bytes=LIMIT)
        await write(store, small=b"row", large=LARGE, **{"a.meta.json": b"{}"})
        assert await store.write([[Blob("e/s-2/x", b"other stage")]]) == [None]
        put(root, "e/s/deep/theirs", b"file")
        await store.close()

    asyncio.run(lay_out())
    page = (Path(__file__).parents[2] / "docs/decisions/0014-small-objects.md").read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    subprocess.run([sys.executable, "-c", program, root, "e/s", tmp_path / "copy"], check=True)
    assert {
        str(path.relative_to(tmp_path / "copy")) for path in (tmp_path / "copy").rglob("*") if path.is_file()
    } == {f"e/s/{name}" for name in ("small", "large", "a.meta.json", "deep/theirs")}
    assert (tmp_path / "copy/e/s/small").read_bytes() == b"row"
    assert (tmp_path / "copy/e/s/large").read_bytes() == LARGE


FILL_A_SMALL_DISK = """
import asyncio, sys
from pathlib import Path
from playhead.backends.store_fs import FileStore
from playhead.errors import StoreFull
from playhead.ports.store import Blob

async def main(root):
    store = FileStore(root, max_object_bytes=1 << 20)
    n = 0
    try:
        while True:
            await store.write([[Blob(f"e/s/{n}.meta.json", b"{}"), Blob(f"e/s/{n}", bytes(50_000))]])
            n += 1
    except StoreFull as exc:
        print(exc.code, str(exc.detail))
    found = [entry.key async for page in store.list("e") for entry in page]
    print(n, len(found), len(await store.read(found)))
    (root / "filler").unlink()
    print(await store.write([[Blob("e/s/last", bytes(50_000))]]))

root = Path(sys.argv[1])
(root / "filler").write_bytes(bytes(300_000))
asyncio.run(main(root))
"""


def test_a_write_on_a_full_disk_is_store_full_and_works_as_soon_as_there_is_room(tmp_path):
    mount = f'mount -t tmpfs -o size=2m tmpfs "{tmp_path}"'
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*own_mounts, mount], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    script = f'{mount} && exec "$0" -c "$1" "{tmp_path}"'
    done = subprocess.run(
        [*own_mounts, script, sys.executable, FILL_A_SMALL_DISK], capture_output=True, text=True, check=True
    )
    error, counts, last = done.stdout.splitlines()
    assert error.startswith("store_full cannot write")
    assert "free some space there, and work resumes" in error
    written, listed, read = map(int, counts.split())
    assert listed == read == 2 * written > 0
    assert last == "[None]"
