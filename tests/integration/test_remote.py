"""`--server` with addresses that are not a working Playhead: sockets with fixed answers."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import UUID

import pytest

from playhead.cli.app import run_program
from playhead.errors import Unavailable
from playhead.ids import uuid7
from playhead.model import DepthPace, RatePace, ReplayRequest, Selection
from playhead.ports.catalog.jobs import Opened
from playhead.remote import RemoteServices
from playhead.remote.client import Client
from playhead.remote.replays import RemoteControl, RemoteReplay
from tests import lab

SOURCE = "01890000-0000-7000-8000-000000000000"
REPLAY = ("replay", SOURCE, "segments", "index")
SHOW = ("show", SOURCE)

BATCH = UUID("01890000-0000-7000-8000-000000000001")
_REPLAY = replace(
    lab.REPLAY,
    execution_id=UUID(SOURCE),
    from_execution_id=UUID(SOURCE),
    from_stage="segments",
    objects_found=1,
    objects_published=1,
    status="publishing_complete",
    replay_batch_id=BATCH,
    state="publishing_complete",
)
RECORDED = json.loads(json.dumps(asdict(_REPLAY), default=str))
"""The body of a server that answers a replay request at once. A 200 has some of its fields."""

Outcome = tuple[int, Any, str]


@dataclass
class Fake:
    """A listener that answers each request with given bytes.

    Attributes:
        seen: the first line of each request.
        headers: the headers of each, by names in lower case.
        bodies: the body of each.
    """

    url: str
    seen: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


def http(status: str, body: bytes, kind: str = "application/json", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def problem(status: str, code: str, detail: str = "so it is", **headers: str) -> bytes:
    body = {"detail": detail, "error_code": code, "correlation_id": "abc-1", "timestamp": "t"}
    return http(status, json.dumps(body).encode(), **headers)


@contextmanager
def answering(*answers: bytes, after: float = 0.0, port: int = 0) -> Iterator[Fake]:
    """Answer the one request of every connection, after `after` seconds, and close it.

    The last of the answers is repeated.
    """
    with socket.create_server(("127.0.0.1", port)) as listener:
        fake = Fake(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
                    fake.seen.append(head.split(b"\r\n")[0].decode())
                    length = [x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length:")]
                    while length and len(body) < int(length[0].partition(b":")[2]):
                        body += connection.recv(65536)
                    lines = head.decode().split("\r\n")[1:]
                    pairs = (line.split(": ", 1) for line in lines)
                    fake.headers.append({name.lower(): value for name, value in pairs})
                    fake.bodies.append(body)
                    time.sleep(after)
                    connection.sendall(answers[min(len(fake.seen), len(answers)) - 1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield fake
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.fixture(autouse=True)
def own_logs() -> Iterator[None]:
    """Restore the logging of the test process after a command has changed it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], level = before
    root.setLevel(level)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], tmp_path: Any, monkeypatch: Any) -> Callable[..., Outcome]:
    monkeypatch.chdir(tmp_path)

    def run(url: str, *arguments: str) -> Outcome:
        code = run_program([*arguments, "--server", url, "--json"])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, json.loads(out), err

    return run


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A reserved port without a listener."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_an_unreachable_server_is_exit_code_5_with_advice(ask, closed_port):
    port = closed_port
    code, body, err = ask(f"http://me:secret@127.0.0.1:{port}", *SHOW)
    assert (code, body["error_code"]) == (5, "server_unavailable")
    for part in (f"http://127.0.0.1:{port}", "Connection refused", "playhead serve", "--server"):
        assert part in body["detail"]
    assert "secret" not in err


