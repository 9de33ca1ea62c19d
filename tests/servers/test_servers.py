"""The servers of the tests behave as the tests of the backends require."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aio_pika
import asyncpg  # type: ignore[import-untyped]
import nats
import pytest
from obstore.store import S3Store

from tests.servers import SERVERS, DidNotStart, Server, need, need_fresh
from tests.servers.nats import NatsThree
from tests.servers.process import alive, free_port
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitMq
from tests.waiting import until_told

NOT_YET = (nats.errors.Error, nats.js.errors.Error)

# A cluster of three consists of three such servers.
SINGLE = [name for name in SERVERS if name != "nats-three"]
# moto keeps everything in memory.
LASTING = [pytest.param(name, marks=pytest.mark.slow) for name in SINGLE if name != "s3-moto"]


async def write(url: str, text: str) -> None:
    """Store a text in the server and wait for its confirmation."""
    match urlsplit(url).scheme:
        case "postgresql":
            connection = await asyncpg.connect(url)
            await connection.execute("CREATE TABLE IF NOT EXISTS kept (text text)")
            await connection.execute("INSERT INTO kept VALUES ($1)", text)
            await connection.close()
        case "nats":
            client = await nats.connect(url)
            await client.jetstream().add_stream(name="kept", subjects=["kept"])
            await client.jetstream().publish("kept", text.encode())
            await client.close()
        case "amqp":
            async with await aio_pika.connect(url) as link, link.channel() as channel:
                await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
                message = aio_pika.Message(text.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await channel.default_exchange.publish(message, "kept")
        case _:
            await asyncio.to_thread(_bucket(url).put, "kept", text.encode())


async def read(url: str) -> str:
    """Return the text that `write` stored."""
    match urlsplit(url).scheme:
        case "postgresql":
            connection = await asyncpg.connect(url)
            found = await connection.fetchval("SELECT text FROM kept")
            await connection.close()
            return str(found)
        case "nats":
            client = await nats.connect(url)
            message = await client.jetstream().get_msg("kept", 1)
            await client.close()
            return (message.data or b"").decode()
        case "amqp":
            async with await aio_pika.connect(url) as link, link.channel() as channel:
                queue = await channel.get_queue("kept")
                return (await queue.get(timeout=30.0)).body.decode()
        case _:
            return bytes(await asyncio.to_thread(lambda: _bucket(url).get("kept").bytes())).decode()


def _bucket(url: str):
    where = urlsplit(url)
    given = {name: values[0] for name, values in parse_qs(where.query).items()}
    return S3Store(
        where.netloc,
        prefix=where.path.strip("/") + "/test_servers",
        endpoint=given["endpoint"],
        region=given["region"],
        client_options={"allow_http": True},
    )


def answers(server: Server) -> bool:
    try:
        return server.answers()
    except OSError:
        return False


@pytest.fixture
def own(request):
    """A new server of the kind that the test is parametrized with."""
    with need_fresh(request.param) as made:
        yield made


@pytest.mark.parametrize("name", SINGLE)
async def test_it_starts_and_stores_data(name):
    url = need(name)
    await write(url, "a")
    assert await read(url) == "a"


@pytest.mark.parametrize("name", SINGLE)
def test_all_tests_share_one_server(name):
    assert need(name) == need(name)


@pytest.mark.parametrize("own", LASTING, indirect=True)
async def test_after_a_kill_it_restarts_with_its_port_and_data(own):
    url = own.url
    await write(url, "a")
    if isinstance(own, RabbitMq):
        await asyncio.to_thread(own.write_down)
    own.kill()
    assert not own.running
    assert not answers(own)
    own.start()
    assert own.url == url
    assert await read(url) == "a"


@pytest.mark.parametrize("own", LASTING, indirect=True)
async def test_after_a_stop_it_restarts_with_its_port_and_data(own):
    url = own.url
    await write(url, "a")
    own.stop()
    assert not answers(own)
    own.start()
    assert await read(url) == "a"


@pytest.mark.parametrize("own", LASTING, indirect=True)
async def test_it_does_not_answer_while_paused_and_continues_when_resumed(own):
    await write(own.url, "a")
    own.pause()
    asked = asyncio.ensure_future(read(own.url))
    done, _ = await asyncio.wait([asked], timeout=0.3)
    assert not done
    own.resume()
    assert await asyncio.wait_for(asked, 60.0) == "a"


@pytest.mark.slow
async def test_two_of_three_nats_servers_keep_confirmed_messages_and_continue():
    with need_fresh("nats-three") as three:
        assert isinstance(three, NatsThree)
        client = await nats.connect([f"nats://127.0.0.1:{member.port}" for member in three.members])
        stream = client.jetstream()
        # A newly elected leader may not know yet that all three members are up.
        made = await until_told(
            lambda: stream.add_stream(name="kept", subjects=["kept"], num_replicas=3), *NOT_YET
        )
        await stream.publish("kept", b"a", timeout=60)
        assert made.cluster
        assert made.cluster.leader
        three.named(made.cluster.leader).kill()
        # During the election of a leader, requests get no answer.
        found = await until_told(lambda: stream.get_msg("kept", 1), *NOT_YET)
        assert found.data == b"a"
        assert (await stream.publish("kept", b"b", timeout=60)).seq == 2
        await client.close()


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("name", LASTING)
def test_no_process_and_no_file_survives_the_tests_even_after_sigkill(name, paused):
    need_fresh(name).close()
    script = f"""
