"""Event streams over real sockets, and a server that shuts down in time while streams are open."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.acceptance.exactness import PATIENT, by_hand, exact_deployment, inputs, pipeline, strangers
from tests.acceptance.processes import DEADLINE_SECONDS, Deployment, Process, stopwatch

pytestmark = pytest.mark.slow

GRACE_SECONDS = 5.0
SLOW_SECONDS = 1.5
"""Additional time for a busy machine. Suspension of the machine does not count."""
SLOW = pipeline("slow", "slow", "seconds: 0.05", inbound="concurrency: 1, prefetch: 1")
IS_BEING_PUBLISHED = "SELECT 1 FROM jobs WHERE state = 'publishing' AND ordinals BETWEEN 1000 AND 12000"


@dataclass
class Stream:
    """A stream that is read to its end, as an `EventSource` reads it.

    Attributes:
        received: the events so far: name, id, data.
        comments: comment lines.
        failed: the error that ended the connection; empty if the server closed it regularly.
    """

    url: str
    last: str = ""
    received: list[tuple[str, str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    failed: str = ""
    status: int = 0

    def __post_init__(self) -> None:
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        return self._thread.is_alive()

    def _read(self) -> None:
        headers = {"Last-Event-ID": self.last} if self.last else {}
        try:
            with httpx.stream("GET", self.url, headers=headers, timeout=60, trust_env=False) as answer:
                self.status = answer.status_code
                said: dict[str, str] = {}
                for line in answer.iter_lines():
                    if line.startswith(":"):
                        self.comments.append(line[1:].strip())
                    elif line:
                        name, _, value = line.partition(": ")
                        said[name] = value
                    elif said:
                        self.received.append((said["event"], said["id"], json.loads(said["data"])))
                        said = {}
        except httpx.HTTPError as exc:
            self.failed = f"{type(exc).__name__}: {exc}"


@contextmanager
def unread(url: str, *, room: int = 2048) -> Iterator[socket.socket]:
    """A client that sends a request and does not read the response. Its receive buffer is small."""
    parts = httpx.URL(url)
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        sock.connect((parts.host, parts.port))
        sock.sendall(
            f"GET {parts.raw_path.decode()} HTTP/1.1\r\nHost: {parts.netloc.decode()}\r\n\r\n".encode()
        )
        yield sock


def was_ended(sock: socket.socket) -> bool:
    """Whether an unread response is complete."""
    sock.settimeout(DEADLINE_SECONDS)
    answer = b""
    try:
        while piece := sock.recv(65536):
            answer += piece
    except ConnectionResetError:
        return False
    return answer.endswith(b"\r\n0\r\n\r\n")


@contextmanager
def half_asked(url: str) -> Iterator[None]:
    """A client that announces a body and sends only one byte of it."""
    parts = httpx.URL(url)
    head = (
        f"POST {parts.raw_path.decode()} HTTP/1.1\r\nHost: {parts.netloc.decode()}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with socket.create_connection((parts.host, parts.port)) as sock:
        sock.sendall(head.encode())
        yield


@contextmanager
def being_answered(url: str, body: bytes) -> Iterator[socket.socket]:
    """A client whose request the server processes: the server has requested and received the body."""
    parts = httpx.URL(url)
    head = (
        f"POST {parts.raw_path.decode()} HTTP/1.1\r\nHost: {parts.netloc.decode()}\r\n"
        f"Content-Type: application/yaml\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((parts.host, parts.port), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(head.encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        yield sock


def piled_up(sock: socket.socket) -> int:
    """Return the number of unsent bytes for a client in the send buffer of the kernel."""
    peer, own = (f":{port:04X}" for _, port in (sock.getpeername(), sock.getsockname()))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    [queues] = [line[4] for line in lines if line[1].endswith(peer) and line[2].endswith(own)]
    return int(queues.partition(":")[0], 16)


def ends_in_time(
    deployment: Deployment,
    server: Process,
    number: signal.Signals,
    meanwhile: Callable[[], object] = lambda: None,
) -> float:
    """Stop a server with a signal and return the seconds that it took. Its exit code must be 0."""
    began = time.monotonic()
    with stopwatch() as counted:
        server.popen.send_signal(number)
        meanwhile()
        code = server.popen.wait(DEADLINE_SECONDS)
        if code or counted() > GRACE_SECONDS + SLOW_SECONDS:
            raise deployment.failed(f"{server.name} ended with {code} after {counted():.1f} s")
    return time.monotonic() - began


def test_streams_follow_an_execution_from_one_server_to_the_next_and_to_its_end() -> None:
    with exact_deployment() as deployment:
        server = deployment.serve()
        deployment.apply(SLOW)
        execution = deployment.run("slow", inputs(60))
        path = f"/api/v1/executions/{execution}/events"
        first = Stream(server.url + path)
        deployment.until(lambda: first.received, "the first event")
        deployment.worker()
        deployment.until(lambda: len(first.received) > 1, "a second event")
        ends_in_time(deployment, server, signal.SIGTERM)
        deployment.until(lambda: not first.is_open, "the stream to close")
        # The response is complete. A server aborts only responses for which it would have to wait.
        assert (first.failed, {name for name, _, _ in first.received}) == ("", {"execution"})

        other = deployment.serve()
        second = Stream(other.url + path, last=first.received[-1][1])
        deployment.until(lambda: not second.is_open, "the stream to end")
        assert [name for name, _, _ in second.received].count("end") == 1
        name, last, data = second.received[-1]
        assert name == "end"
        routes = deployment.get(f"/executions/{execution}/routes")["items"]
        assert data == deployment.get(f"/executions/{execution}") | {"routes": routes}
        assert data["status"] == "completed"
        done = [shown["counts"]["completed"] for _, _, shown in (*first.received, *second.received)]
        assert done == sorted(done)
        assert not {told for _, told, _ in first.received} & {told for _, told, _ in second.received}

        third = Stream(other.url + path, last=last)
        deployment.until(lambda: not third.is_open, "the answer")
        assert (third.status, third.received) == (204, [])


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.full),
    ],
)
def test_a_server_shuts_down_in_time_with_open_streams_and_waiting_requests(number: signal.Signals) -> None:
    with exact_deployment(**PATIENT) as deployment, ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        server = deployment.serve()
        deployment.apply(pipeline("take", "slow"))
        waiting = deployment.run("take", inputs(3))
        source = strangers(deployment, (f"{n // 1000:03d}/{n:05d}.txt" for n in range(15_000)))
        body = {"from_execution_id": source, "from_stage": "found", "to_route": "take/hand_over"}
        url = f"{deployment.url}/api/v1"
        asked = pool.submit(
            lambda: httpx.post(f"{url}/replay", json=body, timeout=DEADLINE_SECONDS, trust_env=False)
        )
        streams = [Stream(f"{url}/executions/{waiting}/events") for _ in range(3)]
        unread_ones = [stack.enter_context(unread(f"{url}/executions/{waiting}/events"))]
        held = stack.enter_context(ExitStack())
        held.enter_context(by_hand(deployment, when=IS_BEING_PUBLISHED))  # so that it cannot end meanwhile
        [replay] = deployment.items("/replays")
        events = f"{url}/replays/{replay['replay_batch_id']}/events"
        streams.append(Stream(events))
        unread_ones.append(stack.enter_context(unread(events)))
        deployment.until(lambda: all(stream.received for stream in streams), "the streams to begin")

        def until_answered() -> None:
            asked.result()
            held.close()

        ends_in_time(deployment, server, number, until_answered)
        answer = asked.result()
        assert (answer.status_code, answer.json()["error_code"]) == (503, "replay_continues")
        for stream in streams:
            deployment.until(lambda stream=stream: not stream.is_open, "the streams to close")  # type: ignore[misc]
            assert stream.failed == ""
            assert "end" not in [name for name, _, _ in stream.received]
        assert all(was_ended(sock) for sock in unread_ones), "a stream was broken off"
        assert "Traceback" not in server.said


def test_a_server_shuts_down_in_time_if_clients_neither_read_nor_send() -> None:
    with exact_deployment(**PATIENT) as deployment:
        server = deployment.serve()
        deployment.apply(SLOW)
        execution = deployment.post(
            "/configs/slow/run",
            files=[("files", (path, data)) for path, data in inputs(400).items()],
            # An event of 240 kB, since JSON has 12 bytes for such a character: a dozen fill every buffer.
            data={"tags": [f"{n:03d}" + "\N{MUSICAL SYMBOL G CLEF}" * 190 for n in range(100)]},
        )["execution_id"]
        events = f"{deployment.url}/api/v1/executions/{execution}/events"
        run = f"{deployment.url}/api/v1/configs/slow/run"
        with unread(events) as stays, unread(events) as leaves, half_asked(run):
            read = Stream(events)
            deployment.worker()

            def are_stuck() -> bool:
                before, told = (piled_up(stays), piled_up(leaves)), len(read.received)
                deployment.until(lambda: len(read.received) > told + 2, "more events", alive=[server])
                return before == (piled_up(stays), piled_up(leaves))

            deployment.until(are_stuck, "every buffer to be full")
            leaves.close()
            took = ends_in_time(deployment, server, signal.SIGTERM)
        assert took > 2, "the server waited for no client: the test is void"
        deployment.until(lambda: not read.is_open, "the stream to close")
        assert read.failed == ""
        assert "Traceback" not in server.said, server.said


def test_a_request_that_hangs_is_cut_off_without_a_traceback() -> None:
    with exact_deployment(**PATIENT) as deployment:
        server = deployment.serve()
        deployment.apply(SLOW)
        other = pipeline("other", "slow").encode()
        with (
            by_hand(deployment),
            being_answered(f"{deployment.url}/api/v1/configs", other) as asked,
        ):  # no process can write
            server.popen.terminate()
            deployment.until(lambda: "Cancel 1 running task" in server.said, "the request to be cut off")
            with suppress(ConnectionResetError):
                assert asked.recv(65536) == b""
        assert server.popen.wait(DEADLINE_SECONDS) == 0
        assert "Traceback" not in server.said
