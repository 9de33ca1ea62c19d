"""docs/howto/least-rights.md: with the users of the page, workers work, and cannot do what servers do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

from playhead.backends.broker_nats import NatsBroker
from playhead.backends.broker_rabbitmq import RabbitBroker
from playhead.backends.store_object import ObjectStore
from playhead.errors import Unavailable
from playhead.ports.broker import CONFIRMED
from playhead.ports.store import Blob
from tests.lab import dispatches
from tests.servers import need_fresh
from tests.servers.rabbitmq import RabbitMq
from tests.servers.s3 import BUCKET
from tests.waiting import take, until

pytestmark = pytest.mark.slow

PAGE: Final = (Path(__file__).parents[2] / "docs/howto/least-rights.md").read_text(encoding="utf-8")
QUEUE: Final = "docs.convert"
PREFIX: Final = "playhead."


def block(language: str, beginning: str) -> str:
    """Return the block of the page that begins with this text."""
    found: list[str] = re.findall(rf"```{language}\n({re.escape(beginning)}.*?)```", PAGE, re.DOTALL)
    return found[0]


@asynccontextmanager
async def opened(*brokers: Any) -> AsyncIterator[None]:
    for broker in brokers:
        await broker.open()
    try:
        yield
    finally:
        for broker in brokers:
            await broker.close()


async def works(server: Any, worker: Any) -> None:
    """Let a worker receive from a queue that a server has created, and publish into another one."""
    assert await server.publish([*dispatches(3), *dispatches(1, "docs.split")]) == [CONFIRMED] * 4
    held = await take(worker, 3)
    await worker.extend(held)
    await worker.ack(held)
    await until(lambda: worker.is_empty(QUEUE))
    assert await worker.publish(dispatches(1, "docs.split")) == [CONFIRMED]
    assert not await worker.is_empty("docs.split")
    await server.ack(await take(server, 2, "docs.split"))


# -- RabbitMQ --------------------------------------------------------------------------------------


async def test_a_worker_on_rabbitmq_uses_queues_and_creates_and_deletes_none():
    with need_fresh("rabbitmq") as own:
        assert isinstance(own, RabbitMq)
        for line in block("sh", "rabbitmqctl add_user playhead_server").splitlines():
            words = [word.strip("'") for word in line.split()[1:]]
            await asyncio.to_thread(own.control, *words, *(["secret"] if words[0] == "add_user" else []))

        def broker(user: str) -> RabbitBroker:
            return RabbitBroker(own.url.replace("guest:guest", f"{user}:secret"), prefix=PREFIX)

        server, worker = broker("playhead_server"), broker("playhead_worker")
        async with opened(server, worker):
            for queue in (QUEUE, "docs.split"):
                # A process that receives creates the queues of both levels.
                await server.publish(dispatches(1, queue))
                await server.ack(await take(server, 1, queue))
            await works(server, worker)
            with pytest.raises(Unavailable, match="configure access"):
                await worker.publish(dispatches(1, "docs.new"))

        (dedicated,) = re.findall(r"`(set_permissions -p / playhead_worker [^`]*)`", PAGE)
        await asyncio.to_thread(own.control, *(word.strip("'") for word in dedicated.split()))
        worker = broker("playhead_worker")
        async with opened(server, worker):
            await works(server, worker)
            with pytest.raises(Unavailable, match="read access"):
                await worker.receive("docs.split", 1, wait=1)


# -- NATS ------------------------------------------------------------------------------------------


async def test_a_worker_on_nats_uses_streams_and_deletes_none(tmp_path: Path):
    conf = tmp_path / "nats.conf"
    conf.write_text(re.sub(r"jetstream \{ .*? \}", "", block("", "accounts {")))
    with need_fresh("nats", "-c", str(conf)) as own:

        def broker(user: str) -> NatsBroker:
            return NatsBroker(own.url.replace("://", f"://{user}:secret@"))

        server, worker = broker("playhead_server"), broker("playhead_worker")
        async with opened(server, worker):
            await works(server, worker)
            assert await worker.publish(dispatches(1, "docs.new")) == [CONFIRMED]
            findings = {one.what: one for one in await worker.diagnose()}
            assert "stream.delete" in findings["rights"].detail.lower()
            assert "rights" not in [one.what for one in await server.diagnose() if one.status == "failed"]


# -- S3 --------------------------------------------------------------------------------------------


async def test_a_worker_on_s3_stores_objects_and_deletes_none(monkeypatch: pytest.MonkeyPatch):
    with need_fresh("s3-moto") as own:
        endpoint = own.url.partition("endpoint=")[2].partition("&")[0]
        credentials = {user: _identity(endpoint, user) for user in ("server", "worker")}
        _ask(f"{endpoint}/moto-api/reset-auth", b"0")  # from now on, it checks the policies

        @asynccontextmanager
        async def store(user: str) -> AsyncIterator[ObjectStore]:
            for name, value in zip(
                ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), credentials[user], strict=True
            ):
                monkeypatch.setenv(name, value)
            made = ObjectStore(own.url, max_object_bytes=1_000)
            async with opened(made):
                yield made

        async with store("worker") as worker:
            await worker.write([[Blob("run/input/a.md", b"text")]])
            assert await worker.read(["run/input/a.md"]) == [b"text"]
            with pytest.raises(Unavailable, match="Access Denied"):
                await worker.delete(["run/input/a.md"])
            assert {one.status for one in await worker.diagnose()} == {"ok", "warning"}
        async with store("server") as server:
            await server.delete(["run/input/a.md"])
            assert await server.read(["run/input/a.md"]) == [None]
            assert {one.status for one in await server.diagnose()} == {"ok"}


def _identity(endpoint: str, user: str) -> list[str]:
    """Create a user with the policy of the page; return its key and secret."""
    text = block("json", "{").replace("bucket", BUCKET).replace("prefix/", "tests/")
    policy = json.loads(text)
    if user == "worker":
        policy["Statement"] = [one for one in policy["Statement"] if one.get("Sid") != "servers"]
    else:
        # moto checks a request that deletes many objects against the bucket, AWS against each of the objects.
        policy["Statement"][-1]["Resource"] = [policy["Statement"][-1]["Resource"], f"arn:aws:s3:::{BUCKET}"]

    def ask(action: str, **given: str) -> str:
        named = {"Action": action, "UserName": user, "Version": "2010-05-08"}
        return _ask(f"{endpoint}/", urlencode(named | given).encode())

    ask("CreateUser")
    made = ask("CreateAccessKey")
    ask("PutUserPolicy", PolicyName="page", PolicyDocument=json.dumps(policy))
    return [re.findall(f"<{tag}>(.*?)<", made)[0] for tag in ("AccessKeyId", "SecretAccessKey")]


def _ask(url: str, body: bytes) -> str:
    scope = "Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=none"
    kind = "text/plain" if body.isdigit() else "application/x-www-form-urlencoded"
    with urlopen(
        Request(url, body, {"Authorization": f"AWS4-HMAC-SHA256 {scope}", "Content-Type": kind})
    ) as answer:
        return str(answer.read().decode())
