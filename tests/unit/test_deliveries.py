"""Where a delivery can be, and which moves are possible."""

from __future__ import annotations

import itertools

import pytest

from playhead.ports.broker import Delivery
from playhead.work.deliveries import TRANSITIONS, Deliveries, HeldDelivery, State

PATHS = {
    State.RECEIVED: [],
    State.CLAIMED: [State.CLAIMED],
    State.RUNNING: [State.CLAIMED, State.RUNNING],
    State.ENDED: [State.CLAIMED, State.ENDED],
    State.TO_ACK: [State.TO_ACK],
    State.DEFERRED: [State.DEFERRED],
    State.LIMITED: [State.LIMITED],
    State.SUSPECTED: [State.SUSPECTED],
    State.SETTLED: [State.SETTLED],
}
"""The moves that bring a delivery into each state."""


def in_state(state: State) -> tuple[Deliveries, HeldDelivery]:
    deliveries = Deliveries()
    (held,) = deliveries.receive([Delivery("q", "m.0", {}, None)])
    for step in PATHS[state]:
        deliveries.move(held, step)
    return deliveries, held


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_only_the_transitions_of_the_table_are_possible(old: State, new: State):
    deliveries, held = in_state(old)
    if new in TRANSITIONS[old]:
        deliveries.move(held, new)
        assert held.state is new
    else:
        with pytest.raises(ValueError, match="cannot go"):
            deliveries.move(held, new)
        assert held.state is old


def test_a_claimed_delivery_is_settled_only_after_its_attempt_has_ended():
    """No path leads from a claimed row to an acknowledgement that does not pass the end of the attempt."""

    def reachable(start: State, without: State) -> set[State]:
        found, frontier = {start}, [start]
        while frontier:
            for state in TRANSITIONS[frontier.pop()] - found - {without}:
                found.add(state)
                frontier.append(state)
        return found

    assert reachable(State.CLAIMED, without=State.ENDED) == {State.CLAIMED, State.RUNNING}


def test_a_delivery_is_held_in_one_state_until_it_is_settled():
    settled: list[HeldDelivery] = []
    deliveries = Deliveries(settled.append)
    first, second = deliveries.receive([Delivery("q", "m.0", {}, None), Delivery("q", "m.0", {}, None)])

    deliveries.move(first, State.CLAIMED)
    assert (deliveries.in_state(State.RECEIVED), deliveries.in_state(State.CLAIMED)) == ([second], [first])
    assert (len(deliveries), list(deliveries)) == (2, [second, first])

    deliveries.move(second, State.SETTLED)
    assert (list(deliveries), settled) == ([first], [second])
    assert not deliveries.has(State.RECEIVED)
