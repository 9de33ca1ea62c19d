"""Suspected poison messages of one consumer: each is claimed alone, and at most one runs in a process."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from playhead.work.deliveries import Deliveries, HeldDelivery, State
from playhead.work.host import Host


class Suspects:
    """Chooses the suspect that runs next.

    Other messages run at the same time. If the suspect kills the process, their attempts count too, and they
    may become suspects themselves. So they end only if the process dies while they run as suspects.
    """

    def __init__(self, host: Host, deliveries: Deliveries) -> None:
        self._host = host
        self._deliveries = deliveries
        self._alone: HeldDelivery | None = None

    @property
    def may_start(self) -> bool:
        """Whether a suspect waits here, and none runs in this process."""
        return self._deliveries.has(State.SUSPECTED) and self._host.may_start_suspect

    def reserve(self) -> HeldDelivery | None:
        """Return the suspect to claim now; None if it was returned to the broker meanwhile."""
        suspect = next(iter(self._deliveries.in_state(State.SUSPECTED)), None)
        if suspect is not None:
            self._host.reserve_suspect_slot(suspect)
            self._alone = suspect
            self._deliveries.move(suspect, State.RECEIVED)
        return suspect

    def batches(self, received: Collection[HeldDelivery]) -> list[tuple[Sequence[HeldDelivery], bool]]:
        """Split deliveries into batches to claim, each with whether it is the suspect that runs alone."""
        suspect = [held for held in received if held is self._alone]
        others = [held for held in received if held is not self._alone]
        return [(some, alone) for some, alone in ((others, False), (suspect, True)) if some]

    def settled(self, held: HeldDelivery) -> None:
        """Note that a delivery is no longer held."""
        if held is self._alone:
            self._alone = None
