"""The checks of RabbitMQ for `playhead doctor`: every operation that work needs, on a separate queue."""

from __future__ import annotations

import time
from typing import Final
from uuid import UUID

from playhead.backends.broker_rabbitmq.address import Address
from playhead.backends.broker_rabbitmq.link import (
    ANSWER_SECONDS,
    LOST,
    Link,
    as_lost,
    described,
    is_too_old,
    version_of,
)
from playhead.backends.broker_rabbitmq.publishing import PublishChannel
from playhead.backends.broker_rabbitmq.queues import HELD, QUEUE
from playhead.envelope import Dispatch, Headers
from playhead.errors import Unavailable, broker_unavailable
from playhead.ids import uuid7
from playhead.ports.broker import CONFIRMED
from playhead.ports.diagnosis import Finding

_DURABILITY: Final = Finding(
    "durability",
    "ok",
    "a confirmed message is on the disks of a majority of the queue's nodes. AMQP does not report the number "
    "of nodes: use `rabbitmq-queues quorum_status QUEUE`",
)


async def diagnose(address: Address, prefix: str) -> list[Finding]:
    """See `ports.diagnosis`."""
    link = Link(address, "doctor")
    found: list[Finding] = []
    what, fix = "reach", "start RabbitMQ, or correct PLAYHEAD_BROKER"
    try:
        with as_lost():
            began = time.perf_counter()
            await link.open()
            ms = (time.perf_counter() - began) * 1000
            found.append(Finding("reach", "ok", f"connected to {link.address} in {ms:.0f} ms"))
            found.append(_version(link))
            if found[-1].status != "failed":
                what, fix = "rights", "rabbitmqctl set_permissions: see docs/howto/rabbitmq.md"
                found += await _work(link, address, prefix)
                found.append(_DURABILITY)
    except (Unavailable, *LOST) as exc:
        detail = exc.detail if isinstance(exc, Unavailable) else described(exc)
        found.append(Finding(what, "failed", detail, fix))
    finally:
        await link.close()
    return found


def _version(link: Link) -> Finding:
    version = version_of(link.connection())
    if is_too_old(link.connection()):
        detail = f"RabbitMQ {version} has no quorum queues without a delivery limit"
        return Finding("version", "failed", detail, "install RabbitMQ 4.0 or later")
    return Finding("version", "ok", f"RabbitMQ {version}")


async def _work(link: Link, address: Address, prefix: str) -> list[Finding]:
    """Declare, publish, receive, acknowledge and delete. Raises the error of a refused operation."""
    queue = f"_doctor-{uuid7().hex[-12:]}"
    name = f"{prefix}{queue}"
    queues = {name: QUEUE, f"{name}:held": HELD}
    channel = await link.channel()
    try:
        for declared, arguments in queues.items():
            await channel.queue_declare(declared, durable=True, arguments=arguments, timeout=ANSWER_SECONDS)
        began = time.perf_counter()
        if alarm := await _publish(address, prefix, queue):
            return [alarm]
        got = await channel.basic_get(name, timeout=ANSWER_SECONDS)
        if got.delivery_tag is None:
            raise broker_unavailable("a confirmed message was not delivered")
        await channel.basic_ack(got.delivery_tag, wait=False)
        ms = (time.perf_counter() - began) * 1000
    finally:
        channel = await link.channel()  # a refused request closed the other one
        for declared in queues:
            await channel.queue_delete(declared, timeout=ANSWER_SECONDS)
    return [
        Finding("rights", "ok", f"may create, write, read and delete quorum queues named {prefix}*"),
        Finding("round trip", "ok", f"published, confirmed, received and acknowledged in {ms:.1f} ms"),
    ]


async def _publish(address: Address, prefix: str, queue: str) -> Finding | None:
    """Publish a message. Returns a finding if an alarm prevents it. Raises `Unavailable`."""
    link = Link(address, "doctor, publishing")  # an alarm blocks a connection that publishes
    await link.open()
    try:
        line = PublishChannel(await link.channel(confirms=True), prefix)
        headers = Headers(queue, UUID(int=0), "doctor", 1, "doctor")
        (answer,), _ = await line.publish([Dispatch(headers, str(uuid7()), 0, None, "doctor")])
        if answer == CONFIRMED:
            return None
        if line.ended is None and await link.is_blocked():
            fix = "`rabbitmq-diagnostics alarms` lists them; free memory or disk, or raise the limit"
            return Finding("alarm", "failed", "it accepts no messages: memory or disk alarm", fix)
        why = line.ended or (answer.reason if answer else f"no confirm within {ANSWER_SECONDS:.0f} s")
        raise broker_unavailable(f"a message was not confirmed: {why}")
    finally:
        await link.close()
