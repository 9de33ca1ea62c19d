"""The contract of `ports.store`, for every store.

A backend that cannot pass a test has a waiver with the reason in `BACKENDS`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings, strategies as st

from playhead.backends.store_fs import FileStore
from playhead.errors import NotFound
from playhead.ids import uuid7
from playhead.keys import sidecar_key
from playhead.ports.store import Blob, Entry, Store
from tests.servers import need
from tests.store_files import OnlyFiles
from tests.store_memory import MemoryStore

E = "0190a7d0-1111-7000-8000-000000000000"
RUN = uuid7().hex
"""Unique per test run, because an existing server may have objects of earlier runs."""


@dataclass(frozen=True)
class Backend:
    """How to create a backend for an empty folder, and the tests that it cannot pass.

    Attributes:
        make: creates a backend, which may still have to be opened.
        one_kind: why `b` and `b/c` cannot both be objects; None if they can.
        waivers: names of tests that it cannot pass, each with a reason. A test that passes despite its waiver
            fails: remove the waiver.
    """

    make: Callable[[Path], Store]
    one_kind: str | None = None
    waivers: Mapping[str, str] = field(default_factory=dict)

    async def open(self, place: Path) -> Store:
        store = self.make(place)
        if connect := getattr(store, "open", None):
            await connect()
        return store


def bucket(server: str) -> Callable[[Path], Store]:
    """A test's own folder is a prefix in the bucket of a server that all tests share."""

    def make(place: Path) -> Store:
        pytest.importorskip("obstore")
        from playhead.backends.store_object import ObjectStore

        head, _, options = need(server).partition("?")
        own = sha256(f"{RUN} {place}".encode()).hexdigest()[:16]
        return ObjectStore(f"{head}/{own}?{options}", max_object_bytes=8 << 20)

    return make


ONE_NAME = "a folder of a file system holds a name once, as a file or as a folder"
ONE_FILE = "rclone keeps objects as files, and answers 500 to a key below that of an object"
A_FOLDER = "rclone treats a folder as an object when it deletes, and fails or deletes the object above"
RCLONE = {
    **{
        f"test_a_key_without_an_object_is_deleted_without_effect[s3-{key}]": A_FOLDER
        for key in ("e/s/x/y", "e/s", "e")
    },
    "test_a_path_that_is_object_and_folder_is_stored_or_a_conflict": ONE_FILE,
    "test_a_prefix_that_is_object_and_folder_lists_both_and_nothing_between": ONE_FILE,
}
BACKENDS = {
    "memory": Backend(lambda _: MemoryStore()),
    "fs": Backend(lambda root: FileStore(root, max_object_bytes=8 << 20)),
    "fs-power": Backend(lambda root: FileStore(root, max_object_bytes=8 << 20, durability="power")),
    "fs-files": Backend(lambda root: OnlyFiles(root, max_object_bytes=8 << 20), ONE_NAME),
    "s3": Backend(bucket("s3"), waivers=RCLONE),
    "s3-moto": Backend(bucket("s3-moto")),
}


@pytest.fixture(params=BACKENDS)
def backend(request) -> Backend:
    backend = BACKENDS[request.param]
    if reason := backend.waivers.get(request.node.name) or backend.waivers.get(request.node.originalname):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    return backend


@pytest.fixture
async def store(backend: Backend, tmp_path: Path) -> AsyncIterator[Store]:
    store = await backend.open(tmp_path)
    yield store
    await store.close()


async def put(store: Store, *keys: str, data: bytes = b"x") -> None:
    assert await store.write([[Blob(key, data)] for key in keys]) == [None] * len(keys)


async def listed(
    store: Store, prefix: str, *, after: str = "", sizes: bool = False, page: int = 1000
) -> list[Entry]:
    found: list[Entry] = []
    async for entries in store.list(prefix, after=after, sizes=sizes, page=page):
        assert 0 < len(entries) <= page
        found.extend(entries)
    return found


async def keys_at(store: Store, prefix: str, *, after: str = "", page: int = 1000) -> list[str]:
    return [entry.key for entry in await listed(store, prefix, after=after, page=page)]


# -- read and write --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "page.md",
        "a/b/c/d.bin",
        "Ünïcode/日本語 🎉.md",
        "with space/%41?#1&'\"*.txt",
        "s" * 200,
        ".hidden/.tmp",
        "~/-rf",
        "report#1",
    ],
)
async def test_bytes_are_read_back_as_written_and_so_is_the_sidecar(store, path):
    key = f"{E}/stage/{path}"
    data = bytes(range(256)) * 3
    assert await store.write([[Blob(sidecar_key(key), b"{}"), Blob(key, data, "text/x")]]) == [None]
    assert await store.read([key, sidecar_key(key)]) == [data, b"{}"]
    assert await keys_at(store, key) == [key]


