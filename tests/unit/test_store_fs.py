"""Files of the file store: links, special files and names, permissions, a full disk, crashes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from playhead.backends.store_fs import LEFTOVER_SECONDS, TEMP, FileStore, folders
from playhead.backends.store_fs.listing import NameCache
from playhead.backends.store_fs.small import FILES
from playhead.errors import MessageError, NotFound, Unavailable
from playhead.events import NAMES_LEFT_OUT
from playhead.ports.store import Blob
from tests.store_files import OnlyFiles

LIMIT = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
async def store(root: Path) -> AsyncIterator[FileStore]:
    store = OnlyFiles(root, max_object_bytes=LIMIT)
    yield store
    await store.close()


async def put(store: FileStore, *keys: str, data: bytes = b"x") -> None:
    assert await store.write([[Blob(key, data)] for key in keys]) == [None] * len(keys)


async def keys_at(store: FileStore, prefix: str = "", **how) -> list[str]:
    return [entry.key async for page in store.list(prefix, **how) for entry in page]


def open_files(below: Path | None = None) -> int:
    """Return the number of open descriptors, on Linux only those below a folder.

    A process that runs many tests opens others meanwhile.
    """
    here = Path("/proc/self/fd")
    if below is None or not here.exists():
        return len(os.listdir("/dev/fd"))
    count = 0
    for descriptor in here.iterdir():
        with contextlib.suppress(FileNotFoundError):
            target = descriptor.readlink()
            count += target.is_relative_to(below.resolve()) and target.name not in FILES
    return count


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# -- delete ----------------------------------------------------------------------------------------


async def test_folders_that_are_empty_after_a_delete_are_removed_and_no_others(store, root):
    await put(store, "e/stage/a/b/x", "e/stage/a/y", "f/stage/z")
    await store.delete(["e/stage/a/b/x"])
    assert not (root / "e/stage/a/b").exists()
    assert (root / "e/stage/a/y").exists()
    await store.delete(["e/stage/a/y", "f/stage/z"])
    assert {path.name for path in root.iterdir()} - FILES == {TEMP}


async def test_a_folder_with_a_file_that_is_no_object_stays(store, root):
    await put(store, "e/stage/x")
    (root / "e/stage/link").symlink_to(root)
    await store.delete(["e/stage/x", "e/stage/link"])
    assert (root / "e/stage/link").is_symlink()


async def test_an_object_is_stored_although_its_folder_is_removed_before_the_rename(store, root):
    other = OnlyFiles(root, max_object_bytes=LIMIT)
    await put(store, "e/stage/x")

    def remove_the_folder(key: str) -> None:
        """Runs in the thread of the write, which has the folder open for the next blob."""
        asyncio.run(other.delete([key]))

    keys = [f"e/stage/{n}" for n in range(3)]
    await store.delete(["e/stage/x"])
    assert await store.write([[Blob(key, b"x") for key in keys]], written=remove_the_folder) == [None]
    assert await keys_at(store) == []
    await put(store, *keys)
    assert await keys_at(store) == keys
    await other.close()


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_an_object_is_stored_although_a_new_folder_is_removed_at_once(store, monkeypatch, nth):
    """By a delete in another thread, before the temporary file is written."""
    mkdir, made = os.mkdir, []

    def remove_after(name: str, *given: Any, dir_fd: int, **named: Any) -> None:
        mkdir(name, *given, dir_fd=dir_fd, **named)
        made.append(name)
        if len(made) == nth:
            os.rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", remove_after)
    await put(store, "e/s/deep/x")
    assert await store.read(["e/s/deep/x"]) == [b"x"]
    assert len(made) > 3


async def test_nothing_counts_as_deleted_while_the_store_is_not_mounted(store, root):
    await put(store, "e/stage/x")
    root.rename(root.with_name("away"))
    root.mkdir()
    with pytest.raises(Unavailable, match="mounted"):
        await store.delete(["e/stage/x"])


async def test_an_object_that_cannot_be_deleted_is_reported(store, root):
    if os.geteuid() == 0:
        pytest.skip("root may delete everything")
    await put(store, "e/stage/x")
    (root / "e/stage").chmod(0o500)
    with pytest.raises(Unavailable, match="cannot delete"):
        await store.delete(["e/stage/x"])
    (root / "e/stage").chmod(0o700)


# -- files -----------------------------------------------------------------------------------------


async def test_an_object_is_a_file_at_its_key_with_the_permissions_of_any_file(store, root):
    await put(store, "e/stage/a/b.md", data=b"text")
    path = root / "e/stage/a/b.md"
    assert path.read_bytes() == b"text"
    (path.parent / "plain").touch()
    assert path.stat().st_mode == (path.parent / "plain").stat().st_mode


async def test_external_files_are_objects(store, root):
    (root / "e/stage").mkdir(parents=True)
    (root / "e/stage/odd \\ name\n").write_bytes(b"theirs")
    assert await keys_at(store, "e") == ["e/stage/odd \\ name\n"]
    assert await store.read(["e/stage/odd \\ name\n"]) == [b"theirs"]


async def test_the_root_may_be_a_link_and_relative(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    store = OnlyFiles(Path("link"), max_object_bytes=LIMIT)
    monkeypatch.chdir("/")
    await put(store, "e/s/x")
    assert (tmp_path / "real/e/s/x").exists()
    await store.close()


async def test_objects_of_one_process_are_visible_to_another_store_on_the_same_root(store, root):
    other = OnlyFiles(root, max_object_bytes=LIMIT)
    await put(other, "e/s/x", data=b"theirs")
    assert await store.read(["e/s/x"]) == [b"theirs"]
    await other.close()


async def test_an_object_too_large_is_refused_and_the_others_are_stored(store, root):
    big = b"x" * (LIMIT + 1)
    outcome = await store.write([[Blob("e/s/big", big), Blob("e/s/z", b"")], [Blob("e/s/fits", big[1:])]])
    assert isinstance(outcome[0], MessageError)
    assert outcome[0].code == "object_too_large"
    assert outcome[1] is None
    assert await keys_at(store, "e") == ["e/s/fits"]


async def test_a_read_stops_one_byte_above_the_limit_and_a_stream_has_no_limit(store, root):
    (root / "e").mkdir()
    for name, size in [("fits", LIMIT), ("over", LIMIT + 1), ("big", LIMIT * 20)]:
        (root / "e" / name).write_bytes(b"")
        os.truncate(root / "e" / name, size)
    read = await store.read(["e/fits", "e/over", "e/big"])
    assert [len(data or b"") for data in read] == [LIMIT, LIMIT + 1, LIMIT + 1]
    assert sum([len(piece) async for piece in store.stream("e/big")]) == LIMIT * 20


# -- nothing leads out -----------------------------------------------------------------------------

CRAFTED = [
    *("", "/", ".", "..", "../secret", "e/../../secret", "e/./x", "/etc/passwd", "e//x", "e/", "/x"),
    *("e/a\0b", "\0", "e\0/x", f"{TEMP}/x", f"{TEMP}", f"{TEMP}/a/b", "e/\udcff", "e/\ud800/x"),
    *("e/" + "x" * 300, "y" * 300 + "/x", "a/" * 3000 + "x", "/" * 9000),
]


@pytest.mark.parametrize("key", CRAFTED)
async def test_a_crafted_key_is_not_an_object_and_cannot_be_written(store, root, key):
    secret = root.parent / "secret"
    secret.write_bytes(b"secret")
    await put(store, "e/x")
    (root / TEMP / "x").write_bytes(b"half")
    before = files_below(root.parent)
    [outcome] = await store.write([[Blob(key, b"crafted")]])
    assert outcome is not None
    assert outcome.code == "invalid_key"
    assert await store.read([key]) == [None]
    assert await store.stat(key) is None
    with pytest.raises(NotFound):
        [piece async for piece in store.stream(key)]
    if key:
        assert await keys_at(store, key) == []
    assert files_below(root.parent) == before
    assert secret.read_bytes() == b"secret"


@pytest.fixture
def outside(root: Path, store: FileStore) -> Path:
    """A folder with one file outside the root, and links to both below the root."""
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    (root / "e/s").mkdir(parents=True)
    (root / "e/s/file").symlink_to(outside / "file")
    (root / "e/s/folder").symlink_to(outside)
    (root / "e/s/inside").symlink_to(root / "e")
    (root / "e/s/broken").symlink_to("nowhere")
    (root / "linked").symlink_to(outside)
    return outside


async def test_a_link_is_never_read(store, outside):
    for key in [
        "e/s/file",
        "e/s/folder/file",
        "e/s/folder",
        "e/s/inside/s/file",
        "e/s/broken",
        "linked/file",
    ]:
        assert await store.read([key]) == [None]
        assert await store.stat(key) is None
        with pytest.raises(NotFound):
            [piece async for piece in store.stream(key)]


async def test_a_link_is_never_listed_or_followed(store, outside):
    await put(store, "e/s/mine")
    assert await keys_at(store) == ["e/s/mine"]
    assert await keys_at(store, "e", sizes=True) == ["e/s/mine"]
    for prefix in ["e/s/file", "e/s/folder", "e/s/folder/file", "e/s/inside", "linked"]:
        assert await keys_at(store, prefix) == []


async def test_a_link_to_a_folder_is_not_written_through(store, outside):
    for key in ["e/s/folder/new", "e/s/folder/a/b", "e/s/inside/new", "e/s/broken/new", "linked/file"]:
        [outcome] = await store.write([[Blob(key, b"x")]])
        assert outcome is not None
        assert outcome.code == "key_conflict"
    assert files_below(outside) == {"file"}
    assert (outside / "file").read_bytes() == b"secret"


async def test_a_link_with_the_name_of_an_object_is_replaced_and_not_followed(store, root, outside):
    await put(store, "e/s/file", data=b"mine")
    assert await store.read(["e/s/file"]) == [b"mine"]
    assert not (root / "e/s/file").is_symlink()
    assert (outside / "file").read_bytes() == b"secret"


async def test_a_folder_that_becomes_a_link_between_two_calls_is_not_followed(store, root, outside):
    await put(store, "f/s/file", data=b"mine")
    assert await store.read(["f/s/file"]) == [b"mine"]
    shutil.rmtree(root / "f/s")
    (root / "f/s").symlink_to(outside)
    assert await store.read(["f/s/file"]) == [None]


async def test_pipes_and_sockets_are_not_objects_and_do_not_block(store, root):
    (root / "e").mkdir()
    os.mkfifo(root / "e/pipe")
    async with asyncio.timeout(30):
        assert await store.read(["e/pipe"]) == [None]
        assert await store.stat("e/pipe") is None
        assert await keys_at(store) == []


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["e/s/b/c", "e/s/b/c/d"])
async def test_a_conflict_names_the_conflicting_key(store, key):
    await put(store, "e/s/b")
    [outcome] = await store.write([[Blob(key, b"")]])
    assert outcome is not None
    assert outcome.code == "key_conflict"
    assert repr(key) in outcome.detail
    assert "'e/s/b'" in outcome.detail


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse names that are not UTF-8")
async def test_names_that_are_not_utf8_are_logged_and_omitted(store, root, caplog):
    await put(store, "e/s/fine")
    folder = os.fsencode(root / "e/s")
    os.mkdir(folder + b"/caf\xe9")
    for name in (b"/caf\xe9/x", b"/\xff", b"/\xfe"):
        os.close(os.open(folder + name, os.O_CREAT | os.O_WRONLY))
    with caplog.at_level(logging.WARNING, logger="playhead"):
        assert await keys_at(store) == ["e/s/fine"]
    [record] = caplog.records
    assert record.message == NAMES_LEFT_OUT
    assert record.fields["names"] == 3
    assert record.fields["folder"] == "e/s/"


async def test_names_that_the_file_system_does_not_distinguish_are_a_conflict(store, tmp_path):
    (tmp_path / "Probe").touch()
    if not (tmp_path / "probe").exists():
        pytest.skip("this file system tells A from a")
    await put(store, "e/Stage/Page.md")
    for key in ["e/Stage/page.md", "e/stage/other.md", "E/Stage/other.md"]:
        [outcome] = await store.write([[Blob(key, b"")]])
        assert outcome is not None
        assert outcome.code == "key_conflict"
    await put(store, "e/Stage/Page.md", data=b"again")
    assert await keys_at(store, "e/stage") == []
    assert await keys_at(store, "e/Stage/page.md") == []
    assert await store.stat("e/Stage/page.md") is None
    assert await keys_at(store) == ["e/Stage/Page.md"]


# -- temporary files -------------------------------------------------------------------------------


async def test_temporary_files_are_not_listed_and_are_removed(store, root):
    (root / TEMP / "half").write_bytes(b"half")
    await put(store, "e/s/x", "e/s/y")
    await store.write([[Blob("e/s/x/z", b"")], [Blob("e/s", b"")], [Blob("e/" + "x" * 300, b"")]])
    assert await keys_at(store) == ["e/s/x", "e/s/y"]
    assert await keys_at(store, TEMP) == []
    assert os.listdir(root / TEMP) == ["half"]


async def test_a_deeper_folder_with_the_name_of_the_temporary_folder_is_ordinary(store):
    await put(store, f"e/{TEMP}/x")
    assert await keys_at(store) == [f"e/{TEMP}/x"]


async def test_temporary_files_older_than_a_day_are_removed_at_open(root):
    (root / TEMP / "folder").mkdir(parents=True)
    (root / TEMP / "old").touch()
    (root / TEMP / "young").touch()
    now = time.time()
    os.utime(root / TEMP / "old", (now, now - LEFTOVER_SECONDS - 60))
    os.utime(root / TEMP / "folder", (now, now - LEFTOVER_SECONDS - 60))
    os.utime(root / TEMP / "young", (now, now - LEFTOVER_SECONDS + 60))
    store = OnlyFiles(root, max_object_bytes=LIMIT)
    assert sorted(os.listdir(root / TEMP)) == ["folder", "young"]
    await store.close()


# -- trouble ---------------------------------------------------------------------------------------


async def check_away(store: FileStore, root: Path) -> None:
    async def pieces() -> None:
        [piece async for piece in store.stream("e/s/x")]

    calls = [store.read(["e/s/x"]), store.stat("e/s/x"), store.check(), keys_at(store, "e"), pieces()]
    for call in [*calls, store.write([[Blob("e/s/x", b"")]])]:
        with pytest.raises(Unavailable) as raised:
            await call
        assert raised.value.code == "store_unavailable"
        assert str(root) in raised.value.detail
        assert "not mounted" in raised.value.detail


async def test_a_root_that_disappeared_is_an_error_and_not_an_empty_store(store, root):
    await put(store, "e/s/x")
    shutil.rmtree(root)
    await check_away(store, root)


async def test_an_unmounted_mount_point_is_an_error_and_not_an_empty_store(store, root):
    shutil.rmtree(root)
    root.mkdir()
    await check_away(store, root)


async def test_a_store_that_disappears_during_a_listing_is_an_error_and_not_its_end(store, root):
    await put(store, *(f"e/{n}/x" for n in range(9)))
    listing = store.list("e", page=2)
    await anext(listing)
    root.rename(root.with_name("elsewhere"))  # at once: the next page is being read already
    with pytest.raises(Unavailable):
        [page async for page in listing]


def test_a_root_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable) as raised:
        OnlyFiles(tmp_path / "file/objects", max_object_bytes=LIMIT)
    assert str(tmp_path / "file/objects") in raised.value.detail


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A root of a user that permissions apply to: the current user, or uid 65534 instead of root."""
    with TemporaryDirectory() as folder:
        root = Path(folder) / "objects"
        root.mkdir()
        privileged = os.geteuid() == 0
        if privileged:
            os.chmod(folder, 0o755)
            os.chown(root, 65534, 65534)
            os.seteuid(65534)
        try:
            yield root
        finally:
            if privileged:
                os.seteuid(0)
            for path in root.rglob("*"):
                path.chmod(0o700)


