"""Baseline for RabbitMQ: publish persistent messages into a quorum queue and wait for each confirmation.

Tries both asyncio clients, aio-pika and aiormq (the library under aio-pika), with several numbers of messages
in flight. Playhead is compared with the fastest combination.
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

from bench.deployments import delete_queues
from playhead.envelope import Dispatch

WAYS = tuple((client, flying) for client in ("aio-pika", "aiormq") for flying in (64, 256))
"""Client, and messages in flight."""

_ARGUMENTS: FieldTable = {"x-queue-type": "quorum", "x-delivery-limit": -1}


def rates(url: str, queue: str, dispatches: Sequence[Dispatch]) -> dict[str, float]:
    """Return confirmed messages per second for each entry of `WAYS`. Each one gets a new queue."""
    return {
        f"{client}, {flying} in flight": asyncio.run(_rate(url, queue, dispatches, client, flying))
        for client, flying in WAYS
    }


async def _rate(url: str, queue: str, dispatches: Sequence[Dispatch], client: str, flying: int) -> float:
    ways = {"aio-pika": _aio_pika, "aiormq": _aiormq}
    try:
        return len(dispatches) / await ways[client](url, queue, dispatches, flying)
    finally:
        await delete_queues(url, [queue])


async def _aio_pika(url: str, queue: str, dispatches: Sequence[Dispatch], flying: int) -> float:
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.declare_queue(queue, durable=True, arguments=_ARGUMENTS)
        exchange = channel.default_exchange

        async def publish(dispatch: Dispatch) -> None:
            await exchange.publish(
                aio_pika.Message(
                    dispatch.payload().encode(),
                    headers=_headers(dispatch),
                    content_type="application/json",
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    message_id=dispatch.message_id,
                ),
                queue,
                mandatory=True,
            )

        return await _in_flight(publish, dispatches, flying)


async def _aiormq(url: str, queue: str, dispatches: Sequence[Dispatch], flying: int) -> float:
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.queue_declare(queue, durable=True, arguments=_ARGUMENTS)

        async def publish(dispatch: Dispatch) -> None:
            await channel.basic_publish(
                dispatch.payload().encode(),
                routing_key=queue,
                mandatory=True,
                properties=Basic.Properties(
                    content_type="application/json",
                    headers=_headers(dispatch),
                    delivery_mode=2,
                    message_id=dispatch.message_id,
                ),
            )

        return await _in_flight(publish, dispatches, flying)
    finally:
        await connection.close()


async def _in_flight(
    publish: Callable[[Dispatch], Awaitable[None]], dispatches: Sequence[Dispatch], flying: int
) -> float:
    """Return the seconds until all messages are confirmed, with `flying` of them in flight."""
    rest = iter(dispatches)

    async def lane() -> None:
        for dispatch in rest:
            await publish(dispatch)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(flying)))
    return time.perf_counter() - began


def _headers(dispatch: Dispatch) -> HeadersType:
    return {**dispatch.headers.shared(), **dispatch.own_headers()}
