"""When calls may begin: the rule of rate limits without a catalog."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise

from hypothesis import given, strategies as st

from playhead.ratelimit import AHEAD_SECONDS, Grant, grant_calls

_SAME = 1e-6
"""Seconds by which two times may differ that are the same."""


def granted(*, wanted: int, calls: int = 20, seconds: float = 1.0, **given: float) -> Grant:
    state = {"next_at": 0.0, "cooldown_until": 0.0, "now": 1000.0} | given
    return grant_calls(wanted=wanted, calls=calls, seconds=seconds, burst=int(state.pop("burst", 1)), **state)


@given(
    calls=st.integers(1, 50),
    seconds=st.floats(0.05, 100),
    burst=st.integers(1, 10),
    steps=st.lists(
        st.tuples(
            st.floats(0, 5),
            st.integers(0, 60),
            st.sampled_from([0.0, 0.0, 0.7]),
            st.sampled_from([0.0, 0.0, 0.3, 4000.0]),
        ),
        max_size=40,
    ),
)
def test_no_period_has_more_calls_than_the_limit_allows(
    calls: int, seconds: float, burst: int, steps: list[tuple[float, int, float, float]]
):
    now, next_at, cooldown_until, set_back = 1_000_000.0, 0.0, 0.0, 0.0
    begun: list[float] = []
    for passed, wanted, cooldown, back in steps:
        now += passed - back
        set_back += back
        cooldown_until = max(cooldown_until, now + cooldown) if cooldown else cooldown_until
        grant = grant_calls(
            calls=calls,
            seconds=seconds,
            burst=burst,
            next_at=next_at,
            cooldown_until=cooldown_until,
            now=now,
            wanted=wanted,
        )
        next_at = grant.next_at
        assert all(0 <= wait <= AHEAD_SECONDS for wait in grant.waits)
        assert all(now + wait >= cooldown_until - 1e-9 for wait in grant.waits)
        begun += [now + set_back + wait for wait in grant.waits]

    # The sums of the steps are not exact.
    assert all(after >= before - _SAME for before, after in pairwise(begun))
    begun.sort()
    for n, start in enumerate(begun):
        assert bisect_left(begun, start + seconds - _SAME) - n <= calls + burst - 1


@given(calls=st.integers(1, 50), seconds=st.floats(0.5, 100))
def test_calls_that_are_waited_for_reach_the_limit(calls: int, seconds: float):
    now, next_at, begun = 1000.0, 0.0, 0
    while now < 1000 + 10 * seconds:
        grant = granted(wanted=calls, calls=calls, seconds=seconds, next_at=next_at, now=now)
        begun, next_at = begun + len(grant.waits), grant.next_at
        now += max(grant.retry, (grant.waits or [0])[-1], 1e-3)

    assert begun >= 10 * calls * seconds / (seconds + 0.06) - 1


def test_a_caller_may_ask_again_when_the_next_call_is_within_reach():
    grant = granted(wanted=1, calls=1, seconds=10, next_at=1005.0)

    assert grant == Grant([], 1005.0, 5.0 - AHEAD_SECONDS)