def test_permission_denied_names_the_folder_and_the_fix():
    async def check(root: Path) -> None:
        store = OnlyFiles(root, max_object_bytes=LIMIT)
        await put(store, "e/s/x")
        (root / "e/s").chmod(0)
        calls = [
            store.read(["e/s/x"]),
            store.write([[Blob("e/s/y", b"")]]),
            keys_at(store),
            store.stat("e/s/x"),
        ]
        for call in calls:
            with pytest.raises(Unavailable) as raised:
                await call
            assert raised.value.code == "store_unavailable"
            assert f"{root}/e/s: Permission denied; the user that runs Playhead" in raised.value.detail
        (root / "e/s").chmod(0o500)
        for key, folder in [("e/s/y", "e/s"), ("e/s/t/y", "e/s")]:
            with pytest.raises(Unavailable) as raised:
                await store.write([[Blob(key, b"")]])
            assert f"{root}/{folder}: Permission denied" in raised.value.detail
        (root / "e/s").chmod(0o700)
        assert os.listdir(root / TEMP) == []
        await store.close()

    with without_privileges() as root:
        asyncio.run(check(root))


def test_a_resumed_listing_opens_no_folder_before_its_start():
    async def check(root: Path) -> None:
        store = OnlyFiles(root, max_object_bytes=LIMIT)
        await put(store, *(f"e/{n}/{m}/x" for n in range(3) for m in range(3)))
        (root / "e/0").chmod(0)
        (root / "e/1/0").chmod(0)
        rest = ["e/1/2/x", "e/2/0/x", "e/2/1/x", "e/2/2/x"]
        assert await keys_at(store, "e", after="e/1/1/x") == rest
        with pytest.raises(Unavailable):
            await keys_at(store, "e")
        await store.close()

    with without_privileges() as root:
        asyncio.run(check(root))