import sys, time
from tests.servers import fresh
own = fresh({name!r})
if {paused}:
    own.pause()
print(own.folder, *own.processes(), flush=True)
time.sleep(600)
"""
    tests = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert tests.stdout is not None
    folder, *pids = tests.stdout.readline().split()
    assert Path(folder).exists()
    tests.send_signal(signal.SIGKILL)
    tests.wait()
    tests.stdout.close()
    deadline = time.monotonic() + 60.0
    while (left := _left(pids, folder)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


def _left(pids: list[str], folder: str) -> list[str]:
    return [pid for pid in pids if alive(int(pid))] + ([folder] if Path(folder).exists() else [])


def test_arguments_reach_the_server():
    with need_fresh("postgres", "--max_connections=7") as own:
        shown = asyncio.run(_setting(own.url, "max_connections"))
    assert shown == "7"


async def _setting(url: str, name: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval(f"SHOW {name}"))
    finally:
        await connection.close()


def test_a_server_that_does_not_start_reports_why():
    need("nats")
    with pytest.raises(DidNotStart, match="no-such-file"):
        need_fresh("nats", "-c", "/no-such-file")


def test_concurrent_processes_get_distinct_free_ports():
    script = "from tests.servers.process import free_port; print([free_port() for _ in range(200)])"
    mine = {free_port() for _ in range(200)}
    told = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    theirs = json.loads(told.stdout)
    assert len(mine) == len(set(theirs)) == 200
    assert mine.isdisjoint(theirs)


# -- missing servers -------------------------------------------------------------------------------


def run(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run two tests that need a missing server."""
    (folder / "test_it.py").write_text(
        "from tests.servers import Missing, absent\n"
        "def test_a(): absent(Missing('nats', 'not found', 'get one'))\n"
        "def test_b(): absent(Missing('nats', 'not found', 'get one'))\n"
    )
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.conftest",
            "-c",
            os.devnull,
            "--rootdir",
            folder,
            folder,
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={k: v for k, v in os.environ.items() if k != "PLAYHEAD_TEST_REQUIRE"} | env,
    )


