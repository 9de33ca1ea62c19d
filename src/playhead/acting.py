"""Who acts now: the caller of the request that this task serves.

The middleware of a server, a command and a client set it, each in one place. The catalog reads it when it
begins a change, checks the limit of the caller in the transaction of the change, and records both there
(`_sql_catalog/changes.py`). So no method of a service needs a parameter for it, and none can forget it. The
loops and tasks of a process act for the process itself: a canary, a retention, a takeover.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final

from playhead.errors import Forbidden
from playhead.events import ACTOR
from playhead.model.access import SCOPES, Caller, Need, RequestedBy, Scope, Via

REASON: Final = "X-Playhead-Reason"
"""Header with the reason of a request, percent-encoded."""
REASON_LENGTH: Final = 1000
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Acting:
    """A request that somebody makes.

    Attributes:
        caller: who.
        via: how it came.
        address: address of the client; None: this process.
        reason: why, in the words of the caller.
        correlation_id: id of the request in the log.
    """

    caller: Caller
    via: Via
    address: str | None = None
    reason: str | None = None
    correlation_id: str | None = None

    @property
    def requested_by(self) -> RequestedBy:
        """Who is shown next to what was asked for."""
        return RequestedBy(self.caller.kind, self.caller.id, self.caller.name)

    @property
    def label(self) -> str:
        """Who acts, in a log line."""
        return f"{self.caller.kind}:{self.caller.name}"

    def name_or(self, given: str) -> str:
        """Return the name of who acts; of anyone, the name that the request gives."""
        return given if self.caller.kind in ("local", "process") else self.caller.name

    def check_limit(self, config: str | None) -> None:
        """Check that the caller may change this config, or what belongs to it.

        Args:
            config: None: the object belongs to no config, as an adopted execution.

        Raises:
            Forbidden: `outside_limit`.
        """
        allowed = self.caller.configs
        if allowed is None or config in allowed:
            return
        what = f"config {config}" if config else "an object that belongs to no config"
        raise Forbidden(
            "outside_limit",
            f"{self.caller.name} may only change {', '.join(sorted(allowed))}; this request is about {what}",
        )


def process(identity: str) -> Acting:
    """Return the process itself, for what it does without a request."""
    return Acting(Caller("process", identity, identity, frozenset(SCOPES)), "process")


_PROCESS: Final = process("playhead")
_CURRENT: Final[ContextVar[Acting]] = ContextVar("acting", default=_PROCESS)


NOBODY: Final = Acting(Caller("local", "nobody", "nobody", frozenset()), "http")
"""Who asks for what is public."""


def local(user: str, via: Via, reason: str | None = None) -> Acting:
    """Return what a local user is who has access to the backends.

    Args:
        user: `USER@HOST`. It is asserted, not proven.
    """
    return Acting(Caller("local", user, user, frozenset(SCOPES)), via, reason=reason)


def set_local(user: str, via: Via) -> None:
    """Let a local user act from now on, in this task and in those that it starts."""
    who = local(user, via)
    _CURRENT.set(who)
    ACTOR.set(who.label)


def current() -> Acting:
    """Return who acts."""
    return _CURRENT.get()


@contextmanager
def acting(who: Acting) -> Iterator[None]:
    """Let `who` act in this block, and in the tasks that it starts."""
    token = _CURRENT.set(who)
    # What a process does by itself needs no name in its log.
    logged = ACTOR.set(None if who.caller.kind == "process" else who.label)
    try:
        yield
    finally:
        ACTOR.reset(logged)
        _CURRENT.reset(token)


def because(reason: object) -> AbstractContextManager[None]:
    """Give a reason for the changes in a block. An empty one leaves the reason as it is."""
    who = _CURRENT.get()
    return acting(replace(who, reason=str(reason or "").strip()[:REASON_LENGTH] or who.reason))


def check_scope(scope: Need) -> None:
    """Check that who acts has a scope. Raises `Forbidden` (`scope_missing`, `read_only`)."""
    caller = _CURRENT.get().caller
    if scope != "any" and scope != "public" and scope not in caller.scopes:
        raise scope_missing(caller, scope)


def scope_missing(caller: Caller, scope: Scope) -> Forbidden:
    """Return the error for a caller without a scope."""
    if caller.is_read_only:
        return Forbidden("read_only", "this server allows no change (PLAYHEAD_READ_ONLY)")
    has = ", ".join(sorted(caller.scopes)) or "no scope"
    return Forbidden("scope_missing", f"this needs the scope {scope}; {caller.name} has {has}")