FILL_A_SMALL_DISK = """
import asyncio, os, sys
from pathlib import Path
from playhead.backends.store_fs import FileStore
from playhead.errors import StoreFull
from playhead.ports.store import Blob

async def main(root):
    store = FileStore(root, max_object_bytes=1 << 20)
    try:
        await store.write([[Blob(f"e/s/{n}", b"x" * 100_000)] for n in range(9)])
    except StoreFull as exc:
        print(exc.code, len(os.listdir(root / ".tmp")), {p.stat().st_size for p in (root / "e/s").iterdir()})
        print(exc.detail)
    (root / "empty").touch()
    try:
        await store.check()
    except StoreFull as exc:
        print("check:", exc.detail, len(os.listdir(root / ".tmp")))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_writes_and_checks_on_a_full_disk_raise_store_full_and_leave_no_partial_object(tmp_path):
    mount = f'mount -t tmpfs -o size=600k tmpfs "{tmp_path}"'
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*own_mounts, mount], capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    script = f'{mount} && exec "$0" -c "$1" "{tmp_path}"'
    done = subprocess.run(
        [*own_mounts, script, sys.executable, FILL_A_SMALL_DISK], capture_output=True, text=True, check=True
    )
    outcome, detail, check = done.stdout.splitlines()
    assert outcome == "store_full 0 {100000}"
    assert str(tmp_path) in detail
    assert check.startswith(f"check: cannot write in {tmp_path}"), "an empty file can still be made there"
    assert check.endswith(" 0")


WRITE_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from playhead.backends.store_fs import FileStore
from playhead.ports.store import Blob

async def main(root):
    store = FileStore(root, max_object_bytes=1 << 20)
    n = 0
    while True:
        group = [Blob(f"e/s/{n:06}.meta.json", b"{}"), Blob(f"e/s/{n:06}", b"x" * 100_000)]
        await store.write([group], written=lambda key: print(key, flush=True))
        n += 1

asyncio.run(main(Path(sys.argv[1])))
"""


