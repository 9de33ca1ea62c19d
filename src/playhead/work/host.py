"""What a consumer needs from the worker that runs it."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from playhead.ports.catalog.work import Claim
from playhead.work.attempt import CooldownRequest
from playhead.work.deliveries import HeldDelivery
from playhead.work.dispatch import RouteRuntime


class Host(Protocol):
    """The worker of a consumer.

    Attributes:
        processing: the messages that the process works on, with their executions.
    """

    @property
    def processing(self) -> dict[UUID, UUID]: ...

    @property
    def may_start_suspect(self) -> bool:
        """Whether no suspected poison message runs in this process."""
        ...

    def reserve_suspect_slot(self, suspect: HeldDelivery) -> None:
        """Start no other suspected poison message until this delivery is settled."""
        ...

    def settled(self, held: HeldDelivery) -> None:
        """Note that a delivery is no longer held."""
        ...

    def finished(self, count: int) -> None:
        """Count attempts that were made."""
        ...

    async def cool_down(self, request: CooldownRequest) -> None:
        """Start no call of a key in all workers for a time. It applies in this worker before this returns."""
        ...

    async def show_wait(self, config: str, route: str, seconds: float, reason: str) -> None:
        """Record in readable words why this worker cannot run a route, and when it tries again."""
        ...

    async def runtime(self, claim: Claim) -> RouteRuntime:
        """Return what to run for a claim. Raises `UnknownAdapter`, `Unavailable`."""
        ...