@pytest.mark.parametrize(
    ("answer", "parts"),
    [
        (http("200 OK", b"<html>Welcome!", "text/html"), ("not a Playhead server", "text/html", "Welcome!")),
        (http("200 OK", b"\xff\x00", "application/json"), ("not a Playhead server",)),
        (http("404 Not Found", b'{"detail": "Not Found"}'), ("not a Playhead server", "404")),
        (http("200 OK", b'{"execution_id": 7}'), ("another version", "execution_id")),
        (http("301 Moved", b"", Location="https://other.example/"), ("https://other.example/",)),
        (http("401 Unauthorized", b"who?", "text/plain"), ("401", "requires authentication")),
        (http("403 Forbidden", b"no", "text/plain"), ("403",)),
        (http("418 Teapot", b"\x1b[31m", "text/plain"), ("418",)),
    ],
)
def test_a_server_that_is_not_playhead_is_reported_without_a_traceback(ask, answer, parts):
    with answering(answer) as fake:
        code, body, err = ask(fake.url, *SHOW)
    assert (code, body["error_code"]) == (5, "not_playhead")
    for part in parts:
        assert part in body["detail"]
    assert "\x1b" not in err


def test_a_server_that_refuses_the_host_name_is_reported_as_unreachable_by_it(ask):
    told = b'{"detail": "this server does not answer to that name", "error_code": "host_not_allowed"}'
    with answering(http("403 Forbidden", told)) as fake:
        code, body, _ = ask(fake.url, *SHOW)
    assert (code, body["error_code"]) == (5, "host_not_allowed")


@pytest.mark.parametrize("status", ["429 Too Many Requests", "502 Bad Gateway", "504 Gateway Timeout"])
def test_a_bad_gateway_is_reported_as_an_unavailable_server(ask, status):
    with answering(http(status, b"<html>", "text/html")) as fake:
        code, body, _ = ask(fake.url, *SHOW)
    assert (code, body["error_code"]) == (5, "server_unavailable")
    assert status in body["detail"]


def test_a_proxy_that_refuses_a_large_body_is_not_reported_as_another_program(ask):
    with answering(http("413 Request Entity Too Large", b"<html>", "text/html")) as fake:
        code, body, _ = ask(fake.url, *REPLAY)
    assert (code, body["error_code"]) == (2, "body_too_large")
    assert "client_max_body_size" in body["detail"]


def test_a_read_with_a_truncated_answer_is_repeated_once(ask):
    with answering(b"") as fake:
        code, body, _ = ask(fake.url, *SHOW)
    assert (code, body["error_code"]) == (5, "server_unavailable")
    assert fake.seen == [f"GET /api/v1/executions/{SOURCE} HTTP/1.1"] * 2


LOST = pytest.mark.parametrize(
    "lost", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", http("504 Timeout", b"", "text/html")]
)


@LOST
async def test_a_replay_with_a_lost_answer_is_repeated_with_its_key_until_it_is_answered(lost: bytes):
    started = http("202 Accepted", json.dumps(RECORDED).encode(), Idempotent_Replayed="true")
    ended = http("200 OK", json.dumps(RECORDED).encode())
    told: list[Opened] = []
    with answering(lost, lost, started, lost, ended) as fake:
        answer = await replaying(fake).execute(request("mine"), started=told.append)
    assert answer.status == "publishing_complete"
    assert (told[0].replay.replay_batch_id, told[0].fresh) == (BATCH, False)
    assert fake.seen == ["POST /api/v1/replay HTTP/1.1"] * 5
    assert [one["idempotency-key"] for one in fake.headers] == ["mine"] * 5
    assert [one.get("prefer") for one in fake.headers] == ["respond-async"] * 3 + [None] * 2
    assert len(set(fake.bodies)) == 1


@LOST
async def test_the_error_after_the_last_repetition_says_how_to_repeat_the_request(lost: bytes):
    with answering(lost) as fake, pytest.raises(Unavailable) as raised:
        await replaying(fake).create(request("mine"))
    assert len(fake.seen) == 3
    assert raised.value.code == "answer_lost"
    assert raised.value.detail.endswith("use the same key: --key mine")


async def test_the_error_while_waiting_says_how_to_watch_the_replay():
    started = http("202 Accepted", json.dumps(RECORDED).encode())
    with answering(started, b"") as fake, pytest.raises(Unavailable) as raised:
        await replaying(fake).execute(request("mine"))
    assert raised.value.detail.endswith(f"playhead replays watch {BATCH} --server {fake.url}")