async def sizes_at(root: Path) -> dict[str, int]:
    store = OnlyFiles(root, max_object_bytes=LIMIT)
    sizes = {entry.key: entry.size async for page in store.list("e", sizes=True) for entry in page}
    await store.close()
    return sizes


def test_after_a_kill_all_reported_objects_exist_and_none_is_partial(root):
    for lines in (1, 20, 35):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(root)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout
            named = [writer.stdout.readline().strip() for _ in range(lines)]
            writer.send_signal(signal.SIGKILL)
            named += [line.strip() for line in writer.stdout if line.endswith("\n")]
        sizes = asyncio.run(sizes_at(root))
        assert set(named) <= set(sizes)
        for key, size in sizes.items():
            assert size == (2 if key.endswith(".meta.json") else 100_000)
            assert key.endswith(".meta.json") or f"{key}.meta.json" in sizes


# -- descriptors and threads -----------------------------------------------------------------------


async def test_no_call_leaves_a_descriptor_open(store, root):
    await put(store, *(f"e/{n % 5}/{n}" for n in range(100)), data=b"x" * 600_000)
    before = open_files(root)
    await store.read(["e/0/0", "e/none", "none/x", "e/0/0/x", "e/0"])
    await store.write([[Blob("e/0/0/x", b"")], [Blob("e/0", b"")], [Blob("../x", b"")]])
    await keys_at(store, sizes=True)
    listing = store.list("e", page=10)
    await anext(listing)
    for _ in range(600):  # the next page is read ahead, in a thread
        if open_files(root) == before:
            break
        await asyncio.sleep(0.05)
    assert open_files(root) == before  # even with a listing that is under way
    await listing.aclose()
    stream = store.stream("e/0/0")
    await anext(stream)
    await stream.aclose()
    for _ in range(20):
        reading = asyncio.ensure_future(anext(store.stream("e/0/0")))
        writing = asyncio.create_task(store.write([[Blob("e/s/x", b"x" * 500_000)]] * 5))
        await asyncio.sleep(0)
        reading.cancel()
        writing.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)
    await store.close()
    assert open_files(root) == before


