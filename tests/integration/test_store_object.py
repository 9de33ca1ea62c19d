"""The store on object storage, in addition to the contract.

Objects of other programs, errors of the connection and of the server, and the number of requests.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("obstore")

from obstore.store import S3Store

from playhead.backends.store_object import ObjectStore
from playhead.errors import BadRequest, MessageError, StoreFull, Unavailable
from playhead.keys import is_sidecar, sidecar_key
from playhead.ports.store import Blob, read_one
from tests.servers import need, need_fresh
from tests.servers.proxy import Proxy
from tests.servers.s3_arithmetic import Computed, StandIn, flat, folders, standing_in
from tests.waiting import until, until_told

SECRET = "wJalrXUtnFEMI-never-to-be-logged"
LIMIT = 8 << 20


def made(url: str, *, request_seconds: float = 5.0) -> ObjectStore:
    """A store with a known secret that tests search for; the library reads it at creation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        return ObjectStore(url, max_object_bytes=LIMIT, request_seconds=request_seconds)


def real(server: str, place: str, proxy: Proxy | None = None) -> ObjectStore:
    """A store with a new prefix in the bucket of a real server."""
    url = need(server) if proxy is None else proxy.url
    head, _, options = url.partition("?")
    return ObjectStore(f"{head}/{place}?{options}", max_object_bytes=32 << 20)


@asynccontextmanager
async def bucket_of(
    keys: Sequence[str],
    *,
    size: int | Callable[[str], int] = 0,
    latency: float = 0.0,
    request_seconds: float = 5.0,
) -> AsyncIterator[tuple[ObjectStore, StandIn]]:
    stand_in = StandIn(keys, size=size, latency=latency)
    async with standing_in(stand_in) as url:
        store = made(url, request_seconds=request_seconds)
        yield store, stand_in
        await store.close()


NOBODY = "s3://b/p?endpoint=http://127.0.0.1:9&region=us-east-1"


async def keys_at(store: ObjectStore, prefix: str, *, after: str = "", page: int = 1000) -> list[str]:
    return [e.key async for page_ in store.list(prefix, after=after, page=page) for e in page_]


# -- objects of other programs ---------------------------------------------------------------------

MARKED = ["e/", "e/s/", "e/s/a", "e/s/a-1", "e/s/a/", "e/s/a/x", "e/s/b-1", "e/s/b/", "e/s/b/x", "e/s/c/"]


async def test_folder_markers_are_never_listed_as_objects():
    async with bucket_of(MARKED) as (store, _):
        assert await keys_at(store, "e") == MARKED
        assert await keys_at(store, "e/s") == MARKED[1:]
        assert await keys_at(store, "e/s/a") == ["e/s/a", "e/s/a/", "e/s/a/x"]
        assert await keys_at(store, "e/s/b") == ["e/s/b/", "e/s/b/x"]


@pytest.mark.parametrize("after", [*MARKED, "e/s/a/w", "e/s/b", "e/s/b-", "e/s//", "e/s/\x01"])
async def test_a_listing_continues_after_folder_markers_and_invalid_keys(after):
    async with bucket_of(MARKED) as (store, _):
        assert await keys_at(store, "e", after=after) == [key for key in MARKED if key > after]


async def test_empty_objects_with_sidecars_cost_no_request_except_the_listing():
    keys = [flat("e/s")(n) for n in range(500)]
    async with bucket_of(keys, size=lambda key: 9 if is_sidecar(key) else 0) as (store, stand_in):
        assert await keys_at(store, "e/s") == keys
        assert stand_in.requests == {"LIST": 1, "HEAD": 1}


async def test_a_missing_bucket_is_not_reported_as_a_missing_object():
    """The answer to HEAD has no body that says which of them is missing."""
    url = need("s3")
    gone = url.replace(f"//{urlsplit(url).netloc}", "//there-is-no-such-bucket")
    for address, there in ((url, True), (gone, False)):
        store = ObjectStore(address, max_object_bytes=1_000, retry_seconds=1)
        try:
            if there:
                assert await store.stat("e/s/none") is None
            else:
                with pytest.raises(Unavailable, match="NoSuchBucket"):
                    await store.stat("e/s/none")
        finally:
            await store.close()


