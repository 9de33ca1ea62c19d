"""The checks of RabbitMQ for `playhead doctor`: every operation that work needs, on a separate queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar
from uuid import UUID

from aiormq.channel import Channel

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
from playhead.errors import Unavailable
from playhead.ids import uuid7
from playhead.ports.broker import CONFIRMED
from playhead.ports.diagnosis import Finding

T = TypeVar("T")

_HOWTO: Final = "docs/howto/rabbitmq.md"


class _Failed(Exception):
    """A check failed; the finding says which."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


async def diagnose(address: Address, prefix: str, queues: Sequence[str]) -> list[Finding]:
    """See `ports.diagnosis`.

    Args:
        queues: queues whose arguments are compared with those that Playhead declares.
    """
    link = Link(address, "doctor")
    began = time.perf_counter()
    try:
        await link.open()
    except Unavailable as exc:
        return [Finding("reach", "failed", exc.detail, "start RabbitMQ, or correct PLAYHEAD_BROKER")]
    try:
        ms = (time.perf_counter() - began) * 1000
        findings = [Finding("reach", "ok", f"connected to {link.address} in {ms:.0f} ms"), _version(link)]
        if findings[-1].status != "failed":
            findings.append(_heartbeat(link))
            try:
                findings += await _work(link, address, prefix)
                findings += [await _queue(link, f"{prefix}{queue}") for queue in queues]
            except _Failed as failed:
                findings.append(failed.finding)
            findings.append(_DURABILITY)
        return findings
    except (Unavailable, *LOST) as exc:
        detail = exc.detail if isinstance(exc, Unavailable) else described(exc)
        return [*findings, Finding("reach", "failed", detail, "look into the log of the node")]
    finally:
        await link.close()


_DURABILITY: Final = Finding(
    "durability",
    "ok",
    "a confirmed message is on the disks of a majority of the queue's nodes. AMQP does not report the number "
    "of nodes: use `rabbitmq-queues quorum_status QUEUE`",
)


def _version(link: Link) -> Finding:
    version = version_of(link.connection())
    if is_too_old(link.connection()):
        detail = f"RabbitMQ {version} has no quorum queues without a delivery limit"
        return Finding("version", "failed", detail, "install RabbitMQ 4.0 or later")
    return Finding("version", "ok", f"RabbitMQ {version}")


def _heartbeat(link: Link) -> Finding:
    seconds = link.connection().heartbeat_timeout
    if not seconds:
        detail = "off: messages of a machine that froze or lost its network stay hidden for hours"
        return Finding("heartbeat", "warning", detail, "remove heartbeat=0 from PLAYHEAD_BROKER")
    return Finding("heartbeat", "ok", f"every {seconds} s")


async def _work(link: Link, address: Address, prefix: str) -> list[Finding]:
    """Declare, publish, consume, ack and delete."""
    queue = f"_doctor-{uuid7().hex[-12:]}"
    name = f"{prefix}{queue}"
    channel = await link.channel()
    await _may(
        "configure",
        f"create quorum queues named {prefix}*",
        channel.queue_declare(name, durable=True, arguments=QUEUE, timeout=ANSWER_SECONDS),
    )
    try:
        held = f"{name}:held"
        await _may(
            "configure",
            f"create queues named {prefix}*:held",
            channel.queue_declare(held, durable=True, arguments=HELD, timeout=ANSWER_SECONDS),
        )
        await _may("configure", f"delete {prefix}*", channel.queue_delete(held, timeout=ANSWER_SECONDS))
        began = time.perf_counter()
        await _publish(address, prefix, queue)
        got = await _may("read", f"read {prefix}*", channel.basic_get(name, timeout=ANSWER_SECONDS))
        if got.delivery_tag is None:
            raise _Failed(Finding("round trip", "failed", "a confirmed message was not delivered", _HOWTO))
        await channel.basic_ack(got.delivery_tag, wait=False)
        ms = (time.perf_counter() - began) * 1000
    finally:
        # On a new channel, because a refused request closed the other one.
        try:
            channel = await link.channel()
            with as_lost():
                await channel.queue_delete(name, timeout=ANSWER_SECONDS)
        except LOST as exc:
            detail = f"may not delete the queue {name}, which remains ({described(exc)})"
            raise _Failed(Finding("rights", "failed", detail, f"grant configure on {prefix}.*")) from exc
    return [
        Finding("rights", "ok", f"may create, write, read and delete quorum queues named {prefix}*"),
        Finding("round trip", "ok", f"published, confirmed, received and acknowledged in {ms:.1f} ms"),
    ]


async def _publish(address: Address, prefix: str, queue: str) -> None:
    link = Link(address, "doctor, publishing")  # an alarm blocks a connection that publishes
    await link.open()
    try:
        line = PublishChannel(await link.channel(confirms=True), prefix)
        headers = Headers(queue, UUID(int=0), "doctor", 1, "doctor")
        (answer,), _ = await line.publish([Dispatch(headers, str(uuid7()), 0, None, "doctor")])
        if answer == CONFIRMED:
            return
        if line.ended is None and await link.is_blocked():
            fix = "`rabbitmq-diagnostics alarms` lists them; free memory or disk, or raise the limit"
            raise _Failed(Finding("alarm", "failed", "it accepts no messages: memory or disk alarm", fix))
        why = line.ended or (answer.reason if answer else f"no confirm within {ANSWER_SECONDS:.0f} s")
        raise _Failed(Finding("rights", "failed", f"a message was not confirmed: {why}", f"see {_HOWTO}"))
    finally:
        await link.close()


async def _queue(link: Link, name: str) -> Finding:
    """Compare the arguments of a queue with those that Playhead declares."""
    what = f"queue {name}"
    channel: Channel = await link.channel()
    try:
        with as_lost():
            found = await channel.queue_declare(name, durable=True, arguments=QUEUE, timeout=ANSWER_SECONDS)
    except LOST as exc:
        fix = (
            "used as it is; with a limit on deliveries, length or age it drops dispatches, which are then "
            "published again, but late. To re-create it: stop the workers and run `rabbitmqctl delete_queue`"
        )
        return Finding(what, "warning", described(exc), fix)
    return Finding(what, "ok", f"{found.message_count} ready, {found.consumer_count} consumers")


async def _may(right: str, what: str, work: Awaitable[T]) -> T:
    try:
        with as_lost():
            async with asyncio.timeout(ANSWER_SECONDS):
                return await work
    except LOST as exc:
        fix = f"rabbitmqctl set_permissions: grant {right}; see {_HOWTO}"
        raise _Failed(Finding("rights", "failed", f"may not {what} ({described(exc)})", fix)) from exc
