"""What the rate of a job has saved up: messages that it may pay for at once."""

from __future__ import annotations

from typing import Final

_BURST_SECONDS: Final = 0.1
_MOST_WHEN_SENT: Final = 1.5
"""More than one message: a publisher that asks up to half an interval late loses nothing of a low rate."""


def burst(rate: float) -> float:
    """The most that is saved up while messages that were paid for may not be sent.

    Those messages are at most one burst as well. So if a process dies between payment and sending, at most
    the rate and two bursts are sent in any period.
    """
    return max(1.0, rate * _BURST_SECONDS)


def saved(rate: float, tokens: float, at: float, now: float, *, is_sent: bool) -> float:
    """What a rate has saved up now, from what it had saved up at a time.

    If all that was paid for is sent, only what is saved up can follow at once, so it may be a little more.
    """
    most = max(_MOST_WHEN_SENT, burst(rate)) if is_sent else burst(rate)
    return min(most, tokens + max(0.0, now - at) * rate)