@pytest.mark.parametrize("bad", ["e/s//x", "e/s/../x", "e/s/./x", "e/s/\x02x"])
async def test_a_key_that_the_library_cannot_represent_is_named_and_ends_the_listing(bad):
    async with bucket_of(["e/r/a", bad, "e/s/y"], size=1) as (store, _):
        with pytest.raises(BadRequest) as raised:
            await keys_at(store, "e/s")
        assert "rename or remove it" in raised.value.detail
        assert bad.replace("\x02", "") in raised.value.detail.replace("\\x02", "").replace("\x02", "")
        assert await keys_at(store, "e/r") == ["e/r/a"]


async def test_a_too_large_object_is_read_to_one_byte_past_the_limit():
    async with bucket_of(["e/s/big"], size=LIMIT + 500_000) as (store, _):
        data = await read_one(store, "e/s/big")
        assert data is not None
        assert len(data) == LIMIT + 1


async def test_an_output_that_cannot_be_stored_is_a_dead_letter_and_others_are_stored():
    async with bucket_of([]) as (store, stand_in):
        outcome = await store.write(
            [
                [Blob("e//x", b"")],
                [Blob("e/big", b"x" * (LIMIT + 1))],
                [Blob("e/\ud800", b"")],
                [Blob("e/ok", b"")],
            ]
        )
        codes = [None if one is None else one.code for one in outcome]
        assert codes == ["invalid_key", "object_too_large", "invalid_key", None]
        assert stand_in.requests["PUT"] == 1
        stand_in.refuse = lambda method, target: (400, "KeyTooLongError", "Your key is too long")
        [too_long] = await store.write([[Blob("e/s/x", b"")]])
        assert isinstance(too_long, MessageError)
        assert too_long.code == "invalid_key"


@pytest.mark.parametrize("server", ["s3", "s3-moto"])
async def test_a_large_object_is_uploaded_in_parts_and_read_back_complete(server):
    store = real(server, "large")
    data = os.urandom(20 << 20)
    assert await store.write([[Blob("e/s/x", data)]]) == [None]
    assert await store.read(["e/s/x"]) == [data]
    await store.close()


async def test_objects_are_stored_with_their_content_type():
    store = real("s3-moto", "typed")
    await store.write([[Blob("e/s/x", b"x", "text/markdown"), Blob("e/s/big", b"x" * (17 << 20), "text/x")]])
    client = S3Store(
        "playhead",
        prefix="tests/typed",
        endpoint=parse_qs(urlsplit(need("s3-moto")).query)["endpoint"][0],
        region="us-east-1",
        client_options={"allow_http": True},
    )
    for name, kind in (("x", "text/markdown"), ("big", "text/x")):
        assert (await client.get_async(f"e/s/{name}")).attributes["Content-Type"] == kind
    await store.close()


# -- long listings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [flat("e/s"), folders("e/s", 20), folders("e/s", 6_000)])
async def test_a_long_listing_is_complete_ordered_and_takes_few_additional_requests(layout):
    keys = Computed(30_000, layout)
    async with bucket_of(keys, size=1) as (store, stand_in):
        found = await keys_at(store, "e/s", page=2000)
        assert found == list(keys)
        assert stand_in.requests["LIST"] <= 1.5 * len(keys) / 1000
        after = keys[12_345]
        assert await keys_at(store, "e/s", after=after) == found[12_346:]


async def test_parts_are_listed_concurrently_if_latency_is_high():
    keys = Computed(40_000, flat("e/s"))
    async with bucket_of(keys, size=1, latency=0.1) as (store, stand_in):
        await keys_at(store, "e/s")
        assert stand_in.most_at_once > 2


# -- errors ----------------------------------------------------------------------------------------