async def test_an_object_without_bytes_is_not_a_missing_object(store):
    await put(store, "e/s/empty", data=b"")
    assert await store.read(["e/s/empty", "e/s/missing"]) == [b"", None]


async def test_a_batch_is_read_in_the_requested_order_with_duplicates(store):
    await store.write([[Blob(f"e/s/{n}", b"%d" % n)] for n in range(300)])
    wanted = [7, 299, 7, 0, 150]
    assert await store.read([f"e/s/{n}" for n in wanted]) == [b"%d" % n for n in wanted]


async def test_a_folder_is_not_an_object(store):
    await put(store, "e/s/folder/x")
    assert await store.read(["e/s/folder", "e/s", "e"]) == [None] * 3
    assert await store.stat("e/s/folder") is None


async def test_there_are_no_objects_below_an_object(store):
    await put(store, "e/s/x")
    assert await store.read(["e/s/x/y", "e/s/x/y/z"]) == [None, None]
    assert await store.stat("e/s/x/y") is None
    assert await keys_at(store, "e/s/x/y") == []


async def test_reading_and_writing_nothing_is_allowed(store):
    assert await store.read([]) == []
    assert await store.write([]) == []
    assert await store.write([[]]) == [None]


async def test_writing_a_key_again_replaces_its_bytes(store):
    await put(store, "e/s/x", data=b"long, and the first")
    await put(store, "e/s/x", data=b"second")
    assert await store.read(["e/s/x"]) == [b"second"]
    assert await keys_at(store, "e") == ["e/s/x"]


async def test_each_blob_is_reported_after_it_is_stored_in_the_order_of_its_group(store):
    groups = [[Blob(f"e/s/{g}/{n}", b"x") for n in range(4)] for g in range(5)]
    names: list[str] = []
    await store.write(groups, written=names.append)
    assert sorted(names) == sorted(blob.key for group in groups for blob in group)
    for group in groups:
        mine = [blob.key for blob in group]
        assert [name for name in names if name in mine] == mine


async def test_when_writing_stops_all_reported_blobs_exist(store):
    class Stop(Exception):
        pass

    names: list[str] = []

    def stop_at_the_third(key: str) -> None:
        names.append(key)
        if len(names) == 3:
            raise Stop

    group = [Blob(f"e/s/{n}", b"%d" % n) for n in range(5)]
    with pytest.raises(Stop):
        await store.write([group], written=stop_at_the_third)
    assert names == ["e/s/0", "e/s/1", "e/s/2"]
    assert (await keys_at(store, "e"))[:3] == names


async def test_a_reader_sees_an_object_whole_or_not_at_all_and_never_a_mixture(store):
    versions = [bytes([n]) * 500_000 for n in range(4)]
    await put(store, "e/s/x", data=versions[0])

    async def keep_writing() -> None:
        for n in range(40):
            await put(store, "e/s/x", f"e/s/{n}", data=versions[n % 4])

    writing = asyncio.create_task(keep_writing())
    new = 0
    while not writing.done():
        [old, fresh] = await store.read(["e/s/x", f"e/s/{new}"])
        assert old in versions
        assert fresh in (None, versions[new % 4])
        new += fresh is not None
        await asyncio.sleep(0)
    await writing


@pytest.mark.parametrize("keys", [["e/s/b", "e/s/b/c"], ["e/s/b/c/d", "e/s/b"]])
async def test_a_path_that_is_object_and_folder_is_stored_or_a_conflict(store, backend, keys):
    first, second = keys
    await put(store, first, data=b"first")
    [outcome, other] = await store.write(
        [[Blob(second, b"second"), Blob("e/s/z", b"rest")], [Blob("e/s/other", b"other")]]
    )
    assert other is None
    assert await store.read([first, "e/s/other"]) == [b"first", b"other"]
    if backend.one_kind:
        assert outcome is not None
        assert outcome.code == "key_conflict"
        assert second in outcome.detail
        assert await store.read([second, "e/s/z"]) == [None, None]
    else:
        assert outcome is None
        assert await store.read([second, "e/s/z"]) == [b"second", b"rest"]


@pytest.mark.parametrize("key", ["e/../f/x", "e/./f/x", "../f/x", "/f/x", "e//f/x", "f//x"])
async def test_a_crafted_key_leads_to_no_other_key(store, key):
    await put(store, "f/x", data=b"kept")
    await store.write([[Blob(key, b"crafted")]])
    assert await store.read(["f/x"]) == [b"kept"]
    assert await keys_at(store, "f/x") == ["f/x"]
    assert (await store.read([key]))[0] != b"kept"