def test_tests_without_their_server_are_skipped_and_the_server_is_listed_once(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 skipped" in done.stdout
    assert done.stdout.count("nats: not found; get one (tests skipped: 2)") == 1


def test_tests_without_a_required_server_fail(tmp_path):
    done = run(tmp_path, PLAYHEAD_TEST_REQUIRE="postgres, nats")
    assert done.returncode == 1
    assert "2 failed" in done.stdout
    assert "nats: not found; get one" in done.stdout


def test_an_unknown_required_server_is_an_error(tmp_path):
    done = run(tmp_path, PLAYHEAD_TEST_REQUIRE="postgres,natz")
    assert done.returncode == 4
    assert "natz" in done.stderr


# -- the network -----------------------------------------------------------------------------------


class Echo:
    """A server that echoes the bytes it receives and records them."""

    def __init__(self) -> None:
        self.heard = b""
        self._heard_more = asyncio.Condition()

    async def __aenter__(self) -> Echo:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"echo://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                async with self._heard_more:
                    self.heard += data
                    self._heard_more.notify_all()
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()

    async def hears(self, text: bytes) -> None:
        async with self._heard_more:
            await self._heard_more.wait_for(lambda: text in self.heard)


async def talk(network: Proxy, text: bytes) -> bytes:
    """One connection that sends a text and receives it back."""
    reader, writer = await connect(network)
    try:
        writer.write(text)
        return await asyncio.wait_for(reader.readexactly(len(text)), 30.0)
    finally:
        writer.close()


async def connect(network: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", network.port)


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    async with Echo() as echo:
        yield echo


@pytest.fixture
def network(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.url) as network:
        yield network


async def test_the_proxy_passes_on_all_bytes(network: Proxy):
    reader, writer = await connect(network)
    sent = os.urandom(1_000_000)
    writer.write(sent)
    assert await asyncio.wait_for(reader.readexactly(len(sent)), 30.0) == sent
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 30.0) == b""
    writer.close()


async def test_a_connection_can_be_cut_between_a_request_and_its_answer(echo: Echo, network: Proxy):
    reader, writer = await connect(network)
    network.hold()
    writer.write(b"do it")
    await asyncio.wait_for(echo.hears(b"do it"), 30.0)
    network.cut()
    network.release()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 30.0)
    writer.close()


async def test_a_cut_resets_the_connection_of_waiting_clients(network: Proxy):
    talks = [await connect(network) for _ in range(20)]
    for reader, writer in talks:
        writer.write(b"a")
        await asyncio.wait_for(reader.readexactly(1), 30.0)
    network.cut()
    for reader, writer in talks:
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 30.0)
        writer.close()


async def test_held_answers_arrive_when_they_are_released(network: Proxy):
    reader, writer = await connect(network)
    network.hold()
    writer.write(b"a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(1), 0.2)
    network.release()
    assert await asyncio.wait_for(reader.readexactly(1), 30.0) == b"a"
    writer.close()


async def test_only_new_connections_are_refused_until_they_are_accepted_again(echo: Echo, network: Proxy):
    reader, writer = await connect(network)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    network.refuse()
    with pytest.raises(ConnectionError):
        await talk(network, b"b")
    writer.write(b"c")
    assert await asyncio.wait_for(reader.readexactly(1), 30.0) == b"c"
    network.accept()
    assert await talk(network, b"d") == b"d"
    assert echo.heard == b"acd"
    writer.close()


async def test_answers_are_delayed_by_the_latency(network: Proxy):
    network.latency(0.2)
    reader, writer = await connect(network)
    took: list[float] = []
    # If the machine stalls for a moment, one of them takes longer, but not all.
    for _ in range(3):
        began = time.monotonic()
        writer.write(b"a")
        await asyncio.wait_for(reader.readexactly(1), 30.0)
        took.append(time.monotonic() - began)
    assert 0.2 <= min(took) < 2.0
    writer.close()


def test_the_proxy_forwards_to_the_endpoint_in_a_url():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with Proxy(f"s3://bucket/a?endpoint=http://127.0.0.1:{port}&region=r") as network:
            assert network.url == f"s3://bucket/a?endpoint=http://127.0.0.1:{network.port}&region=r"