async def test_a_batch_over_many_folders_keeps_few_of_them_open(store, root):
    before = open_files(root)
    most = 0

    def look(_: str) -> None:
        nonlocal most
        most = max(most, open_files(root))

    keys = [f"e/s/{n}/a/x" for n in range(150)]
    await store.write([[Blob(key, key.encode())] for key in keys], written=look)
    assert most - before < 100
    assert await store.read(keys) == [key.encode() for key in keys]
    assert sorted(await keys_at(store, page=7)) == sorted(keys)


async def test_a_tree_deeper_than_the_limit_on_open_files_is_listed_and_read(store):
    key = "/".join("abc"[n % 3] for n in range(400))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 100, hard))
    try:
        await put(store, key, key[:-1] + "y", data=b"deep")
        assert await keys_at(store) == [key, key[:-1] + "y"]
        assert await store.read([key]) == [b"deep"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_folder_that_is_removed_between_two_writes_is_created_again(store, root):
    await put(store, "e/s/x")
    shutil.rmtree(root / "e")
    await put(store, "e/s/x")
    assert await keys_at(store) == ["e/s/x"]


async def test_an_unreadable_file_does_not_prevent_reading_others(
    root: Path, store: FileStore, monkeypatch: pytest.MonkeyPatch
):
    await put(store, "e/s/a", "e/s/bad", "e/s/c")
    really = os.open

    def refusing(path, *args, **more):
        if path == "bad":
            raise OSError(errno.EIO, "Input/output error")
        return really(path, *args, **more)

    monkeypatch.setattr(os, "open", refusing)
    [first, bad, last, none] = await store.read(["e/s/a", "e/s/bad", "e/s/c", "e/s/none"])

    assert (first, last, none) == (b"x", b"x", None)
    assert isinstance(bad, Unavailable)
    assert f"{root}/e/s/bad: Input/output error" in bad.detail
    with pytest.raises(Unavailable, match="Input/output error"):
        await store.read(["e/s/bad"])


async def pages_of_ten(store: FileStore, prefix: str) -> list[str]:
    """Keys, each ten by a listing of its own, as a client with a cursor lists them."""
    keys: list[str] = []
    while True:
        before = len(keys)
        async for page in store.list(prefix, after=keys[-1] if keys else "", page=10):
            keys += [entry.key for entry in page]
            break
        if len(keys) == before:
            return keys


async def test_pages_of_a_large_folder_are_the_whole_folder_in_order(store, root):
    await put(store, *(f"e/s/{n:04}" for n in range(1200)), "e/s/0100-/x", "e/s/0100.a/y/z", "e/t/x")
    when = time.time() - 60
    os.utime(root / "e/s", (when, when))

    assert await pages_of_ten(store, "e") == await keys_at(store, "e")


@pytest.mark.parametrize("age", [0, 60])
async def test_a_listing_includes_objects_written_into_a_large_folder_before_it(store, root, age):
    await put(store, *(f"e/s/{n:04}" for n in range(1200)))
    when = time.time() - age
    os.utime(root / "e/s", (when, when))
    await keys_at(store, "e/s")

    await put(store, "e/s/0009-new")

    assert "e/s/0009-new" in await keys_at(store, "e/s", after="e/s/0009")


def test_the_names_of_a_large_folder_are_read_once_until_it_changes(tmp_path):
    reads: list[int] = []
    names = [f"{n:04}" for n in range(1200)]

    def read() -> list[str]:
        reads.append(len(reads))
        return names

    cache = NameCache()
    when = time.time() - 60
    os.utime(tmp_path, (when, when))
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert [cache.names(folder, read) for _ in range(3)] == [names] * 3
        assert len(reads) == 1
        (tmp_path / "new").touch()
        cache.names(folder, read)
        assert len(reads) == 2
        cache.names(folder, read)
        assert len(reads) == 3, "a folder that changed just now may change again within a tick of the clock"
    finally:
        os.close(folder)


async def tag_of(store: FileStore, key: str) -> str:
    [[entry]] = [page async for page in store.list(key, sizes=True)]
    return entry.tag


async def test_the_tag_differs_when_a_program_changes_a_file_in_place_and_sets_its_time_back(store, root):
    await put(store, "e/s/x")
    file = root / "e/s/x"
    tags = set[str]()
    for n in range(20):
        tags.add(await tag_of(store, "e/s/x"))
        status = file.stat()
        with file.open("r+b") as opened:
            opened.write(b"%d" % (n % 10))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(tags) == 20


async def test_a_file_that_may_change_within_the_same_tick_gets_a_tag_that_no_other_has(
    store, root, monkeypatch
):
    await put(store, "e/s/x")

    class Tick:
        """A clock that always shows the time of the last change of the file."""

        sleep = staticmethod(lambda seconds: None)
        time = staticmethod(lambda: (root / "e/s/x").stat().st_ctime)

    with monkeypatch.context() as patched:
        patched.setattr(folders, "time", Tick)
        tags = [await tag_of(store, "e/s/x") for _ in range(5)]
    assert len(set(tags)) == 5
    assert await tag_of(store, "e/s/x") == await tag_of(store, "e/s/x")