REFUSALS = [
    (403, "AccessDenied", "Access Denied", "s3:PutObject on arn:aws:s3:::playhead/*"),
    (403, "SignatureDoesNotMatch", "The request signature…", "AWS_SECRET_ACCESS_KEY"),
    (403, "RequestTimeTooSkewed", "The difference…", "clock"),
    (404, "NoSuchBucket", "The specified bucket does not exist", "PLAYHEAD_STORE"),
    (503, "SlowDown", "Please reduce your request rate.", "by itself"),
    (500, "InternalError", "We encountered an internal error.", "500"),
]


@pytest.mark.parametrize(("status", "code", "words", "fix"), REFUSALS, ids=[r[1] for r in REFUSALS])
async def test_a_refusal_is_reported_in_one_short_sentence_with_advice(status, code, words, fix):
    async with bucket_of([], size=1) as (store, stand_in):
        stand_in.refuse = lambda method, target: (status, code, words)
        begin = time.monotonic()
        with pytest.raises(Unavailable) as raised:
            await store.write([[Blob("e/s/x", b"x")]])
        assert time.monotonic() - begin < 15
        detail = raised.value.detail
        assert "cannot write e/s/x in s3://" in detail
        assert raised.value.code == "store_unavailable"
        assert (code in detail, fix in detail, "\n" in detail, len(detail) < 400) == (True, True, False, True)
        assert SECRET not in detail
        for call in (store.read(["e/s/x"]), keys_at(store, "e"), store.check(), store.open()):
            with pytest.raises(Unavailable, match=code):
                await call


async def test_a_request_to_a_busy_server_is_retried():
    async with bucket_of([]) as (store, stand_in):
        stand_in.refuse = lambda method, target: (
            (503, "SlowDown", "") if stand_in.requests["PUT"] < 3 else None
        )
        assert await store.write([[Blob("e/s/x", b"x")]]) == [None]
        assert stand_in.requests["PUT"] == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (507, "XMinioStorageFull"),
        (403, "QuotaExceeded"),
        (400, "XMinioAdminBucketQuotaExceeded"),
    ],
    ids=["MinIO, disk", "Ceph, quota", "MinIO, quota"],
)
async def test_a_full_store_is_reported_as_full(status: int, code: str):
    async with bucket_of([]) as (store, stand_in):
        stand_in.refuse = lambda method, target: (status, code, "no more bytes") if method == "PUT" else None
        for call in (store.write([[Blob("e/s/x", b"x")]]), store.check()):
            with pytest.raises(StoreFull):
                await call


async def test_a_full_store_that_accepts_empty_objects_fails_its_check():
    async with bucket_of([]) as (store, stand_in):
        stand_in.is_full = True
        with pytest.raises(StoreFull):
            await store.check()


@pytest.mark.parametrize("refused", [[0], [299], [0, 1, 2, 150, 151, 299]])
async def test_unreadable_objects_do_not_prevent_others_from_being_read(refused: list[int]):
    keys = [f"e/s/{n:03}" for n in range(300)]
    async with bucket_of(keys, size=3) as (store, stand_in):
        stand_in.refuse = lambda method, target: (
            (403, "InvalidObjectState", "The operation is not valid for the object's storage class")
            if any(f"/{keys[n]}" in target for n in refused)
            else None
        )
        found = await store.read([*keys, "e/s/none"])

        assert [n for n, one in enumerate(found) if isinstance(one, Unavailable)] == refused
        assert all(keys[n] in str(found[n]) and "restore it" in str(found[n]) for n in refused)
        assert found.pop() is None
        assert sum(isinstance(one, bytes) and len(one) == 3 for one in found) == 300 - len(refused)


async def test_an_unavailable_store_gets_one_retry_for_each_request_in_flight():
    keys = [f"e/s/{n:03}" for n in range(300)]
    async with bucket_of(keys, size=3) as (store, stand_in):
        stand_in.refuse = lambda method, target: (403, "AccessDenied", "Access Denied")
        with pytest.raises(Unavailable, match="AccessDenied"):
            await store.read(keys)
        assert stand_in.requests["GET"] < 100


