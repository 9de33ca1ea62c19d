"""What an attempt's error means: a dead letter, or a time to try again."""

from __future__ import annotations

import traceback

from playhead.engine.runner import TimedOut
from playhead.errors import MessageError
from playhead.model import Route
from playhead.ports.adapter import Reject, Retry
from playhead.ports.catalog.work import Claim, Failed

_LONGEST_ERROR = 8_000
_LONGEST_TRACEBACK = 64_000
"""Characters of what an adapter raised that are kept: its text, and its traceback."""


def failure(claim: Claim, route: Route, error: BaseException) -> Failed:
    """What an attempt's error means: a dead letter, or a time to try again."""

    def failed(code: str, text: str, *, trace: bool, delay: float | None) -> Failed:
        if claim.spent >= route.errors.max_attempts:
            delay = None
        lines = _storable("".join(traceback.format_exception(error)), _LONGEST_TRACEBACK) if trace else None
        return Failed(
            claim.correlation_id, claim.attempt, code, _storable(text, _LONGEST_ERROR), lines, delay
        )

    again = route.errors.delay(claim.spent)
    if isinstance(error, TimedOut):
        text = f"no result within {route.timeout_seconds:g} s (timeout_seconds of route {route.name!r})"
        return failed("adapter_timeout", text, trace=False, delay=again)
    if isinstance(error, Reject):
        return failed("rejected", _said(error) or "rejected without a reason", trace=False, delay=None)
    if isinstance(error, Retry):
        after = error.after if error.after is not None else again
        return failed("adapter_error", _said(error) or "retry without a reason", trace=True, delay=after)
    if isinstance(error, MessageError):
        return failed(error.code, error.detail, trace=False, delay=None)
    return failed("adapter_error", f"{type(error).__name__}: {_said(error)}", trace=True, delay=again)


def _said(error: BaseException) -> str:
    """The words of an adapter's error. They are its own code, which may fail too."""
    try:
        return str(error)
    except Exception as exc:
        return f"(its text can't be read: {type(exc).__name__})"


def _storable(text: str, most: int) -> str:
    """What of a text a database takes and a reader wants: Unicode without surrogates, head and tail."""
    if len(text) > most:
        text = (
            f"{text[: most // 4]}\n… {len(text) - most} characters left out …\n{text[-(most - most // 4) :]}"
        )
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
