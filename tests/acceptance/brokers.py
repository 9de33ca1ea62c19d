"""Changes that operators and other programs make to a broker, without Playhead's own code."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import aio_pika
import asyncpg  # type: ignore[import-untyped]
import nats
import nats.errors
from nats.aio.client import Client as NatsClient
from nats.aio.msg import Msg
from nats.js.api import StreamConfig, StreamInfo
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError

T = TypeVar("T")

Headers = Mapping[str, str]
_SECONDS: Final = 60.0


class Hand(Protocol):
    """A broker by hand. Queues are named without the prefix. None of it needs an event loop.

    Attributes:
        keeps: `take` leaves what it shows where it is.
    """

    keeps: bool

    def take(self, queue: str) -> Sequence[Headers]:
        """Consume all that can be had of a queue, as those do for whom an external route is meant."""
        ...

    def purge(self, queues: Sequence[str]) -> None:
        """Empty queues, of what is handed out, too, where that can be done."""
        ...

    def delete(self, queues: Sequence[str]) -> None:
        """Remove queues altogether."""
        ...


def by_hand(url: str, prefix: str) -> Hand:
    """The hand for a broker's address, as Playhead's settings name it."""
    kinds: dict[str, Callable[[str, str], Hand]] = {"nats": Nats, "amqp": Rabbit, "postgresql": Postgres}
    return kinds[urlsplit(url).scheme](url, prefix)


def _now(work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(_SECONDS):
            return await work

    return asyncio.run(bounded())


class Nats:
    """Streams of JetStream, with nats-py."""

    keeps = False

    def __init__(self, url: str, prefix: str) -> None:
        servers = urlsplit(url).netloc.split(",")
        self._servers, self._prefix = [f"nats://{server}" for server in servers], prefix

    def _stream(self, queue: str) -> str:
        return "playhead-" + (self._prefix + queue).replace("_", "__").replace(".", "_d")

    def take(self, queue: str) -> Sequence[Headers]:
        async def work(js: JetStreamContext) -> list[Headers]:
            found: list[Headers] = []
            try:
                left = (await self._info(js, queue)).state.messages
            except NotFoundError:
                return found
            sub = await js.pull_subscribe_bind("playhead", self._stream(queue))
            # Existing messages arrive at once, or a moment later on a busy machine.
            until = time.monotonic() + _SECONDS / 4
            while left > 0 and time.monotonic() < until:
                try:
                    batch = await sub.fetch(min(left, 500), timeout=1)
                except TimeoutError:
                    # A cluster counts what was taken before until all its servers know of it.
                    left = min(left, (await self._info(js, queue)).state.messages)
                    continue
                found += [dict(message.headers or {}) for message in batch]
                await asyncio.gather(*(self._acked(message) for message in batch))
                left -= len(batch)
                until = time.monotonic() + _SECONDS / 4
            return found

        found: list[Headers] = self._with(work)
        return found

    def purge(self, queues: Sequence[str]) -> None:
        async def work(js: JetStreamContext) -> None:
            for queue in queues:
                await js.purge_stream(self._stream(queue))

        self._with(work)

    def delete(self, queues: Sequence[str]) -> None:
        async def work(js: JetStreamContext) -> None:
            for queue in queues:
                await js.delete_stream(self._stream(queue))

        self._with(work)

    def limit(self, queue: str, messages: int) -> None:
        """Limit the number of messages in a stream; -1: no limit."""

        async def work(js: JetStreamContext) -> None:
            config: StreamConfig = (await js.stream_info(self._stream(queue))).config
            await js.update_stream(config.evolve(max_msgs=messages))

        self._with(work)

    def leader(self, queue: str) -> str:
        """Return the name of the server that leads a stream; empty without a leader."""

        async def work(js: JetStreamContext) -> str:
            cluster = (await self._info(js, queue)).cluster
            return (cluster and cluster.leader) or ""

        found: str = self._with(work)
        return found

    async def _acked(self, message: Msg) -> None:
        """Return when the server has removed a message, lest it count it next time."""
        # Where none answers, no harm is done: the message comes again.
        with suppress(nats.errors.Error, TimeoutError):
            await message.ack_sync(timeout=_SECONDS / 4)

    async def _info(self, js: JetStreamContext, queue: str) -> StreamInfo:
        """What a stream is; asked again while its servers choose a leader."""
        while True:
            try:
                return await js.stream_info(self._stream(queue))
            except (TimeoutError, ServiceUnavailableError):
                await asyncio.sleep(0.2)  # not for ever: see `_now`

    def step_down(self, queue: str) -> int:
        """Have the leaders of a stream and of its consumer hand over to others; returns how many did."""

        async def work(client: NatsClient) -> int:
            times = 0
            stream = self._stream(queue)
            for what in (f"STREAM.LEADER.STEPDOWN.{stream}", f"CONSUMER.LEADER.STEPDOWN.{stream}.playhead"):
                # No answer is no matter: the leader may be on its way already.
                with suppress(nats.errors.Error):
                    answer = await client.request(f"$JS.API.{what}", timeout=2)
                    times += bool(json.loads(answer.data).get("success"))
            return times

        times: int = self._connected(work)
        return times

    def _with(self, work: Any) -> Any:
        return self._connected(lambda client: work(client.jetstream()))

    def _connected(self, work: Any) -> Any:
        async def job() -> Any:
            client = await nats.connect(self._servers)
            try:
                return await work(client)
            finally:
                await client.close()

        return _now(job())


class Rabbit:
    """Queues of RabbitMQ, with aio-pika."""

    keeps = False

    def __init__(self, url: str, prefix: str) -> None:
        self._url, self._prefix = url, prefix

    def take(self, queue: str) -> Sequence[Headers]:
        async def work(channel: Any) -> list[Headers]:
            found: list[Headers] = []
            try:
                asked = await channel.declare_queue(self._prefix + queue, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                return found
            left = asked.declaration_result.message_count or 0
            if left:
                async with asked.iterator(no_ack=True, timeout=_SECONDS) as messages:
                    async for message in messages:
                        found.append({name: str(value) for name, value in message.headers.items()})
                        if len(found) == left:
                            break
            return found

        found: list[Headers] = self._with(work)
        return found

    def purge(self, queues: Sequence[str]) -> None:
        async def work(channel: Any) -> None:
            for queue in queues:
                asked = await channel.declare_queue(self._prefix + queue, passive=True)
                await asked.purge()

        self._with(work)

    def delete(self, queues: Sequence[str]) -> None:
        async def work(channel: Any) -> None:
            for queue in queues:
                await channel.queue_delete(self._prefix + queue)

        self._with(work)

    def _with(self, work: Any) -> Any:
        async def job() -> Any:
            async with await aio_pika.connect(self._url) as connection:
                return await work(await connection.channel())

        return _now(job())


class Postgres:
    """The broker's tables, with asyncpg. Those of several queues have no prefix: they have a schema."""

    keeps = True

    def __init__(self, url: str, prefix: str) -> None:
        self._url = plain(url)

    def take(self, queue: str) -> Sequence[Headers]:
        rows = query(
            self._url,
            "SELECT d.headers FROM dispatches d JOIN queues q ON q.id = d.queue WHERE q.name = $1",
            queue,
        )
        return [json.loads(row["headers"]) for row in rows]

    def purge(self, queues: Sequence[str]) -> None:
        query(
            self._url,
            "DELETE FROM dispatches WHERE queue IN (SELECT id FROM queues WHERE name = ANY($1))",
            list(queues),
        )

    def delete(self, queues: Sequence[str]) -> None:
        raise NotImplementedError("a queue in PostgreSQL is nothing but its rows: purge it")