async def test_an_unreachable_address_is_reported_soon_with_the_address():
    store = made(NOBODY)
    begin = time.monotonic()
    for call in (store.open(), store.read(["e/x"]), store.stat("e/x"), keys_at(store, "e")):
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9.*Connection refused"):
            await call
    assert time.monotonic() - begin < 30


async def test_an_endpoint_whose_name_cannot_be_resolved_is_reported_as_such():
    # Too long a label is refused without a question to a DNS server, which may take longer than a request.
    url = f"s3://b/p?endpoint=http://{'x' * 64}.invalid:9000&region=us-east-1"
    store = made(url)
    with pytest.raises(Unavailable, match=r"its name cannot be resolved.*DNS"):
        await store.open()


async def test_requests_to_a_server_that_does_not_answer_time_out():
    async with bucket_of([], latency=60.0, request_seconds=0.3) as (store, _):
        begin = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            await store.write([[Blob("e/s/x", b"x")]])
        with pytest.raises(Unavailable, match="no answer in time"):
            await store.read(["e/s/x"])
        assert time.monotonic() - begin < 40


@pytest.mark.slow
async def test_a_store_is_used_as_soon_as_it_is_available_again():
    with need_fresh("s3") as server:
        # Half a second is short for a slow machine, so another store checks whether the server is back.
        patient = ObjectStore(server.url, max_object_bytes=LIMIT)
        async with asyncio.timeout(120):
            await patient.write([[Blob("e/s/x", b"before")]])
        store = ObjectStore(server.url, max_object_bytes=LIMIT, request_seconds=0.5, retry_seconds=1.0)
        for away, back in ((server.kill, server.start), (server.pause, server.resume)):
            # Its pool has connections that are about to break.
            assert await until_told(lambda: store.read(["e/s/x"]), Unavailable) == [b"before"]
            away()
            with pytest.raises(Unavailable):
                await store.read(["e/s/x"])
            with pytest.raises(Unavailable):
                await store.write([[Blob("e/s/y", b"meanwhile")]])
            back()
            await until_told(lambda: patient.read(["e/s/x"]), Unavailable)
            for tries_left in reversed(range(5)):
                try:
                    assert await store.read(["e/s/x"]) == [b"before"]
                    break
                except Unavailable:
                    if not tries_left:
                        raise
        await store.close()
        await patient.close()


async def test_a_stream_resumes_with_the_same_bytes_after_a_lost_connection():
    data = os.urandom(6 << 20)
    with Proxy(need("s3-moto")) as proxy:
        store = real("s3-moto", "cut", proxy)
        await store.write([[Blob("cut/s/x", data)]])
        pieces: list[bytes] = []
        async for piece in store.stream("cut/s/x"):
            if len(pieces) == 2:
                proxy.cut()
            pieces.append(piece)
        assert b"".join(pieces) == data
        await store.close()


async def test_a_stream_with_a_limit_leaves_the_rest_of_the_object_in_the_store():
    data = os.urandom(1 << 20) * 24
    with Proxy(need("s3-moto")) as proxy:
        store = real("s3-moto", "head", proxy)
        await store.write([[Blob("head/s/x", data)]])
        before = proxy.answered
        assert b"".join([piece async for piece in store.stream("head/s/x", limit=65_536)]) == data[:65_536]
        await until(lambda: proxy.connections == 0)
        assert proxy.answered - before < len(data) / 3
        await store.close()


async def test_a_stream_of_an_object_that_changed_fails_instead_of_mixing_bytes():
    with Proxy(need("s3-moto")) as proxy:
        store = real("s3-moto", "mix", proxy)
        await store.write([[Blob("mix/s/x", b"old" * (8 << 20))]])
        pieces: list[bytes] = []

        async def take_all() -> None:
            async for piece in store.stream("mix/s/x"):
                if len(pieces) == 2:
                    await store.write([[Blob("mix/s/x", b"new" * (8 << 20))]])
                    proxy.cut()
                pieces.append(piece)

        with pytest.raises(Unavailable):
            await take_all()
        assert b"".join(pieces).startswith(b"oldold")
        assert b"new" not in b"".join(pieces)
        await store.close()