async def test_calls_of_many_tasks_do_not_disturb_each_other(store):
    async def one(n: int) -> None:
        key = f"e/s/{n % 7}/{n}"
        await put(store, key, data=b"%d" % n)
        assert await store.read([key, "e/none"]) == [b"%d" % n, None]
        assert await keys_at(store, key) == [key]

    await asyncio.gather(*(one(n) for n in range(60)))
    assert len(await keys_at(store, "e")) == 60


# -- delete ----------------------------------------------------------------------------------------


async def test_a_deleted_object_is_gone_and_no_other_one(store):
    await put(store, *TREE)
    await store.delete(["e/a/x", "e/b", "e/a.md"])
    rest = [key for key in TREE if key not in ("e/a/x", "e/b", "e/a.md")]
    assert await keys_at(store, "e") == rest
    assert await store.read(["e/a/x", "e/a/x-1"]) == [None, b"x"]
    assert await store.stat("e/b") is None


@pytest.mark.parametrize("key", ["e/s/none", "none/s/x", "e/s/x/y", "e/s", "e", "../e/s/x", "/e/s/x", ""])
async def test_a_key_without_an_object_is_deleted_without_effect(store, key):
    await put(store, "e/s/x", "e/s/z")
    await store.delete([key, "e/s/z", key])
    assert await keys_at(store, "e") == ["e/s/x"]


async def test_a_delete_may_be_repeated_and_may_name_nothing(store):
    await put(store, "e/s/x")
    for _ in range(2):
        await store.delete(["e/s/x"])
    await store.delete([])
    assert await keys_at(store, "e") == []


async def test_more_objects_than_a_request_holds_are_deleted_at_once(backend, store):
    keys = [f"e/s/{n:04}" for n in range(2_100)]
    await store.write([[Blob(key, b"")] for key in keys])
    await store.delete(keys[50:])
    left = await keys_at(store, "e")
    # On a busy machine, rclone keeps a few objects of concurrent requests that it reports as deleted.
    few = 100 if backend is BACKENDS["s3"] else 0
    assert left[:50] == keys[:50]
    assert len(left) <= 50 + few


async def test_a_deleted_object_can_be_written_again_also_as_a_folder(store):
    await put(store, "e/s/x", data=b"first")
    await store.delete(["e/s/x"])
    await put(store, "e/s/x/y", data=b"second")
    assert await keys_at(store, "e") == ["e/s/x/y"]
    await store.delete(["e/s/x/y"])
    await put(store, "e/s/x", data=b"third")
    assert await store.read(["e/s/x"]) == [b"third"]


async def test_no_write_is_lost_next_to_deletes_in_the_same_folder(store):
    """The last object of a folder is removed again and again, while others are written there."""
    written: list[str] = []

    async def keep_writing() -> None:
        for n in range(150):
            await put(store, f"e/s/deep/folder/kept-{n}")
            written.append(f"e/s/deep/folder/kept-{n}")
            await store.delete(written[-3:-1])

    async def keep_deleting(name: str) -> None:
        n = 0
        while not writing.done():
            n += 1
            await put(store, f"e/s/deep/folder/{name}-{n}")
            await store.delete([f"e/s/deep/folder/{name}-{n}"])

    writing = asyncio.create_task(keep_writing())
    await asyncio.gather(writing, keep_deleting("one"), keep_deleting("other"))
    assert await keys_at(store, "e") == [written[-1]]


# -- list ------------------------------------------------------------------------------------------

TREE = ["e/a-b", "e/a.md", "e/a.md.meta.json", "e/a/x", "e/a/x-1", "e/a/y/z", "e/a0", "e/b"]


async def test_keys_come_in_byte_order_though_folders_sort_with_their_slash(store):
    await put(store, *reversed(TREE))
    assert await keys_at(store, "e") == TREE


async def test_byte_order_applies_to_non_ascii_characters_of_any_length(store):
    names = ["z", "é", "日", "\uffee", "\U0001f600"]  # UTF-16 would put the last before \uffee
    await put(store, *(f"e/{name}/{other}" for name in reversed(names) for other in names))
    found = await keys_at(store, "e")
    assert found == [f"e/{name}/{other}" for name in names for other in names]
    assert found == sorted(found, key=str.encode)


async def test_a_prefix_matches_whole_segments(store):
    await put(store, "e/stage1/x", "e/stage10/x", "e/stage1.md", "e/stage/x", "e2/stage1/x")
    assert await keys_at(store, "e/stage1") == ["e/stage1/x"]
    assert await keys_at(store, "e/stag") == []
    assert await keys_at(store, "e/stage1/x/y") == []


