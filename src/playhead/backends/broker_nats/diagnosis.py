"""The checks of NATS for `playhead doctor`, over a separate connection, as a new process would open it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

from playhead.backends.broker_nats.address import Address
from playhead.backends.broker_nats.link import Link
from playhead.backends.broker_nats.publishing import Window
from playhead.backends.broker_nats.pulls import pull
from playhead.backends.broker_nats.streams import (
    BULK_CONSUMER,
    CONSUMER,
    account,
    ask,
    consumer_configs,
    consumer_faults,
    declare,
    error_of,
    queue_of,
    stream_faults,
    stream_of,
)
from playhead.envelope import Dispatch, Headers
from playhead.errors import Unavailable, broker_unavailable
from playhead.ports.diagnosis import Finding

_OLDEST = (2, 10)
_MOST_SHOWN = 5
_NEARLY_FULL = 0.9
_HOWTO = "docs/howto/nats.md"


async def diagnose(address: Address, *, visibility: float, prefix: str) -> list[Finding]:
    """Check the connection, the server, the account, the permissions, and the existing streams."""
    found: list[Finding] = []
    link = None
    what, fix = "reach", "start NATS, or correct PLAYHEAD_BROKER"
    try:
        began = time.perf_counter()
        link = await Link.connect(address)
        ms = (time.perf_counter() - began) * 1000
        found += [Finding("reach", "ok", f"connected to {link.server} in {ms:.0f} ms"), _version(link)]
        what, fix = "JetStream", f"start nats-server with -js, enable it, allow $JS.API.INFO: {_HOWTO}"
        found.append(_room(await account(link)))
        what, fix = "rights", f"grant this user the subjects that {_HOWTO} lists"
        found += await _round_trip(link, address, visibility, prefix)
        found.append(_durability(address))
        found += await _streams(link, visibility, prefix)
    except Unavailable as exc:
        found.append(Finding(what, "failed", exc.detail, fix))
    finally:
        if link:
            await link.close()
    return found


def _version(link: Link) -> Finding:
    numbers = link.version.split(".")[:2]
    if all(map(str.isdecimal, numbers)) and tuple(map(int, numbers)) < _OLDEST:
        fix = f"install nats-server {_OLDEST[0]}.{_OLDEST[1]} or newer"
        return Finding("version", "warning", f"nats-server {link.version} is not tested", fix)
    return Finding("version", "ok", f"nats-server {link.version}")


def _room(account: dict[str, Any]) -> Finding:
    """Compare the usage of the account with its limits."""
    limits = account.get("limits", {})
    full = [
        f"{what} ({used} of {most})"
        for what in ("storage", "streams", "consumers")
        if (most := limits.get(f"max_{what}", -1)) >= 0
        and (used := account.get(what, 0)) >= most * _NEARLY_FULL
    ]
    if not full:
        return Finding("room", "ok", f"{account.get('storage', 0)} bytes used")
    detail = f"the account nearly reaches its limits: {', '.join(full)}; what does not fit is published later"
    return Finding("room", "warning", detail, "raise these limits of the account, or free some space")


async def _round_trip(link: Link, address: Address, visibility: float, prefix: str) -> list[Finding]:
    """Run every operation of work once, on a temporary stream. Raises `Unavailable`."""
    queue = f"{prefix}_doctor-{os.urandom(6).hex()}"
    stream = stream_of(queue)
    headers = Headers(queue, UUID(int=0), "doctor", 1, "doctor")
    try:
        await declare(link, queue, visibility=visibility, replicas=address.replicas)
        began = time.perf_counter()
        for consumer in (CONSUMER, BULK_CONSUMER):
            of_level = replace(headers, bulk=consumer == BULK_CONSUMER)
            dispatch = Dispatch(of_level, str(UUID(int=of_level.bulk)), 0, None, "doctor")
            (outcome,), _ = await Window().publish(link, [dispatch], "")
            if outcome.result != "confirmed":
                raise broker_unavailable(outcome.reason)
            pulled = await pull(link, f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", 1, 2.0)
            if not pulled.messages:
                raise broker_unavailable("a published message was not delivered")
            await link.ask(pulled.messages[0][0], b"+ACK")
        ms = (time.perf_counter() - began) * 1000
    finally:
        gone = await ask(link, f"STREAM.DELETE.{stream}")
    findings = [
        Finding("rights", "ok", "may create streams and consumers, publish, receive and acknowledge"),
        Finding("round trip", "ok", f"published, received and acknowledged in {ms:.1f} ms"),
    ]
    if error_of(gone):
        detail = f"stream {stream} could not be deleted: {gone['error'].get('description')}"
        findings.append(Finding("rights", "warning", detail, "delete it"))
    return findings


def _durability(address: Address) -> Finding:
    if address.replicas > 1:
        return Finding("durability", "ok", f"new streams have {address.replicas} replicas")
    return Finding(
        "durability",
        "warning",
        "each stream is on one server. Confirmed messages survive its kill -9. A power failure may lose up "
        "to two minutes of them, unless the server syncs every write, which a client cannot see",
        "set sync_interval: always in its jetstream { } (deploy/nats.conf), or run three servers and "
        "add ?replicas=3",
    )


async def _streams(link: Link, visibility: float, prefix: str) -> list[Finding]:
    """Compare existing streams with those that Playhead declares."""
    configs: list[dict[str, Any]] = []
    try:
        while True:
            page = await ask(link, "STREAM.LIST", {"subject": "playhead.>", "offset": len(configs)})
            if error_of(page):
                raise broker_unavailable(str(page["error"].get("description")))
            listed = page.get("streams") or []
            configs += [stream["config"] for stream in listed]
            if not listed or len(configs) >= page.get("total", 0):
                break
    except Unavailable as exc:
        fix = f"allow this user $JS.API.STREAM.LIST: {_HOWTO}"
        return [Finding("streams", "warning", f"cannot list streams: {exc.detail}", fix)]
    own = [config for config in configs if config["name"].startswith(stream_of(prefix))]
    found: list[Finding] = []
    for config in own:
        name = config["name"]
        if wrong := stream_faults(config, queue_of(name)):
            detail = f"{name}: {'; '.join(wrong)}; Playhead does not publish to it"
            fix = f"nats stream edit {name}, or delete it when it is empty"
            found.append(Finding("streams", "failed", detail, fix))
        if config.get("storage") != "file":
            detail = f"{name} is in memory only: its messages are lost when its server ends"
            fix = "delete it when it is empty: Playhead creates it again"
            found.append(Finding("streams", "warning", detail, fix))
        for declared in consumer_configs(queue_of(name), visibility):
            consumer = await ask(link, f"CONSUMER.INFO.{name}.{declared['name']}")
            if not error_of(consumer) and (wrong := consumer_faults(consumer["config"], declared)):
                detail = (
                    f"consumer {declared['name']} of {name}: {'; '.join(wrong)}; another process has, or "
                    "had, other settings"
                )
                fix = "give all processes the same PLAYHEAD_VISIBILITY_SECONDS, and restart them"
                found.append(Finding("streams", "warning", detail, fix))
                break
    found.sort(key=lambda finding: finding.status != "failed")
    return found[:_MOST_SHOWN] or [
        Finding("streams", "ok", f"{len(own)} streams, all with the expected settings")
    ]