@LOST
async def test_a_replay_without_a_key_is_sent_once_and_the_error_says_how_to_find_it(lost: bytes):
    with answering(lost) as fake, pytest.raises(Unavailable) as raised:
        await replaying(fake).execute(request())
    assert raised.value.code == "answer_lost"
    assert fake.seen == ["POST /api/v1/replay HTTP/1.1"]
    assert f"playhead replays {SOURCE} --server {fake.url}" in raised.value.detail


async def test_a_refused_replay_is_not_repeated():
    with answering(problem("503 Away", "store_unavailable")) as fake, pytest.raises(Unavailable):
        await replaying(fake).create(request("mine"))
    assert len(fake.seen) == 1


async def test_a_server_that_goes_away_between_two_requests_is_waited_for():
    """It restarts: the second request finds no listener, and the third one is answered."""
    fake = answering(b"")
    with fake as first:
        address = first.url
        starting = asyncio.create_task(replaying(first, (0.1,) * 50).create(request("mine")))
        while not first.seen:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    started = http("202 Accepted", json.dumps(RECORDED).encode())
    with answering(started, port=int(address.rpartition(":")[2])):
        assert (await starting).replay.replay_batch_id == BATCH


async def test_a_request_has_every_field_that_has_a_value_and_no_other():
    started = http("202 Accepted", json.dumps(RECORDED).encode())
    full = replace(
        request(),
        pace=DepthPace(7),
        reason="why",
        webhook="https://hooks.example/",
        report=False,
        config_version=3,
        effects={"*": "skip"},
        selection=Selection(include=["*.md"], only="failed", in_replay=BATCH),
    )
    with answering(started) as fake:
        await replaying(fake).create(request())
        await replaying(fake).create(full)
        await replaying(fake).create(replace(ReplayRequest.of_plan(BATCH), pace=RatePace(0.5)))
    few = {"from_execution_id": SOURCE, "from_stage": "segments", "to_route": "index"}
    assert [json.loads(body) for body in fake.bodies] == [
        few,
        few
        | {
            "pace": {"queue_depth": 7},
            "reason": "why",
            "webhook": "https://hooks.example/",
            "report": False,
            "config_version": 3,
            "effects": {"*": "skip"},
            "include": ["*.md"],
            "only": "failed",
            "in_replay": str(BATCH),
        },
        {"plan_id": str(BATCH), "pace": {"rate": 0.5}},
    ]


async def test_control_is_sent_as_the_api_wants_it():
    with answering(http("200 OK", json.dumps(RECORDED).encode())) as fake:
        control = RemoteControl(Client(fake.url))
        await control.pause(BATCH)
        await control.resume(BATCH)
        await control.resume(BATCH, canary=20)
        await control.retry(BATCH)
        await control.cancel(BATCH, withdraw=True)
        await control.set_pace(BATCH, RatePace(2.5))
        await control.set_pace(BATCH, None)
    of = f"/api/v1/replays/{BATCH}"
    assert fake.seen == [
        *(f"POST {of}/{verb} HTTP/1.1" for verb in ("pause", "resume", "resume", "retry", "cancel")),
        *[f"PUT {of}/pace HTTP/1.1"] * 2,
    ]
    assert fake.bodies == [b"", b"", b'{"canary":20}', b"", b'{"withdraw":true}', b'{"rate":2.5}', b"null"]


def request(key: str | None = None) -> ReplayRequest:
    return ReplayRequest(UUID(SOURCE), "segments", None, "index", key=key)


def replaying(fake: Fake, delays: tuple[float, ...] = (0.01, 0.01)) -> RemoteReplay:
    return RemoteReplay(Client(fake.url), delays=delays)


def test_a_replay_that_was_not_sent_is_reported_as_such(ask, closed_port):
    assert ask(f"http://127.0.0.1:{closed_port}", *REPLAY)[1]["error_code"] == "server_unavailable"


def test_a_replay_that_continues_is_exit_code_5_and_says_where_to_look(ask):
    batch = uuid7()
    location = f"/api/v1/replays/{batch}"
    with answering(problem("503 Away", "replay_continues", f"look at {batch}", Location=location)) as fake:
        code, body, err = ask(fake.url, *REPLAY)
    assert (code, body["error_code"], body["detail"]) == (5, "replay_continues", f"look at {batch}")
    assert f"playhead replays watch {batch} --server {fake.url}" in err