async def test_a_prefix_that_is_a_key_lists_that_object(store):
    await put(store, "e/s/x", "e/s/x.meta.json", "e/s/x-1", "e/s/y")
    assert await keys_at(store, "e/s/x") == ["e/s/x"]
    assert await keys_at(store, "e/s/x", after="e/s/x") == []
    assert await keys_at(store, "e/s/x", after="e/s/w") == ["e/s/x"]


async def test_a_prefix_that_is_object_and_folder_lists_both_and_nothing_between(store, backend):
    await put(store, "e/s/x")
    [outcome] = await store.write([[Blob("e/s/x/y", b"")]])
    await put(store, "e/s/x-1")
    expected = ["e/s/x"] if backend.one_kind else ["e/s/x", "e/s/x/y"]
    assert (outcome is None) == (backend.one_kind is None)
    assert await keys_at(store, "e/s/x") == expected
    assert await keys_at(store, "e/s/x", after="e/s/x") == expected[1:]
    assert await keys_at(store, "e/s/x", page=1) == expected


async def test_without_a_prefix_everything_is_listed(store):
    await put(store, *TREE, "top")
    assert await keys_at(store, "") == [*TREE, "top"]


async def test_an_empty_listing_has_no_page(store):
    assert [page async for page in store.list("e/none")] == []
    await put(store, "e/s/x")
    assert [page async for page in store.list("e/s", after="e/s/x")] == []
    assert [page async for page in store.list("e/s", after="zzz")] == []


@pytest.mark.parametrize("after", [*TREE, "e/a", "e/a/", "e/a/x/", "e/a/zz", "d", "e", "e/", "f"])
async def test_a_listing_continues_after_any_key_even_if_it_does_not_exist(store, after):
    await put(store, *TREE)
    assert await keys_at(store, "e", after=after) == [key for key in TREE if key > after]
    below = [key for key in TREE if key.startswith("e/a/")]
    assert await keys_at(store, "e/a", after=after) == [key for key in below if key > after]


@pytest.mark.parametrize("page", [1, 2, 3, 7, 8, 9])
async def test_all_pages_except_the_last_are_full_and_no_key_is_missing(store, page):
    await put(store, *TREE)
    pages = [entries async for entries in store.list("e", page=page)]
    assert [len(entries) for entries in pages[:-1]] == [page] * (len(pages) - 1)
    assert [entry.key for entries in pages for entry in entries] == TREE


async def test_sizes_and_times_are_listed_only_on_request(store):
    begin = time.time()
    await put(store, "e/s/x", data=b"12345")
    await put(store, "e/s/y", data=b"")
    x, y = await listed(store, "e", sizes=True)
    assert (x.key, x.size, y.key, y.size) == ("e/s/x", 5, "e/s/y", 0)
    assert begin - 2 <= x.modified <= time.time() + 2
    assert await listed(store, "e") == [Entry("e/s/x", 0, 0.0), Entry("e/s/y", 0, 0.0)]
    assert await listed(store, "e/s/x", sizes=True) == [x]


async def test_the_tag_of_an_object_stays_while_nothing_is_written(store):
    await put(store, "e/s/x", "e/s/y", data=b"12345")
    entries = await listed(store, "e", sizes=True)
    assert all(entry.tag for entry in entries)
    await put(store, "e/s/z")
    assert (await listed(store, "e", sizes=True, page=1))[:2] == entries
    assert [entry.tag for entry in await listed(store, "e")] == [""] * 3


async def test_the_tag_differs_when_other_bytes_of_the_same_size_are_written(store):
    """Each version is written twice: a store of files then uses the first file's number for the second."""
    tags = []
    for n in range(20):
        await put(store, "e/s/x", data=b"other")
        await put(store, "e/s/x", data=b"%05d" % n)
        [entry] = await listed(store, "e/s", sizes=True)
        tags.append(entry.tag)
    assert len(set(tags)) == 20


async def test_an_abandoned_listing_has_no_effect(store):
    await put(store, *(f"e/s/{n:03}" for n in range(50)))
    for _ in range(5):
        async for _entries in store.list("e", page=10):
            break
    assert len(await keys_at(store, "e")) == 50


async def test_objects_that_exist_during_a_whole_listing_are_in_it(store):
    steady = [f"e/s/{n:03}/x" for n in range(60)]
    await put(store, *steady)
    found: list[str] = []
    n = 0
    async for entries in store.list("e", page=7):
        found.extend(entry.key for entry in entries)
        await put(store, f"e/s/{n:03}/new", f"e/new/{n}")
        n += 1
    assert [key for key in found if key in set(steady)] == steady
    assert found == sorted(set(found), key=str.encode)


