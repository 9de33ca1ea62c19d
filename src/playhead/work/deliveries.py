"""Where each delivery is between the broker and its acknowledgement, and which moves are possible.

    RECEIVED ──> CLAIMED ──> RUNNING ──> ENDED ──> TO_ACK ──> SETTLED
     │  │  │        └──────────────────────^         ^
     │  │  └── refused by the catalog ───────────────┘
     │  └────> DEFERRED or LIMITED ──> RECEIVED
     └───────> SUSPECTED ──> RECEIVED

A delivery may also be settled without an acknowledgement; then the broker redelivers it. If its attempt was
released for a short time, it is held instead: as a new `HeldDelivery`, which begins as LIMITED.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from playhead.ports.broker import Delivery


class State(Enum):
    """Where a delivery is."""

    RECEIVED = "received"
    """The broker has delivered it. It is unknown whether its row is claimed."""
    CLAIMED = "claimed"
    """Its row is claimed by this process."""
    RUNNING = "running"
    """Its chain waits for a slot or runs in one."""
    ENDED = "ended"
    """Its chain has ended or will not run. The catalog does not have the outcome yet."""
    TO_ACK = "to be acked"
    """The catalog needs no further update for it, but the delivery is not acknowledged yet."""
    DEFERRED = "deferred"
    """This process still runs its message because of another delivery. It is claimed after that attempt."""
    LIMITED = "limited"
    """A cooldown or a limit of its route allows no further message now. It is not claimed."""
    SUSPECTED = "suspected"
    """Its message is a suspected poison message. It waits until no other one runs in this process."""
    SETTLED = "settled"
    """This process no longer holds it: it was acked, or left to the broker."""


TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    # Received: settled means left to the broker (no row was found, or this consumer stops).
    State.RECEIVED: frozenset(
        {State.CLAIMED, State.TO_ACK, State.DEFERRED, State.LIMITED, State.SUSPECTED, State.SETTLED}
    ),
    State.LIMITED: frozenset({State.RECEIVED, State.SETTLED}),
    State.DEFERRED: frozenset({State.RECEIVED, State.SETTLED}),
    State.SUSPECTED: frozenset({State.RECEIVED, State.SETTLED}),
    # A claimed row belongs to this process until its attempt has ended: nothing claimed is just left.
    State.CLAIMED: frozenset({State.RUNNING, State.ENDED}),
    State.RUNNING: frozenset({State.ENDED}),
    # Settled from here when the process departs while the catalog is unavailable, or to be held again.
    State.ENDED: frozenset({State.TO_ACK, State.SETTLED}),
    State.TO_ACK: frozenset({State.SETTLED}),
    State.SETTLED: frozenset(),
}
"""The possible moves. `Deliveries.move` rejects every other one."""


_UNCLAIMED: Final = (State.SUSPECTED, State.DEFERRED, State.LIMITED)


@dataclass(slots=True, eq=False)
class HeldDelivery:
    """One delivery and its state. Two deliveries of one message are two of these.

    `since` is when it was received, by the monotonic clock.
    """

    delivery: Delivery
    state: State = State.RECEIVED
    since: float = field(default_factory=time.monotonic)

    @property
    def dispatch_id(self) -> str:
        """The broker's id of the dispatch. A redelivery has the same id."""
        return self.delivery.message_id


class Deliveries:
    """The deliveries that one consumer holds, by state and in the order in which they came into it.

    Args:
        on_settled: called with each delivery that is settled.
    """

    def __init__(self, on_settled: Callable[[HeldDelivery], None] = lambda held: None) -> None:
        self._on_settled = on_settled
        self._by_state: dict[State, dict[HeldDelivery, None]] = {
            state: {} for state in State if state is not State.SETTLED
        }

    def __len__(self) -> int:
        return sum(len(some) for some in self._by_state.values())

    def __iter__(self) -> Iterator[HeldDelivery]:
        return (held for some in self._by_state.values() for held in some)

    def receive(self, deliveries: Sequence[Delivery]) -> list[HeldDelivery]:
        """Add what the broker handed out."""
        received = [HeldDelivery(delivery) for delivery in deliveries]
        self._by_state[State.RECEIVED].update(dict.fromkeys(received))
        return received

    def hold_again(self, held: HeldDelivery) -> None:
        """Settle a delivery, and hold what the broker handed out for another claim."""
        self.move(held, State.SETTLED)
        again = HeldDelivery(held.delivery, State.LIMITED, held.since)
        self._by_state[State.LIMITED][again] = None

    def in_state(self, state: State) -> Collection[HeldDelivery]:
        """The deliveries that are in a state; a copy."""
        return list(self._by_state[state])

    def unclaimed(self, *, longer_than: float = 0.0) -> Collection[HeldDelivery]:
        """The deliveries that wait, are not claimed, and were received at least `longer_than` seconds ago."""
        until = time.monotonic() - longer_than
        return [held for state in _UNCLAIMED for held in self._by_state[state] if held.since <= until]

    def has(self, state: State) -> bool:
        """Whether any delivery is in a state."""
        return bool(self._by_state[state])

    def count(self, state: State) -> int:
        """How many deliveries are in a state."""
        return len(self._by_state[state])

    def move(self, held: HeldDelivery, to: State) -> None:
        """Move a delivery to another state.

        Raises:
            ValueError: the table has no such transition.
        """
        if to not in TRANSITIONS[held.state]:
            raise ValueError(f"a delivery cannot go from {held.state.value!r} to {to.value!r}")
        del self._by_state[held.state][held]
        held.state = to
        if to is State.SETTLED:
            self._on_settled(held)
        else:
            self._by_state[to][held] = None

    def move_all(self, some: Collection[HeldDelivery], to: State) -> None:
        """Move several deliveries to one state."""
        for held in some:
            self.move(held, to)
