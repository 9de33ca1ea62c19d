"""The words, shapes and colours of all states that pages show. A state has one word on all pages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class State(NamedTuple):
    """How a state is shown.

    Attributes:
        kind: colour: `ok`, `run`, `fail`, `warn` or `off`.
        icon: shape: the name of an icon.
        word: what it is called.
    """

    kind: str
    icon: str
    word: str


_EXECUTIONS: Final = {
    "running": State("run", "run", "running"),
    "completed": State("ok", "ok", "completed"),
    "failed": State("fail", "fail", "failed"),
    "cancelled": State("off", "off", "cancelled"),
    "adopted": State("off", "off", "adopted"),
}
_MESSAGES: Final = {
    "pending": State("off", "clock", "waiting"),
    "retry": State("warn", "clock", "retried later"),
    "skipped": State("off", "off", "skipped"),
    "dead": State("fail", "fail", "failed"),
    "taken_over": State("ok", "ok", "reused"),
    "uncertain": State("warn", "warn", "sent, not confirmed"),
    "rejected": State("fail", "fail", "rejected"),
    "not_listed": State("off", "clock", "not listed yet"),
}
_REPLAYS: Final = {
    "queued": State("off", "clock", "queued"),
    "checking": State("run", "run", "checking"),
    "publishing": State("run", "run", "publishing"),
    "paused": State("warn", "pause", "paused"),
    "stalled": State("fail", "fail", "stalled"),
    "publishing_complete": State("ok", "ok", "published"),
    "partial_failure": State("fail", "fail", "partly published"),
    "refused": State("fail", "fail", "refused"),
}
_PLANS: Final = {
    "listing": State("run", "run", "counting"),
    "ready": State("ok", "ok", "ready"),
    "used": State("off", "ok", "used"),
    "expired": State("off", "clock", "expired"),
}
_QUEUES: Final = {
    "no_worker": State("fail", "fail", "no worker"),
    "waiting": State("warn", "clock", "waits"),
    "busy": State("run", "run", "working"),
    "retrying": State("warn", "clock", "retrying"),
    "external": State("off", "off", "external"),
    "unattended": State("off", "off", "no worker"),
    "idle": State("ok", "ok", "idle"),
}
_OBJECTS: Final = {
    "same": State("ok", "ok", "same"),
    "changed": State("warn", "warn", "changed"),
    "moved": State("off", "same", "moved"),
    "added": State("run", "play", "added"),
    "missing": State("fail", "off", "missing"),
}
_PUBLICATIONS: Final = {
    "resolving": State("run", "run", "preparing"),
    "staging": State("run", "run", "preparing"),
    "prepared": State("run", "run", "preparing"),
    "published": State("ok", "ok", "published"),
    "abandoned": State("off", "off", "cancelled"),
    "dropped": State("off", "off", "dropped"),
    "taken_back": State("off", "off", "taken back"),
}
_CAUSES: Final = {
    "new": State("fail", "fail", "new"),
    "known": State("warn", "warn", "known"),
    "acknowledged": State("off", "clock", "acknowledged"),
    "closed": State("ok", "ok", "closed"),
}
_OTHERS: Final = {
    "ok": State("ok", "ok", "ok"),
    "unavailable": State("fail", "fail", "unavailable"),
    "stored": State("ok", "ok", "stored"),
    "pruned": State("off", "off", "pruned"),
    "due": State("off", "clock", "due"),
    "writing": State("run", "run", "writing"),
    "sent": State("ok", "ok", "sent"),
    "none": State("off", "off", "none"),
    "off": State("off", "off", "off"),
}
STATES: Final[Mapping[str, State]] = MappingProxyType(
    _EXECUTIONS | _MESSAGES | _REPLAYS | _PLANS | _QUEUES | _OBJECTS | _PUBLICATIONS | _CAUSES | _OTHERS
)
"""By the names of the API, and of the pages where these say more."""

STUCK: Final = ("no_worker", "paused", "waiting", "retrying")
"""States of a queue of which messages are not processed now, the worst first."""


MARKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "config": "{} applied",
        "worker": "worker {} started",
        "replay": "replay {}",
        "publish": "publication {} published",
        "rollback": "rolled back to {}",
    }
)
"""What marks of a strip say, by kind. Other kinds are said by their name."""


def word(state: str) -> str:
    """Return what a state is called."""
    return STATES[state].word