@pytest.mark.parametrize(
    ("answer", "code", "error"),
    [
        (problem("400 Bad", "invalid_path"), 2, "invalid_path"),
        (problem("404 Not Found", "execution_not_found"), 4, "execution_not_found"),
        (problem("409 Conflict", "execution_ended"), 1, "execution_ended"),
        (problem("413 Too Large", "body_too_large"), 2, "body_too_large"),
        (problem("503 Away", "catalog_unavailable"), 5, "catalog_unavailable"),
        (problem("503 Full", "store_full"), 5, "store_full"),
    ],
)
def test_an_error_of_the_server_has_the_exit_code_of_the_local_error(ask, answer, code, error):
    with answering(answer) as fake:
        ended, body, err = ask(fake.url, *SHOW)
    assert (ended, body["error_code"], body["detail"]) == (code, error, "so it is")
    assert body["correlation_id"] == "abc-1"
    assert f"Error ({error}): so it is" in err


def test_an_internal_error_of_the_server_shows_the_id_of_its_log_line(ask):
    with answering(problem("500 Internal", "internal")) as fake:
        code, body, err = ask(fake.url, *SHOW)
    assert (code, body["error_code"], body["correlation_id"]) == (1, "internal", "abc-1")
    assert "X-Correlation-ID: abc-1" in err


def test_an_invalid_request_is_a_usage_error(ask):
    faults = [{"loc": ["query", "limit"], "msg": "Input should be less than or equal to 1000", "type": "x"}]
    with answering(http("422 Unprocessable", json.dumps({"detail": faults}).encode())) as fake:
        code, body, _ = ask(fake.url, *SHOW)
    assert (code, body["error_code"]) == (2, "usage")
    assert body["detail"] == "query limit: Input should be less than or equal to 1000"


async def test_doctor_waits_for_the_server_while_a_backend_hangs():
    with answering(http("200 OK", b'{"status": "failed", "parts": []}'), after=0.8) as fake:
        client = Client(fake.url, answer_seconds=0.2)
        server = RemoteServices(client)
        with pytest.raises(Unavailable):
            await server.executions.get(UUID(SOURCE))
        assert (await server.doctor.examine()).status == "failed"
        await client.close()


def test_a_truncated_object_is_an_error_and_writes_no_partial_file(ask):
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc") as fake:
        code, body, _ = ask(fake.url, "cat", f"{SOURCE}/segments/a.md")
    assert (code, body["error_code"]) == (5, "server_unavailable")


@pytest.mark.parametrize("command", ["serve", "worker", "migrate", "reindex", "demo"])
def test_local_commands_refuse_a_server(ask, command):
    code, body, _ = ask("http://127.0.0.1:1", command)
    assert (code, body["error_code"]) == (2, "usage")
    assert f"playhead {command}" in body["detail"]


def test_local_commands_ignore_a_server_in_the_settings(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAYHEAD_SERVER", "http://127.0.0.1:1")
    assert run_program(["migrate"]) == 0
    assert run_program(["reindex"]) == 0
    worker = [sys.executable, "-m", "playhead", "worker", "--until-idle"]
    assert subprocess.run(worker, capture_output=True, check=False).returncode == 0
    assert run_program(["executions"]) == 5
    # Backends in a flag take precedence over the settings.
    assert run_program(["executions", "--home", ".playhead"]) == 0


def test_a_server_and_backends_cannot_both_be_given(ask):
    code, body, _ = ask("http://127.0.0.1:1", "executions", "--home", "home")
    assert (code, body["error_code"]) == (2, "usage")


def test_too_many_inputs_are_refused_before_anything_is_sent(ask, tmp_path):
    for n in range(10_001):
        (tmp_path / f"{n}.txt").touch()
    code, body, _ = ask("http://127.0.0.1:1", "run", "docs", ".")
    assert (code, body["error_code"]) == (2, "usage")
    assert "10,000" in body["detail"]
