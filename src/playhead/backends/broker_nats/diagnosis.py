"""The checks of NATS for `playhead doctor`, over a separate connection, as a new process would open it."""

from __future__ import annotations

import os
import time
from typing import Any, Literal
from uuid import UUID

from playhead.backends.broker_nats.address import Address
from playhead.backends.broker_nats.link import Link
from playhead.backends.broker_nats.publishing import Window
from playhead.backends.broker_nats.pulls import Mailbox
from playhead.backends.broker_nats.streams import (
    CONSUMER,
    account,
    ask,
    consumer_config,
    consumer_faults,
    declare,
    error_of,
    queue_of,
    stream_faults,
    stream_of,
)
from playhead.envelope import Dispatch, Headers
from playhead.errors import Unavailable
from playhead.ports.diagnosis import Finding

Status = Literal["ok", "warning", "failed"]

_OLDEST = (2, 10)
_MOST_STREAMS = 1000
_MOST_NAMES = 3
_NEARLY_FULL = 0.9
_HOWTO = "docs/howto/nats.md"


async def diagnose(address: Address, *, visibility: float, prefix: str) -> list[Finding]:
    """Check the connection, the server, the account, the permissions, and the existing streams."""
    began = time.perf_counter()
    try:
        link = await Link.connect(address)
    except Unavailable as exc:
        return [Finding("reach", "failed", exc.detail, "start NATS, or correct PLAYHEAD_BROKER")]
    try:
        ms = (time.perf_counter() - began) * 1000
        findings = [Finding("reach", "ok", f"connected to {link.server} in {ms:.0f} ms"), _version(link)]
        try:
            findings += _room(await account(link))
        except Unavailable as exc:
            fix = f"start nats-server with -js, enable it for the account, allow $JS.API.INFO: {_HOWTO}"
            return [*findings, Finding("JetStream", "failed", exc.detail, fix)]
        findings += await _round_trip(link, address, visibility, prefix)
        findings.append(_durability(address))
        findings += await _streams(link, visibility, prefix)
        return findings
    finally:
        await link.close()


def _version(link: Link) -> Finding:
    numbers = link.version.split(".")
    try:
        found = (int(numbers[0]), int(numbers[1]))
    except (ValueError, IndexError):
        return Finding("version", "warning", f"nats-server {link.version}", "")
    if found < _OLDEST:
        fix = f"install nats-server {_OLDEST[0]}.{_OLDEST[1]} or newer"
        return Finding("version", "warning", f"nats-server {link.version} is not tested", fix)
    return Finding("version", "ok", f"nats-server {link.version}")


def _room(found: dict[str, Any]) -> list[Finding]:
    """Compare the usage of the account with its limits."""
    limits = found.get("limits", {})
    findings = []
    for what, used, most in (
        ("storage", found.get("storage", 0), limits.get("max_storage", -1)),
        ("streams", found.get("streams", 0), limits.get("max_streams", -1)),
        ("consumers", found.get("consumers", 0), limits.get("max_consumers", -1)),
    ):
        unit = " bytes" if what == "storage" else ""
        if most is None or most < 0:
            findings.append(Finding(what, "ok", f"{used}{unit} used, no limit for this account"))
        elif used >= most * _NEARLY_FULL:
            detail = f"{used} of {most}{unit} used; dispatches that do not fit are sent again until they do"
            findings.append(Finding(what, "warning", detail, f"raise the account's max_{what}, or free some"))
        else:
            findings.append(Finding(what, "ok", f"{used} of {most}{unit} used"))
    return findings


async def _round_trip(link: Link, address: Address, visibility: float, prefix: str) -> list[Finding]:
    """Run every operation of work once, on a temporary stream."""
    queue = f"{prefix}_doctor-{os.urandom(6).hex()}"
    stream = stream_of(queue)
    fix = f"grant this user the subjects that {_HOWTO} lists"
    try:
        try:
            await declare(link, queue, visibility=visibility, replicas=address.replicas)
            dispatch = Dispatch(
                Headers(queue, UUID(int=0), "doctor", 1, "doctor"), str(UUID(int=0)), 0, None, "doctor"
            )
            began = time.perf_counter()
            (outcome,), _ = await Window().publish(link, [dispatch], "")
            if outcome.result != "confirmed":
                return [Finding("round trip", "failed", outcome.reason, fix)]
            mailbox = await Mailbox.on(link)
            pulled = await mailbox.pull(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{CONSUMER}", 1, 2.0, [])
            if not pulled.messages:
                return [Finding("round trip", "failed", "a published message was not delivered", fix)]
            await link.ask(pulled.messages[0][0], b"+ACK")
            ms = (time.perf_counter() - began) * 1000
        finally:
            gone = await ask(link, f"STREAM.DELETE.{stream}")
    except Unavailable as exc:
        return [Finding("rights", "failed", exc.detail, fix)]
    findings = [
        Finding("rights", "ok", "may create streams and consumers, publish, receive and acknowledge"),
        Finding("round trip", "ok", f"published, received and acknowledged in {ms:.1f} ms"),
    ]
    if error_of(gone):
        said = gone["error"].get("description")
        findings.append(
            Finding("rights", "warning", f"stream {stream} could not be deleted: {said}", "delete it")
        )
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
    """Compare existing streams with those that Playhead declares; one finding for each kind of fault."""
    faults: dict[tuple[Status, str, str], list[str]] = {}
    seen = offset = 0
    first = stream_of(prefix)
    fix = f"allow this user $JS.API.STREAM.LIST: {_HOWTO}"
    while seen < _MOST_STREAMS:
        try:
            page = await ask(link, "STREAM.LIST", {"offset": offset, "subject": "playhead.>"})
            if error_of(page):
                said = str(page["error"].get("description"))
                return [Finding("streams", "warning", f"cannot list streams: {said}", fix)]
            listed = page.get("streams") or []
            for config in (found["config"] for found in listed):
                if config["name"].startswith(first):
                    seen += 1
                    for fault in await _stream(link, config, visibility):
                        faults.setdefault(fault, []).append(config["name"])
        except Unavailable as exc:
            return [Finding("streams", "warning", f"cannot list streams: {exc.detail}", fix)]
        offset += len(listed)
        if not listed or offset >= page.get("total", 0):
            break
    if not faults:
        return [Finding("streams", "ok", f"{seen} streams, all with the expected settings")]
    return [
        Finding("streams", status, f"{_some(names)}: {words}", remedy)
        for (status, words, remedy), names in faults.items()
    ]


async def _stream(link: Link, config: dict[str, Any], visibility: float) -> list[tuple[Status, str, str]]:
    name = str(config["name"])
    faults: list[tuple[Status, str, str]] = []
    if wrong := stream_faults(config, queue_of(name)):
        words = f"{'; '.join(wrong)}; Playhead does not publish to it"
        faults.append(("failed", words, f"nats stream edit {name}, or delete it when it is empty"))
    if config.get("storage") != "file":
        words = "in memory only: its messages are lost when its server ends"
        faults.append(("warning", words, "delete it when it is empty: Playhead creates it again"))
    consumer = await ask(link, f"CONSUMER.INFO.{name}.{CONSUMER}")
    if not error_of(consumer) and (wrong := consumer_faults(consumer["config"], consumer_config(visibility))):
        words = f"its consumer: {'; '.join(wrong)}; another process has, or had, other settings"
        faults.append(
            ("warning", words, "give all processes the same PLAYHEAD_VISIBILITY_SECONDS, and restart them")
        )
    return faults


def _some(names: list[str]) -> str:
    """Return the first names of a list that may be long."""
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else shown
