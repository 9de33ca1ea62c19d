"""When the calls of a rate limit may begin: the rule as a pure function.

The rule is the generic cell rate algorithm. The state of a limit is one number, `next_at`: when the next call
is due if all calls are evenly spread. So the state does not grow with the number of calls.
"""

from __future__ import annotations

from typing import Final, NamedTuple

AHEAD_SECONDS: Final = 1.0
"""How far ahead calls are granted. A process that is killed loses at most the calls of this time."""

SLACK_SECONDS: Final = 0.05
"""A period is this much longer than declared. Calls that begin one period apart may arrive closer to each
other, and the service would reject one of them."""


class Grant(NamedTuple):
    """Calls that may begin.

    Attributes:
        waits: seconds until each of them may begin, in order.
        next_at: the new state of the limit.
        retry: seconds until further calls can be granted.
    """

    waits: list[float]
    next_at: float
    retry: float


def grant_calls(
    *, calls: int, seconds: float, burst: int, next_at: float, cooldown_until: float, now: float, wanted: int
) -> Grant:
    """Grant up to `wanted` calls that begin within `AHEAD_SECONDS`.

    In any period of `seconds`, at most `calls + burst - 1` calls begin.

    Args:
        next_at: the state of the limit, like `cooldown_until` by the clock of `now`.
        cooldown_until: no call begins before.
    """
    interval = (seconds + SLACK_SECONDS) / calls
    early = (burst - 1) * interval
    # Further ahead, it was stored before the clock was set back. Then as many calls as possible may be
    # granted already, and none of them is granted twice.
    next_at = min(next_at, now + AHEAD_SECONDS + early + interval)
    next_at = max(next_at, now, cooldown_until)
    waits: list[float] = []
    while True:
        begin = max(now, cooldown_until, next_at - early) - now
        if len(waits) == wanted or begin > AHEAD_SECONDS:
            return Grant(waits, next_at, max(begin - AHEAD_SECONDS, 0.0))
        waits.append(begin)
        next_at += interval
