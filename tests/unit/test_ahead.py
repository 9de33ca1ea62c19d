"""A consumer holds what its slots can run in 0.4 s, and no more than fits into memory."""

from __future__ import annotations

import pytest

from playhead.model import Route
from playhead.work.ahead import Ahead
from playhead.work.completion import MOST_ATTEMPTS

ROUTE = Route("convert", "docs.convert", concurrency=4)


def after(*seconds: float) -> Ahead:
    """When many chains ran, all as long as the last ones."""
    ahead = Ahead()
    ahead.ran([seconds[0]] * 1000)
    ahead.ran(seconds)
    return ahead


def test_until_a_chain_has_run_the_route_holds_what_its_slots_can_run():
    ahead = Ahead()
    ahead.ran([None])
    ahead.read([100])
    assert ahead.target(ROUTE) == 4


@pytest.mark.parametrize(
    ("seconds", "held"), [(0.0, MOST_ATTEMPTS), (0.002, MOST_ATTEMPTS), (0.02, 80), (0.2, 8), (10.0, 4)]
)
def test_the_slower_the_step_the_fewer_messages_are_held(seconds: float, held: int):
    assert after(seconds).target(ROUTE) == held


def test_at_most_four_times_as_many_are_held_as_have_run():
    ahead = Ahead()
    ahead.ran([0.0])
    assert ahead.target(ROUTE) == 4
    ahead.ran([0.0] * 30)
    assert ahead.target(ROUTE) == 124


def test_what_runs_lately_counts_most():
    ahead = after(*[0.002] * 100, *[10.0] * 100)
    assert ahead.target(ROUTE) == 4
    ahead.ran([0.0] * 1000)
    assert ahead.target(ROUTE) == MOST_ATTEMPTS


def test_large_inputs_are_not_held_by_the_hundred():
    ahead = after(0.0)
    ahead.read([32 << 20] * 200)
    assert ahead.target(ROUTE) == 4
    ahead.read([100] * 1000)
    assert ahead.target(ROUTE) == MOST_ATTEMPTS


def test_the_configured_prefetch_is_used():
    assert after(0.0).target(Route("convert", "docs.convert", prefetch=7)) == 7


def test_more_slots_than_messages_of_a_batch_are_all_used():
    assert after(0.0).target(Route("convert", "docs.convert", concurrency=1000)) == 1000