def plain(url: str) -> str:
    """A PostgreSQL address without the options that are Playhead's own."""
    schema = parse_qs(urlsplit(url).query).get("search_path")
    return url.partition("?")[0] + (f"?search_path={schema[0]}" if schema else "")


def query(url: str, sql: str, *values: object) -> list[Any]:
    """Rows of a PostgreSQL database, each a mapping by column."""

    async def job() -> list[Any]:
        con = await asyncpg.connect(url, timeout=_SECONDS)
        try:
            rows: list[Any] = await con.fetch(sql, *values)
            return rows
        finally:
            await con.close()

    return _now(job())


@contextmanager
def looking(url: str) -> Iterator[Callable[[str], object]]:
    """Look at a PostgreSQL database again and again without delay: a statement's first value."""
    with asyncio.Runner() as runner:
        con = runner.run(asyncpg.connect(plain(url), timeout=_SECONDS))
        try:
            yield lambda sql: runner.run(con.fetchval(sql))
        finally:
            runner.run(con.close())


@contextmanager
def crowd(url: str, most: int) -> Iterator[None]:
    """End everybody's connections to a PostgreSQL, and take all that it has, until the block is left.

    Args:
        most: how many it has.
    """
    loop = asyncio.new_event_loop()
    held: list[Any] = []

    async def take_all() -> None:
        first = await asyncpg.connect(url, timeout=_SECONDS)
        held.append(first)
        # Terminated clients reconnect. Repeating the request wins the race.
        async with asyncio.timeout(_SECONDS):
            while len(held) < most:
                await first.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE backend_type = 'client backend' AND NOT pid = ANY($1)",
                    [con.get_server_pid() for con in held],
                )
                try:
                    held.append(await asyncpg.connect(url, timeout=_SECONDS))
                except asyncpg.TooManyConnectionsError:
                    continue

    async def leave() -> None:
        await asyncio.gather(*(con.close() for con in held))

    try:
        loop.run_until_complete(take_all())
        yield
    finally:
        loop.run_until_complete(leave())
        loop.close()
