"""Translates the error of an attempt into a retry or a dead letter."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from playhead.errors import MessageError, Unavailable
from playhead.model import Route
from playhead.ports.adapter import Reject, Retry
from playhead.ports.catalog.work import Claim, Failed, Released
from playhead.steps.chain import CooldownNeeded, UnknownAdapter
from playhead.steps.timeouts import TimedOut, Withdrawn
from playhead.steps.tracebacks import text_of, traceback_of
from playhead.work.attempt import AttemptOutcome, CooldownRequest, NotRun
from playhead.work.backoff import UNAVAILABLE_DELAY_SECONDS

_LONGEST_COOLDOWN = 3_600.0
"""Seconds. Then one call is tried, so that a service that asks for too long a time needs no operator."""
_LONGEST_HOLD = 2.0
"""Seconds of a cooldown. Deliveries are held that long, because a new dispatch takes up to a second."""
_LONGEST_REASON = 500
_NO_COOLDOWN = CooldownRequest("", 0.0, "")
_LONGEST_ERROR = 8_000
_LONGEST_TRACEBACK = 64_000
"""Characters that are kept of an adapter's error and of its traceback."""


def cooldown_of(
    claim: Claim, route: Route, error: BaseException, mask: Callable[[str], str]
) -> CooldownRequest | None:
    """Return the cooldown that an attempt's error asks for, if it does."""
    if not isinstance(error, CooldownNeeded):
        return None
    seconds = route.errors.retry_delay_seconds if error.after is None else error.after
    reason = _storable(mask(text_of(error)), _LONGEST_REASON) or "the service rejected a call"
    return CooldownRequest(
        error.key or route.cooldown_key(claim.config), min(seconds, _LONGEST_COOLDOWN), reason
    )


def delay_after(cooldown_seconds: float) -> float | None:
    """Return the delay of an attempt that a cooldown releases; None: its delivery is held (`Released`)."""
    return None if cooldown_seconds < _LONGEST_HOLD else cooldown_seconds


def not_run(error: UnknownAdapter | Unavailable, mask: Callable[[str], str] = str) -> NotRun:
    """Return why a process cannot run a step. Another one may have the adapter, its secrets and its code."""
    return NotRun(error.code, mask(error.detail), isinstance(error, UnknownAdapter))


def not_run_of(error: BaseException, mask: Callable[[str], str]) -> NotRun | None:
    """Return why a step could not run, if that is what the error of an attempt means."""
    return not_run(error, mask) if isinstance(error, UnknownAdapter | Unavailable) else None


def longest_cooldowns(outcomes: Iterable[AttemptOutcome]) -> list[CooldownRequest]:
    """Return the longest of the cooldowns that attempts ask for, for each key."""
    longest: dict[str, CooldownRequest] = {}
    for outcome in outcomes:
        if (asked := outcome.cooldown) and asked.seconds > longest.get(asked.key, _NO_COOLDOWN).seconds:
            longest[asked.key] = asked
    return list(longest.values())


def failure(
    claim: Claim, route: Route, error: BaseException, mask: Callable[[str], str], ran: int | None = None
) -> Failed | Released:
    """Return the result of an attempt that raised an error.

    Args:
        mask: replaces the secrets of the route's configs in a text.
        ran: the number of the code that ran.
    """
    if isinstance(error, Withdrawn):
        return Released(claim.correlation_id, claim.attempt, 0)
    if isinstance(error, UnknownAdapter | Unavailable):  # an isolated step has no process
        return Released(claim.correlation_id, claim.attempt, UNAVAILABLE_DELAY_SECONDS)
    if cooldown := cooldown_of(claim, route, error, mask):
        return Released(claim.correlation_id, claim.attempt, delay_after(cooldown.seconds), called=True)

    def failed(code: str, text: str, *, trace: bool, delay: float | None) -> Failed:
        if claim.spent >= route.errors.max_attempts:
            delay = None
        # Masked before it is shortened: a part of a secret would not be found.
        lines = _storable(mask(traceback_of(error)), _LONGEST_TRACEBACK) if trace else None
        said = _storable(mask(text), _LONGEST_ERROR)
        return Failed(claim.correlation_id, claim.attempt, code, said, lines, delay, ran)

    again = route.errors.delay(claim.spent)
    if isinstance(error, TimedOut):
        text = f"no result within {route.timeout_seconds:g} s (timeout_seconds of route {route.name!r})"
        return failed("adapter_timeout", text, trace=False, delay=again)
    if isinstance(error, Reject):
        return failed("rejected", text_of(error) or "rejected without a reason", trace=False, delay=None)
    if isinstance(error, Retry):
        after = error.after if error.after is not None else again
        is_last = claim.spent >= route.errors.max_attempts
        code = "retries_exhausted" if is_last else "retry"
        return failed(code, text_of(error) or "retry without a reason", trace=True, delay=after)
    if isinstance(error, MessageError):
        return failed(error.code, error.detail, trace=False, delay=None)
    return failed("adapter_error", f"{type(error).__name__}: {text_of(error)}", trace=True, delay=again)


def _storable(text: str, most: int) -> str:
    """Return a text that a database can store: no surrogates, and of a long text its head and its tail."""
    if len(text) > most:
        text = (
            f"{text[: most // 4]}\n… {len(text) - most} characters left out …\n{text[-(most - most // 4) :]}"
        )
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