# -- addresses and shutdown ------------------------------------------------------------------------


def test_every_scheme_has_a_store_with_its_name():
    kinds = {"s3://b/p": "s3", "az://c/p?account=a": "azure"}
    assert {ObjectStore(url, max_object_bytes=1).name for url in kinds} == set(kinds.values())


ENDS = """
import asyncio, sys
from playhead.backends.store_object import ObjectStore
async def main():
    store = ObjectStore(sys.argv[1], max_object_bytes=1)
    await store.open()
    await asyncio.gather(*(store.stat(f"e/s/{n}") for n in range(30)))
asyncio.run(main())
"""


async def test_a_process_exits_cleanly_right_after_a_request():
    """Without a short sleep at its end, one in four of these processes dies of SIGABRT."""
    async with standing_in(StandIn(["e/s/1"], size=1)) as url:
        for _ in range(12):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", ENDS, url),
                stderr=subprocess.PIPE,
                env={**os.environ, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET},
            )
            _, said = await process.communicate()
            assert (process.returncode, said) == (0, b"")


async def test_a_message_costs_one_read_and_two_writes():
    async with bucket_of(["e/s/x"], size=10) as (store, stand_in):
        await store.read(["e/s/x"])
        await store.write([[Blob(sidecar_key("e/t/x"), b"{}"), Blob("e/t/x", b"y")]])
        assert stand_in.requests == {"GET": 1, "PUT": 2}


# -- doctor ----------------------------------------------------------------------------------------


async def test_doctor_reports_success_and_leaves_nothing_behind():
    for server in ("s3", "s3-moto"):
        store = real(server, "doctor")
        findings = await store.diagnose()
        assert [f for f in findings if f.status != "ok"] == []
        assert [f.what for f in findings] == ["reach", "rights", "clock", "round trip", "order"]
        assert await keys_at(store, "") == []
        await store.close()


@pytest.mark.parametrize(
    ("method", "right"), [("PUT", "s3:PutObject"), ("GET", "s3:GetObject"), ("LIST", "s3:ListBucket")]
)
async def test_doctor_names_the_missing_permission(method, right):
    async with bucket_of([], size=1) as (store, stand_in):
        stand_in.refuse = lambda asked, target: (
            (403, "AccessDenied", "Access Denied")
            if ("LIST" if "list-type" in target else asked) == method
            else None
        )
        last = (await store.diagnose())[-1]
        assert last.status == "failed"
        assert right in last.fix


async def test_doctor_reports_a_bucket_that_answers_403_for_a_missing_object():
    async with bucket_of([]) as (store, stand_in):
        stand_in.refuse = lambda method, target: (
            (403, "AccessDenied", "") if method == "HEAD" and target.endswith("-absent") else None
        )
        last = (await store.diagnose())[-1]
        assert last.status == "failed"
        assert "s3:ListBucket" in last.fix


async def test_doctor_warns_about_clock_skew_and_probes_that_cannot_be_removed():
    async with bucket_of([]) as (store, stand_in):
        stand_in.refuse = lambda method, target: (
            (403, "AccessDenied", "") if method in ("DELETE", "POST") else None
        )
        findings = await store.diagnose()
        assert [(f.what, f.status) for f in findings] == [
            ("reach", "ok"),
            ("rights", "ok"),
            ("clock", "warning"),  # the clock of that server is fixed
            ("round trip", "ok"),
            ("rights", "warning"),
        ]
        [left] = stand_in.stored
        assert left in findings[-1].detail
        assert await store.check()  # this needs no permission to delete either


async def test_doctor_reports_an_unreachable_server():
    store = made(NOBODY)
    [only] = await store.diagnose()
    assert (only.what, only.status) == ("reach", "failed")
    assert "Connection refused" in only.detail
    assert "endpoint" in only.fix