segment = st.one_of(
    st.sampled_from(
        ["a", "a-b", "a.md", "a b", "a0", "ab", "A", "é", "日", "\uffee", "\U0001f600", "~", "!"]
    ),
    st.text("ab-.0é\U0001f600", min_size=1, max_size=3).filter(lambda s: s not in (".", "..")),
)
some_keys = st.lists(st.lists(segment, min_size=1, max_size=4).map("/".join), max_size=25)


@pytest.mark.parametrize("name", ["memory", "fs", "fs-files"])
@given(keys=some_keys, more=some_keys, page=st.integers(1, 9))
@settings(max_examples=80, deadline=None)
def test_any_tree_is_listed_in_byte_order_and_from_any_key_on(name, keys, more, page):
    async def check(root: Path) -> None:
        store = await BACKENDS[name].open(root)
        outcome = await store.write([[Blob(key, b"")] for key in keys])
        held = sorted({k for k, o in zip(keys, outcome, strict=True) if o is None}, key=str.encode)
        assert await keys_at(store, "", page=page) == held
        for after in [*held[::3], *more[:5]]:
            suffix = [key for key in held if key.encode() > after.encode()]
            assert await keys_at(store, "", after=after, page=page) == suffix
        for prefix in [*more[:5], *(key.rpartition("/")[0] for key in held[::4])]:
            if prefix:
                inside = [key for key in held if key == prefix or key.startswith(prefix + "/")]
                assert await keys_at(store, prefix, page=page) == inside
                middle = inside[len(inside) // 2 :]
                if middle:
                    assert await keys_at(store, prefix, after=middle[0], page=page) == middle[1:]
        await store.close()

    with TemporaryDirectory() as root:
        asyncio.run(check(Path(root)))


# -- stat, stream, check, close --------------------------------------------------------------------


async def test_stat_returns_size_and_time_or_none_for_a_missing_object(store):
    begin = time.time()
    await put(store, "e/s/x", data=b"12345")
    entry = await store.stat("e/s/x")
    assert entry is not None
    assert entry[:2] == ("e/s/x", 5)
    assert begin - 2 <= entry.modified <= time.time() + 2
    assert await store.stat("e/s/none") is None
    assert await store.stat("none/s/x") is None


@pytest.mark.parametrize("size", [0, 1, 262_144, 3_000_001])
async def test_a_stream_returns_all_bytes_in_pieces(store, size):
    data = bytes(n % 251 for n in range(1009)) * (size // 1009 + 1)
    await put(store, "e/s/x", data=data[:size])
    pieces = [piece async for piece in store.stream("e/s/x")]
    assert all(pieces)
    assert b"".join(pieces) == data[:size]


async def test_a_stream_with_a_limit_returns_only_the_first_bytes(store):
    data = bytes(range(256)) * 3000
    await store.write([[Blob("e/s/x", data), Blob("e/s/empty", b"")]])

    for limit in (1, 1000, 300_000, len(data) - 1, len(data), len(data) + 1, 1_000_000):
        assert b"".join([piece async for piece in store.stream("e/s/x", limit=limit)]) == data[:limit]
    assert [piece async for piece in store.stream("e/s/empty", limit=10)] == []
    with pytest.raises(NotFound):
        [piece async for piece in store.stream("e/s/nothing", limit=10)]


@pytest.mark.parametrize("key", ["e/s/none", "none", "e/s/x/y", "e/s"])
async def test_a_stream_of_a_missing_object_is_not_found(store, key):
    await put(store, "e/s/x")
    with pytest.raises(NotFound) as raised:
        [piece async for piece in store.stream(key)]
    assert raised.value.code == "object_not_found"
    assert key in raised.value.detail


async def test_a_stream_continues_with_the_bytes_with_which_it_started(store):
    old = b"old" * 500_000
    await put(store, "e/s/x", data=old)
    pieces: list[bytes] = []
    async for piece in store.stream("e/s/x"):
        if not pieces:
            await put(store, "e/s/x", data=b"new")
        pieces.append(piece)
    assert b"".join(pieces) == old


async def test_the_check_describes_the_store_and_leaves_no_object(store):
    assert 0 < len(await store.check()) < 200
    assert await keys_at(store, "") == []


async def test_a_store_may_be_closed_twice(backend, tmp_path):
    store = await backend.open(tmp_path)
    await put(store, "e/s/x")
    await store.close()
    await store.close()


def test_these_stores_list_in_order(backend, tmp_path):
    assert backend.make(tmp_path).ordered
