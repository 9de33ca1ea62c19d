"""The bare client on RabbitMQ: persistent messages into a quorum queue, each confirmed, so many in flight.

Both clients there are for asyncio: aio-pika, and aiormq on which it stands. What the best of all of them
reaches is what ours is held against.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import aio_pika
import aiormq
from aio_pika.abc import HeadersType
from pamqp.commands import Basic
from pamqp.common import FieldTable

from bench.sites import delete_queues
from playhead.envelope import Dispatch

WAYS = tuple((client, flying) for client in ("aio-pika", "aiormq") for flying in (64, 256))
"""Client, and messages in flight."""

_ARGUMENTS: FieldTable = {"x-queue-type": "quorum", "x-delivery-limit": -1}


def rates(url: str, queue: str, calls: Sequence[Dispatch]) -> dict[str, float]:
    """Confirmed messages a second for each way, each into a new queue."""
    return {
        f"{client}, {flying} in flight": asyncio.run(_rate(url, queue, calls, client, flying))
        for client, flying in WAYS
    }


async def _rate(url: str, queue: str, calls: Sequence[Dispatch], client: str, flying: int) -> float:
    ways = {"aio-pika": _aio_pika, "aiormq": _aiormq}
    try:
        return len(calls) / await ways[client](url, queue, calls, flying)
    finally:
        await delete_queues(url, [queue])


async def _aio_pika(url: str, queue: str, calls: Sequence[Dispatch], flying: int) -> float:
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.declare_queue(queue, durable=True, arguments=_ARGUMENTS)
        exchange = channel.default_exchange

        async def publish(call: Dispatch) -> None:
            await exchange.publish(
                aio_pika.Message(
                    call.payload().encode(),
                    headers=_headers(call),
                    content_type="application/json",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    message_id=call.message_id,
                ),
                queue,
                mandatory=True,
            )

        return await _in_flight(publish, calls, flying)


async def _aiormq(url: str, queue: str, calls: Sequence[Dispatch], flying: int) -> float:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.queue_declare(queue, durable=True, arguments=_ARGUMENTS)

        async def publish(call: Dispatch) -> None:
            await channel.basic_publish(
                call.payload().encode(),
                routing_key=queue,
                mandatory=True,
                properties=Basic.Properties(
                    content_type="application/json",
                    headers=_headers(call),
                    delivery_mode=2,
                    message_id=call.message_id,
                ),
            )

        return await _in_flight(publish, calls, flying)
    finally:
        await connection.close()


async def _in_flight(
    publish: Callable[[Dispatch], Awaitable[None]], calls: Sequence[Dispatch], flying: int
) -> float:
    """Seconds until all are confirmed, `flying` at a time."""
    rest = iter(calls)

    async def lane() -> None:
        for call in rest:
            await publish(call)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(flying)))
    return time.perf_counter() - began


def _headers(call: Dispatch) -> HeadersType:
    return {**call.headers.shared(), **call.own_headers()}
